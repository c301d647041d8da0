"""Favourites and the trash: by the API, by the page's form, and when several want it at once."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from rest_framework.test import APIClient

from history import marks
from history.marks import Name
from history.models import HistoryEntry
from history.sources import REMOVED_AT
from history.tests import rows

URL = "/api/unified-history/marks"
SOURCES = ["flux", "midjourney", "jimeng"]


@pytest.fixture
def api(alice):
    client = APIClient()
    client.force_authenticate(alice)
    return client


@pytest.fixture
def member(client, alice):
    client.force_login(alice)
    return client


def send(api, *keys, **mark):
    entries = [dict(zip(("source", "id"), key.split(":", 1), strict=True)) for key in keys]
    return api.post(URL, {"entries": entries, **mark}, format="json")


def entries():
    return {entry.key: entry.is_favourite for entry in HistoryEntry.objects.all()}


# ---------------------------------------------------------------- by the API
@pytest.mark.parametrize("source", SOURCES)
def test_an_entry_becomes_a_favourite_and_stops_being_one(api, alice, source):
    rows.task(source, alice, id="t1")

    answer = send(api, f"{source}:t1", favourite=True)
    assert (answer.status_code, answer.json()) == (200, {"changed": 1})
    assert entries() == {f"{source}:t1": True}

    send(api, f"{source}:t1", favourite=False)
    assert entries() == {f"{source}:t1": False}


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_thrown_away_is_gone_until_it_is_taken_back(api, alice, source):
    rows.task(source, alice, id="t1", is_favourite=True)

    answer = send(api, f"{source}:t1", trashed=True)
    assert (answer.status_code, answer.json(), entries()) == (200, {"changed": 1}, {})

    send(api, f"{source}:t1", trashed=False)
    assert entries() == {f"{source}:t1": True}


def test_entries_of_all_sources_are_marked_together(api, alice):
    for source in SOURCES:
        rows.task(source, alice, id=f"{source}-1")
        rows.task(source, alice, id=f"{source}-2")

    answer = send(api, *(f"{source}:{source}-1" for source in SOURCES), favourite=True)

    assert answer.json() == {"changed": 3}
    assert {key for key, value in entries().items() if value} == {
        f"{source}:{source}-1" for source in SOURCES
    }


@pytest.mark.parametrize("count", [1, 3])
def test_a_mark_takes_one_statement_for_each_source(api, alice, count, django_assert_num_queries):
    keys = [f"{source}:{rows.task(source, alice).pk}" for source in SOURCES for _ in range(count)]

    # And one that counts the request.
    with django_assert_num_queries(3 + 1):
        send(api, *keys, trashed=True)


def test_saying_it_twice_is_no_mistake(api, alice):
    rows.task("flux", alice, id="t1")
    send(api, "flux:t1", trashed=True)

    answer = send(api, "flux:t1", "flux:t1", trashed=True)

    assert (answer.status_code, answer.json()) == (200, {"changed": 0})


def test_another_members_entry_stays_as_it_is(api, bob):
    rows.task("flux", bob, id="his")

    answers = [send(api, "flux:his", favourite=True), send(api, "flux:his", trashed=True)]

    assert [(a.status_code, a.json()["code"]) for a in answers] == [(404, "not_found")] * 2
    assert entries() == {"flux:his": False}


def test_what_is_not_ones_own_among_ones_own_is_passed_over(api, alice, bob):
    rows.task("flux", alice, id="mine")
    rows.task("flux", bob, id="his")

    answer = send(api, "flux:mine", "flux:his", "flux:none", trashed=True)

    assert (answer.json(), entries()) == ({"changed": 1}, {"flux:his": False})


def test_a_task_that_is_still_drawn_cannot_be_thrown_away(api, alice):
    task = rows.task("flux", alice, id="t1", status="IN_PROGRESS", completed_at=None)

    answer = send(api, "flux:t1", trashed=True)

    assert answer.json() == {"changed": 0}
    task.refresh_from_db()
    assert task.trashed_at is None


def test_a_task_whose_late_result_is_asked_for_cannot_be_thrown_away(api, alice):
    rows.task("flux", alice, id="t1", status="FAILED", recover_requested_at=rows.NOON)

    assert send(api, "flux:t1", trashed=True).json() == {"changed": 0}


def test_what_was_removed_for_ever_is_as_good_as_never_there(api, alice):
    rows.task("flux", alice, id="t1", trashed_at=REMOVED_AT)

    assert send(api, "flux:t1", trashed=False).status_code == 404
    assert entries() == {}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "entries"),
        ({"entries": [], "trashed": True}, "entries"),
        ({"entries": "flux:t1", "trashed": True}, "entries"),
        ({"entries": [{"source": "dalle", "id": "t1"}], "trashed": True}, "entries"),
        ({"entries": [{"source": "flux"}], "trashed": True}, "entries"),
        ({"entries": [{"source": "flux", "id": "\0"}], "trashed": True}, "entries"),
        ({"entries": [{"source": "flux", "id": "x" * 256}], "trashed": True}, "entries"),
        ({"entries": [{"source": "flux", "id": "t1"}] * 501, "trashed": True}, "entries"),
        ({"entries": [{"source": "flux", "id": "t1"}], "trashed": "maybe"}, "trashed"),
        ({"entries": [{"source": "flux", "id": "t1"}]}, "favourite"),
        (
            {"entries": [{"source": "flux", "id": "t1"}], "trashed": True, "favourite": True},
            "favourite",
        ),
    ],
)
def test_a_body_that_makes_no_sense_is_refused_by_name(api, body, field):
    answer = api.post(URL, body, format="json")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert list(answer.json()["errors"]) == [field]


def test_strangers_mark_nothing(db):
    assert send(APIClient(), "flux:t1", trashed=True).status_code == 401


def test_a_mark_is_posted(api):
    assert api.get(URL).status_code == 405


# ---------------------------------------------------------------- by the page's form
def press(member, **fields):
    return member.post("/history/marks", fields)


def said(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


def test_the_form_marks_what_was_ticked_and_leads_back(member, alice):
    for entry_id in ("a", "b", "c"):
        rows.task("flux", alice, id=entry_id)

    response = press(
        member, do="trash", entry=["flux:a", "flux:b"], next="/history?source=flux&text=x"
    )

    assert (response.status_code, response["Location"]) == (302, "/history?source=flux&text=x")
    assert entries() == {"flux:c": False}
    assert said(response) == ["2 moved to the trash."]


def test_a_button_of_one_entry_leaves_the_ticked_ones_alone(member, alice):
    rows.task("flux", alice, id="a")
    rows.task("midjourney", alice, id="b c:d")

    press(member, one="favourite midjourney:b c:d", entry=["flux:a"])

    assert entries() == {"flux:a": False, "midjourney:b c:d": True}


def test_nothing_ticked_does_nothing_and_says_so(member):
    assert said(press(member, do="trash")) == ["Nothing was selected."]


def test_more_than_can_be_done_at_once_is_refused_whole(member, alice, settings):
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 1000
    rows.task("flux", alice, id="t1")

    response = press(member, do="trash", entry=[f"flux:t{n}" for n in range(501)])

    assert said(response) == ["At most 500 at once, please."]
    assert entries() == {"flux:t1": False}


@pytest.mark.parametrize(
    "fields",
    [
        {"do": "explode", "entry": ["flux:a"]},
        {"do": "trash", "entry": ["dalle:a"]},
        {"do": "trash", "entry": ["flux:"]},
        {"do": "trash", "entry": ["flux:\0"]},
        {"one": "trash"},
        {},
    ],
)
def test_a_form_that_is_not_ours_is_refused(member, fields):
    answer = press(member, **fields)

    assert answer.status_code == 400


@pytest.mark.parametrize("following", ["https://evil.example/", "//evil.example", ""])
def test_the_form_leads_nowhere_but_here(member, alice, following):
    rows.task("flux", alice, id="a")

    assert press(member, do="trash", entry=["flux:a"], next=following)["Location"] == "/history"


def test_the_form_of_a_stranger_leads_to_the_login(client, db):
    assert press(client, do="trash", entry=["flux:a"])["Location"].startswith("/login?")


def test_the_form_is_posted(member):
    assert member.get("/history/marks").status_code == 405


def test_the_form_of_another_site_is_refused(alice):
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)

    assert press(client, do="trash", entry=["flux:a"]).status_code == 403


# ---------------------------------------------------------------- the trash
def test_the_trash_shows_what_was_thrown_away_latest_first(member, alice, bob):
    for number, source in enumerate(SOURCES):
        task = rows.task(
            source, alice, id=f"t{number}", trashed_at=rows.NOON + timedelta(hours=number)
        )
        rows.picture(source, task)
    rows.task("flux", alice, id="kept")
    rows.task("flux", alice, id="gone", trashed_at=REMOVED_AT)
    rows.task("flux", bob, id="his", trashed_at=rows.NOON)

    thrown = member.get("/history/trash").context["thrown"]

    assert [item.entry.key for item in thrown] == ["jimeng:t2", "midjourney:t1", "flux:t0"]
    assert thrown[0].removed_at == rows.NOON + timedelta(hours=2, days=30)
    assert thrown[0].entry.pictures[0].url == "/media/p0-t2"


def test_the_trash_goes_on_where_its_page_ended(member, alice):
    for number in range(30):
        rows.task("flux", alice, id=f"t{number:02}", trashed_at=rows.NOON)

    first = member.get("/history/trash").context
    second = member.get(
        f"/history/trash?cursor={first['next_cursor']}", headers={"HX-Request": "true"}
    )

    ids = [item.entry.id for page in (first, second.context) for item in page["thrown"]]
    assert ids == [f"t{number:02}" for number in reversed(range(30))]
    assert second.context["next_cursor"] == ""


def test_a_failed_task_in_the_trash_is_shown_and_says_why_it_has_no_picture(member, alice):
    rows.task("flux", alice, id="t1", status="FAILED", image_url="", trashed_at=rows.NOON)

    assert "Failed</span>" in member.get("/history/trash").content.decode()


@pytest.mark.parametrize("count", [1, 3])
def test_the_trash_takes_the_same_queries_for_any_number_of_entries(
    member, alice, count, django_assert_num_queries
):
    for _ in range(count):
        for source in SOURCES:
            rows.picture(source, rows.task(source, alice, trashed_at=rows.NOON))

    # The session, the member, the page, the pictures of three sources, and the head.
    with django_assert_num_queries(7):
        member.get("/history/trash")


def test_an_empty_trash_says_so(member):
    assert "The trash is empty" in member.get("/history/trash").content.decode()


def test_the_trash_of_a_stranger_is_the_login(client, db):
    assert client.get("/history/trash").status_code == 302
    assert client.post("/history/trash").status_code == 302


def test_garbage_for_a_place_in_the_trash_is_refused(member):
    assert member.get("/history/trash?cursor=garbage").status_code == 400


# ---------------------------------------------------------------- at once
@pytest.mark.django_db(transaction=True)
def test_throwing_away_and_taking_back_at_once_ends_in_one_of_the_two(alice):
    names = [Name("flux", rows.task("flux", alice).pk) for _ in range(20)]
    barrier = threading.Barrier(4)
    done = []

    def run(verb):
        try:
            barrier.wait()
            done.extend(verb() for _ in range(5))
        finally:
            connection.close()

    def throw():
        return marks.trash(user=alice, names=names, now=rows.NOON)

    def take_back():
        return marks.restore(user=alice, names=names)

    threads = [
        threading.Thread(target=run, args=[verb]) for verb in (throw, take_back, throw, take_back)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # Each of them held for all or for none, and so did the last one.
    assert (len(done), set(done)) == (20, {0, 20})
    assert len(entries()) in (0, 20)
