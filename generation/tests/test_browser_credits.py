"""Credits in a real browser: numbers that keep up, and the page that says where they went."""

from __future__ import annotations

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from conftest import PASSWORD
from credits import codes, ledger
from generation import lifecycle
from generation.models import FluxTask
from generation.providers.base import PictureLink, Result
from generation.tests.factories import FluxTaskFactory, TaskImageFactory

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    # pytest-base-url, which pytest-playwright brings, is not ready for pytest 10.
    pytest.mark.filterwarnings("ignore:Session-scoped fixtures:pytest.PytestRemovedIn10Warning"),
]

SCHNELL = "FLUX.1 schnell"


@pytest.fixture(autouse=True)
def _start(settings):
    settings.CREDITS_ENABLED = True
    settings.CREDITS_STARTING_GRANT = 500


@pytest.fixture
def violations(page: Page) -> list[str]:
    """What the browser's console complains about, but for the statuses of answers."""
    complaints: list[str] = []
    page.on(
        "console",
        lambda message: (
            message.type == "error"
            and "status of" not in message.text
            and complaints.append(message.text)
        ),
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints


@pytest.fixture
def go(page: Page, live_server, alice, drawing, violations):
    """Return a function that opens a page, through the login the first time."""

    def open_page(path: str) -> Page:
        page.goto(f"{live_server.url}{path}")
        if "/login" in page.url:
            page.get_by_label("User name").fill("alice")
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Log in").click()
            page.wait_for_url(f"{live_server.url}{path}")
        return page

    return open_page


@pytest.fixture
def studio(go, alice) -> Page:
    """The studio, set to a model whose pictures cost 5 credits."""
    FluxTaskFactory(user=alice, failed=True, model="fal-ai/flux-1/schnell")
    page = go("/")
    # Set by the last of the scripts: until then the page works, but without them.
    expect(page.locator("[data-run]")).to_have_attribute("aria-disabled", "true")
    expect(page.locator("[data-model-name]")).to_have_text(SCHNELL)
    return page


def run_button(page: Page):
    return page.locator("[data-run] [data-label]")


def ask_for(page: Page, prompt: str, *, pictures: int = 1) -> FluxTask:
    page.get_by_label("What do you want to see?").fill(prompt)
    page.get_by_role("radio", name=str(pictures), exact=True).check(force=True)
    page.locator("[data-run]").click()
    expect(page.get_by_role("article", name=prompt)).to_have_attribute("data-state", "waiting")
    return FluxTask.objects.get(prompt=prompt)


# ---------------------------------------------------------------- the run button
def test_the_button_has_the_credits_of_a_failed_task_back(studio: Page, violations):
    expect(run_button(studio)).to_have_text("Generate 1 image · 5 credits (495 left after)")
    task = ask_for(studio, "a lighthouse")
    expect(run_button(studio)).to_have_text("Generate 1 image · 5 credits (490 left after)")

    lifecycle.fail(task=task, code="provider_error", now=timezone.now())

    expect(studio.get_by_role("article", name="a lighthouse")).to_have_attribute(
        "data-state", "failed"
    )
    expect(run_button(studio)).to_have_text("Generate 1 image · 5 credits (495 left after)")
    expect(studio.locator("[data-run]")).to_have_attribute("aria-disabled", "false")
    assert violations == []


def test_the_button_has_the_credits_back_that_a_finished_task_did_not_need(studio: Page):
    task = ask_for(studio, "three boats", pictures=4)
    expect(run_button(studio)).to_have_text("Generate 4 images · 20 credits (460 left after)")
    FluxTask.objects.filter(pk=task.pk).update(
        status="IN_QUEUE", submission="ACCEPTED", request_id="r"
    )
    task.refresh_from_db()

    picture = PictureLink(url="https://v3.fal.media/files/a.png", width=64, height=64)
    lifecycle.deliver(task=task, result=Result(pictures=(picture,), seed="7"), now=timezone.now())

    expect(run_button(studio)).to_have_text("Generate 4 images · 20 credits (475 left after)")


def test_the_button_keeps_up_with_cancelling_and_retrying(studio: Page, violations):
    ask_for(studio, "a lighthouse")
    card = studio.get_by_role("article", name="a lighthouse")

    card.get_by_role("button", name="Cancel").click()
    expect(run_button(studio)).to_have_text("Generate 1 image · 5 credits (495 left after)")
    card.get_by_role("button", name="Retry").click()

    expect(run_button(studio)).to_have_text("Generate 1 image · 5 credits (490 left after)")
    assert violations == []


def test_settings_being_typed_stay_when_the_button_is_refreshed(studio: Page):
    task = ask_for(studio, "a lighthouse")
    studio.get_by_text("More settings").click()
    seed = studio.get_by_role("textbox", name="Seed")
    seed.fill("12")

    lifecycle.fail(task=task, code="provider_error", now=timezone.now())
    expect(run_button(studio)).to_have_text("Generate 1 image · 5 credits (495 left after)")
    studio.keyboard.type("34")

    expect(seed).to_have_value("1234")


# ---------------------------------------------------------------- the account menu
def test_the_account_menu_tells_the_balance_of_this_moment(studio: Page, alice, violations):
    number = studio.locator("[data-balance]")
    account = studio.locator("summary.avatar")

    account.click()
    expect(number).to_have_text("500")
    account.click()
    ledger.grant(user=alice, amount=1000, reference="a", reason="", actor="staff")
    account.click()
    expect(number).to_have_text("1,500")

    studio.get_by_role("link", name="Credits 1,500").click()
    expect(studio.get_by_role("heading", name="Credits", exact=True)).to_be_visible()
    assert violations == []


# ---------------------------------------------------------------- the page
@pytest.fixture
def code(alice) -> str:
    [code] = codes.make(amount=25, count=1, created_by="staff")
    return code


def test_a_code_is_redeemed_in_place(go, code, violations):
    page = go("/credits")
    field = page.get_by_role("textbox", name="Code")

    field.fill(code.lower())
    field.press("Enter")

    expect(page.get_by_text("525 credits left")).to_be_visible()
    expect(page.locator(".success")).to_have_text("25 credits added. You have 525 now.")
    expect(page.locator("#announcer")).to_have_text("25 credits added. You have 525 now.")
    expect(page.locator(".line").first).to_contain_text("Code redeemed")
    expect(page.locator("[data-balance]")).to_have_text("525")
    expect(field).to_be_focused()
    expect(field).to_have_value("")
    assert violations == []


def test_a_refusal_stands_under_the_field_until_ten_are_enough(go, alice, violations):
    page = go("/credits")
    field = page.get_by_role("textbox", name="Code")
    for number in range(10):
        field.fill(f"guess {number}")
        page.get_by_role("button", name="Redeem").click()
        # The attribute, unlike the value, is only ever the server's.
        expect(field).to_have_attribute("value", f"guess {number}")
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(page.get_by_role("alert").get_by_text("This code is not known.")).to_be_visible()

    field.fill("one more")
    field.press("Enter")

    expect(page.get_by_text("Too many codes that did not work.")).to_be_visible()
    expect(page.locator(".toast")).to_have_count(0)
    assert violations == []


def test_older_lines_come_below_and_each_leads_to_its_picture(go, alice, violations):
    task = FluxTaskFactory(user=alice, succeeded=True, prompt="三只船")
    TaskImageFactory(user=alice, task=task)
    ledger.reserve(user=alice, amount=5, reference=f"flux:{task.pk}")
    for number in range(25):
        ledger.grant(user=alice, amount=1, reference=f"{number}", reason="", actor="staff")
    page = go("/credits")
    expect(page.locator(".line")).to_have_count(20)

    page.get_by_role("link", name="Show older ones").click()

    expect(page.locator(".line")).to_have_count(27)
    page.locator(".line", has_text="三只船").click()
    expect(page.get_by_role("heading", name="三只船")).to_be_visible()
    assert violations == []


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_the_page_never_scrolls_sideways(go, page, alice, width):
    task = FluxTaskFactory(user=alice, failed=True, prompt="x" * 400)
    ledger.reserve(user=alice, amount=5, reference=f"flux:{task.pk}")
    ledger.grant(user=alice, amount=10**9, reference="a", reason="y" * 400, actor="staff")
    page.set_viewport_size({"width": width, "height": 740})

    go("/credits")

    expect(page.locator(".line")).to_have_count(3)
    assert page.evaluate("document.documentElement.scrollWidth") == width
