"""The history page in a real browser: filters, lightbox, marks, selection, packing."""

from __future__ import annotations

import io
import re
import zipfile
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from conftest import PASSWORD
from generation.models import FluxTask
from generation.tests.factories import FluxTaskFactory, JimengTaskFactory, TaskImageFactory
from history import exports, search
from history.marks import Name
from history.models import Export, Feedback

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    # pytest-base-url, which pytest-playwright brings, is not ready for pytest 10.
    pytest.mark.filterwarnings("ignore:Session-scoped fixtures:pytest.PytestRemovedIn10Warning"),
]

PHONE = {"width": 360, "height": 740}


@pytest.fixture
def violations(page: Page) -> list[str]:
    """What the browser's console complains about."""
    complaints: list[str] = []
    page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints


@pytest.fixture(autouse=True)
def _nothing_to_complain(violations):
    yield
    assert violations == []


@pytest.fixture
def draw(alice):
    """Return a function that makes entries, the first named the newest."""

    def entries(*prompts, pictures=1, **fields):
        made = []
        for number, prompt in enumerate(prompts):
            created_at = timezone.now() - timedelta(minutes=number)
            task = FluxTaskFactory(
                user=alice, succeeded=True, prompt=prompt, created_at=created_at, **fields
            )
            for position in range(pictures):
                TaskImageFactory(user=alice, task=task, position=position)
            made.append(task)
        search.fill()
        return made

    return entries


@pytest.fixture
def go(page: Page, live_server, alice, drawing):
    """Return a function that opens a page, through the login the first time."""

    def open_page(path: str = "/history") -> Page:
        page.goto(f"{live_server.url}{path}")
        if "/login" in page.url:
            page.get_by_label("User name").fill("alice")
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Log in").click()
            page.wait_for_url(f"{live_server.url}{path}")
        page.wait_for_load_state("networkidle")
        return page

    return open_page


def entry(page: Page, prompt: str):
    return page.locator(".entry", has_text=prompt)


def prompts(page: Page):
    return page.locator(".entry-prompt")


def tick(page: Page, prompt: str):
    return page.get_by_role("checkbox", name=f"Select: {prompt}")


def box(page: Page):
    return page.get_by_role("dialog", name="Picture", exact=True)


# ---------------------------------------------------------------- filters
def test_the_page_follows_the_words_one_types_and_the_back_button(go, draw):
    draw("a red cat", "a blue dog", "一只猫")
    page = go()

    page.get_by_label("Search in prompts").press_sequentially("blue", delay=20)

    expect(prompts(page)).to_have_text(["a blue dog"])
    expect(page).to_have_url(re.compile(r"/history\?text=blue$"))
    expect(page.get_by_label("Search in prompts")).to_be_focused()
    page.get_by_label("Search in prompts").fill("猫")
    expect(prompts(page)).to_have_text(["一只猫"])

    page.go_back()

    expect(prompts(page)).to_have_count(3)
    expect(page.get_by_label("Search in prompts")).to_have_value("")


def test_filters_add_up_and_each_can_be_taken_off(go, draw, alice):
    draw("a red cat", is_favourite=True)
    draw("a red dog")
    other = JimengTaskFactory(user=alice, prompt="a red tea house")
    TaskImageFactory(user=alice, task=other, source="jimeng")
    page = go()

    page.get_by_role("link", name="FLUX", exact=True).click()
    expect(prompts(page)).to_have_count(2)
    page.get_by_role("link", name="Favourites", exact=True).click()
    expect(prompts(page)).to_have_text(["a red cat"])
    expect(page).to_have_url(re.compile(r"\?source=flux&favourite=1$"))

    page.get_by_role("link", name="Without FLUX").click()
    expect(page).to_have_url(re.compile(r"\?favourite=1$"))
    page.get_by_role("link", name="Clear all").click()
    expect(prompts(page)).to_have_count(3)


