"""What helps with a prompt, in a real browser: models, recent prompts, presets, ideas, comparing;
and what the studio does when somebody is in a hurry, in two tabs or out of credits."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect

from credits import ledger
from generation.models import FluxConfig, FluxTask, Preset, TypicalSeconds
from generation.tests.factories import FluxTaskFactory, TaskImageFactory, UploadFactory, image_bytes

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    # pytest-base-url, which pytest-playwright brings, is not ready for pytest 10.
    pytest.mark.filterwarnings("ignore:Session-scoped fixtures:pytest.PytestRemovedIn10Warning"),
]

SCHNELL, DEV = "fal-ai/flux-1/schnell", "fal-ai/flux-1/dev"
PHONE = {"width": 360, "height": 740}


@pytest.fixture(autouse=True)
def _credits(settings):
    settings.CREDITS_STARTING_GRANT = 100


@pytest.fixture
def violations(page: Page) -> list[str]:
    """What the browser's console complains about, but for the statuses of answers."""
    complaints: list[str] = []
    page.on(
        "console",
        lambda message: (
            message.type == "error"
            and "status of" not in message.text
            and "htmx:sendAbort" not in message.text
            and "htmx:afterRequest" not in message.text
            and complaints.append(message.text)
        ),
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints


@pytest.fixture
def go(page: Page, live_server, alice, drawing, violations):
    """Return a function that opens one of Alice's pages and waits for its scripts."""
    visitor = Client()
    visitor.force_login(alice)
    session = visitor.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])

    def open_page(path: str = "/", *, tab: Page | None = None) -> Page:
        shown = tab or page
        shown.goto(f"{live_server.url}{path}")
        # Set by the last of the scripts: until then the page works, but without them.
        expect(shown.locator("[data-run]")).to_have_attribute("aria-disabled", re.compile("."))
        return shown

    yield open_page
    assert violations == []


def prompt_of(page: Page):
    return page.locator("#prompt")


def run_button(page: Page):
    return page.locator("[data-run]")


def choose_model(page: Page, model: str) -> None:
    page.locator("[data-picker] > summary").click()
    page.locator(f"[name=model][value='{model}']").check(force=True)
    page.keyboard.press("Escape")
    page.locator("[data-picker]").evaluate("picker => (picker.open = false)")
    expect(page.locator(f"#parameters[data-model='{model}']")).to_have_count(1)


def compare(page: Page, *models: str) -> None:
    """Compare what is chosen with these."""
    page.get_by_role("checkbox", name="Compare").check()
    for model in models:
        page.locator(f"[name=models][value='{model}']").check()


# ---------------------------------------------------------------- choosing a model
def test_the_picker_tells_price_and_pace_and_what_does_not_fit(go):
    TypicalSeconds.objects.create(endpoint=DEV, seconds=4.2, tasks=50, measured_at=timezone.now())
    page = go()
    page.locator("[data-picker] > summary").click()
    dev = page.locator(".model", has=page.locator(f"[value='{DEV}']"))
    schnell = page.locator(".model", has=page.locator(f"[value='{SCHNELL}']"))
    expect(dev.locator(".model-facts")).to_have_text(
        re.compile(r"10 credits a picture\s+about 4 s")
    )
    expect(schnell.locator(".misfit")).to_have_count(0)

    page.locator("[data-files]").set_input_files(
        {"name": "day.png", "mimeType": "image/png", "buffer": image_bytes((300, 200))}
    )

    expect(schnell.locator(".misfit")).to_have_text("Takes no picture")
    expect(dev.locator(".misfit")).to_have_count(0)


def test_shapes_are_radio_buttons_the_arrow_keys_reach(go):
    page = go()

    page.get_by_role("radio", name="1:1").focus()
    page.keyboard.press("ArrowRight")

    expect(page.get_by_role("radio", name="2:3")).to_be_checked()
    expect(page.get_by_role("radio", name="2:3")).to_be_focused()
    assert page.locator(".tile:has(:checked) svg").bounding_box()["width"] > 0


