"""What is made of single cells and addresses: kept, cleaned, or left out and counted."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from generation.ids import id_born_at, new_id
from generation.importing import links, values
from generation.importing.values import Cells

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
NOON = datetime(2025, 3, 9, 12, 0, tzinfo=UTC)


@pytest.fixture
def notes():
    return Counter()


@pytest.fixture
def cell(notes):
    """Return a function that makes a row of one cell, called `x`."""
    return lambda value: Cells({"x": value}, zone=SHANGHAI, now=NOW, notes=notes)


# ---------------------------------------------------------------- times
@pytest.mark.parametrize(
    "written",
    [
        "2025-03-09 12:00:00",
        "2025-03-09 12:00:00.000000",
        "2025-03-09T12:00:00Z",
        "2025-03-09 12:00:00+00",
        "2025-03-09 20:00:00+08:00",
        datetime(2025, 3, 9, 12, 0),  # noqa: DTZ001 - as a driver may hand it over
        1741521600,
        1741521600000,
        1741521600000.0,
        "1741521600000",
    ],
)
def test_a_time_is_read_however_it_is_written(cell, notes, written):
    assert cell(written).utc("x") == NOON
    assert not notes


def test_a_time_without_a_zone_is_by_the_other_sites_clock(cell):
    assert cell("2025-03-09 20:00:00").local("x") == NOON
    # What names an instant is the same everywhere.
    assert cell(1741521600000).local("x") == NOON


@pytest.mark.parametrize("nothing", [None, "", " ", 0, "0"])
def test_no_time_is_no_problem(cell, notes, nothing):
    assert cell(nothing).utc("x") is None
    assert not notes


@pytest.mark.parametrize(
    "written",
    [
        *("0000-00-00 00:00:00", "2025-02-30 12:00:00", "infinity", "0044-03-15 12:00:00 BC"),
        *("soon", "9999-12-31 23:59:59", "0001-01-01 00:00:00", True, 10**30, float("nan")),
        *(float("inf"), "1970-01-01 08:00:00", "2026-11-28 12:00:00", "\0", [1], {}),
    ],
)
def test_an_impossible_time_is_left_out_and_counted(cell, notes, written):
    assert cell(written).utc("x") is None
    assert notes == {"x is no possible time, left out": 1}


# ---------------------------------------------------------------- text and numbers
def test_text_loses_what_postgresql_refuses_and_nothing_else(cell):
    assert cell("a\0b\ud83d 🐈 中文\r\n").text("x") == "ab\ufffd 🐈 中文\r\n"
    assert cell(b"\xff\xe4\xb8\xad").text("x") == "\ufffd中"
    assert cell(7).text("x") == "7"


def test_what_is_too_long_is_cut_where_that_does_no_harm(cell, notes):
    assert cell("x" * 30).short("x", 20) == "x" * 20
    assert cell("x" * 30).name("x", 20) == ""
    assert notes == {"x cut to 20 characters": 1, "x too long, left out": 1}


@pytest.mark.parametrize(
    ("held", "text"),
    [
        (7, "7"),
        ("17454220438242315174", "17454220438242315174"),
        (-1, "-1"),
        (7.0, "7"),
        (None, ""),
        ("", ""),
        (True, ""),
    ],
)
def test_a_seed_is_kept_as_text_to_the_last_digit(cell, notes, held, text):
    assert cell(held).seed("x") == text
    assert not notes


@pytest.mark.parametrize("held", [1.7454220438242315e19, "1.7454220438242315e+19", 0.5, "seven"])
def test_a_seed_that_lost_its_digits_is_none(cell, notes, held):
    assert cell(held).seed("x") == ""
    assert notes.total() == 1


@pytest.mark.parametrize("held", [float("nan"), "inf", "many", 10**400, [1]])
def test_what_is_no_number_is_left_out_and_counted(cell, notes, held):
    assert cell(held).number("x") is None
    assert notes == {"x is no number, left out": 1}


def test_a_whole_number_fits_the_column(cell, notes):
    assert cell("12").whole("x") == 12
    assert cell(2**31).whole("x") is None
    assert cell(-1).whole("x", minimum=0) is None
    assert notes == {"x out of range, left out": 2}


@pytest.mark.parametrize(
    ("held", "flag"),
    [(1, True), (0, False), ("true", True), ("f", False), (None, None), ("perhaps", None)],
)
def test_a_switch_is_read_as_databases_print_it(cell, held, flag):
    assert cell(held).flag("x") is flag


# ---------------------------------------------------------------- JSON
def test_json_is_read_as_text_as_itself_and_from_inside_a_text(cell):
    expected = {"a": ["中", 1.5, None, True]}

    for held in (expected, json.dumps(expected), json.dumps(json.dumps(expected))):
        assert cell(held).mapping("x") == expected


def test_json_loses_what_postgresql_refuses(cell):
    assert cell('{"a\\u0000b": "\\ud83d\\u0000c"}').json("x") == {"ab": "\ufffdc"}


@pytest.mark.parametrize(
    "held",
    [
        "{",
        "{'a': 1}",
        "[NaN]",
        "[1e400]",
        f"[{'9' * 5000}]",
        "[" * 100_000,
        f'"{"x" * (values.MAX_JSON + 1)}"',
    ],
)
def test_broken_json_is_left_out_and_counted(cell, notes, held):
    assert cell(held).json("x") is None
    assert notes == {"x is broken JSON, left out": 1}


def test_json_of_another_kind_counts_as_nothing(cell):
    assert cell("[1]").mapping("x") == {}
    assert cell('{"a": 1}').sequence("x") == []


# ---------------------------------------------------------------- addresses
@pytest.mark.parametrize(
    "address",
    [
        "https://cdn.discordapp.com/attachments/1/2/a_b.png?ex=67cefb57&is=67cda9d7&hm=ab",
        "http://mj.example.org:8080/mj/1.webp",
        "https://图.example/猫.png",
        "https://[2001:db8::1]/a.png",
    ],
)
def test_an_address_a_browser_can_open_is_kept(address):
    assert links.usable(f" {address}\n") == address


@pytest.mark.parametrize(
    "address",
    [
        *("", None, 7, "/cache/image/a.png", "data:image/png;base64,AAAA", "javascript:alert(1)"),
        *("https://", "https:///a.png", "ftp://a.example/a.png", "//a.example/a.png"),
        *("https://a.example/a b.png", 'https://a.example/"onerror=', "https://a.example/<b>"),
        *("https://u:p@a.example/a.png", "https://a.example\\@b/", "http://[", "http://a:99999/"),
        "https://a.example/" + "x" * 8000,
        "https://a.example/\x00",
    ],
)
def test_no_other_address_is(address):
    assert links.usable(address) == ""


@pytest.mark.parametrize(
    ("address", "end"),
    [
        (
            "https://cdn.discordapp.com/a.png?ex=67cefb57&is=67cda9d7",
            datetime(2025, 3, 10, 14, 46, 47, tzinfo=UTC),
        ),
        (
            "https://p26-aiop-sign.byteimg.com/a?x-expires=1754536085&x-signature=a",
            datetime(2025, 8, 7, 3, 8, 5, tzinfo=UTC),
        ),
        (
            "https://b.tos-cn-beijing.volces.com/a?X-Tos-Date=20250807T000000Z&X-Tos-Expires=86400",
            datetime(2025, 8, 8, tzinfo=UTC),
        ),
        ("https://a.example/a.png?ex=67cefb57", None),
        ("https://notdiscordapp.com/a.png?ex=67cefb57", None),
        ("https://cdn.discordapp.com/a.png?ex=soon", None),
        ("https://cdn.discordapp.com/a.png?ex=" + "f" * 40, None),
        ("https://a.example/a?x-expires=x", None),
        ("https://a.example/a?X-Tos-Date=20250807T000000Z", None),
        ("https://a.example/a.png", None),
        ("http://[", None),
    ],
)
def test_a_link_says_itself_when_it_runs_out(address, end):
    assert links.expires_at(address) == end


def test_a_link_is_dead_from_that_moment_on():
    end = datetime(2025, 8, 7, 3, 8, 5, tzinfo=UTC)
    address = "https://a.example/a?x-expires=1754536085"

    assert links.is_dead(address, now=end)
    assert not links.is_dead(address, now=end - timedelta(seconds=1))


@pytest.mark.parametrize(
    ("origin", "source", "is_covered"),
    [
        ("https://v3.fal.media", "https://*.fal.media", True),
        ("https://fal.media", "https://*.fal.media", False),
        ("https://evilfal.media", "https://*.fal.media", False),
        ("http://v3.fal.media", "https://*.fal.media", False),
        ("https://a.example", "http://a.example", True),
        ("https://a.example", "a.example", True),
        ("https://a.example:8443", "https://a.example", False),
        ("https://a.example:8443", "https://a.example:8443", True),
        ("https://a.example", "https:", True),
        ("https://a.example", "*", True),
        ("https://a.example", "'self'", False),
        ("https://a.example", "data:", False),
    ],
)
def test_a_policy_covers_what_browsers_say_it_covers(origin, source, is_covered):
    assert links.uncovered([origin], allowed=[source]) == ([] if is_covered else [origin])


def test_the_origin_of_an_address_has_no_usual_port():
    assert links.origin_of("https://a.example:443/b") == "https://a.example"
    assert links.origin_of("http://a.example:8080/b?c") == "http://a.example:8080"


# ---------------------------------------------------------------- ids
def test_an_id_of_the_past_sorts_before_those_of_today():
    old = id_born_at(round(NOON.timestamp() * 1000))
    older = id_born_at(round(NOON.timestamp() * 1000) - 1)

    assert older < old < new_id()
    assert len(old) == 32
