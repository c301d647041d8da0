"""Stencils: rendered once, filled in on every page."""

from __future__ import annotations

import re

import pytest
from django.template import Context, Template

from fluxsite.stencils import Stencil, dense, hole


def stencil(template, **values):
    return Stencil(Template(template).render(Context(values)))


def test_a_text_goes_wherever_its_hole_is():
    hello = stencil("<p title='{{ name }}'>{{ name }}, {{ word }}</p>", name=hole("n"), word="hi")

    assert hello.fill({"n": "Ada"}) == "<p title='Ada'>Ada, hi</p>"
    assert hello.fill({"n": "Bob", "unused": "x"}) == "<p title='Bob'>Bob, hi</p>"


@pytest.mark.parametrize("text", ["<b>", "a & b", "\"'", "%(n)s {n} {{ n }} \\1", "a\0b", ""])
def test_a_text_is_escaped_as_a_template_escapes_it(text):
    template = "<p>{{ name }}</p>"

    written = stencil(template, name=hole("name")).fill({"name": text})

    assert written == Template(template).render(Context({"name": text}))


def test_a_hole_that_nobody_fills_is_an_error():
    with pytest.raises(KeyError):
        stencil("{{ name }}", name=hole("name")).fill({})


def test_indentation_stays_behind_but_not_that_of_a_text():
    item = stencil("<ul>\n  <li>{{ text }}</li>\n\n  <li>b c</li>\n</ul>\n", text=hole("text"))

    assert item.fill({"text": "a\n\n  b"}) == "<ul>\n<li>a\n\n  b</li>\n<li>b c</li>\n</ul>\n"
    assert dense("a\n \n\tb") == "a\nb"


# ---------------------------------------------------------------- on every page
def header(client):
    return client.get("/account").content.decode().partition("<main")[0]


def tokens(html):
    return re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', html)


def test_each_member_has_a_header_of_ones_own(client, alice, bob):
    alice.first_name, alice.last_name = "Ada", "<King>"
    alice.save()
    client.force_login(alice)
    of_alice = header(client)
    client.force_login(bob)

    of_bob = header(client)

    assert "Ada &lt;King&gt;" in of_alice
    assert 'aria-label="Account: alice"' in of_alice
    assert ('aria-label="Account: bob"' in of_bob, "alice" in of_bob) == (True, False)
    assert [len(token) for token in tokens(of_bob)] == [64, 64, 64]
    assert not set(tokens(of_alice)) & set(tokens(of_bob))


def test_a_header_speaks_the_language_of_its_reader(client, alice):
    client.force_login(alice)
    english = header(client)
    client.cookies["django_language"] = "zh-hans"

    chinese = header(client)

    assert (">History</a>" in english, ">历史</a>" in chinese) == (True, True)
    assert 'lang="zh-hans" aria-current="true">中文<' in chinese


def test_only_staff_is_led_to_the_admin(client, alice, staff):
    client.force_login(staff)
    of_staff = header(client)
    client.force_login(alice)

    assert ("/admin/" in of_staff, "/admin/" in header(client)) == (True, False)


def test_without_credits_the_header_names_none(client, alice, settings):
    client.force_login(alice)
    with_credits = header(client)
    settings.CREDITS_ENABLED = False

    assert ('href="/credits"' in with_credits, 'href="/credits"' in header(client)) == (True, False)


@pytest.mark.parametrize(
    ("path", "current"), [("/", ["/"]), ("/history", ["/history"]), ("/account", [])]
)
def test_the_header_says_where_one_is(client, alice, path, current):
    client.force_login(alice)

    html = client.get(path).content.decode()

    assert re.findall(r'<a href="([^"]+)" aria-current="page">', html) == current
