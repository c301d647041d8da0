"""What the filters let pass, alone and together, and which are refused."""

from __future__ import annotations

import re
from datetime import UTC, date, timedelta

import pytest
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rest_framework.exceptions import ValidationError
from rest_framework.test import APIClient

from fluxsite.paging import Asked, Cursor
from history import filters, search
from history.filters import Filters
from history.tests import rows

URL = "/api/unified-history"


@pytest.fixture
def api(alice):
    client = APIClient()
    client.force_authenticate(alice)
    return client


@pytest.fixture
def staff_api(staff):
    client = APIClient()
    client.force_authenticate(staff)
    return client


def shown(user, **chosen):
    page = filters.page_of(user=user, filters=Filters(**chosen), asked=Asked())
    return [row.source_id for row in page.rows]


def ids(response):
    return [row["id"] for row in response.json()["results"]]


# ---------------------------------------------------------------- one by one
@pytest.fixture
def of_every_status(alice):
    for minutes, status in enumerate(["SUCCESS", "FAILED", "CANCELLED", "IN_PROGRESS"]):
        rows.task("jimeng", alice, id=status.lower(), status=status, minutes=minutes)


@pytest.mark.usefixtures("of_every_status")
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("", ["success"]),
        ("SUCCESS", ["success"]),
        ("FAILED", ["failed"]),
        ("CANCELLED", ["cancelled"]),
        ("ALL", ["in_progress", "cancelled", "failed", "success"]),
    ],
)
def test_a_status_shows_what_became_of_tasks(alice, status, expected):
    assert shown(alice, status=status) == expected


@pytest.mark.parametrize("status", ["FAILED", "ALL"])
def test_trash_is_shown_with_no_status(alice, status):
    rows.task("flux", alice, status="FAILED", trashed_at=rows.NOON)

    assert shown(alice, status=status) == []


def test_what_failed_is_listed_without_pictures(api, alice):
    rows.task("flux", alice, status="FAILED", image_url="", completed_at=rows.NOON)

    [row] = api.get(URL, {"status": "FAILED"}).json()["results"]

    assert (row["status"], row["image_url"], row["images"]) == ("FAILED", "", [])


def test_days_are_those_of_the_reader_and_both_are_included(alice):
    # Midnight in Shanghai is 16:00 UTC of the day before.
    for minutes, name in [(239, "4th"), (240, "5th"), (1679, "5th late"), (1680, "6th")]:
        rows.task("flux", alice, id=name, minutes=minutes)

    with timezone.override("Asia/Shanghai"):
        seen = shown(alice, since=date(2026, 5, 5), until=date(2026, 5, 5))

    assert seen == ["5th late", "5th"]


@pytest.mark.parametrize(
    ("minutes", "expected"), [(9999, ["noon", "morning"]), (0, ["morning"]), (-9999, [])]
)
def test_a_place_in_the_list_and_the_last_day_hold_both(alice, minutes, expected):
    for name, days in [("morning", -1), ("noon", 0), ("later", 1)]:
        rows.task("flux", alice, id=name, minutes=1440 * days)
    cursor = Cursor(created_at=rows.NOON + timedelta(minutes=minutes), id="a")

    page = filters.page_of(
        user=alice, filters=Filters(until=rows.NOON.date()), asked=Asked(cursor=cursor)
    )

    assert [row.source_id for row in page.rows] == expected


def test_favourites_and_models_are_shown_alone(alice):
    rows.task("flux", alice, id="a", is_favourite=True, model="m1")
    rows.task("flux", alice, id="b", model="m2")

    assert (shown(alice, favourite=True), shown(alice, model="m2")) == (["a"], ["b"])


# ---------------------------------------------------------------- of other members
def test_staff_sees_one_member_or_all(staff_api, alice, bob):
    rows.task("flux", alice, id="hers", minutes=1)
    rows.task("flux", bob, id="his")

    assert ids(staff_api.get(URL, {"member": "alice"})) == ["hers"]
    assert ids(staff_api.get(URL, {"member": "all"})) == ["hers", "his"]
    assert ids(staff_api.get(URL)) == []