# ---------------------------------------------------------------- the run button
def test_more_pictures_than_can_be_paid_for_are_a_reason(go, alice):
    ledger.adjust(user=alice, amount=-75, reference="x", reason="x", actor="x")
    page = go()
    prompt_of(page).fill("a lighthouse")
    reason = page.get_by_text("Your credits are enough for 2 pictures here.")
    expect(run_button(page)).to_have_attribute("aria-disabled", "false")

    page.get_by_role("radio", name="4", exact=True).check(force=True)

    expect(reason).to_be_visible()
    expect(run_button(page)).to_have_attribute("aria-disabled", "true")
    page.get_by_role("radio", name="2", exact=True).check(force=True)
    expect(reason).to_be_hidden()


def test_without_credits_the_page_says_whom_to_ask_and_where_codes_go(go, alice):
    ledger.adjust(user=alice, amount=-100, reference="x", reason="x", actor="x")
    page = go()
    prompt_of(page).fill("a lighthouse")

    page.keyboard.press("Control+Enter")

    expect(page.get_by_text("An administrator can give you more.")).to_be_visible()
    expect(page.get_by_role("link", name="Redeem a code")).to_have_attribute("href", "/credits")
    assert FluxTask.objects.count() == 0


def test_with_the_provider_away_the_words_stay_and_the_reason_is_told(go, settings):
    page = go()
    prompt_of(page).fill("a lighthouse")
    FluxConfig.objects.update(enabled=False)

    run_button(page).click()

    problem = page.get_by_text("Drawing is switched off on this site at the moment.").first
    expect(problem).to_be_visible()
    expect(prompt_of(page)).to_have_value("a lighthouse")
    assert FluxTask.objects.count() == 0


def test_who_has_as_many_running_as_allowed_is_told_and_may_go_on(go, alice):
    FluxConfig.objects.update_or_create(pk="default", defaults={"max_concurrent_per_member": 1})
    FluxTaskFactory(user=alice, at_provider=True, status="IN_PROGRESS", next_action_at=None)
    page = go()
    prompt_of(page).fill("a lighthouse")

    expect(page.get_by_text("1 of 1 running: the next one waits for its turn.")).to_be_visible()
    expect(run_button(page)).to_have_attribute("aria-disabled", "false")


# ---------------------------------------------------------------- cards
def test_a_running_card_grows_a_bar_without_moving_anything(go, alice):
    TypicalSeconds.objects.create(
        endpoint=SCHNELL, seconds=60, tasks=50, measured_at=timezone.now()
    )
    FluxTaskFactory(user=alice, at_provider=True, status="IN_PROGRESS", next_action_at=None)
    page = go()
    bar = page.get_by_role("progressbar", name="usually about 60 s")
    before = page.locator(".card-prompt").bounding_box()

    page.wait_for_function("() => document.querySelector('.pace').value > 0")

    expect(bar).to_have_attribute("max", "60")
    assert page.locator(".card-prompt").bounding_box() == before


def test_a_card_that_fails_gives_its_credits_back_to_the_button(go, alice, drawing):
    page = go()
    prompt_of(page).fill("a lighthouse")
    run_button(page).click()
    expect(run_button(page)).to_contain_text("(80 left after)")
    expect(page.locator("#status")).to_contain_text("90 credits")

    page.get_by_role("button", name="Cancel", exact=True).click()

    expect(page.get_by_text("Nothing was charged; 10 credits are back.")).to_be_visible()
    expect(run_button(page)).to_contain_text("(90 left after)")
    expect(page.locator("#status")).to_contain_text("100 credits")


