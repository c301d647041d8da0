"""The studio without a mouse, without motion, and twice as large."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from conftest import PASSWORD
from generation.models import FluxTask
from generation.tests.factories import FluxTaskFactory, TaskImageFactory
from history import search

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    # pytest-base-url, which pytest-playwright brings, is not ready for pytest 10.
    pytest.mark.filterwarnings("ignore:Session-scoped fixtures:pytest.PytestRemovedIn10Warning"),
]

#: Whether what has the focus looks like it: itself, or what stands for it.
SHOWS_FOCUS = """() => {
    const at = document.activeElement;
    const stands = [at, at.firstElementChild, at.nextElementSibling, at.closest("label"), at.closest("form")];
    return stands.filter(Boolean).some((each) => {
        const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(each);
        const isOutlined = outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
        return isOutlined || (each.matches(":has(:focus-visible)") && boxShadow !== "none");
    });
}"""
NAME = """() => {
    const at = document.activeElement;
    return `${at.tagName} ${at.id || at.name || at.className || at.textContent.trim()}`;
}"""


class Keyboard:
    """Somebody who has only that, and looks at each stop for where they are."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.unseen: list[str] = []

    def to(self, target: Locator, *, key: str = "Tab", most: int = 60) -> None:
        """Go on until the target has the focus."""
        for _step in range(most):
            self.page.keyboard.press(key)
            if self.page.evaluate("document.activeElement === document.body"):
                continue
            if not self.page.evaluate(SHOWS_FOCUS):
                self.unseen.append(self.page.evaluate(NAME))
            if target.evaluate("target => target === document.activeElement"):
                return
        pytest.fail(f"{target} is not reached; the last stop was {self.page.evaluate(NAME)}")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)


def voice(page: Page) -> Locator:
    return page.locator("#announcer")


# ---------------------------------------------------------------- the keyboard
def test_the_whole_way_from_login_to_undo_by_keyboard(enter, alice, work):
    page = enter("/login")
    hands = Keyboard(page)
    expect(page.get_by_label("User name")).to_be_focused()
    page.keyboard.type("alice")
    hands.to(page.get_by_label("Password"))
    page.keyboard.type(PASSWORD)
    hands.press("Enter")
    page.wait_for_url("**/")

    # A prompt, a model, a shape, two pictures.
    expect(page.locator("[data-run]")).to_have_attribute("aria-disabled", "true")
    prompt = page.get_by_label("What do you want to see?")
    expect(prompt).to_be_focused()
    page.keyboard.type("a lighthouse")
    hands.to(page.locator("[data-picker] > summary"))
    hands.press("Enter")
    hands.to(page.locator("[name=model]:checked"))
    hands.press("ArrowUp")
    expect(page.locator("[data-model-name]")).to_have_text("FLUX.1 schnell")
    expect(page.locator("#parameters")).to_have_attribute("data-model", "fal-ai/flux-1/schnell")
    hands.to(page.locator("[name=aspect_ratio]:checked"))
    hands.press("ArrowRight")
    shape = page.locator("[name=aspect_ratio]:checked").input_value()
    hands.to(page.locator("[name=num_images]:checked"))
    hands.press("ArrowRight")
    expect(page.locator("[data-label]")).to_contain_text("2 images")
    hands.to(page.locator("[data-run]"))
    hands.to(prompt, key="Shift+Tab")
    hands.press("Control+Enter")

    # It can be called off while it runs; this one is let be.
    card = page.get_by_role("article", name="a lighthouse")
    expect(card).to_have_attribute("data-state", "waiting")
    hands.to(card.get_by_role("button", name="Cancel"))
    work()
    expect(card).to_have_attribute("data-state", "done", timeout=15_000)
    expect(voice(page)).to_have_text("Done: a lighthouse")
    task = FluxTask.objects.get()
    assert (task.model, task.aspect_ratio) == ("fal-ai/flux-1/schnell", shape)

    # The viewer, and back to where one leafed to.
    pictures = card.locator("a[data-picture]")
    expect(card).to_be_focused()
    hands.to(pictures.first)
    hands.press("Enter")
    viewer = page.get_by_role("dialog", name="Picture", exact=True)
    expect(viewer.get_by_text("1 / 2")).to_be_visible()
    hands.press("ArrowRight")
    expect(viewer.get_by_text("2 / 2")).to_be_visible()
    hands.to(viewer.get_by_role("button", name="Close"))
    hands.press("Escape")
    expect(viewer).to_be_hidden()
    expect(pictures.nth(1)).to_be_focused()

    # In the history: a favourite, the trash, and back again.
    search.fill()
    hands.to(page.get_by_role("link", name="History", exact=True), key="Shift+Tab", most=90)
    hands.press("Enter")
    page.wait_for_url("**/history")
    page.wait_for_load_state("networkidle")
    picture = page.locator("a[data-picture]").first
    hands.to(picture)
    hands.press("Space")
    expect(viewer.get_by_text("1 / 2")).to_be_visible()
    hands.press("f")
    expect(voice(page)).to_have_text("Favourite")
    hands.press("Escape")
    expect(picture).to_be_focused()
    tick = page.get_by_role("checkbox", name="Select: a lighthouse")
    hands.to(tick)
    hands.press("Space")
    expect(page.locator("[data-count]")).to_have_text("Selected: 1")
    hands.to(page.get_by_role("button", name="To the trash"))
    hands.press("Enter")
    expect(tick).to_have_count(0)
    hands.to(page.get_by_role("button", name="Undo"))
    hands.press("Enter")
    expect(tick).to_be_visible()
    task.refresh_from_db()
    assert (task.is_favourite, task.trashed_at) == (True, None)
    assert hands.unseen == []


