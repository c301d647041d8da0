"""Every page in a real browser: nothing in the console, nothing beside a phone, the chosen theme."""

from __future__ import annotations

import pytest
from django.apps import apps
from playwright.sync_api import Page, Route, expect

from credits import codes, ledger
from generation.tests.factories import FluxTaskFactory, TaskImageFactory
from history import search

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    # pytest-base-url, which pytest-playwright brings, is not ready for pytest 10.
    pytest.mark.filterwarnings("ignore:Session-scoped fixtures:pytest.PytestRemovedIn10Warning"),
]

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
PAGES = [
    "/",
    "/history",
    "/history/trash",
    "/history/exports",
    "/credits",
    "/account",
    "/account/password",
    "/tokens",
    "/presets",
]
STAFF_PAGES = [
    "/api/docs",
    "/admin/",
    "/admin/dashboard/",
    "/admin/exports/",
    "/admin/fluxsite/auditentry/",
    "/admin/credits/redeemcode/batches/",
    "/admin/auth/user/",
    "/admin/auth/user/add/",
    "/admin/generation/fluxtask/",
    "/admin/generation/fluxconfig/default/change/",
    "/admin/generation/offeredmodel/",
    "/admin/generation/offeredmodel/fal-ai_2Fflux-2/change/",
    "/admin/fluxsite/failedlogin/",
]
LIGHT, DARK = "rgb(250, 250, 249)", "rgb(17, 18, 17)"


@pytest.fixture
def drawing(settings, sandbox):
    """The channel is open: the sandbox draws."""
    settings.SANDBOX_URL = sandbox.url


@pytest.fixture
def full(alice):
    """Something of everything: long words too, which a narrow page must break."""
    long = "Donaudampfschifffahrtsgesellschaft" * 4
    for number, (prompt, count) in enumerate(
        [(long, 2), ("山间的小茶馆，清晨的薄雾", 4), ("owl", 1)]
    ):
        task = FluxTaskFactory(user=alice, succeeded=True, prompt=prompt, cost_charged=5 * count)
        for position in range(count):
            TaskImageFactory(user=alice, task=task, position=position, width=64 + number, height=96)
    FluxTaskFactory(user=alice, failed=True, prompt="a failed one")
    FluxTaskFactory(user=alice, prompt="one that waits")
    ledger.grant(user=alice, amount=1_000_000, reference="a", reason=long, actor="staff")
    apps.get_model("fluxsite", "ApiToken").objects.issue(user=alice, name=long[:100])
    codes.make(amount=25, count=3, created_by="staff", batch=long[:100])
    search.fill()


def ground(page: Page) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


# ---------------------------------------------------------------- every page
@pytest.mark.usefixtures("full", "drawing")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_of_a_member_leaves_a_word_in_the_console(enter, alice, theme):
    page = enter("/login", user=None, color_scheme=theme)
    page.close()

    page = enter("/", user=alice, color_scheme=theme)
    for path in PAGES:
        page.goto(path)
        page.wait_for_load_state("networkidle")
        assert (path, page.complaints) == (path, [])


@pytest.mark.usefixtures("full", "drawing")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_of_staff_leaves_a_word_in_the_console(enter, staff, theme):
    page = enter("/admin/", user=staff, color_scheme=theme)
    for path in STAFF_PAGES:
        page.goto(path)
        page.wait_for_load_state("networkidle")
        assert (path, page.complaints) == (path, [])


def test_what_the_policy_forbids_is_noticed(enter, db):
    page = enter("/login")

    page.evaluate("document.body.setAttribute('onclick', 'alert()')")

    page.wait_for_function("() => true")
    assert any(complaint.startswith("policy: script-src") for complaint in page.complaints)
    page.complaints.clear()


@pytest.mark.usefixtures("full", "drawing")
def test_no_page_is_wider_than_a_phone(enter, alice):
    page = enter("/", user=alice, **PHONE)
    wide = {}
    for path in [*PAGES, "/no/such/page", "/?model=nothing&prompt=a", "/login?next=/x"]:
        page.goto(path)
        page.wait_for_load_state("networkidle")
        width = page.evaluate("document.documentElement.scrollWidth")
        if width != 360:
            wide[path] = width
    page.complaints.clear()  # Of the page that is not there.

    assert wide == {}