def test_a_failed_card_has_its_ids_to_copy(go, alice, page: Page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    task = FluxTaskFactory(user=alice, failed=True, request_id="req-17", error_message="raw words")
    go()

    page.locator(".raw summary").click()
    expect(page.get_by_text(task.pk)).to_be_visible()
    page.get_by_role("button", name="Copy").nth(1).click()

    expect(page.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "req-17"
    expect(page.get_by_text("raw words")).to_have_count(0)


# ---------------------------------------------------------------- words
def test_enter_chooses_a_word_while_one_is_composed_and_runs_nothing(go, page: Page):
    go()
    prompt_of(page).focus()
    keyboard = page.context.new_cdp_session(page)
    keyboard.send(
        "Input.imeSetComposition", {"text": "yue", "selectionStart": 3, "selectionEnd": 3}
    )
    enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 229, "modifiers": 2}
    keyboard.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", **enter})
    keyboard.send("Input.dispatchKeyEvent", {"type": "keyUp", **enter})
    keyboard.send("Input.insertText", {"text": "月亮"})
    expect(prompt_of(page)).to_have_value("月亮")
    expect(page.get_by_role("article")).to_have_count(0)

    page.keyboard.press("Control+Enter")

    expect(page.get_by_role("article")).to_have_count(1)
    assert FluxTask.objects.get().prompt == "月亮"


def test_alt_and_arrows_walk_through_prompts_and_back_to_the_draft(go, alice):
    for words in ("first", "second", "second", "third"):
        FluxTaskFactory(user=alice, failed=True, prompt=words)
    page = go()
    prompt = prompt_of(page)
    prompt.fill("half a draft")

    seen = []
    for key in ("ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp", "ArrowDown", "ArrowDown", "ArrowDown"):
        before = prompt.input_value()
        page.keyboard.press(f"Alt+{key}")
        if before != "first" or key == "ArrowDown":
            expect(prompt).not_to_have_value(before)
        seen.append(prompt.input_value())

    assert seen == ["third", "second", "first", "first", "second", "third", "half a draft"]


def test_a_reload_while_walking_brings_the_draft_back(go, alice):
    FluxTaskFactory(user=alice, failed=True, prompt="first")
    page = go()
    prompt_of(page).fill("half a draft")
    page.keyboard.press("Alt+ArrowUp")
    expect(prompt_of(page)).to_have_value("first")

    page.reload()

    expect(prompt_of(page)).to_have_value("half a draft")


def test_recent_prompts_are_taken_from_a_menu_by_keyboard_and_can_be_undone(go, alice):
    FluxTaskFactory(user=alice, failed=True, prompt="山间\n的小茶馆")
    page = go()
    prompt_of(page).fill("half a draft")

    page.locator("[data-recent] > summary").focus()
    page.keyboard.press("Enter")
    expect(page.locator("[data-prompt]")).to_have_count(1)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    expect(prompt_of(page)).to_have_value("山间\n的小茶馆")
    expect(prompt_of(page)).to_be_focused()
    page.get_by_role("button", name="Undo").click()
    expect(prompt_of(page)).to_have_value("half a draft")


def test_what_was_being_written_is_offered_back_when_an_address_brings_words(go, alice):
    task = FluxTaskFactory(user=alice, failed=True, prompt="from before")
    page = go()
    prompt_of(page).fill("half a draft")

    go(f"/?like={task.pk}")
    expect(prompt_of(page)).to_have_value("from before")
    page.get_by_role("button", name="Put it back").click()

    expect(prompt_of(page)).to_have_value("half a draft")


# ---------------------------------------------------------------- ideas and presets
def test_an_idea_fills_the_form_and_can_be_undone(go, alice):
    FluxTaskFactory(user=alice, failed=True)
    page = go()
    choose_model(page, DEV)
    prompt_of(page).fill("half a draft")
    page.get_by_role("radio", name="9:16").check(force=True)

    page.get_by_role("link", name="Ideas").click()
    ideas = page.get_by_role("dialog", name="Ideas")
    ideas.get_by_role("link", name=re.compile("A cosy tea house")).click()

    expect(prompt_of(page)).to_have_value(re.compile("A cosy tea house"))
    expect(page.locator("[data-model-name]")).to_have_text("FLUX.2 pro")
    expect(page.get_by_role("radio", name="3:2")).to_be_checked()
    page.get_by_role("button", name="Undo").click()
    expect(prompt_of(page)).to_have_value("half a draft")
    expect(page.locator("[data-model-name]")).to_have_text("FLUX.1 dev")
    expect(page.get_by_role("radio", name="9:16")).to_be_checked()


def test_an_idea_keeps_the_pictures_that_are_attached(go, alice):
    picture = UploadFactory(user=alice)
    page = go(f"/?image={picture.url}")

    page.get_by_role("link", name="Ideas").click()
    ideas = page.get_by_role("dialog", name="Ideas")
    ideas.get_by_role("link", name=re.compile("A poster for a jazz night")).click()

    expect(page.locator("[data-model-name]")).to_have_text("FLUX.1 Kontext max")
    expect(page.locator("[data-reference]")).to_have_count(1)
    expect(page.locator("[name=shown]")).to_have_value("fal-ai/flux-pro/kontext/max")


def test_a_preset_is_saved_by_enter_and_applied_in_place(go, alice):
    page = go()
    page.get_by_role("radio", name="21:9").check(force=True)
    page.locator("[data-presets] > summary").click()
    page.get_by_label("Save what is set now").fill("Wide")
    page.keyboard.press("Enter")
    expect(page.get_by_text("“Wide” is saved.")).to_be_visible()
    expect(page.locator(".preset", has_text="Wide")).to_be_visible()
    page.keyboard.press("Escape")
    choose_model(page, "fal-ai/flux-2-pro")
    page.get_by_role("radio", name="1:1").check(force=True)
    prompt_of(page).fill("half a draft")

    page.locator("[data-presets] > summary").click()
    page.locator(".preset", has_text="Wide").click()

    expect(page.locator("[data-model-name]")).to_have_text("FLUX.1 dev")
    expect(page.get_by_role("radio", name="21:9")).to_be_checked()
    expect(prompt_of(page)).to_have_value("half a draft")
    assert Preset.objects.get().parameters["aspect_ratio"] == "21:9"


def test_a_preset_without_a_name_is_refused_in_the_menu(go):
    page = go()
    page.locator("[data-presets] > summary").click()

    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.get_by_text("A name is needed.")).to_be_visible()
    expect(page.locator("[data-presets]")).to_have_attribute("open", "")


