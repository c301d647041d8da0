"""Styles and scripts are kept for ever by browsers, and an update reaches everybody."""

from __future__ import annotations

import re

import pytest
from django.conf import settings
from django.templatetags.static import static

from fluxsite import assets


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "css").mkdir()
    (tmp_path / "css/base.css").write_text("a {}")
    return tmp_path


def test_a_file_is_kept_for_ever_at_the_address_of_its_release(client, db):
    answer = client.get(static("css/base.css"))

    assert re.fullmatch(r"/static/[0-9a-f]{8}/css/base\.css", static("css/base.css"))
    assert b"".join(answer).startswith(b"/*")
    assert answer["Cache-Control"] == "max-age=315360000, public, immutable"


def test_the_admin_finds_its_files_there_too(client, db):
    assert b"".join(client.get(static("admin/css/base.css"))).startswith(b"/*")


@pytest.mark.parametrize("address", ["/static/js/dom.js", "/static/0badcafe/js/dom.js"])
def test_a_page_of_another_release_is_led_to_the_files_there_are(client, db, address):
    answer = client.get(address)

    assert (answer.status_code, answer["Location"]) == (302, static("js/dom.js"))
    assert answer["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("address", [static("js/none.js"), "/static/", "/static/0badcafe/"])
def test_what_is_not_there_is_not_found(client, db, address):
    assert client.get(address).status_code == 404


def test_nothing_leads_to_another_site(client, db):
    location = client.get("/static/0badcafe//example.org/x.js")["Location"]

    assert location.startswith(settings.STATIC_URL)


def test_the_release_tells_of_contents_and_names(directory):
    before = assets.release(directory, packages=[])
    (directory / "css/base.css").touch()
    assert assets.release(directory, packages=[]) == before

    (directory / "css/base.css").write_text("b {}")
    changed = assets.release(directory, packages=[])
    (directory / "css/base.css").rename(directory / "css/other.css")
    renamed = assets.release(directory, packages=[])

    assert len({before, changed, renamed, assets.release(directory, packages=["django"])}) == 4