@pytest.mark.usefixtures("full", "drawing")
def test_what_one_touches_is_large_enough(enter, alice):
    page = enter("/", user=alice, **PHONE)
    small = {}
    for path in PAGES:
        page.goto(path)
        page.wait_for_load_state("networkidle")
        small[path] = page.evaluate(
            """() => [...document.querySelectorAll(
                "main :is(button, select, .button, summary, input:not([type=hidden])), nav a")]
              .filter((each) => each.checkVisibility({ opacityProperty: true }))
              .filter((each) => !each.closest("label, .visually-hidden, .menu-body"))
              .filter((each) => {
                const { height, width } = each.getBoundingClientRect();
                const { insetBlockStart, content } = getComputedStyle(each, "::after");
                const more = content === "none" ? 0 : -2 * Math.min(0, parseFloat(insetBlockStart) || 0);
                return width > 1 && height + more < 43.5;
              })
              .map((each) => `${each.className || each.tagName} ${each.textContent.trim()}`)"""
        )

    assert {path: names for path, names in small.items() if names} == {}


# ---------------------------------------------------------------- the studio on a phone
@pytest.mark.usefixtures("full", "drawing")
def test_the_prompt_stays_at_the_bottom_while_one_scrolls(enter, alice):
    page = enter("/", user=alice, **PHONE)
    run = page.locator("[data-run]")
    expect(run).to_be_in_viewport(ratio=1)

    page.mouse.wheel(0, 900)
    page.wait_for_function("() => scrollY > 400")

    expect(run).to_be_in_viewport(ratio=1)
    expect(page.get_by_label("What do you want to see?")).to_be_in_viewport(ratio=1)
    place = page.locator("#composer").bounding_box()
    assert place["y"] + place["height"] == pytest.approx(740, abs=1)
    assert place["height"] < 240


@pytest.mark.usefixtures("drawing")
def test_the_settings_are_a_sheet_from_below(enter, alice):
    page = enter("/", user=alice, reduced_motion="reduce", **PHONE)
    shape = page.locator("[name=aspect_ratio][value='3:2']")
    opener = page.locator(".settings-open")
    expect(shape).to_be_hidden()

    opener.tap()
    expect(shape).to_be_in_viewport()
    place = page.locator("#settings").bounding_box()
    assert place["y"] + place["height"] == pytest.approx(740, abs=1)
    shape.check(force=True)
    page.locator("[name=num_images][value='2']").check(force=True)
    page.locator("#settings").get_by_role("button", name="Close").tap()

    expect(shape).to_be_hidden()
    expect(opener).to_contain_text(" · 3:2 · ×2")
    expect(page.locator("[data-run] [data-label]")).to_contain_text("2 images")


@pytest.mark.usefixtures("drawing")
def test_the_sheet_opens_before_any_script_came(enter, alice):
    page = enter("/", user=alice, java_script_enabled=False, **PHONE)

    page.locator(".settings-open").tap()

    expect(page.locator("[name=num_images][value='2']")).to_be_visible()


@pytest.mark.usefixtures("drawing")
def test_a_refused_setting_opens_the_sheet_it_stands_in(enter, alice):
    page = enter("/", user=alice, reduced_motion="reduce", **PHONE)
    steps = page.get_by_label("Steps")
    page.get_by_label("What do you want to see?").fill("a lighthouse")
    page.locator(".settings-open").tap()
    page.get_by_text("More settings").tap()
    steps.fill("99")
    page.locator("#settings").get_by_role("button", name="Close").tap()

    page.locator("[data-run]").tap()

    expect(page.get_by_text("Must be between 1 and 50.")).to_be_in_viewport()
    expect(steps).to_be_focused()
    # The browser notes every answer that is no success.
    assert len(page.complaints) == 1
    assert "422" in page.complaints.pop()


