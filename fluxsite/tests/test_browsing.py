"""The API as pages: for staff with a browser, working under the policy, and for nobody else."""

from __future__ import annotations

import pytest
from django.test import Client
from playwright.sync_api import expect

from fluxsite.models import ApiToken
from generation.models import Preset

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
browser = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    # pytest-base-url, which pytest-playwright brings, is not ready for pytest 10.
    pytest.mark.filterwarnings("ignore:Session-scoped fixtures:pytest.PytestRemovedIn10Warning"),
]


def kind(client, path="/api/flux/models", **headers):
    return client.get(path, headers=headers)["Content-Type"].split(";")[0]


# ---------------------------------------------------------------- who gets pages
def test_staff_in_a_browser_get_pages(client, staff):
    client.force_login(staff)

    assert kind(client, Accept=BROWSER) == "text/html"
    assert kind(client, "/api/flux/models?format=api") == "text/html"


def test_staff_who_ask_for_json_get_json(client, staff):
    client.force_login(staff)

    assert kind(client, Accept="application/json") == "application/json"
    assert kind(client, "/api/flux/models?format=json", Accept=BROWSER) == "application/json"
    assert kind(client) == "application/json"


@pytest.mark.parametrize("path", ["/api/flux/models", "/api/flux/models?format=api"])
def test_members_get_json_whatever_they_accept(client, alice, path):
    client.force_login(alice)

    assert kind(client, path, Accept=BROWSER) == "application/json"
    assert kind(client, path, Accept="text/html") == "application/json"


@pytest.mark.parametrize("path", ["/api/flux/models", "/api/flux/models?format=api"])
def test_tokens_get_json_even_those_of_staff(client, staff, path):
    _token, secret = ApiToken.objects.issue(user=staff, name="a program")

    given = {"Authorization": f"Bearer {secret}", "Accept": BROWSER}

    assert kind(client, path, **given) == "application/json"


def test_whoever_is_not_signed_in_gets_json(client, db):
    answer = client.get("/api/flux/models", headers={"Accept": BROWSER})

    assert (answer.status_code, answer["Content-Type"]) == (401, "application/json")


def test_a_token_that_is_wrong_is_told_so_in_json(client, db):
    answer = client.get(
        "/api/flux/models", headers={"Authorization": "Bearer x", "Accept": BROWSER}
    )

    assert (answer.status_code, answer["Content-Type"]) == (401, "application/json")


def test_whoever_accepts_nothing_we_have_gets_json(client, alice):
    client.force_login(alice)

    assert kind(client, Accept="application/x-nothing") == "application/json"


def test_a_form_without_its_csrf_token_is_refused(staff):
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff)
    body = '{"name": "a", "model": "fal-ai/flux-1/schnell"}'

    answer = client.post("/api/flux/presets", body, "application/json", headers={"Accept": BROWSER})

    assert answer.status_code == 403
    assert not Preset.objects.exists()


# ---------------------------------------------------------------- in a browser
@pytest.mark.usefixtures("staff")
class TestInChromium:
    pytestmark = browser

    @pytest.mark.parametrize("path", ["/api/flux/models", "/api/credits", "/api/unified-history"])
    def test_an_address_is_a_page_without_complaints(self, enter, staff, path):
        page = enter(path, user=staff)

        expect(page.locator(".response-info")).to_contain_text("HTTP 200 OK")
        expect(page.locator(".navbar")).to_contain_text("Fluxsite")

    def test_what_is_posted_in_the_form_is_done(self, enter, staff):
        page = enter("/api/flux/presets", user=staff)
        page.locator("[name=_content]").fill(
            '{"name": "by hand", "model": "fal-ai/flux-1/schnell", "parameters": {}}'
        )

        page.get_by_role("button", name="POST").click()

        expect(page.locator(".response-info")).to_contain_text("HTTP 201 Created")
        assert Preset.objects.get().name == "by hand"

    def test_the_schema_is_a_page_without_complaints(self, enter, staff):
        page = enter("/api/docs", user=staff)

        expect(page.get_by_text("/api/flux/text-to-image", exact=False).first).to_be_visible()
        page.get_by_text("/api/flux/text-to-image", exact=False).first.click()
        expect(page.get_by_text("insufficient_credits", exact=False).first).to_be_visible()

    def test_the_schema_needs_nothing_from_elsewhere(self, enter, staff, live_server):
        """Under a name of its own: Swagger UI has a badge of another site for all but localhost."""
        page = enter("/login", user=staff)
        found = {each["name"]: each["value"] for each in page.context.cookies(live_server.url)}
        named = "http://studio.example.org"
        page.context.add_cookies([{"name": "sessionid", "value": found["sessionid"], "url": named}])
        asked = []
        page.on("request", lambda request: asked.append(request.url))

        def pass_on(route):
            request = route.request
            url = request.url.replace(named, live_server.url)
            route.fulfill(response=route.fetch(url=url, headers=request.all_headers()))

        page.route(f"{named}/**", pass_on)

        page.goto(f"{named}/api/docs")
        expect(page.get_by_text("/api/flux/text-to-image", exact=False).first).to_be_visible()
        page.wait_for_load_state("networkidle")

        assert [url for url in asked if not url.startswith((named, "data:"))] == []
        complaints = [each for each in page.complaints if "untrustworthy" not in each]
        page.complaints.clear()
        assert complaints == []