def test_staff_searches_in_one_member(staff_api, alice, bob):
    rows.task("flux", alice, id="hers", prompt="fox")
    rows.task("flux", bob, id="his", prompt="fox")
    search.fill()

    assert ids(staff_api.get(URL, {"member": "bob", "text": "fox"})) == ["his"]


@pytest.mark.parametrize("member", ["alice", "bob", "all", "nobody"])
def test_a_member_may_ask_for_no_member(api, bob, member):
    rows.task("flux", bob)

    response = api.get(URL, {"member": member})

    assert response.status_code == 403
    assert "results" not in response.json()


def test_without_a_reader_no_member_is_read(db):
    assert filters.read({"member": "all"}).member == ""


# ---------------------------------------------------------------- refused
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"source": "dalle"}, "source"),
        ({"model": "m" * 101}, "model"),
        ({"model": "a\0b"}, "model"),
        ({"status": "success"}, "status"),
        ({"status": "LOST"}, "status"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-02-30"}, "since"),
        ({"until": "0001-01-01"}, "until"),
        ({"since": "2026-05-05", "until": "2026-05-04"}, "until"),
        ({"favourite": "maybe"}, "favourite"),
        ({"member": "nobody"}, "member"),
        ({"member": "all", "text": "fox"}, "text"),
    ],
)
def test_a_bad_value_is_a_400_that_names_it(staff_api, query, field):
    response = staff_api.get(URL, query)

    assert response.status_code == 400
    assert list(response.json()["errors"]) == [field]


def test_everything_that_is_wrong_is_told_at_once():
    with pytest.raises(ValidationError) as caught:
        filters.read({"source": "dalle", "status": "LOST", "favourite": "maybe"})

    assert sorted(caught.value.detail) == ["favourite", "source", "status"]


def test_one_who_is_not_staff_is_told_nothing_of_members(alice, bob):
    for name in ("bob", "nobody"):
        with pytest.raises(PermissionDenied):
            filters.read({"member": name}, reader=alice)


def test_empty_values_are_as_good_as_none(staff):
    empty = dict.fromkeys(["source", "model", "status", "since", "text", "member"], " ")

    assert filters.read(empty, reader=staff) == Filters()


def test_active_filters_are_named():
    assert Filters(source="flux", favourite=True).active == {"source": "flux", "favourite": True}


# ---------------------------------------------------------------- together
WORDS = ["fox", "cat", "红", "红狐", "红狐狸"]
MOMENTS = [
    rows.NOON,
    rows.NOON + timedelta(microseconds=1),
    rows.NOON + timedelta(milliseconds=1),
    rows.NOON - timedelta(days=1),
]
tasks = st.lists(
    st.fixed_dictionaries(
        {
            "source": st.sampled_from(["flux", "midjourney", "jimeng"]),
            "owner": st.sampled_from(["alice", "bob"]),
            "status": st.sampled_from(["SUCCESS", "SUCCESS", "FAILED", "CANCELLED"]),
            "model": st.sampled_from(["m1", "m2"]),
            "created_at": st.sampled_from(MOMENTS),
            "is_favourite": st.booleans(),
            "trashed_at": st.sampled_from([None, None, None, rows.NOON]),
            "prompt": st.lists(st.sampled_from(WORDS), max_size=3).map("，".join),
        }
    ),
    max_size=12,
)
chosen = st.fixed_dictionaries(
    {},
    optional={
        "source": st.sampled_from(["flux", "jimeng"]),
        "model": st.sampled_from(["m1", "m2"]),
        "status": st.sampled_from(["SUCCESS", "FAILED", "CANCELLED", "ALL"]),
        "since": st.just(rows.NOON.date()),
        "until": st.just(rows.NOON.date() - timedelta(days=1)),
        "favourite": st.just(True),
        "text": st.lists(st.sampled_from([*WORDS, "狐", '"fox cat"']), min_size=1, max_size=2).map(
            " ".join
        ),
        "member": st.sampled_from(["alice", "bob", "all"]),
    },
)


