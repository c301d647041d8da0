"""While the site is being looked after."""

from __future__ import annotations

import re

import pytest

from conftest import PASSWORD
from fluxsite.models import ApiToken


@pytest.fixture(params=["variable", "file"])
def closed(request, settings, tmp_path):
    """The site is closed, by either way there is."""
    settings.MAINTENANCE = request.param == "variable"
    settings.MAINTENANCE_FILE = tmp_path / "maintenance"
    if request.param == "file":
        settings.MAINTENANCE_FILE.write_text("")
    return settings.MAINTENANCE_FILE


def test_members_are_told_and_asked_to_come_back(client, alice, closed):
    client.force_login(alice)

    answer = client.get("/history")

    assert answer.status_code == 503
    assert (answer["Retry-After"], answer["Cache-Control"]) == ("300", "no-store")
    assert "Back soon" in answer.content.decode()


def test_programs_get_json(client, db, closed):
    answer = client.get("/api/flux/history")

    assert (answer.status_code, answer.json()["code"]) == (503, "maintenance")
    assert answer["Retry-After"] == "300"


def test_staff_work_as_always(client, staff, closed):
    client.force_login(staff)

    assert client.get("/history").status_code == 200
    assert client.get("/api/flux/history").status_code == 200


def bearer(user) -> dict[str, str]:
    _token, secret = ApiToken.objects.issue(user=user, name="CI")
    return {"Authorization": f"Bearer {secret}"}


def test_staffs_programs_work_as_always(client, staff, closed):
    headers = bearer(staff)

    assert client.get("/api/flux/history", headers=headers).status_code == 200
    ApiToken.objects.revoke(user=staff, token_id=ApiToken.objects.get().pk)
    assert client.get("/api/flux/history", headers=headers).status_code == 503


def test_members_programs_get_json(client, alice, closed):
    answer = client.get("/api/flux/history", headers=bearer(alice))

    assert (answer.status_code, answer.json()["code"]) == (503, "maintenance")


@pytest.mark.parametrize("wrong", ["Bearer", "Bearer é", "Bearer \x00", "Basic x", "Bearer fx_no"])
def test_what_is_no_token_of_staff_opens_nothing(client, db, closed, wrong):
    answer = client.get("/api/flux/history", headers={"Authorization": wrong})

    assert answer.status_code == 503


def test_a_logged_in_member_can_log_in_as_staff(client, alice, staff, closed):
    client.force_login(alice)
    way = re.search(r'href="(/[^"]*login[^"]*)"', client.get("/").content.decode())[1]

    page = client.get(way)
    assert page.status_code == 200
    assert 'name="password"' in page.content.decode()
    action = re.search(r'<form action="([^"]+)"', page.content.decode())[1]
    studio = client.post(
        action.replace("&amp;", "&"),
        {"username": "staff", "password": PASSWORD, "next": "/"},
        follow=True,
    )

    assert (studio.status_code, studio.redirect_chain) == (200, [("/", 302)])
    assert studio.wsgi_request.user == staff


@pytest.mark.parametrize("path", ["/healthz", "/login", "/admin/login/"])
def test_the_way_in_and_the_watchman_stay(client, db, closed, path):
    assert client.get(path).status_code == 200


def test_what_watches_the_site_is_told_the_truth_meanwhile(client, db, closed):
    assert client.get("/readyz").json()["checks"]["workers"]["detail"] == "never seen"


def test_the_words_in_the_file_are_what_members_read(client, alice, settings, tmp_path):
    settings.MAINTENANCE_FILE = tmp_path / "maintenance"
    settings.MAINTENANCE_FILE.write_text("Back at <14:00>.\n", encoding="utf-8")
    client.force_login(alice)

    assert "Back at &lt;14:00&gt;." in client.get("/").content.decode()
    assert client.get("/api/credits").json()["detail"] == "Back at <14:00>."


def test_without_the_file_the_site_is_open_again(client, alice, settings, tmp_path):
    settings.MAINTENANCE_FILE = tmp_path / "maintenance"
    settings.MAINTENANCE_FILE.touch()
    client.force_login(alice)
    assert client.get("/history").status_code == 503

    settings.MAINTENANCE_FILE.unlink()

    assert client.get("/history").status_code == 200