def test_model_and_days_are_chosen_from_what_there_is(go, draw):
    draw("new", model="fal-ai/flux-1/dev")
    draw("fast")
    page = go()

    page.get_by_label("Model").select_option("FLUX.1 dev")
    expect(prompts(page)).to_have_text(["new"])
    page.get_by_label("Model").select_option("All models")
    page.get_by_text("Days", exact=True).click()
    page.get_by_label("Until").fill("2020-01-01")

    expect(page.get_by_role("heading", name="Nothing fits these filters")).to_be_visible()
    page.get_by_role("link", name="Clear all filters").click()
    expect(prompts(page)).to_have_count(2)


def test_older_ones_keep_the_filter_and_the_lightbox_goes_on_into_them(go, draw):
    draw(*(f"boat {number:02}" for number in range(26)), "whale")
    page = go("/history?text=boat")
    expect(prompts(page)).to_have_count(24)

    page.get_by_role("link", name="Show older ones").click()

    expect(prompts(page)).to_have_count(26)
    expect(page.get_by_role("link", name="Show older ones")).to_have_count(0)

    page.reload()
    page.wait_for_load_state("networkidle")
    page.locator(".entry-picture").nth(23).click()
    expect(prompts(page)).to_have_count(26)
    # The box has taken notice of what has just come.
    expect(box(page).get_by_role("button", name="Next picture")).to_be_enabled()
    page.keyboard.press("ArrowRight")
    expect(box(page).get_by_text("boat 24", exact=True)).to_be_visible()


def test_everything_works_without_scripts(browser, live_server, alice, drawing, draw):
    draw("a red cat", "a blue dog")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{live_server.url}/history")
    page.get_by_label("User name").fill("alice")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()

    page.get_by_label("Search in prompts").fill("cat")
    page.get_by_label("Search in prompts").press("Enter")
    expect(prompts(page)).to_have_text(["a red cat"])

    tick(page, "a red cat").check(force=True)
    page.get_by_role("button", name="To the trash").click()
    expect(page.get_by_text("1 moved to the trash.")).to_be_visible()
    expect(page).to_have_url(re.compile(r"\?(.*&)?text=cat"))

    page.goto(f"{live_server.url}/history/trash")
    page.get_by_role("button", name="Restore").first.click()
    expect(page.get_by_text("1 is back.")).to_be_visible()
    context.close()


# ---------------------------------------------------------------- lightbox
def test_the_lightbox_marks_by_keys(go, draw):
    first, _second = draw("a red cat", "a blue dog", pictures=2)
    page = go()
    entry(page, "a red cat").locator("a[data-picture]").first.click()
    expect(box(page).get_by_text("1 / 2")).to_be_visible()

    page.keyboard.press("f")

    expect(box(page).get_by_role("button", name="Favourite")).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(page.locator("#announcer")).to_have_text("Favourite")
    first.refresh_from_db()
    assert first.is_favourite

    page.keyboard.press("Delete")
    expect(box(page).get_by_text("a blue dog", exact=True)).to_be_visible()
    expect(page.get_by_text("Moved to the trash.")).to_be_visible()
    first.refresh_from_db()
    assert first.trashed_at is not None

    page.get_by_role("button", name="Undo").click()
    page.keyboard.press("Escape")
    expect(box(page)).to_be_hidden()
    expect(prompts(page)).to_have_text(["a red cat", "a blue dog"])
    first.refresh_from_db()
    assert first.trashed_at is None


