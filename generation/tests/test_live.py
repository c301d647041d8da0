"""Live status: what the pump tells whom, and whose connections the view takes."""

from __future__ import annotations

import contextlib
import json
import socket

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.urls import reverse
from django.utils import timezone
from django_q.models import OrmQ

from generation import cards, live, streams
from generation.models import FluxTask, SweepLease
from generation.tests.factories import FluxTaskFactory, TaskImageFactory

pytestmark = pytest.mark.usefixtures("drawing")

EVENTS = "/studio/events"


class Reader:
    """The browser's end of a stream."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        channel.setblocking(False)

    def heard(self) -> list[dict]:
        """Return what the events since the last time say."""
        received = b""
        with contextlib.suppress(BlockingIOError):
            while chunk := self.channel.recv(65536):
                received += chunk
        blocks = received.decode().split("\n\n")
        return [json.loads(block[5:]) for block in blocks if block.startswith("data:")]

    def is_over(self) -> bool:
        try:
            return self.channel.recv(65536) == b""
        except BlockingIOError:
            return False


@pytest.fixture
def pump(db):
    pump = live.Pump()
    yield pump
    pump.close()


@pytest.fixture
def watch(pump):
    """Return a function that opens a stream for a member and returns its reader."""
    with contextlib.ExitStack() as stack:

        def open_stream(member: User, *task_ids: str, language: str = "en") -> Reader:
            ours, theirs = socket.socketpair()
            stack.enter_context(theirs)
            ours.setblocking(False)
            pump.expect(live.Stream(ours, user_id=member.pk, language=language, task_ids=task_ids))
            return Reader(theirs)

        yield open_stream


def change(task: FluxTask, **values) -> None:
    FluxTask.objects.filter(pk=task.pk).update(updated_at=timezone.now(), **values)


def card(task: FluxTask) -> cards.Card:
    [built] = cards.build([FluxTask.objects.get(pk=task.pk)])
    return built


# ---------------------------------------------------------------- what is told
def test_the_first_event_tells_how_everything_under_way_stands(pump, watch, alice):
    waiting = FluxTaskFactory(user=alice)
    drawing = FluxTaskFactory(user=alice, at_provider=True, status="IN_PROGRESS")
    FluxTaskFactory(user=alice, succeeded=True)
    reader = watch(alice)

    pump.turn()

    [told] = reader.heard()
    assert told == {
        waiting.pk: {
            "mark": card(waiting).mark,
            "state": "waiting",
            "text": "Queued · #1 of 1",
            "since": waiting.created_at.isoformat(),
        },
        drawing.pk: {
            "mark": card(drawing).mark,
            "state": "running",
            "text": "Drawing",
            "since": drawing.submitted_at.isoformat(),
        },
    }


def test_a_member_without_tasks_hears_at_once_that_the_stream_works(pump, watch, alice):
    reader = watch(alice)

    pump.turn()

    assert reader.heard() == [{}]


def test_only_what_changed_is_told_again(pump, watch, alice):
    still = FluxTaskFactory(user=alice, at_provider=True)
    moving = FluxTaskFactory(user=alice, at_provider=True)
    reader = watch(alice)
    pump.turn()
    reader.heard()

    pump.turn()
    nothing = reader.heard()
    change(moving, status="IN_PROGRESS")
    change(still, lease_token="another sweep")
    pump.turn()

    assert nothing == []
    [told] = reader.heard()
    assert {key: news["state"] for key, news in told.items()} == {moving.pk: "running"}


def test_a_place_in_the_providers_line_needs_no_fetching(pump, watch, alice):
    task = FluxTaskFactory(user=alice, at_provider=True, queue_position=3)
    reader = watch(alice)
    pump.turn()
    [before] = reader.heard()

    change(task, queue_position=2)
    pump.turn()

    [after] = reader.heard()
    assert after[task.pk]["text"] == "2 ahead at the provider"
    assert after[task.pk]["mark"] == before[task.pk]["mark"] == card(task).mark


def test_a_new_task_is_told_without_a_new_stream(pump, watch, alice):
    reader = watch(alice)
    pump.turn()
    reader.heard()

    task = FluxTaskFactory(user=alice)
    pump.turn()

    [told] = reader.heard()
    assert told[task.pk]["text"] == "Queued · #1 of 1"


@pytest.mark.parametrize(
    ("end", "state"),
    [
        ({"status": "FAILED", "error_code": "timeout"}, "failed"),
        ({"status": "CANCELLED"}, "cancelled"),
    ],
)
def test_an_end_is_told_once(pump, watch, alice, end, state):
    task = FluxTaskFactory(user=alice, at_provider=True)
    reader = watch(alice)
    pump.turn()
    reader.heard()

    change(task, **end, completed_at=timezone.now(), next_action_at=None)
    pump.turn()
    pump.turn()

    [told] = reader.heard()
    assert told[task.pk]["state"] == state
    assert told[task.pk]["mark"] == card(task).mark


def test_a_task_is_followed_until_its_pictures_are_saved(pump, watch, alice):
    task = FluxTaskFactory(user=alice, at_provider=True)
    reader = watch(alice)
    pump.turn()
    reader.heard()

    picture = TaskImageFactory(
        user=alice, task=task, storage_key="", stored_at=None, next_action_at=timezone.now()
    )
    change(task, status="SUCCESS", completed_at=timezone.now(), next_action_at=None)
    pump.turn()
    [drawn] = reader.heard()
    picture.storage_key, picture.stored_at = "somewhere.png", timezone.now()
    picture.save()
    pump.turn()

    [saved] = reader.heard()
    assert (drawn[task.pk]["state"], saved[task.pk]["state"]) == ("saving", "done")
    assert saved[task.pk]["mark"] == card(task).mark


def test_what_ended_while_the_page_was_away_is_told_if_it_asks(pump, watch, alice):
    task = FluxTaskFactory(user=alice, failed=True)
    reader = watch(alice, task.pk)

    pump.turn()

    [told] = reader.heard()
    assert told[task.pk]["state"] == "failed"


def test_a_late_result_that_is_asked_for_is_followed(pump, watch, alice):
    task = FluxTaskFactory(
        user=alice,
        failed=True,
        error_code="timeout",
        recover_requested_at=timezone.now(),
        next_action_at=timezone.now(),
    )
    reader = watch(alice)

    pump.turn()

    [told] = reader.heard()
    assert told[task.pk]["text"] == "Asking for the late picture"


def test_the_line_is_told_to_all_who_stand_in_it(pump, watch, alice, bob, monkeypatch):
    monkeypatch.setattr(live, "LINE_SECS", 0)
    first = FluxTaskFactory(user=bob)
    second = FluxTaskFactory(user=alice)
    reader = watch(alice)
    pump.turn()
    [before] = reader.heard()

    change(first, submission="UNKNOWN", submitted_at=timezone.now())
    pump.turn()

    [after] = reader.heard()
    assert before[second.pk]["text"] == "Queued · #2 (1 of 2 are yours)"
    assert after[second.pk]["text"] == "Queued · #1 of 1"


def test_each_page_hears_it_in_its_own_language(pump, watch, alice):
    task = FluxTaskFactory(user=alice, at_provider=True, status="IN_PROGRESS")
    english, chinese = watch(alice), watch(alice, language="zh-hans")

    pump.turn()

    texts = [told[task.pk]["text"] for reader in (english, chinese) for told in reader.heard()]
    assert texts == ["Drawing", "绘制中"]


# ---------------------------------------------------------------- how much is told
def in_line(member: User, count: int) -> list[FluxTask]:
    return FluxTask.objects.bulk_create(FluxTaskFactory.build_batch(count, user=member))


def test_a_page_hears_at_first_of_the_cards_it_named(pump, watch, alice):
    named, *_others = in_line(alice, 1000)
    ended = FluxTaskFactory(user=alice, failed=True)
    reader = watch(alice, named.pk, ended.pk)

    pump.turn()

    [told] = reader.heard()
    assert told.keys() == {named.pk, ended.pk}


def test_a_page_that_named_no_card_hears_of_some_of_a_long_line(pump, watch, alice):
    in_line(alice, 1000)
    reader = watch(alice)

    pump.turn()

    [told] = reader.heard()
    assert len(told) == live.MOST_AT_ONCE


def test_a_page_hears_the_places_in_line_of_its_own_cards_alone(
    pump, watch, alice, bob, monkeypatch
):
    monkeypatch.setattr(live, "LINE_SECS", 0)
    first = FluxTaskFactory(user=bob)
    shown, _not_shown = FluxTaskFactory.create_batch(2, user=alice)
    reader = watch(alice, shown.pk)
    pump.turn()
    reader.heard()

    change(first, submission="UNKNOWN", submitted_at=timezone.now())
    pump.turn()

    [told] = reader.heard()
    assert [news["text"] for news in told.values()] == ["Queued · #1 of 2"]
    assert told.keys() == {shown.pk}


def test_a_page_hears_of_a_card_it_did_not_name_when_it_has_to_be_fetched(pump, watch, alice):
    named, other = FluxTaskFactory.create_batch(2, user=alice, at_provider=True, queue_position=3)
    reader = watch(alice, named.pk)
    pump.turn()
    reader.heard()

    change(other, queue_position=2)
    pump.turn()
    nothing = reader.heard()
    change(other, status="IN_PROGRESS")
    pump.turn()

    [told] = reader.heard()
    assert nothing == []
    assert (told.keys(), told[other.pk]["mark"]) == ({other.pk}, card(other).mark)


def test_what_came_after_the_page_is_followed_like_what_it_named(pump, watch, alice):
    named = FluxTaskFactory(user=alice, at_provider=True)
    reader = watch(alice, named.pk)
    pump.turn()
    new = FluxTaskFactory(user=alice, at_provider=True, queue_position=3)
    pump.turn()
    reader.heard()

    change(new, queue_position=2)
    pump.turn()

    [told] = reader.heard()
    assert told[new.pk]["text"] == "2 ahead at the provider"


def test_much_at_once_is_told_in_several_events_its_own_cards_first(pump, watch, alice):
    tasks = in_line(alice, 150)
    named = tasks[-1]
    reader = watch(alice, named.pk)
    pump.turn()
    reader.heard()

    FluxTask.objects.update(
        status="CANCELLED",
        completed_at=timezone.now(),
        next_action_at=None,
        updated_at=timezone.now(),
    )
    for _turn in range(4):
        pump.turn()

    events = reader.heard()
    assert [len(told) for told in events] == [60, 60, 30]
    assert named.pk in events[0]
    assert {key for told in events for key in told} == {task.pk for task in tasks}


def test_what_ends_makes_room_for_what_comes(pump, watch, alice, monkeypatch):
    monkeypatch.setattr(live, "MOST_AT_ONCE", 1)
    named = FluxTaskFactory(user=alice, at_provider=True)
    reader = watch(alice, named.pk)
    pump.turn()
    change(named, status="CANCELLED", completed_at=timezone.now(), next_action_at=None)
    pump.turn()
    new = FluxTaskFactory(user=alice, at_provider=True, queue_position=3)
    pump.turn()
    reader.heard()

    change(new, queue_position=2)
    pump.turn()

    assert [list(told) for told in reader.heard()] == [[new.pk]]


def test_a_second_page_hears_of_its_own_cards_and_in_its_own_words(pump, watch, alice):
    one, two = FluxTaskFactory.create_batch(2, user=alice, at_provider=True, status="IN_PROGRESS")
    readers = watch(alice, one.pk), watch(alice, two.pk), watch(alice, two.pk, language="zh-hans")

    pump.turn()

    heard = [
        {key: news["text"] for told in reader.heard() for key, news in told.items()}
        for reader in readers
    ]
    assert heard == [{one.pk: "Drawing"}, {two.pk: "Drawing"}, {two.pk: "绘制中"}]


# ---------------------------------------------------------------- whom it is told
def test_nobody_hears_of_anothers_tasks_even_if_he_asks(pump, watch, alice, bob):
    hers = FluxTaskFactory(user=alice, at_provider=True)
    for_alice, for_bob = watch(alice), watch(bob, hers.pk)

    pump.turn()
    change(hers, status="IN_PROGRESS")
    pump.turn()

    assert [list(told) for told in for_alice.heard()] == [[hers.pk], [hers.pk]]
    assert for_bob.heard() == [{}]


def test_what_is_in_the_trash_is_not_told(pump, watch, alice):
    task = FluxTaskFactory(user=alice, failed=True, trashed_at=timezone.now())
    reader = watch(alice, task.pk)

    pump.turn()

    assert reader.heard() == [{}]


# ---------------------------------------------------------------- what it costs
@pytest.mark.parametrize("watchers", [1, 3])
def test_a_look_at_which_nothing_is_new_is_one_query(
    pump, watch, django_assert_num_queries, watchers
):
    for number in range(watchers):
        member = User.objects.create_user(f"watcher{number}")
        FluxTaskFactory(user=member, at_provider=True)
        watch(member)
    pump.turn()

    with django_assert_num_queries(1):
        pump.turn()


@pytest.mark.parametrize("tasks", [1, 3])
def test_a_look_at_which_much_is_new_is_three_queries(
    pump, watch, alice, django_assert_num_queries, tasks
):
    FluxTaskFactory.create_batch(tasks, user=alice, at_provider=True, aspect_ratio="")
    reader = watch(alice)
    pump.turn()
    FluxTask.objects.update(
        status="SUCCESS",
        completed_at=timezone.now(),
        next_action_at=None,
        updated_at=timezone.now(),
    )
    reader.heard()

    with django_assert_num_queries(3):
        pump.turn()

    [told] = reader.heard()
    assert len(told) == tasks


def test_what_stays_open_is_not_read_again_and_what_is_being_saved_is(
    pump, watch, alice, django_assert_num_queries
):
    FluxTaskFactory(user=alice, at_provider=True)
    saving = FluxTaskFactory(user=alice, succeeded=True)
    TaskImageFactory(
        user=alice, task=saving, storage_key="", stored_at=None, next_action_at=timezone.now()
    )
    watch(alice, saving.pk)
    pump.turn()

    # The look, the task, its pictures.
    for _turn in range(2):
        with django_assert_num_queries(3):
            pump.turn()


def test_a_second_page_of_a_member_hears_all_without_reading_it_again(
    pump, watch, alice, django_assert_num_queries
):
    task = FluxTaskFactory(user=alice, at_provider=True)
    first = watch(alice)
    pump.turn()
    first.heard()
    second = watch(alice)

    with django_assert_num_queries(1):
        pump.turn()

    assert first.heard() == []
    assert [list(told) for told in second.heard()] == [[task.pk]]


def test_a_member_who_left_and_came_back_hears_all_again(pump, watch, alice):
    task = FluxTaskFactory(user=alice, at_provider=True)
    reader = watch(alice)
    pump.turn()
    reader.channel.close()
    pump.listen(seconds=0)
    again = watch(alice)

    pump.turn()

    assert [list(told) for told in again.heard()] == [[task.pk]]


def test_nothing_is_asked_while_nobody_watches(pump, alice, django_assert_num_queries):
    FluxTaskFactory(user=alice)

    with django_assert_num_queries(0):
        pump.turn()


@pytest.mark.parametrize("rows", [0, 2000])
def test_the_look_reads_an_index_that_holds_little(alice, rows):
    FluxTask.objects.bulk_create(FluxTaskFactory.build_batch(rows, user=alice, succeeded=True))
    analyze, explain = {
        "sqlite": ("ANALYZE", "EXPLAIN QUERY PLAN"),
        "postgresql": ("ANALYZE flux_tasks", "EXPLAIN"),
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(analyze)
        if connection.vendor == "postgresql":
            # An empty table is read whole, and rightly so.
            cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"{explain} {live.LOOK[connection.vendor]}")
        plan = str(cursor.fetchall())

    only = {"sqlite": "COVERING INDEX", "postgresql": "Index Only Scan using"}[connection.vendor]
    assert f"{only} idx_flux_tasks_due" in plan


def test_watching_keeps_the_sweep_going(pump, watch, alice):
    FluxTaskFactory(user=alice)
    watch(alice)

    pump.turn()

    assert OrmQ.objects.count() == 1
    assert SweepLease.objects.get().called_at is not None


# ---------------------------------------------------------------- when it ends
def test_a_page_that_goes_away_is_forgotten(pump, watch, alice, django_assert_num_queries):
    FluxTaskFactory(user=alice, at_provider=True)
    reader = watch(alice)
    pump.turn()

    reader.channel.close()
    pump.listen(seconds=0)

    with django_assert_num_queries(0):
        pump.turn()


def test_a_page_that_does_not_read_is_cut_off(pump, watch, alice, settings):
    settings.LIVE_STREAMS = 1
    task = FluxTaskFactory(user=alice, at_provider=True)
    reader = watch(alice)
    pump.turn()

    position = 0
    while not pump.has_room(user_id=alice.pk) and position < 10_000:
        position += 1
        change(task, queue_position=position)
        pump.turn()

    assert 0 < position < 10_000
    reader.heard()
    assert reader.is_over()


def test_a_stream_ends_after_a_while_so_that_its_reader_shows_himself_again(
    pump, watch, alice, monkeypatch
):
    monkeypatch.setattr(live, "LIFE_SECS", (0, 0))
    reader = watch(alice)

    pump.turn()

    assert reader.heard() == [{}]
    assert reader.is_over()


def test_a_silent_stream_beats(pump, watch, alice, monkeypatch):
    monkeypatch.setattr(live, "HEARTBEAT_SECS", -60)
    reader = watch(alice)

    pump.turn()

    received = reader.channel.recv(4096)
    assert received == b"data: {}\n\n:\n\n"


def test_a_thread_looks_while_somebody_watches_and_ends_with_the_last(transactional_db, alice):
    task = FluxTaskFactory(user=alice, at_provider=True)
    pump = live.Pump()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    with theirs:
        pump.add(live.Stream(ours, user_id=alice.pk, language="en"))
        first = theirs.recv(4096)
        thread = pump.thread
        change(task, status="IN_PROGRESS")
        second = theirs.recv(4096)
    thread.join(10)

    assert (b'"waiting"' in first, b'"running"' in second) == (True, True)
    assert not thread.is_alive()
    assert pump.thread is None


# ---------------------------------------------------------------- room
def test_there_is_room_for_so_many_pages_of_one_member(pump, watch, alice, bob):
    for _page in range(live.MAX_PER_MEMBER):
        watch(alice)

    assert not pump.has_room(user_id=alice.pk)
    assert pump.has_room(user_id=bob.pk)


def test_there_is_room_for_so_many_pages(pump, watch, alice, bob, settings):
    settings.LIVE_STREAMS = 2
    reader = watch(alice)
    watch(alice)
    full = not pump.has_room(user_id=bob.pk)
    pump.turn()

    reader.channel.close()
    pump.listen(seconds=0)

    assert full
    assert pump.has_room(user_id=bob.pk)


def test_files_bound_the_room():
    assert streams.room(wanted=10) == 10
    assert streams.room(wanted=10**9) < 10**9


# ---------------------------------------------------------------- the view
@pytest.fixture
def member(client, alice):
    client.force_login(alice)
    return client


@pytest.fixture
def connected(pump, monkeypatch):
    """What a request through gunicorn brings along, and the browser's end of it."""
    monkeypatch.setattr(live, "pump", pump)
    pump.stop()  # Turns are the test's.
    servers, browsers = socket.socketpair()
    with servers, browsers:
        browsers.settimeout(5)
        yield {"gunicorn.socket": servers}, browsers