# ---------------------------------------------------------------- comparing
@pytest.mark.usefixtures("workers")
def test_models_are_compared_side_by_side_and_still_after_a_refresh(go):
    page = go()
    prompt_of(page).fill("a lighthouse")
    compare(page, SCHNELL, "fal-ai/flux-2-pro")
    expect(run_button(page)).to_contain_text(
        "Generate 3 images with 3 models · 35 credits (65 left after)"
    )

    run_button(page).dblclick()

    group = page.get_by_role("region", name="Comparison: a lighthouse")
    expect(group.locator("[data-state=done]")).to_have_count(3, timeout=15_000)
    page.reload()
    expect(group.locator("[data-card]")).to_have_count(3)
    tops = {round(card.bounding_box()["y"]) for card in group.locator("[data-card]").all()}
    assert (len(tops), FluxTask.objects.count()) == (1, 3)


def test_a_model_chosen_in_the_moment_of_an_answer_is_in_the_next_price(go):
    page = go()
    box = "[name=models][value='fal-ai/flux-2-pro']"
    compare(page, SCHNELL)
    expect(run_button(page)).to_contain_text("with 2 models")
    page.evaluate(
        """box => addEventListener(
            "htmx:afterSwap",
            () => setTimeout(() => document.querySelector(box).click()),
            { once: true },
        )""",
        box,
    )

    page.locator("[name=models][value='fal-ai/flux-2']").check()

    expect(page.locator(box)).to_be_checked()
    expect(run_button(page)).to_contain_text("Generate 4 images with 4 models")


def test_a_fifth_model_and_those_that_do_not_fit_cannot_be_chosen(go):
    page = go()
    redux = page.locator("[name=models][value='fal-ai/flux-1/dev/redux']")
    ultra = page.locator("[name=models][value='fal-ai/flux-pro/v1.1-ultra']")

    compare(page, SCHNELL, "fal-ai/flux-2", "fal-ai/flux-2-pro")

    expect(redux).to_be_disabled()
    expect(ultra).to_be_disabled()
    page.locator(f"[name=models][value='{SCHNELL}']").uncheck()
    expect(ultra).to_be_enabled()
    expect(redux).to_be_disabled()


def test_on_a_phone_compared_cards_stand_below_each_other(go, alice, page: Page):
    now = timezone.now()
    for position, model in enumerate([SCHNELL, DEV]):
        task = FluxTaskFactory(
            user=alice,
            succeeded=True,
            model=model,
            endpoint=model,
            created_at=now,
            comparison="c" * 32,
            comparison_position=position,
        )
        TaskImageFactory(user=alice, task=task)
    page.set_viewport_size(PHONE)
    go()
    page.get_by_role("checkbox", name="Compare").check()

    first, second = (card.bounding_box() for card in page.locator(".comparison [data-card]").all())
    assert second["y"] >= first["y"] + first["height"]
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


