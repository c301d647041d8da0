"""The studio in a real browser, from the click to the picture."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from conftest import PASSWORD
from generation.models import FluxTask
from generation.tests.factories import FluxTaskFactory, TaskImageFactory, image_bytes

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


@pytest.fixture
def studio(page: Page, live_server, alice, drawing, violations) -> Page:
    """Alice's studio, reached through the login as she would."""
    page.goto(f"{live_server.url}/")
    page.get_by_label("User name").fill("alice")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_label("What do you want to see?")).to_be_focused()
    # Set by the last of the scripts: until then the page works, but without them.
    expect(page.locator("[data-run]")).to_have_attribute("aria-disabled", "true")
    return page


def choose_model(page: Page, name: str) -> None:
    page.locator("[data-picker] > summary").click()
    page.get_by_role("radio", name=re.compile(re.escape(name))).first.check(force=True)
    expect(page.locator("[data-model-name]")).to_have_text(name)
    page.keyboard.press("Escape")


# ---------------------------------------------------------------- drawing
@pytest.mark.usefixtures("workers")
def test_a_chinese_prompt_becomes_a_picture_on_the_page(studio: Page, violations):
    prompt = studio.get_by_label("What do you want to see?")
    prompt.fill("山间的小茶馆，清晨的薄雾")
    studio.get_by_role("radio", name="3:2").check(force=True)
    studio.get_by_role("radio", name="2", exact=True).check(force=True)

    studio.get_by_role("button", name="Generate 2 images").click()

    card = studio.get_by_role("article", name="山间的小茶馆，清晨的薄雾")
    expect(card).to_have_attribute("data-state", "done", timeout=15_000)
    expect(card.locator("img")).to_have_count(2)
    drawn = card.locator("img").first
    drawn.scroll_into_view_if_needed()
    studio.wait_for_function(
        "image => image.complete && image.naturalWidth > 0", arg=drawn.element_handle()
    )
    expect(studio.locator("#announcer")).to_have_text("Done: 山间的小茶馆，清晨的薄雾")
    expect(prompt).to_have_value("山间的小茶馆，清晨的薄雾")
    expect(studio).to_have_title("Studio · Fluxsite")
    assert violations == []


@pytest.mark.usefixtures("workers")
def test_an_uploaded_picture_leads_to_image_to_image(studio: Page, violations):
    studio.get_by_label("What do you want to see?").fill("the same at night")
    studio.locator("[data-files]").set_input_files(
        {"name": "day.png", "mimeType": "image/png", "buffer": image_bytes((300, 200))}
    )
    expect(studio.get_by_label("Strength")).to_be_visible()
    expect(studio.locator("[data-reference]")).to_have_count(1)

    studio.get_by_role("button", name="Generate 1 image").click()

    card = studio.get_by_role("article", name="the same at night")
    expect(card).to_have_attribute("data-state", "done", timeout=15_000)
    task = FluxTask.objects.get()
    assert task.endpoint == "fal-ai/flux-1/dev/image-to-image"
    assert task.inputs.count() == 1
    assert violations == []


def test_an_upload_that_is_no_picture_says_why(studio: Page):
    studio.locator("[data-files]").set_input_files(
        [
            {"name": "day.png", "mimeType": "image/png", "buffer": image_bytes((300, 200))},
            {"name": "notes.png", "mimeType": "image/png", "buffer": b"hello"},
        ]
    )

    problem = studio.get_by_text("notes.png: This is not a JPEG, PNG or WebP picture.")
    expect(problem).to_be_visible()
    expect(studio.get_by_label("Strength")).to_be_visible()
    expect(problem).to_be_visible()


def test_a_double_click_makes_one_task(studio: Page):
    studio.get_by_label("What do you want to see?").fill("a lighthouse")

    studio.get_by_role("button", name="Generate 1 image").dblclick()

    expect(studio.get_by_role("article")).to_have_count(1)
    assert FluxTask.objects.count() == 1


def test_problems_appear_in_place_and_nothing_typed_is_lost(studio: Page):
    studio.get_by_label("What do you want to see?").fill("a lighthouse")
    studio.get_by_text("More settings").click()
    studio.get_by_label("Steps").fill("99")

    studio.get_by_role("button", name="Generate 1 image").click()

    expect(studio.get_by_text("Must be between 1 and 50.")).to_be_visible()
    expect(studio.get_by_label("Steps")).to_have_value("99")
    expect(studio.get_by_label("What do you want to see?")).to_have_value("a lighthouse")


# ---------------------------------------------------------------- keyboard
def test_ctrl_enter_runs_but_not_while_a_word_is_being_composed(studio: Page):
    prompt = studio.get_by_label("What do you want to see?")
    prompt.fill("月亮")
    press = (
        "(field, composing) => field.dispatchEvent(new KeyboardEvent('keydown', "
        "{key: 'Enter', ctrlKey: true, bubbles: true, cancelable: true, isComposing: composing}))"
    )

    prompt.evaluate(press.replace("(field, composing)", "field").replace("composing}", "true}"))
    studio.wait_for_timeout(300)
    composing = FluxTask.objects.count()
    studio.keyboard.press("Control+Enter")

    expect(studio.get_by_role("article")).to_have_count(1)
    assert (composing, FluxTask.objects.count()) == (0, 1)


