"""Every page as those meet it who cannot see it well, or at all: axe finds nothing to say.

In both themes and both languages, in every state a page may be in.
"""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.apps import apps
from django.utils import timezone
from playwright.sync_api import Page, expect

from credits import codes, ledger
from generation.models import FluxTask, Preset, TaskInput
from generation.tests.factories import (
    FluxTaskFactory,
    MidjourneyTaskFactory,
    TaskImageFactory,
    UploadFactory,
)
from history import search
from history.models import Export

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    # pytest-base-url, which pytest-playwright brings, is not ready for pytest 10.
    pytest.mark.filterwarnings("ignore:Session-scoped fixtures:pytest.PytestRemovedIn10Warning"),
]

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
#: What a page may break in one theme and not in the other.
OF_COLOURS = ["color-contrast", "link-in-text-block"]
READ = """async (options) => {
    // A colour on its way to another is none of a page at rest. What breathes for ever, or stands
    // still because it is far below, never comes there.
    const moving = document.getAnimations()
        .filter((each) => each.effect.getComputedTiming().endTime !== Infinity)
        .map((each) => each.finished);
    const patience = new Promise((done) => setTimeout(done, 2_000));
    await Promise.race([Promise.allSettled(moving), patience]);
    const { violations } = await axe.run(options);
    return violations.flatMap(({ id, nodes }) => nodes.map(({ target, any, all, none }) =>
        `${id}: ${target} ${[...any, ...all, ...none].map(({ message }) => message).join(" ")}`));
}"""
LANGUAGES = pytest.mark.parametrize("language", ["en", "zh-CN"])
SCHNELL, DEV = "fal-ai/flux-1/schnell", "fal-ai/flux-1/dev"


class Reader:
    """Reads the page and keeps what axe says of it, by the name of the scene."""

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = {}

    def read(self, page: Page, scene: str) -> None:
        if not page.evaluate("'axe' in window"):
            # The policy of the page allows no script of ours; this one comes past it.
            page.evaluate(Axe().axe_script)
        self._read(page, f"{scene}, light", "light", {"type": "tag", "values": TAGS})
        self._read(page, f"{scene}, dark", "dark", {"type": "rule", "values": OF_COLOURS})

    def _read(self, page: Page, name: str, theme: str, only: dict) -> None:
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        violations = page.evaluate(READ, {"runOnly": only, "resultTypes": ["violations"]})
        if violations:
            self.found[name] = violations


@pytest.fixture
def reader():
    reader = Reader()
    yield reader
    assert reader.found == {}, json.dumps(reader.found, indent=1, ensure_ascii=False)


def visit(page: Page, path: str) -> None:
    page.goto(path)
    page.wait_for_load_state("networkidle")


# ---------------------------------------------------------------- what is to be read
@pytest.fixture
def full(alice, staff, settings):
    """A member who has something of everything, in every state."""
    settings.CREDITS_STARTING_GRANT = 100
    now = timezone.now()

    def task(prompt: str, *, minutes: int = 0, **fields) -> FluxTask:
        moment = now - timedelta(minutes=minutes)
        return FluxTaskFactory(user=alice, prompt=prompt, created_at=moment, **fields)

    for position, model in enumerate([SCHNELL, DEV]):
        compared = {"comparison": "c" * 32, "comparison_position": position}
        drawn = task("two of a kind", succeeded=True, model=model, endpoint=model, **compared)
        TaskImageFactory(user=alice, task=drawn)
    task("one that waits", minutes=1)
    task("one at the provider", minutes=2, at_provider=True)
    task("one being drawn", minutes=3, at_provider=True, status="IN_PROGRESS")
    task("one being cancelled", minutes=4, at_provider=True, cancel_requested_at=now)
    task("one that failed", minutes=5, failed=True, error_message="raw words", request_id="r-1")
    task("one refused", minutes=6, failed=True, error_code="content_policy")
    task("one too late", minutes=7, failed=True, error_code="timeout", request_id="r-2")
    task("one cancelled", minutes=8, status="CANCELLED", completed_at=now, next_action_at=None)
    saving = task("one being saved", minutes=9, succeeded=True)
    TaskImageFactory(user=alice, task=saving, storage_key="", stored_at=None, next_action_at=now)
    lost = task("one that is lost", minutes=10, succeeded=True)
    TaskImageFactory(user=alice, task=lost, lost_at=now)
    edited = task("山间的小茶馆，清晨的薄雾", minutes=11, succeeded=True, is_favourite=True)
    upload = UploadFactory(user=alice)
    TaskInput.objects.create(task=edited, position=0, upload=upload)
    for position in range(3):
        veiled = {"is_nsfw": position == 2}
        TaskImageFactory(user=alice, task=edited, position=position, **veiled)
    other = MidjourneyTaskFactory(user=alice)
    TaskImageFactory(user=alice, task_id=other.pk, source="midjourney")
    thrown = task("one thrown away", minutes=12, succeeded=True, trashed_at=now)
    TaskImageFactory(user=alice, task=thrown)

    parameters = {"num_images": 2}
    Preset.objects.create(owner=alice, name="Two of them", model=DEV, parameters=parameters)
    Preset.objects.create(owner=staff, name="House style", model=DEV, is_shared=True)
    Budget = apps.get_model("credits", "Budget")
    Budget.objects.create(user=alice, per_day=50, per_month=1000)
    ledger.grant(user=alice, amount=50, reference="a", reason="For the poster", actor="staff")
    apps.get_model("fluxsite", "ApiToken").objects.issue(user=alice, name="Open WebUI")
    for status in ("READY", "FAILED", "QUEUED"):
        Export.objects.create(
            user=alice,
            status=status,
            entries=[["flux", edited.pk]],
            entry_count=1,
            expires_at=now + timedelta(hours=1),
        )
    search.fill()
    return edited