def test_what_fails_is_said_as_well(enter, alice, drawing, work):
    page = enter("/", user=alice)
    drawing.add_fault(kind="content_policy", prompt="a lighthouse")
    page.get_by_label("What do you want to see?").fill("a lighthouse")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("article")).to_have_count(1)

    work()

    expect(page.get_by_role("article")).to_have_attribute("data-state", "failed", timeout=15_000)
    expect(voice(page)).to_have_text(re.compile(r"^a lighthouse: .+"))


@pytest.mark.usefixtures("drawing")
def test_the_first_stop_of_a_page_leads_past_the_header(enter, alice):
    page = enter("/history", user=alice)

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    page.keyboard.press("Enter")

    expect(page.locator("#main")).to_be_focused()


# ---------------------------------------------------------------- motion
@pytest.mark.usefixtures("drawing")
def test_nothing_moves_for_those_who_asked_for_it(enter, alice):
    task = FluxTaskFactory(user=alice, succeeded=True)
    TaskImageFactory(user=alice, task=task)
    FluxTaskFactory(user=alice, prompt="one being drawn", at_provider=True, status="IN_PROGRESS")
    search.fill()
    running = "() => document.getAnimations().filter((each) => each.playState === 'running').length"
    page = enter("/", user=alice)
    page.wait_for_function(f"() => ({running})() > 0")
    page.emulate_media(reduced_motion="reduce")

    for path in ["/", "/history"]:
        page.goto(path)
        page.wait_for_load_state("networkidle")
        page.wait_for_function(f"() => ({running})() === 0")
        page.locator("a[data-picture]").first.click()
        expect(page.locator("#lightbox")).to_be_visible()
        page.wait_for_function(f"() => ({running})() === 0")
        page.keyboard.press("Escape")
        page.locator("summary.avatar").click()
        page.wait_for_function(f"() => ({running})() === 0")


# ---------------------------------------------------------------- zoom
PAGES = ["/", "/history", "/history/trash", "/credits", "/account", "/tokens", "/presets", "/no"]
#: Words that are cut off: they need more room than they are given, and nothing lets one scroll.
CUT = """() => [...document.querySelectorAll(
    "main :is(button, summary, label, legend, h1, h2, p, li, dt, dd, .button), header :is(a, summary)")]
  .filter((each) => each.checkVisibility({ opacityProperty: true, visibilityProperty: true }))
  .filter((each) => !each.closest(".visually-hidden, dialog:not([open]), .login-pictures"))
  .filter((each) => {
    const { overflowX, textOverflow, webkitLineClamp, clipPath } = getComputedStyle(each);
    const isShortened = textOverflow === "ellipsis" || webkitLineClamp !== "none";
    if (clipPath !== "none") return false;  // Only for those who listen.
    return !isShortened && overflowX === "hidden" && each.scrollWidth > each.clientWidth + 1;
  })
  .map((each) => `${each.className || each.tagName} ${each.textContent.trim().slice(0, 40)}`)"""
#: What stands beside the page.
BESIDE = """() => [...document.querySelectorAll("body *")]
  .filter((each) => each.checkVisibility() && each.getBoundingClientRect().right > innerWidth + 1)
  .map((each) => `${each.closest("[class]").className}: ${each.textContent.trim().slice(0, 40)}`)"""
#: What lies over the button that runs, at its middle and near its corners.
OVER = """(run) => {
    const { left, right, top, bottom } = run.getBoundingClientRect();
    const points = [[(left + right) / 2, (top + bottom) / 2], [left + 8, top + 8], [right - 8, bottom - 8]];
    return points.map(([x, y]) => document.elementFromPoint(x, y))
        .filter((each) => !run.contains(each)).map((each) => each?.outerHTML.slice(0, 80));
}"""


@pytest.mark.usefixtures("drawing")
@pytest.mark.parametrize("language", ["en", "zh-CN"])
@pytest.mark.parametrize("zoomed", ["page", "text"])
def test_twice_as_large_nothing_is_lost(enter, alice, zoomed, language):
    task = FluxTaskFactory(user=alice, succeeded=True, prompt="a lighthouse above the sea")
    TaskImageFactory(user=alice, task=task)
    FluxTaskFactory(user=alice, failed=True, prompt="one that failed")
    FluxTaskFactory(user=alice, prompt="one that waits")
    search.fill()
    # A window of 1280 by 900 at 200 %; or letters alone, in the whole window.
    size = {"width": 640, "height": 450} if zoomed == "page" else {"width": 1280, "height": 900}
    scale = 2 if zoomed == "page" else 1
    page = enter("/", user=alice, viewport=size, device_scale_factor=scale, locale=language)

    lost = {}
    for path in PAGES:
        page.goto(path)
        if zoomed == "text":
            page.evaluate("document.documentElement.style.setProperty('font-size', '200%')")
        page.wait_for_load_state("networkidle")
        beside = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        found = page.evaluate(BESIDE) if beside > 0 else []
        found += page.evaluate(CUT)
        if path == "/":
            run = page.locator("[data-run]")
            run.scroll_into_view_if_needed()
            found += run.evaluate(OVER)
            expect(run).to_be_in_viewport(ratio=1)
        if found:
            lost[path] = found
    page.complaints.clear()  # Of the page that is not there.

    assert lost == {}