def test_an_empty_prompt_is_named_as_the_reason(studio: Page):
    expect(studio.get_by_text("Write what you want to see.")).to_be_visible()
    run = studio.get_by_role("button", name="Generate 1 image")
    expect(run).to_have_attribute("aria-disabled", "true")

    studio.get_by_label("What do you want to see?").fill("a lighthouse")

    expect(run).to_have_attribute("aria-disabled", "false")
    expect(studio.get_by_text("Write what you want to see.")).to_be_hidden()


# ---------------------------------------------------------------- settings
def test_another_model_brings_its_own_settings_and_keeps_what_was_changed(studio: Page):
    studio.get_by_role("radio", name="16:9").check(force=True)

    choose_model(studio, "FLUX.2 pro")

    expect(studio.get_by_role("radio", name="16:9")).to_be_checked()
    expect(studio.get_by_role("group", name="Pictures", exact=True)).to_have_count(0)


def test_the_model_stands_in_one_line_however_long_its_name(studio: Page):
    lines = """(summary) => [...summary.querySelectorAll("span")].map((each) =>
        Math.round(each.getBoundingClientRect().height / parseFloat(getComputedStyle(each).lineHeight)))"""
    studio.locator(".picker-label").evaluate("(label) => label.textContent = '模型'")
    name = studio.locator("[data-model-name]")
    name.evaluate(
        "(name) => name.textContent = 'FLUX.1 Kontext max, for the pictures of the catalogue'"
    )

    assert studio.locator("[data-picker] > summary").evaluate(lines) == [1, 1, 1]


def test_a_model_without_prompt_keeps_the_words_for_the_next_one(studio: Page):
    prompt = studio.get_by_label("What do you want to see?")
    prompt.fill("a lighthouse")

    choose_model(studio, "FLUX.1 dev Redux")
    expect(prompt).to_be_disabled()
    expect(studio.get_by_text("FLUX.1 dev Redux needs a reference picture.")).to_be_visible()
    choose_model(studio, "FLUX.1 dev")

    expect(prompt).to_be_enabled()
    expect(prompt).to_have_value("a lighthouse")


def test_a_draft_survives_the_reload(studio: Page):
    studio.get_by_label("What do you want to see?").fill("写到一半的")

    studio.reload()

    expect(studio.get_by_label("What do you want to see?")).to_have_value("写到一半的")


# ---------------------------------------------------------------- pictures
@pytest.fixture
def drawn(alice):
    task = FluxTaskFactory(user=alice, succeeded=True, prompt="three boats")
    for position in range(3):
        TaskImageFactory(user=alice, task=task, position=position)
    return task


def test_the_lightbox_leafs_with_arrows_and_closes_with_escape(
    page: Page, drawn, studio: Page, violations
):
    studio.locator("a[data-picture]").first.click()
    box = studio.get_by_role("dialog", name="Picture", exact=True)
    expect(box.get_by_text("1 / 3")).to_be_visible()
    expect(box.get_by_text("17454220438242315174")).to_be_visible()

    studio.keyboard.press("ArrowRight")
    expect(box.get_by_text("2 / 3")).to_be_visible()
    studio.keyboard.press("Escape")

    expect(box).to_be_hidden()
    expect(studio.locator("a[data-picture]").nth(1)).to_be_focused()
    assert violations == []


def test_a_picture_picked_from_the_history_becomes_a_reference(drawn, studio: Page):
    choose_model(studio, "FLUX.1 dev")
    studio.get_by_text("From your history").click()

    studio.get_by_role("button", name="Picture 1 of your latest").click()

    expect(studio.locator("[data-reference]")).to_have_count(1)
    expect(studio.get_by_label("Strength")).to_be_visible()


def test_the_history_opens_a_task_with_its_true_parameters(drawn, studio: Page, violations):
    studio.get_by_role("link", name="History", exact=True).click()
    # Before the scripts are there a picture is a link to its entry's page.
    studio.wait_for_load_state("networkidle")
    studio.locator("a[data-picture]").first.click()

    box = studio.get_by_role("dialog", name="Picture", exact=True)
    expect(box.get_by_text("17454220438242315174")).to_be_visible()
    studio.keyboard.press("ArrowRight")
    expect(box.get_by_text("2 / 3")).to_be_visible()
    assert violations == []


# ---------------------------------------------------------------- shape and language
@pytest.mark.parametrize("path", ["/", "/history", "/login", "/nothing"])
def test_a_phone_never_scrolls_sideways(drawn, studio: Page, live_server, alice, path):
    FluxTaskFactory(user=alice, failed=True, prompt="x" * 400)
    studio.set_viewport_size(PHONE)
    if path == "/login":
        studio.context.clear_cookies()

    studio.goto(f"{live_server.url}{path}")

    width = studio.evaluate("document.documentElement.scrollWidth")
    assert width == PHONE["width"]


def test_the_language_switch_stays_on_the_page(studio: Page):
    studio.get_by_role("link", name="History", exact=True).click()

    studio.get_by_role("button", name="中文").click()

    expect(studio.get_by_role("heading", name="历史", exact=True)).to_be_visible()
    expect(studio.locator("html")).to_have_attribute("lang", "zh-hans")


def test_a_wish_to_be_notified_comes_along_from_the_account(studio: Page, live_server):
    switch = studio.locator("[data-signal=notify]")
    expect(switch).to_have_attribute("aria-pressed", "false")

    studio.context.grant_permissions(["notifications"], origin=live_server.url)
    studio.context.add_cookies([{"name": "notify", "value": "1", "url": live_server.url}])
    studio.reload()

    expect(switch).to_have_attribute("aria-pressed", "true")