def test_the_reader_sees_what_is_wrong(enter, db):
    page = enter("/login")
    page.evaluate("document.querySelector('[for=id_username]').remove()")
    reader = Reader()

    reader.read(page, "login")

    assert [line.split(":")[0] for line in reader.found["login, light"]] == ["label"]


# ---------------------------------------------------------------- the door
@LANGUAGES
def test_the_way_in_can_be_read_by_everybody(enter, alice, settings, language, reader):
    settings.EMAIL_HOST = "127.0.0.1"
    # A link is mailed only where the site knows an address of its own.
    settings.PUBLIC_URL = "https://studio.example.org"
    page = enter("/login", locale=language)
    reader.read(page, "login")
    page.locator("#id_username").fill("alice")
    page.locator("#id_password").fill("wrong")
    page.locator("form.stack button").click()
    expect(page.locator(".problem")).to_be_visible()
    reader.read(page, "login refused")
    visit(page, "/password/reset")
    reader.read(page, "password forgotten")
    visit(page, "/password/reset/sent")
    reader.read(page, "link sent")
    visit(page, "/password/reset/MQ/set-password")
    reader.read(page, "link that is old")


# ---------------------------------------------------------------- the studio
@LANGUAGES
@pytest.mark.usefixtures("drawing")
def test_a_first_visit_can_be_read_by_everybody(enter, alice, language, reader):
    page = enter("/", user=alice, locale=language)
    reader.read(page, "first visit")
    page.locator("[data-picker] > summary").click()
    reader.read(page, "models")
    page.keyboard.press("Escape")
    page.locator("[data-recent] > summary").click()
    expect(page.locator("[data-recent-list] .menu-text")).to_be_visible()
    reader.read(page, "no recent prompts")
    visit(page, "/history")
    reader.read(page, "empty history")
    visit(page, "/history/trash")
    reader.read(page, "empty trash")
    visit(page, "/history/exports")
    reader.read(page, "nothing packed")
    visit(page, "/presets")
    reader.read(page, "no presets")


@LANGUAGES
def test_a_studio_that_cannot_draw_says_so_to_everybody(enter, alice, language, reader, settings):
    settings.CREDITS_STARTING_GRANT = 0
    page = enter("/", user=alice, locale=language)
    reader.read(page, "no channel, no credits")


