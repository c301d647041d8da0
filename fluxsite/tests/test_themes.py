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


# ---------------------------------------------------------------- contrast
#: Words, and all grounds they stand on. WCAG AA asks for 4.5.
PAIRS = [
    ("--ink", ["--paper", "--surface", "--sunken", "--hover", "--accent-soft"]),
    ("--ink-soft", ["--paper", "--surface", "--sunken", "--hover"]),
    ("--accent", ["--paper", "--surface", "--sunken", "--accent-soft"]),
    ("--accent-hover", ["--paper", "--surface"]),
    ("--on-accent", ["--accent", "--accent-hover"]),
    ("--bad", ["--paper", "--surface", "--bad-soft"]),
    ("--surface", ["--bad"]),
    ("--warn", ["--warn-soft"]),
]


def palette(theme: str) -> dict[str, str]:
    light = TOKENS.read_text().split("@media")[0]
    colours = dict(re.findall(r"(--[\w-]+): (#\w{6});", light))
    if theme == "dark":
        dark = TOKENS.read_text().split("color-scheme: dark;")[1]
        colours |= dict(re.findall(r"(--[\w-]+): (#\w{6});", dark.split("}")[0]))
    return colours


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_can_be_read_on_every_ground_they_stand_on(theme):
    colours = palette(theme)

    faint = {
        (words, ground): round(contrast(colours[words], colours[ground]), 2)
        for words, grounds in PAIRS
        for ground in grounds
        if contrast(colours[words], colours[ground]) < 4.5
    }
    assert faint == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_edges_of_fields_and_the_focus_can_be_seen(theme):
    colours = palette(theme)

    for edge in ("--line-strong", "--focus"):
        for ground in ("--paper", "--surface"):
            assert contrast(colours[edge], colours[ground]) >= 3