def says(prompt, text):
    """Tell by hand whether a prompt has all the words: there are spaces in no clause but one."""
    if '"fox cat"' in text and "fox，cat" not in prompt:
        return False
    wanted = text.replace('"fox cat"', "").split()
    runs = prompt.split("，")
    return all(any(word == run or (word in run and word > "z") for run in runs) for word in wanted)


def passes(task, wanted):
    status = wanted.status or "SUCCESS"
    return (
        not task["trashed_at"]
        and wanted.member in ("all", task["owner"])
        and wanted.source in ("", task["source"])
        and wanted.model in ("", task["model"])
        and status in ("ALL", task["status"])
        and (not wanted.since or task["created_at"].astimezone(UTC).date() >= wanted.since)
        and (not wanted.until or task["created_at"].astimezone(UTC).date() <= wanted.until)
        and (not wanted.favourite or task["is_favourite"])
        and (not wanted.text or says(task["prompt"], wanted.text))
    )


def pages_of(user, wanted, limit):
    seen, cursor = [], None
    while True:
        asked = Asked(limit=limit, cursor=cursor)
        page = filters.page_of(user=user, filters=wanted, asked=asked)
        seen += [row.source_id for row in page.rows]
        assert len(page.rows) == limit or not page.next_cursor
        if not page.next_cursor:
            return seen
        cursor = Cursor.decode(page.next_cursor)


@hypothesis_settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(tasks=tasks, chosen=chosen, limit=st.integers(1, 4), few=st.sampled_from([0, 1000]))
@example(tasks=[], chosen={"text": "fox"}, limit=1, few=0)
def test_any_filters_together_show_what_passes_each(
    alice, bob, monkeypatch, tasks, chosen, limit, few
):
    monkeypatch.setattr(filters, "FEW_FAVOURITES", few)
    monkeypatch.setattr(search, "_SPARE", 1)
    if chosen.get("since") and chosen.get("until"):
        del chosen["until"]
    wanted = Filters(**{"member": "alice", **chosen})
    if wanted.member == "all" and wanted.text:
        wanted = Filters(**{**chosen, "member": "bob"})
    members = {"alice": alice, "bob": bob}
    with transaction.atomic():
        for number, task in enumerate(tasks):
            task["id"] = f"t{number:02}"
            values = {k: v for k, v in task.items() if k not in ("source", "owner")}
            rows.task(task["source"], members[task["owner"]], **values)
        search.clear()
        search.fill()
        seen = pages_of(alice, wanted, limit)
        transaction.set_rollback(True)

    newest_first = sorted(tasks, key=lambda task: (task["created_at"], task["id"]), reverse=True)
    assert seen == [task["id"] for task in newest_first if passes(task, wanted)]


@pytest.mark.usefixtures("of_every_status")
@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize(
    ("chosen", "queries"),
    [
        ({}, 1),
        ({"source": "jimeng"}, 1),
        ({"model": "jimeng-4.0"}, 1),
        ({"status": "FAILED"}, 1),
        ({"status": "ALL"}, 1),
        ({"favourite": True}, 1),
        ({"since": rows.NOON.date()}, 1),
        ({"text": "lighthouse"}, 2),
        ({"text": "lighthouse", "favourite": True}, 2),
        ({"text": "lighthouse", "status": "FAILED"}, 1),
        ({"member": "alice"}, 2),
        ({"member": "all"}, 1),
    ],
    ids=lambda value: re.sub(r"\W+", "-", str(value)),
)
def test_a_page_takes_the_same_queries_for_any_number_of_rows(
    alice, number, chosen, queries, django_assert_num_queries
):
    for minutes in range(number):
        for status in ("SUCCESS", "FAILED"):
            rows.task("jimeng", alice, status=status, is_favourite=True, minutes=minutes)
    search.fill()

    with django_assert_num_queries(queries):
        rows_shown = shown(alice, **chosen)

    assert len(rows_shown) >= number