@LANGUAGES
@pytest.mark.usefixtures("drawing", "full")
def test_the_studio_can_be_read_by_everybody(enter, alice, language, reader):
    page = enter("/", user=alice, locale=language)
    expect(page.locator("[data-card]")).not_to_have_count(0)
    reader.read(page, "cards")
    for details in page.locator(".raw > summary").all():
        details.click()
    reader.read(page, "details of what failed")

    for name, waits_for in [
        ("recent", "[data-recent-list] li"),
        ("presets", ".preset-list li"),
    ]:
        page.locator(f"[data-{name}] > summary").click()
        expect(page.locator(waits_for).first).to_be_visible()
        reader.read(page, name)
        page.keyboard.press("Escape")
        page.locator(f"[data-{name}]").evaluate("menu => (menu.open = false)")
    page.locator("[data-open-ideas]").click()
    expect(page.locator("#ideas .example").first).to_be_visible()
    reader.read(page, "ideas")
    page.keyboard.press("Escape")
    page.locator("[data-open-picker]").click()
    expect(page.locator("#picture-picker img").first).to_be_visible()
    reader.read(page, "picture picker")
    page.locator("#picture-picker [data-pick], #picture-picker button:has(img)").first.click()
    expect(page.locator("[data-reference]")).to_have_count(1)
    page.locator("[data-more] > summary").click()
    reader.read(page, "reference and more settings")
    page.locator("[name=compare]").check(force=True)
    reader.read(page, "comparing")
    page.locator("summary.avatar").click()
    reader.read(page, "account menu")
    page.locator("summary.avatar").click()

    page.locator("a[data-picture]").first.click()
    expect(page.locator("#lightbox")).to_be_visible()
    reader.read(page, "viewer")


@LANGUAGES
@pytest.mark.usefixtures("drawing", "full")
def test_the_studio_on_a_phone_can_be_read_by_everybody(enter, alice, language, reader):
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    page = enter("/", user=alice, locale=language, **phone)
    reader.read(page, "studio on a phone")
    page.locator(".settings-open").tap()
    expect(page.locator("[name=aspect_ratio]").first).to_be_visible()
    reader.read(page, "settings on a phone")
    visit(page, "/history")
    reader.read(page, "history on a phone")
    page.locator("a[data-picture]:not([hidden])").first.tap()
    expect(page.locator("#lightbox")).to_be_visible()
    reader.read(page, "viewer on a phone")


@LANGUAGES
@pytest.mark.usefixtures("drawing")
def test_what_the_studio_refuses_can_be_read_by_everybody(enter, alice, language, reader):
    page = enter("/", user=alice, locale=language)
    page.locator("#prompt").fill("a lighthouse")
    page.locator("[data-more] > summary").click()
    page.locator("[name=num_inference_steps]").fill("99")
    page.locator("[data-run]").click()
    expect(page.locator("#problem-num_inference_steps .problem")).to_be_visible()
    reader.read(page, "a setting that is wrong")
    page.complaints.clear()  # Of the answer's status.


# ---------------------------------------------------------------- the history
@LANGUAGES
@pytest.mark.usefixtures("drawing")
def test_the_history_can_be_read_by_everybody(enter, alice, language, reader, full):
    page = enter("/history", user=alice, locale=language)
    reader.read(page, "history")
    page.locator(".filter-days > summary").click()
    reader.read(page, "days")
    page.keyboard.press("Escape")
    page.locator(".filter-days").evaluate("menu => (menu.open = false)")
    page.locator("[data-menu]").first.click()
    expect(page.locator(".entry-menu .menu-body")).to_be_visible()
    reader.read(page, "menu of an entry")
    page.keyboard.press("Escape")
    page.locator(".tick input").first.check(force=True)
    reader.read(page, "selection")
    page.locator("#marks [value=trash]").click()
    expect(page.locator(".toast")).to_be_visible()
    reader.read(page, "undo")

    page.locator("a[data-picture]:not([hidden])").first.click()
    expect(page.locator("#lightbox .feedback")).to_be_visible()
    page.locator("#lightbox .report > summary").click()
    reader.read(page, "viewer")
    visit(page, "/history?favourite=1&status=SUCCESS&text=nothing")
    reader.read(page, "filters without a result")
    visit(page, "/history?since=tomorrow")
    reader.read(page, "a filter that is wrong")
    page.complaints.clear()  # Of the answer's status.
    visit(page, f"/history/flux/{full.pk}")
    reader.read(page, "entry")
    visit(page, "/history/trash")
    page.locator(".tick input").first.check(force=True)
    page.locator("#marks .menu > summary").click()
    reader.read(page, "trash")
    visit(page, "/history/exports")
    reader.read(page, "packed files")