def test_without_a_connection_to_take_over_there_is_no_stream(member):
    response = member.get(EVENTS)

    assert (response.status_code, response.headers.get("Retry-After")) == (204, None)


def test_the_connection_is_taken_over_with_the_head_of_the_answer(member, connected, pump, alice):
    environ, browser = connected
    task = FluxTaskFactory(user=alice, failed=True)

    response = member.get(EVENTS, {"id": task.pk}, **environ)
    content = b"".join(response.streaming_content)
    head = browser.recv(4096).decode()
    pump.turn()

    status, *fields = head.removesuffix("\r\n\r\n").split("\r\n")
    assert content == b""
    assert status == "HTTP/1.1 200 OK"
    assert {
        "Content-Type: text/event-stream",
        "Cache-Control: no-store",
        "X-Accel-Buffering: no",
        "Connection: close",
        f"X-Request-ID: {response['X-Request-ID']}",
    } <= set(fields)
    assert task.pk.encode() in browser.recv(4096)


def test_what_the_server_still_does_with_the_connection_reaches_nobody(member, connected):
    environ, browser = connected
    list(member.get(EVENTS, **environ).streaming_content)
    browser.recv(4096)
    server = environ["gunicorn.socket"]

    with pytest.raises(BrokenPipeError):
        server.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    server.shutdown(socket.SHUT_WR)
    server.close()

    browser.setblocking(False)
    with pytest.raises(BlockingIOError):
        browser.recv(4096)