@pytest.mark.usefixtures("drawing")
def test_a_refused_setting_is_named_beside_the_button_before_any_script_came(enter, alice):
    page = enter("/", user=alice, java_script_enabled=False, **PHONE)
    page.get_by_label("What do you want to see?").fill("a lighthouse")
    page.locator(".settings-open").tap()
    page.get_by_text("More settings").tap()
    page.get_by_label("Steps").fill("99")
    page.locator("#settings").get_by_role("button", name="Close").tap()

    page.locator("[data-run]").tap()

    expect(page.get_by_text("Steps: Must be between 1 and 50.")).to_be_in_viewport()
    page.complaints.clear()


@pytest.mark.usefixtures("drawing")
def test_where_there_are_no_popovers_the_settings_stay_in_line(enter, alice):
    def without_popovers(route: Route) -> None:
        style = route.fetch()
        route.fulfill(response=style, body=style.text().replace(":popover-open", ":unheard-of"))

    page = enter("/login", **PHONE)
    page.context.route("**/studio*.css", without_popovers)
    page.add_init_script("delete HTMLElement.prototype.popover")
    page.get_by_label("User name").fill("alice")
    page.get_by_label("Password").fill("a password for tests")
    page.get_by_role("button", name="Log in").tap()
    page.wait_for_url("**/")

    shape = page.locator("[name=aspect_ratio][value='3:2']")
    shape.check(force=True)

    expect(page.locator(".settings-open")).to_be_hidden()
    expect(page.locator("#settings")).to_be_visible()
    page.locator("#cards").scroll_into_view_if_needed()
    assert page.locator("#composer").evaluate("form => getComputedStyle(form).position") != "sticky"


@pytest.mark.usefixtures("drawing")
def test_enter_in_a_setting_draws_before_any_script_came(enter, alice):
    page = enter("/", user=alice, java_script_enabled=False)
    page.get_by_label("What do you want to see?").fill("a lighthouse")
    page.get_by_text("More settings").click()

    page.get_by_label("Seed", exact=True).press("Enter")

    expect(page.get_by_role("article", name="a lighthouse")).to_be_visible()


@pytest.mark.usefixtures("full", "drawing")
def test_on_a_wide_screen_the_composer_stays_beside_the_pictures(enter, alice):
    page = enter("/", user=alice, viewport={"width": 1440, "height": 900})
    before = page.locator("#composer").bounding_box()

    page.mouse.move(900, 500)
    page.mouse.wheel(0, 600)
    page.wait_for_function("() => scrollY > 300")

    assert page.locator("#composer").bounding_box() == before
    expect(page.locator("[data-run]")).to_be_in_viewport(ratio=1)
    assert page.locator("#cards").bounding_box()["x"] > before["x"] + before["width"]


@pytest.mark.usefixtures("full", "drawing")
@pytest.mark.parametrize("width", [360, 768, 1440])
@pytest.mark.parametrize("path", ["/", "/history"])
def test_nothing_jumps_while_a_page_loads(enter, alice, path, width):
    page = enter("/login", viewport={"width": width, "height": 900})
    page.context.add_init_script(
        """window.shifts = [];
        new PerformanceObserver((list) => {
          for (const entry of list.getEntries()) {
            const names = entry.sources.map((each) => each.node?.className || each.node?.nodeName);
            if (!entry.hadRecentInput && entry.value > 0.0005) shifts.push([entry.value, names]);
          }
        }).observe({ type: "layout-shift", buffered: true });"""
    )
    page.get_by_label("User name").fill("alice")
    page.get_by_label("Password").fill("a password for tests")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/")

    page.goto(path)
    page.wait_for_load_state("networkidle")

    assert page.evaluate("shifts") == []


# ---------------------------------------------------------------- the theme
@pytest.mark.parametrize(("system", "shown"), [("light", LIGHT), ("dark", DARK)])
def test_without_a_choice_the_page_is_as_the_system(enter, db, system, shown):
    page = enter("/login", color_scheme=system)

    assert ground(page) == shown


