"""The viewer in a real browser: zoom, drag, swipe, keys, at a desk and on a phone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from generation.tests.factories import FluxTaskFactory, TaskImageFactory
from history import search

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    # pytest-base-url, which pytest-playwright brings, is not ready for pytest 10.
    pytest.mark.filterwarnings("ignore:Session-scoped fixtures:pytest.PytestRemovedIn10Warning"),
]

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
PICTURE = "#lightbox [data-image]"


@pytest.fixture
def drawn(alice):
    """Three entries; the newest has two pictures."""
    for number, (prompt, pictures) in enumerate([("a pine", 2), ("an owl", 1), ("a whale", 1)]):
        created_at = timezone.now() - timedelta(minutes=number)
        task = FluxTaskFactory(user=alice, succeeded=True, prompt=prompt, created_at=created_at)
        for position in range(pictures):
            TaskImageFactory(user=alice, task=task, position=position, width=900, height=600)
    search.fill()


@pytest.fixture
def viewer(enter, alice, drawn):
    """Return a function that opens the first picture of the history."""

    def look(**options) -> Page:
        page = enter("/history", user=alice, **options)
        page.locator("a[data-picture]").first.click()
        expect(box(page).get_by_text("1 / 2")).to_be_visible()
        page.wait_for_function(
            "picture => document.querySelector(picture).naturalWidth === 900", arg=PICTURE
        )
        return page

    return look


def box(page: Page):
    return page.get_by_role("dialog", name="Picture", exact=True)


def scale(page: Page) -> float:
    return page.evaluate(
        "picture => new DOMMatrix(document.querySelector(picture).style.transform).a", PICTURE
    )


def shift(page: Page) -> tuple[float, float]:
    x, y = page.evaluate(
        """picture => {
            const { e, f } = new DOMMatrix(document.querySelector(picture).style.transform);
            return [e, f];
        }""",
        PICTURE,
    )
    return x, y


def middle(page: Page) -> tuple[float, float]:
    place = page.locator("#lightbox [data-stage]").bounding_box()
    return place["x"] + place["width"] / 2, place["y"] + place["height"] / 2


def touch(page: Page, *steps: list[tuple[float, float]]) -> None:
    """Put fingers down at the first step's points, move them through the others, and lift them."""
    device = page.context.new_cdp_session(page)
    for number, points in enumerate(steps):
        device.send(
            "Input.dispatchTouchEvent",
            {
                "type": "touchMove" if number else "touchStart",
                "touchPoints": [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)],
            },
        )
    device.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def swipe(page: Page, dx: float, dy: float) -> None:
    x, y = middle(page)
    touch(page, *([(x + dx * part / 4, y + dy * part / 4)] for part in range(5)))


# ---------------------------------------------------------------- at a desk
def test_the_wheel_zooms_where_the_pointer_is_and_back(viewer):
    page = viewer()
    x, y = middle(page)
    page.mouse.move(x + 200, y + 100)

    page.mouse.wheel(0, -400)

    expect(page.locator("[data-level]")).to_have_text("223 %")
    assert scale(page) == pytest.approx(2.2255, abs=0.01)
    assert shift(page)[0] < 0  # What was under the pointer stayed there, so the rest moved left.
    page.mouse.wheel(0, 4000)
    expect(page.locator("[data-level]")).to_be_hidden()
    assert shift(page) == (0, 0)


def test_a_large_picture_is_dragged_no_further_than_its_edge(viewer):
    page = viewer()
    x, y = middle(page)
    page.mouse.dblclick(x, y)
    expect(page.locator("[data-level]")).to_have_text("250 %")

    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 50, y, steps=4)
    assert shift(page)[0] == pytest.approx(50, abs=2)
    page.mouse.move(x + 5000, y, steps=4)
    page.mouse.up()

    picture, stage = (
        page.locator(PICTURE).bounding_box(),
        page.locator("[data-stage]").bounding_box(),
    )
    assert picture["x"] == pytest.approx(stage["x"], abs=1)
    expect(box(page)).to_be_visible()