@pytest.mark.parametrize("limit", ["LIVE_STREAMS", "MAX_PER_MEMBER"])
def test_where_there_is_no_room_the_page_is_told_when_to_come_back(
    member, connected, pump, alice, settings, monkeypatch, limit
):
    environ, _browser = connected
    if limit == "LIVE_STREAMS":
        settings.LIVE_STREAMS = 1
    else:
        monkeypatch.setattr(live, "MAX_PER_MEMBER", 1)
    list(member.get(EVENTS, **environ).streaming_content)

    response = member.get(EVENTS, **environ)

    assert (response.status_code, response.headers["Retry-After"]) == (204, "30")


def test_streams_can_be_switched_off(member, connected, settings):
    settings.LIVE_STREAMS = 0
    environ, _browser = connected

    response = member.get(EVENTS, **environ)

    assert (response.status_code, response.headers.get("Retry-After")) == (204, None)


def test_http_2_and_tls_are_left_alone(member, connected):
    environ, _browser = connected

    class Wrapped(socket.socket):
        pass

    with Wrapped(fileno=environ["gunicorn.socket"].dup().detach()) as wrapped:
        tls = member.get(EVENTS, **{"gunicorn.socket": wrapped})
    http2 = member.get(EVENTS, **environ, SERVER_PROTOCOL="HTTP/2.0")

    assert (tls.status_code, http2.status_code) == (204, 204)


def test_a_stream_needs_a_login(client):
    response = client.get(EVENTS)

    assert response.status_code == 302
    assert response["Location"].startswith(reverse("login"))


def test_a_member_who_was_deactivated_gets_no_stream_again(member, alice):
    User.objects.filter(pk=alice.pk).update(is_active=False)

    assert member.get(EVENTS).status_code == 302


def test_a_stream_is_got_and_never_posted(member):
    assert member.post(EVENTS).status_code == 405