@pytest.mark.parametrize("menu", ["[data-recent]", "[data-presets]"])
def test_menus_stay_on_the_screen_of_a_phone(go, alice, page: Page, menu):
    FluxTaskFactory(user=alice, failed=True, prompt="x" * 400)
    page.set_viewport_size(PHONE)
    go()

    page.locator(f"{menu} > summary").click()

    box = page.locator(f"{menu} .menu-body").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE["width"]
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


# ---------------------------------------------------------------- hurry, tabs, and back
@pytest.mark.usefixtures("workers")
def test_a_refresh_while_running_loses_nothing(go):
    page = go()
    prompt_of(page).fill("a lighthouse")
    run_button(page).click()
    expect(page.get_by_role("article")).to_have_count(1)

    page.reload()

    expect(page.get_by_role("article", name="a lighthouse")).to_have_attribute(
        "data-state", "done", timeout=15_000
    )
    assert FluxTask.objects.count() == 1


@pytest.mark.usefixtures("workers")
def test_two_tabs_show_the_same_and_share_one_balance(go, page: Page):
    go()
    other = go(tab=page.context.new_page())
    prompt_of(page).fill("a lighthouse")
    run_button(page).click()
    expect(page.locator("[data-state=done]")).to_have_count(1, timeout=15_000)

    prompt_of(other).fill("a harbour")
    run_button(other).click()

    expect(run_button(other)).to_contain_text("(70 left after)")
    other.reload()
    expect(other.get_by_role("article")).to_have_count(2)
    other.close()


def test_back_from_a_card_of_the_history_brings_form_and_cards(go, page: Page):
    go()
    prompt_of(page).fill("a lighthouse")
    run_button(page).click()
    expect(page.get_by_role("article")).to_have_count(1)
    page.get_by_role("link", name="History", exact=True).click()
    page.wait_for_url("**/history")

    page.go_back()

    expect(page.get_by_role("article", name="a lighthouse")).to_have_count(1)
    expect(prompt_of(page)).to_have_value("a lighthouse")
    run_button(page).click()
    expect(page.get_by_role("article")).to_have_count(2)


def transfer(page: Page, event: str, files: list[str], text: str = ""):
    """Drop or paste pictures on the page, as a browser would."""
    page.evaluate(
        """([event, files, text]) => {
            const data = new DataTransfer();
            for (const file of files) {
                const bytes = Uint8Array.from(atob(file), (c) => c.charCodeAt(0));
                data.items.add(new File([bytes], "day.png", { type: "image/png" }));
            }
            if (text) data.setData("text/plain", text);
            const init = { bubbles: true, cancelable: true };
            const prompt = document.getElementById("prompt");
            prompt.dispatchEvent(event === "paste"
                ? new ClipboardEvent("paste", { ...init, clipboardData: data })
                : new DragEvent(event, { ...init, dataTransfer: data }));
        }""",
        [event, files, text],
    )


@pytest.fixture
def encoded() -> str:
    import base64

    return base64.b64encode(image_bytes((300, 200))).decode()


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_picture_is_dropped_or_pasted(go, encoded, event):
    page = go()

    transfer(page, event, [encoded])

    expect(page.locator("[data-reference]")).to_have_count(1)
    expect(page.get_by_label("Strength")).to_be_visible()


def test_pasted_text_with_a_picture_of_it_is_text(go, encoded):
    page = go()

    transfer(page, "paste", [encoded], text="words")
    page.get_by_role("radio", name="16:9").check(force=True)

    expect(page.locator("[data-reference], [data-upload]")).to_have_count(0)


# ---------------------------------------------------------------- seed
def test_a_seed_is_rolled_locked_to_the_last_picture_and_let_go(go, alice):
    task = FluxTaskFactory(user=alice, succeeded=True)
    TaskImageFactory(user=alice, task=task)
    page = go()
    page.get_by_text("More settings").click()
    seed, lock = page.get_by_label("Seed", exact=True), page.locator("[data-lock]")

    lock.click()
    expect(seed).to_have_value("17454220438242315174")
    expect(lock).to_have_attribute("aria-pressed", "true")
    lock.click()
    expect(seed).to_have_value("")
    page.get_by_role("button", name="Roll a seed").click()

    expect(seed).to_have_value(re.compile(r"^\d{1,9}$"))
    expect(lock).to_have_attribute("aria-pressed", "true")