def test_the_lightbox_takes_votes_and_reports(go, draw):
    draw("a red cat")
    page = go()
    page.locator("a[data-picture]").first.click()

    box(page).get_by_role("button", name="I like it", exact=True).click()
    expect(box(page).get_by_role("button", name="I like it", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    box(page).get_by_text("Report", exact=True).click()
    box(page).get_by_label("What is wrong with it?").select_option("Broken or cut off")
    # Letters of keys that do something, in a field, are letters.
    box(page).get_by_label("In your words, if you like").press_sequentially("five fingers, f")
    box(page).get_by_role("button", name="Send the report").click()

    expect(page.get_by_text("Thank you.")).to_be_visible()
    said = Feedback.objects.get()
    assert (said.vote, said.reason, said.text) == ("like", "broken", "five fingers, f")
    assert not FluxTask.objects.get().is_favourite


def test_settings_are_recalled_in_three_strengths(go, draw):
    draw("a red cat", parameters={"num_images": 1, "num_inference_steps": 7})
    page = go()
    page.locator("a[data-picture]").first.click()
    box(page).get_by_text("Use these settings").click()

    expect(box(page).get_by_role("link", name="Everything but the seed")).to_be_visible()
    expect(box(page).get_by_role("link", name="Only the prompt")).to_be_visible()
    box(page).get_by_role("link", name="Everything, with the seed").click()

    expect(page.get_by_label("What do you want to see?")).to_have_value("a red cat")


# ---------------------------------------------------------------- marks on the grid
def test_a_star_and_the_trash_on_the_grid_and_undo(go, draw):
    [first, _second] = draw("a red cat", "a blue dog")
    page = go()
    entry(page, "a red cat").hover()
    entry(page, "a red cat").get_by_role("button", name="Favourite").click()
    expect(entry(page, "a red cat")).to_have_attribute("data-favourite", "")

    entry(page, "a red cat").get_by_label("What can be done with it").click()
    entry(page, "a red cat").get_by_role("button", name="Move to the trash").click()

    expect(prompts(page)).to_have_text(["a blue dog"])
    page.get_by_role("button", name="Undo").click()
    expect(prompts(page)).to_have_text(["a red cat", "a blue dog"])
    first.refresh_from_db()
    assert (first.is_favourite, first.trashed_at) == (True, None)


def test_keys_work_on_the_entry_that_has_the_focus(go, draw):
    draw("a red cat", "a blue dog")
    page = go()
    entry(page, "a red cat").locator(".entry-picture").focus()

    page.keyboard.press("f")
    expect(entry(page, "a red cat")).to_have_attribute("data-favourite", "")
    page.keyboard.press("Delete")

    expect(prompts(page)).to_have_text(["a blue dog"])
    expect(entry(page, "a blue dog").locator(".entry-picture")).to_be_focused()


def test_what_the_site_refuses_comes_back(go, draw, violations):
    draw("a red cat")
    page = go()
    page.route("**/api/unified-history/marks", lambda route: route.abort())
    entry(page, "a red cat").locator(".entry-picture").focus()

    page.keyboard.press("Delete")

    expect(page.locator(".toast")).to_be_visible()
    expect(prompts(page)).to_have_text(["a red cat"])
    violations.clear()


# ---------------------------------------------------------------- selection
def test_several_are_selected_by_mouse_and_marked_together(go, draw):
    draw("one", "two", "three", "four")
    page = go()
    tick(page, "one").check(force=True)
    tick(page, "three").click(force=True, modifiers=["Shift"])
    expect(page.get_by_text("Selected: 3")).to_be_visible()
    # While something is selected, a picture is a large tick.
    entry(page, "two").locator(".entry-picture").click()
    expect(page.get_by_text("Selected: 2")).to_be_visible()
    expect(box(page)).to_be_hidden()

    page.get_by_role("button", name="To the trash").click()

    expect(prompts(page)).to_have_text(["two", "four"])
    expect(page.get_by_text("2 moved to the trash.")).to_be_visible()
    expect(page.get_by_role("form", name="Selection")).to_be_hidden()
    page.get_by_role("button", name="Undo").click()
    expect(prompts(page)).to_have_text(["one", "two", "three", "four"])


def test_several_are_selected_by_keyboard(go, draw):
    draw("one", "two", "three")
    page = go()
    tick(page, "one").focus()
    page.keyboard.press("Space")
    tick(page, "two").focus()
    page.keyboard.press("Space")
    expect(page.get_by_text("Selected: 2")).to_be_visible()

    page.keyboard.press("f")
    expect(page.locator(".entry[data-favourite]")).to_have_count(2)
    page.keyboard.press("Escape")

    expect(page.get_by_role("form", name="Selection")).to_be_hidden()
    expect(page.locator(".tick :checked")).to_have_count(0)


def test_a_long_press_selects_on_a_touch_screen(browser, live_server, alice, drawing, draw):
    draw("one", "two")
    context = browser.new_context(has_touch=True, is_mobile=True, viewport=PHONE)
    page = context.new_page()
    page.goto(f"{live_server.url}/history")
    page.get_by_label("User name").fill("alice")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_load_state("networkidle")
    picture = entry(page, "one").locator(".entry-picture")
    place = picture.bounding_box()
    at = {"clientX": place["x"] + 50, "clientY": place["y"] + 90, "pointerType": "touch"}

    picture.dispatch_event("pointerdown", {**at, "bubbles": True})
    page.wait_for_timeout(600)
    picture.dispatch_event("pointerup", {**at, "bubbles": True})
    picture.dispatch_event("click")

    expect(page.get_by_text("Selected: 1")).to_be_visible()
    entry(page, "two").locator(".entry-picture").tap()
    expect(page.get_by_text("Selected: 2")).to_be_visible()
    expect(box(page)).to_be_hidden()
    context.close()


def test_more_than_can_be_selected_is_refused_with_a_word(go, draw):
    draw("one", "two", "three")
    page = go()
    page.evaluate("document.getElementById('marks').dataset.most = 2")

    tick(page, "one").check(force=True)
    tick(page, "three").click(force=True, modifiers=["Shift"])

    expect(page.get_by_text("can be selected at once.")).to_be_visible()
    expect(page.get_by_text("Selected: 2")).to_be_visible()


def test_a_selection_is_packed_and_fetched(go, draw):
    draw("one", "two", "three")
    page = go()
    tick(page, "one").check(force=True)
    tick(page, "two").check(force=True)

    page.get_by_role("button", name="Pack as ZIP").click()
    expect(page.get_by_text("Being packed.")).to_be_visible()
    exports.pack(Export.objects.get().pk)

    link = page.locator(".toast").get_by_role("link", name="Download")
    expect(link).to_be_visible(timeout=10_000)
    with page.expect_download() as download:
        link.click()
    content = io.BytesIO(download.value.path().read_bytes())
    assert len(zipfile.ZipFile(content).namelist()) == 4


def test_the_page_of_packed_files_follows_what_is_packed(go, draw, alice):
    [task] = draw("one")
    export = exports.ask(user=alice, names=[Name("flux", task.pk)])
    page = go("/history/exports")
    expect(page.get_by_text("Waiting for its turn")).to_be_visible()

    exports.pack(export.pk)

    expect(page.get_by_role("link", name="Download")).to_be_visible(timeout=10_000)


# ---------------------------------------------------------------- the trash
def test_the_trash_gives_back_and_deletes_for_ever(go, draw):
    draw("one", "two", trashed_at=timezone.now())
    page = go("/history/trash")
    entry(page, "one").get_by_role("button", name="Restore").click()
    expect(prompts(page)).to_have_text(["two"])

    tick(page, "two").check(force=True)
    page.get_by_role("form", name="Selection").get_by_text("Delete for ever").first.click()
    page.get_by_role("button", name="Delete for ever").click()

    expect(page.get_by_role("heading", name="The trash is empty")).to_be_visible()
    assert sorted(FluxTask.objects.values_list("prompt", flat=True)) == ["", "one"]


# ---------------------------------------------------------------- shape
@pytest.mark.parametrize("path", ["/history", "/history?text=two&favourite=1", "/history/trash"])
def test_a_phone_never_scrolls_sideways(go, draw, path):
    draw("x" * 300, "two", is_favourite=True)
    draw("thrown away", trashed_at=timezone.now())
    page = go(path)

    page.set_viewport_size(PHONE)
    page.locator(".tick input").first.check(force=True)

    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_a_menu_on_a_phone_stays_on_the_screen(go, draw):
    draw("one", "two")
    page = go()
    page.set_viewport_size(PHONE)

    entry(page, "one").get_by_label("What can be done with it").click()

    place = entry(page, "one").locator(".menu-body").bounding_box()
    assert place["x"] >= 0
    assert place["x"] + place["width"] <= PHONE["width"]
    assert place["y"] + place["height"] <= PHONE["height"]
