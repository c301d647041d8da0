"""Light and dark: chosen once, known by the first byte of every page."""

from __future__ import annotations

import re

import pytest
from django.conf import settings

from fluxsite.models import MemberSettings

TOKENS = settings.BASE_DIR / "static/css/tokens.css"


def html(client, path="/login") -> str:
    return client.get(path).content.decode()


def test_without_a_choice_the_system_decides(client, db):
    page = html(client)

    assert "data-theme=" not in page
    assert '<meta name="color-scheme" content="light dark">' in page


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_chosen_theme_is_in_the_first_html(client, db, theme):
    client.post("/theme", {"theme": theme, "next": "/login"})

    page = html(client)

    assert re.search(rf'<html lang="en" data-theme="{theme}">', page)
    assert f'<meta name="color-scheme" content="{theme}">' in page
    assert re.search(rf'value="{theme}"[^>]+aria-pressed="true"', page)


def test_the_choice_can_be_taken_back(client, db):
    client.post("/theme", {"theme": "dark", "next": "/login"})
    client.post("/theme", {"theme": "system", "next": "/login"})

    assert "data-theme=" not in html(client)


def test_choosing_leads_back_to_where_one_was(client, db):
    answer = client.post("/theme", {"theme": "dark", "next": "/history?status=failed"})

    assert (answer.status_code, answer["Location"]) == (302, "/history?status=failed")


@pytest.mark.parametrize("target", ["https://elsewhere.example/", "//elsewhere.example", ""])
def test_choosing_leads_nowhere_else(client, db, target):
    answer = client.post("/theme", {"theme": "dark", "next": target})

    assert answer["Location"] == "/"


def test_what_is_no_theme_changes_nothing(client, db):
    answer = client.post("/theme", {"theme": "neon", "next": "/login"})

    assert "theme" not in answer.cookies
    client.cookies["theme"] = 'dark" onload="x'
    assert "data-theme=" not in html(client)


def test_a_look_at_the_address_is_no_choice(client, db):
    assert client.get("/theme").status_code == 405


def test_a_member_finds_the_theme_again_in_another_browser(client, alice):
    client.force_login(alice)
    client.post("/theme", {"theme": "dark", "next": "/"})

    assert MemberSettings.objects.get(user=alice).theme == "dark"


def test_the_error_pages_are_in_the_chosen_theme_too(client, db):
    client.cookies["theme"] = "dark"

    assert 'data-theme="dark"' in html(client, "/no/such/page")


def test_dark_is_the_same_whoever_asked_for_it():
    blocks = re.findall(r"color-scheme: dark;\n(.+?)\n\s*\}", TOKENS.read_text(), re.DOTALL)

    by_system, by_choice = (re.findall(r"(--[\w-]+): ([^;]+);", block) for block in blocks)
    assert by_system == by_choice
    assert len(by_choice) > 15