def test_keys_zoom_leaf_and_close_and_the_focus_goes_back(viewer):
    page = viewer()

    page.keyboard.press("+")
    expect(page.locator("[data-level]")).to_have_text("150 %")
    page.keyboard.press("0")
    expect(page.locator("[data-level]")).to_be_hidden()
    page.keyboard.press("ArrowRight")
    expect(box(page).get_by_text("2 / 2")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(box(page).get_by_text("an owl")).to_be_visible()
    page.keyboard.press("Escape")

    expect(box(page)).to_be_hidden()
    expect(page.locator(".entry", has_text="an owl").locator("a[data-picture]")).to_be_focused()
    page.keyboard.press("Space")
    expect(box(page)).to_be_visible()


def test_leafing_takes_the_zoom_back(viewer):
    page = viewer()
    page.keyboard.press("+")

    page.keyboard.press("ArrowRight")

    expect(box(page).get_by_text("2 / 2")).to_be_visible()
    expect(page.locator("[data-level]")).to_be_hidden()
    assert scale(page) == 1


def test_a_click_beside_the_picture_closes(viewer):
    page = viewer(viewport={"width": 1280, "height": 900})

    page.mouse.click(40, 40)

    expect(box(page)).to_be_hidden()


def test_the_small_picture_is_there_until_the_large_one_comes(enter, alice, drawn):
    page = enter("/history", user=alice)
    held = []

    def hold(route) -> None:
        held.append(route)

    page.route("**/media/*", hold)
    page.locator("a[data-picture]").first.click()
    picture = page.locator(PICTURE)

    expect(page.locator("[data-stage]")).to_have_class("lightbox-stage is-loading")
    assert picture.evaluate("each => new URL(each.src).pathname").endswith(("/320", "/640"))
    before = picture.bounding_box()

    for route in held:
        route.continue_()
    page.unroute("**/media/*")

    expect(page.locator("[data-stage]")).to_have_class("lightbox-stage")
    page.wait_for_function(
        "picture => document.querySelector(picture).naturalWidth === 900", arg=PICTURE
    )
    assert picture.bounding_box() == before  # Nothing jumped.


# ---------------------------------------------------------------- on a phone
def test_a_swipe_leafs_and_at_the_end_springs_back(viewer):
    page = viewer(**PHONE)

    swipe(page, 200, 0)
    expect(box(page).get_by_text("1 / 2")).to_be_visible()
    swipe(page, -200, 0)

    expect(box(page).get_by_text("2 / 2")).to_be_visible()
    assert shift(page) == (0, 0)


def test_a_swipe_down_closes_and_up_does_not(viewer):
    page = viewer(**PHONE)

    swipe(page, 0, -220)
    expect(box(page)).to_be_visible()
    swipe(page, 0, 220)

    expect(box(page)).to_be_hidden()


def test_two_fingers_zoom_and_one_then_drags(viewer):
    page = viewer(**PHONE)
    x, y = middle(page)

    touch(
        page,
        [(x - 40, y), (x + 40, y)],
        [(x - 60, y), (x + 60, y)],
        [(x - 120, y), (x + 120, y)],
    )

    assert scale(page) == pytest.approx(3, abs=0.05)
    expect(page.locator("[data-level]")).to_be_visible()
    swipe(page, -150, 0)
    expect(box(page).get_by_text("1 / 2")).to_be_visible()
    assert shift(page)[0] < -100


def test_a_double_tap_zooms_in_and_out(viewer):
    page = viewer(**PHONE)
    x, y = middle(page)

    for expected in (2.5, 1):
        page.touchscreen.tap(x, y)
        page.touchscreen.tap(x, y)
        page.wait_for_function(
            """([picture, scale]) =>
                new DOMMatrix(document.querySelector(picture).style.transform).a === scale""",
            arg=[PICTURE, expected],
        )


def test_what_it_was_made_with_comes_up_from_below(viewer):
    page = viewer(**PHONE)
    seed = box(page).get_by_text("17454220438242315174")
    info = box(page).get_by_role("button", name="What it was made with")
    expect(seed).to_be_hidden()

    info.tap()

    expect(info).to_have_attribute("aria-expanded", "true")
    expect(seed).to_be_visible()
    expect(seed).to_be_in_viewport()
    info.tap()
    expect(seed).to_be_hidden()


def test_who_wants_less_motion_gets_none(viewer):
    page = viewer(reduced_motion="reduce")

    duration = page.locator(PICTURE).evaluate("each => getComputedStyle(each).transitionDuration")
    assert max(float(each.removesuffix("s")) for each in duration.split(", ")) <= 0.001