# ---------------------------------------------------------------- what is one's own
@LANGUAGES
@pytest.mark.usefixtures("drawing", "full")
def test_credits_and_account_can_be_read_by_everybody(enter, alice, language, reader):
    page = enter("/credits", user=alice, locale=language)
    reader.read(page, "credits")
    page.locator("#code").fill("XXXX-XXXX-XXXX-XXXX")
    page.locator("#redeem-button").click()
    expect(page.locator("#code-says .problem")).to_be_visible()
    reader.read(page, "a code that is wrong")
    page.complaints.clear()  # Of the answer's status.
    visit(page, "/account")
    reader.read(page, "account")
    visit(page, "/account/password")
    reader.read(page, "password")
    page.locator("main form button[type=submit]").last.click()
    reader.read(page, "password refused")
    visit(page, "/presets")
    reader.read(page, "presets")
    visit(page, "/tokens")
    page.locator(".token summary").first.click()
    reader.read(page, "tokens")
    visit(page, "/tokens")
    page.locator("[name=name]").fill("CI")
    page.locator("main form button[type=submit]").first.click()
    expect(page.locator("[data-secret]")).to_be_visible()
    reader.read(page, "a new token")


# ---------------------------------------------------------------- what is not there
@LANGUAGES
def test_the_pages_of_errors_can_be_read_by_everybody(
    enter, alice, language, reader, settings, tmp_path
):
    page = enter("/login", locale=language)
    page.locator("#id_username").evaluate("field => (field.value = 'a'.repeat(2_000_000))")
    page.locator("#id_password").fill("a")
    page.locator("form.stack button").click()
    expect(page.locator(".blank-code")).to_have_text("413")
    reader.read(page, "413")
    visit(page, "/login")
    page.context.clear_cookies(name="csrftoken")
    page.locator("#id_username").fill("alice")
    page.locator("#id_password").fill("a")
    page.locator("form.stack button").click()
    expect(page.locator(".blank-code")).to_have_text("403")
    reader.read(page, "403, a form that is old")
    settings.ALLOWED_HOSTS = ["studio.example.org"]
    visit(page, "/login")
    expect(page.locator(".blank-code")).to_have_text("400")
    reader.read(page, "400")
    settings.ALLOWED_HOSTS = ["*"]
    settings.MAINTENANCE_FILE = tmp_path / "maintenance"
    settings.MAINTENANCE_FILE.touch()
    visit(page, "/")
    expect(page.locator(".blank-code")).to_have_text("503")
    reader.read(page, "503")
    settings.MAINTENANCE_FILE.unlink()
    page.complaints.clear()  # Of the answers' statuses.

    alice.is_staff = True  # But may do nothing there.
    alice.save()
    page = enter("/no/such/page", user=alice, locale=language)
    expect(page.locator(".blank-code")).to_have_text("404")
    reader.read(page, "404")
    visit(page, "/admin/auth/user/")
    expect(page.locator(".blank-code")).to_have_text("403")
    reader.read(page, "403")
    settings.HISTORY_SOURCES = ["no.such.Source"]
    visit(page, "/history")
    expect(page.locator(".blank-code")).to_have_text("500")
    reader.read(page, "500")
    page.complaints.clear()


# ---------------------------------------------------------------- the administrators'
@LANGUAGES
@pytest.mark.usefixtures("drawing", "full")
def test_the_admin_can_be_read_by_everybody(enter, staff, language, reader):
    page = enter("/admin/", user=staff, locale=language)
    reader.read(page, "admin")
    count = apps.get_model("fluxsite", "HourlyFigure").objects.create
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    for name, key in (("tasks", "SUCCESS"), ("tasks", "submit_unknown"), ("seconds", "4")):
        count(begins_at=hour, name=name, model="fal-ai/flux-1/dev", key=key, value=5)
    visit(page, "/admin/dashboard/")
    page.locator("summary").first.click()
    reader.read(page, "dashboard")
    visit(page, "/admin/generation/offeredmodel/")
    assert page.complaints == []
    reader.read(page, "models")
    page.complaints.clear()  # Of a style that axe tries its fields with.
    visit(page, "/admin/auth/user/")
    reader.read(page, "members")
    visit(page, "/admin/generation/fluxtask/")
    reader.read(page, "list")
    visit(page, "/admin/exports/")
    reader.read(page, "exports")
    # What Django's style sheet imports axe looks for beside the page.
    page.complaints.clear()
    visit(page, "/admin/fluxsite/auditentry/")
    reader.read(page, "audit log")
    codes.make(amount=25, count=3, created_by="staff", batch="spring")
    visit(page, "/admin/credits/redeemcode/batches/")
    page.locator("summary").first.click()
    reader.read(page, "batches")
