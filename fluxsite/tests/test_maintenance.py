"""While the site is being looked after."""

from __future__ import annotations

import pytest


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


@pytest.mark.parametrize("path", ["/healthz", "/login", "/admin/login/"])
def test_the_way_in_and_the_watchman_stay(client, db, closed, path):
    assert client.get(path).status_code == 200


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
