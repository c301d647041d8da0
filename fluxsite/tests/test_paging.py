"""Paging by number and by cursor, and what is refused."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db.models import F
from rest_framework.exceptions import ValidationError

from fluxsite.paging import Asked, BadCursor, Cursor, paginate, read
from history.models import HistoryEntry
from history.tests import rows

MOMENT = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)


def encoded(plain: bytes) -> str:
    return base64.urlsafe_b64encode(plain).decode().rstrip("=")


# ---------------------------------------------------------------- reading a request
def test_nothing_asked_is_the_first_twenty():
    assert read({}) == Asked(limit=20, page=None, cursor=None)


def test_empty_parameters_are_as_good_as_missing_ones():
    assert read({"page": "", "limit": "", "cursor": ""}) == Asked()


def test_page_and_limit_are_read():
    assert read({"page": "3", "limit": "100"}) == Asked(limit=100, page=3)


def test_cursor_is_read():
    cursor = Cursor(created_at=MOMENT, id="abc")

    assert read({"cursor": cursor.encode()}) == Asked(cursor=cursor)


def test_the_deepest_page_is_allowed():
    assert read({"page": "100", "limit": "100"}) == Asked(limit=100, page=100)


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"page": "0"}, "page"),
        ({"page": "-1"}, "page"),
        ({"page": "two"}, "page"),
        ({"page": "1.5"}, "page"),
        ({"page": "２"}, "page"),
        ({"page": "9" * 5000}, "page"),
        ({"page": "501"}, "page"),
        ({"page": "101", "limit": "100"}, "page"),
        ({"page": "1000000"}, "page"),
        ({"page": "1", "cursor": "abc"}, "page"),
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "all"}, "limit"),
        ({"limit": "\0"}, "limit"),
        ({"cursor": "garbage"}, "cursor"),
    ],
)
def test_a_bad_parameter_is_named(params, field):
    with pytest.raises(ValidationError) as caught:
        read(params)

    assert list(caught.value.detail) == [field]


def test_too_deep_a_page_is_told_to_use_the_cursor():
    with pytest.raises(ValidationError) as caught:
        read({"page": "501"})

    assert caught.value.detail["page"] == [
        "Pages reach down to row 10000. Follow next, which uses cursor, from there."
    ]


# ---------------------------------------------------------------- cursors
@pytest.mark.parametrize(
    "moment",
    [MOMENT, MOMENT.replace(microsecond=0), datetime(1969, 7, 20, 20, 17, 40, 1, tzinfo=UTC)],
)
@pytest.mark.parametrize("entry_id", ["0198f", "1320098173412546", "a:b/c d", "图"])
def test_cursor_survives_its_journey(moment, entry_id):
    cursor = Cursor(created_at=moment, id=entry_id)

    assert Cursor.decode(cursor.encode()) == cursor


def test_cursor_needs_no_quoting_in_an_address():
    text = Cursor(created_at=MOMENT, id="\u00ff\u00fe\u00fb" * 9).encode()

    assert text.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "====",
        "a b",
        "é",
        "x" * 501,
        encoded(b"\xff\xfe"),
        encoded(b"1777896000000000"),
        encoded(b"1777896000000000:"),
        encoded(b":abc"),
        encoded(b"noon:abc"),
        encoded(b"1777896000000000:a\0b"),
        encoded(b"999999999999999999:abc"),
        encoded(b"-999999999999999999:abc"),
        encoded(b"1777896000000000:" + b"x" * 256),
        encoded("１７:abc".encode()),
    ],
)
def test_garbage_is_no_cursor(text):
    with pytest.raises(BadCursor):
        Cursor.decode(text)


# ---------------------------------------------------------------- walking
def walk(entries, *, limit):
    seen, asked = [], Asked(limit=limit)
    while True:
        page = paginate(entries, asked=asked, id_field="source_id")
        seen.append([entry.source_id for entry in page.rows])
        if not page.next_cursor:
            return seen
        asked = Asked(limit=limit, cursor=Cursor.decode(page.next_cursor))


def test_cursors_lead_through_all_sources_newest_first(alice):
    for minutes, source in enumerate(["flux", "jimeng", "midjourney", "flux", "jimeng"]):
        rows.task(source, alice, id=f"t{minutes}", minutes=minutes)

    assert walk(HistoryEntry.objects.all(), limit=2) == [["t4", "t3"], ["t2", "t1"], ["t0"]]


def test_entries_of_one_moment_are_neither_lost_nor_doubled(alice):
    for number, source in enumerate(["flux", "jimeng", "midjourney"] * 2):
        rows.task(source, alice, id=f"t{number}")

    assert walk(HistoryEntry.objects.all(), limit=2) == [["t5", "t4"], ["t3", "t2"], ["t1", "t0"]]


def test_a_microsecond_is_enough_to_tell_two_entries_apart(alice):
    for number in range(3):
        moment = rows.NOON + timedelta(microseconds=number)
        rows.task("flux", alice, id=f"t{2 - number}", created_at=moment)

    assert walk(HistoryEntry.objects.all(), limit=1) == [["t0"], ["t1"], ["t2"]]


def test_new_entries_on_top_do_not_move_the_place_of_a_cursor(alice):
    for minutes in range(4):
        rows.task("flux", alice, id=f"t{minutes}", minutes=minutes)
    first = paginate(HistoryEntry.objects.all(), asked=Asked(limit=2), id_field="source_id")
    rows.task("flux", alice, id="t9", minutes=9)

    asked = Asked(limit=2, cursor=Cursor.decode(first.next_cursor))
    second = paginate(HistoryEntry.objects.all(), asked=asked, id_field="source_id")

    assert [entry.source_id for entry in second.rows] == ["t1", "t0"]


def test_a_page_by_number_starts_where_the_one_before_ended(alice):
    for minutes in range(5):
        rows.task("flux", alice, id=f"t{minutes}", minutes=minutes)

    page = paginate(HistoryEntry.objects.all(), asked=Asked(limit=2, page=2), id_field="source_id")

    assert [entry.source_id for entry in page.rows] == ["t2", "t1"]


def test_a_full_last_page_has_no_next(alice):
    for minutes in range(2):
        rows.task("flux", alice, minutes=minutes)

    page = paginate(HistoryEntry.objects.all(), asked=Asked(limit=2), id_field="source_id")

    assert (len(page.rows), page.next_cursor) == (2, "")


def test_a_page_takes_one_query(alice, django_assert_num_queries):
    rows.task("flux", alice)

    with django_assert_num_queries(1):
        paginate(HistoryEntry.objects.all(), asked=Asked(page=1), id_field="source_id")


# ---------------------------------------------------------------- ids that are numbers
def test_a_list_with_numbers_for_ids_pages_in_their_order(alice, bob, staff):
    User.objects.update(date_joined=MOMENT)
    people = User.objects.annotate(created_at=F("date_joined"))

    first = paginate(people, asked=Asked(limit=2))
    asked = Asked(limit=2, cursor=Cursor.decode(first.next_cursor))
    second = paginate(people, asked=asked)

    assert [*first.rows, *second.rows] == [staff, bob, alice]
    assert second.next_cursor == ""


def test_a_cursor_of_another_list_is_no_cursor(alice):
    people = User.objects.annotate(created_at=F("date_joined"))
    asked = Asked(cursor=Cursor(created_at=MOMENT, id="t1"))

    with pytest.raises(BadCursor) as caught:
        paginate(people, asked=asked)

    assert list(caught.value.detail) == ["cursor"]


@pytest.mark.parametrize(("number", "count"), [("9" * 250, 1), ("-" + "9" * 250, 0)])
def test_a_number_no_id_can_be_is_past_one_end_of_the_list(alice, number, count):
    User.objects.update(date_joined=MOMENT)
    people = User.objects.annotate(created_at=F("date_joined"))
    asked = Asked(cursor=Cursor(created_at=MOMENT, id=number))

    assert len(paginate(people, asked=asked).rows) == count