@pytest.mark.usefixtures("drawing")
def test_a_chosen_theme_holds_at_once_and_on_the_next_page(enter, alice):
    page = enter("/", user=alice, color_scheme="light")
    prompt = page.get_by_label("What do you want to see?")
    prompt.fill("half a sentence")
    page.locator("summary.avatar").click()

    page.get_by_role("button", name="Dark").click()

    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert ground(page) == DARK
    # In place: what one was doing is still there.
    expect(prompt).to_have_value("half a sentence")
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    page.wait_for_load_state("networkidle")
    answer = page.goto("/history")
    assert '<html lang="en" data-theme="dark">' in answer.text()
    assert ground(page) == DARK

    page.locator("summary.avatar").click()
    page.get_by_role("button", name="As the system").click()
    expect(page.locator("html:not([data-theme])")).to_be_attached()
    assert ground(page) == LIGHT


def test_the_switch_works_before_any_script_came(enter, db):
    page = enter("/login", java_script_enabled=False)

    page.get_by_role("button", name="Dark").click()

    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert ground(page) == DARK


@pytest.mark.parametrize("system", ["light", "dark"])
def test_the_admin_has_the_theme_of_the_site(enter, staff, system):
    other, shown = {"light": ("dark", DARK), "dark": ("light", LIGHT)}[system]
    page = enter("/admin/", user=staff, color_scheme=system)
    assert ground(page) == {"light": LIGHT, "dark": DARK}[system]

    page.get_by_role("button", name=other.title(), exact=True).click()

    page.wait_for_url("**/admin/")
    assert ground(page) == shown


def test_both_lists_to_choose_from_have_a_title_one_can_read(enter, staff):
    page = enter(f"/admin/auth/user/{staff.pk}/change/", user=staff)
    colours = (
        """(title) => ["color", "backgroundColor"].map((name) => getComputedStyle(title)[name])"""
    )
    available = page.locator(".selector-available-title").first
    chosen = page.locator(".selector-chosen-title").first

    # Django's own is white on a dark ground; our words are dark.
    assert chosen.evaluate(colours) == available.evaluate(colours)


# ---------------------------------------------------------------- account, tokens, maintenance
@pytest.mark.usefixtures("drawing")
def test_a_new_token_is_copied_and_a_reload_makes_no_second(enter, alice):
    page = enter("/tokens", user=alice)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_label("What is it for?").fill("Open WebUI")
    page.get_by_role("button", name="Make a token").click()
    secret = page.get_by_role("textbox", name="Token").input_value()

    page.get_by_role("button", name="Copy").click()

    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == secret
    page.reload()
    expect(page.get_by_role("textbox", name="Token")).to_have_count(0)
    assert apps.get_model("fluxsite", "ApiToken").objects.count() == 1

    page.locator("summary", has_text="Revoke").click()
    page.get_by_role("button", name="Revoke it").click()
    expect(page.get_by_text("Nothing can use this token any more.")).to_be_visible()
    expect(page.get_by_text("Open WebUI")).to_have_count(0)


@pytest.mark.usefixtures("drawing")
def test_a_member_changes_language_and_theme_on_the_account_page(enter, alice):
    page = enter("/account", user=alice)
    page.get_by_label("Display name").fill("Alice")
    page.get_by_role("combobox", name="Language").select_option("zh-hans")
    page.get_by_role("combobox", name="Theme").select_option("dark")

    page.get_by_role("button", name="Save").click()

    expect(page.locator("html")).to_have_attribute("lang", "zh-hans")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.locator("#id_name")).to_have_value("Alice")


@pytest.mark.usefixtures("drawing")
def test_during_maintenance_a_member_reads_why(enter, alice, settings):
    settings.MAINTENANCE = True

    page = enter("/", user=alice, **PHONE)

    expect(page.get_by_role("heading", name="Back soon")).to_be_visible()
    settings.MAINTENANCE = False
    page.get_by_role("link", name="Try again").click()
    expect(page.get_by_label("What do you want to see?")).to_be_visible()
    page.complaints.clear()  # Of the status, 503.
