"""Many answers written down in one transaction: what each alone would have brought, or nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from credits import audit, ledger
from credits.models import LedgerEntry
from generation import lifecycle
from generation.models import FluxTask, TaskImage
from generation.providers.base import (
    PictureLink,
    Progress,
    Refused,
    Result,
    Submitted,
    Unavailable,
)
from generation.tests.factories import FluxTaskFactory

START = 500


@pytest.fixture(autouse=True)
def start(settings):
    settings.CREDITS_ENABLED = True
    settings.CREDITS_STARTING_GRANT = START


def running(user, *, pictures=1, price=5, **kwargs):
    """A task at the provider, its credits reserved."""
    cost = price * pictures
    task = FluxTaskFactory(
        user=user, at_provider=True, num_images=pictures, cost_reserved=cost, **kwargs
    )
    if cost:
        ledger.reserve(user=user, amount=cost, reference=f"flux:{task.pk}")
    return task


def drawn(pictures=1, **kwargs):
    links = [PictureLink(url=f"https://v3.fal.media/{n}.png", **kwargs) for n in range(pictures)]
    return lifecycle.Look(outcome=Result(pictures=tuple(links), seed="7", billable_units="1"))


def progress(state="running", position=None):
    return lifecycle.Look(outcome=Progress(state=state, queue_position=position))


def record(*looks):
    return lifecycle.record_looks(looks=looks, now=timezone.now())


def state_of(task):
    task.refresh_from_db()
    pictures = TaskImage.objects.of_tasks(source="flux", ids=[task.pk]).count()
    return task.status, pictures, task.cost_charged


def booked(task):
    entries = LedgerEntry.objects.filter(reference=f"flux:{task.pk}").order_by("id")
    return [(entry.kind, entry.amount, entry.charged) for entry in entries]


def balance(user):
    return ledger.account_for(user=user).credits_balance


def test_pictures_and_progress_of_many_are_written_down(alice, bob):
    one, two = running(alice), running(alice, pictures=4)
    free, other, moving = running(bob, price=0), running(bob), running(bob)

    left = record(
        (one, drawn()), (two, drawn(3)), (free, drawn()), (other, drawn()), (moving, progress())
    )

    assert left == []
    assert state_of(one) == ("SUCCESS", 1, 5)
    assert state_of(two) == ("SUCCESS", 3, 15)
    assert state_of(free) == ("SUCCESS", 1, 0)
    assert state_of(moving) == ("IN_PROGRESS", 0, 0)
    assert booked(two) == [("RESERVE", -20, 0), ("SETTLE", 5, 15)]
    assert booked(free) == []
    assert (balance(alice), balance(bob)) == (START - 20, START - 10)
    assert (two.result_seed, two.next_action_at) == ("7", None)
    assert audit.check() == []


def test_a_picture_that_was_blacked_out_costs_nothing_among_others_either(alice):
    black, fine = running(alice), running(alice)

    assert record((black, drawn(is_nsfw=True)), (fine, drawn())) == []

    assert (state_of(black), state_of(fine)) == (("SUCCESS", 1, 0), ("SUCCESS", 1, 5))
    assert balance(alice) == START - 5


def test_any_number_costs_as_many_statements_as_one(alice, django_assert_num_queries):
    tasks = [running(alice) for _ in range(12)]
    looks = [(task, drawn()) for task in tasks[:8]] + [(task, progress()) for task in tasks[8:]]

    # A savepoint here; progress, tasks, pictures; what is reserved, entries, accounts.
    with django_assert_num_queries(8):
        assert record(*looks) == []


def test_no_news_costs_nothing(alice, django_assert_num_queries):
    tasks = [running(alice, status="IN_PROGRESS") for _ in range(3)]

    with django_assert_num_queries(0):
        assert record(*((task, progress()) for task in tasks)) == []


def test_where_one_has_ended_meanwhile_all_are_left_to_be_written_down_alone(alice):
    ended, other, moving = running(alice), running(alice), running(alice)
    lifecycle.fail(task=ended, code="timeout", now=timezone.now())
    looks = [(ended, drawn()), (other, drawn()), (moving, progress())]

    assert record(*looks) == looks

    assert state_of(ended) == ("FAILED", 0, 0)
    assert state_of(other) == ("IN_QUEUE", 0, 0)
    assert state_of(moving) == ("IN_QUEUE", 0, 0)
    assert booked(other) == [("RESERVE", -5, 0)]


def test_where_credits_of_one_are_amiss_all_are_left_to_be_written_down_alone(alice):
    amiss = FluxTaskFactory(user=alice, at_provider=True, cost_reserved=5)
    other = running(alice)
    looks = [(amiss, drawn()), (other, drawn())]

    assert record(*looks) == looks

    assert (state_of(amiss)[0], state_of(other)[0]) == ("IN_QUEUE", "IN_QUEUE")
    assert booked(other) == [("RESERVE", -5, 0)]


def test_where_a_picture_is_there_already_all_are_left_to_be_written_down_alone(alice):
    odd, other = running(alice), running(alice)
    TaskImage.objects.create(user=alice, source="flux", task_id=odd.pk, position=0)
    looks = [(odd, drawn()), (other, drawn())]

    assert record(*looks) == looks

    assert (state_of(other), balance(alice)) == (("IN_QUEUE", 0, 0), START - 10)


def test_news_of_an_earlier_request_is_not_taken_for_that_of_this_one(alice):
    resent = running(alice)
    FluxTask.objects.filter(pk=resent.pk).update(request_id="newer")

    assert record((resent, drawn()), (running(alice), drawn())) != []

    assert state_of(resent) == ("IN_QUEUE", 0, 0)


def test_what_needs_a_second_glance_is_left(alice):
    now = timezone.now()
    plain = running(alice)
    looks = [
        (running(alice), lifecycle.Look(outcome=Refused("content_policy"))),
        (running(alice), lifecycle.Look(outcome=Unavailable("provider_unavailable"))),
        (running(alice, deadline_at=now - timedelta(seconds=1)), progress()),
        (running(alice), lifecycle.Look(outcome=Progress(state="running"), cancel_sent=True)),
        (running(alice, recover_requested_at=now), drawn()),
    ]

    left = record(*looks, (plain, drawn()))

    assert sorted(task.pk for task, _look in left) == sorted(task.pk for task, _look in looks)
    assert state_of(plain) == ("SUCCESS", 1, 5)
    assert {state_of(task) for task, _look in looks} == {("IN_QUEUE", 0, 0)}


# ---------------------------------------------------------------- sending
def test_several_are_claimed_for_sending_but_those_that_somebody_else_has(alice):
    mine, cancelled = FluxTaskFactory.create_batch(2, user=alice)
    lifecycle.cancel(task=cancelled, now=timezone.now())

    claimed = lifecycle.begin_submissions(tasks=[cancelled, mine], now=timezone.now())

    assert claimed == [mine]
    mine.refresh_from_db()
    cancelled.refresh_from_db()
    assert (mine.submission, cancelled.submission) == ("UNKNOWN", "UNSENT")


def test_several_that_were_accepted_are_noted_but_those_that_have_ended(alice):
    tasks = FluxTaskFactory.create_batch(3, user=alice)
    lifecycle.begin_submissions(tasks=tasks, now=timezone.now())
    lifecycle.fail_submission(task=tasks[1], code="submit_unknown", now=timezone.now())

    lifecycle.record_acceptances(
        accepted=[(task, Submitted(request_id=f"r{n}")) for n, task in enumerate(tasks)],
        timeout=timedelta(minutes=5),
        now=timezone.now(),
    )

    found = FluxTask.objects.order_by("created_at", "id").values_list("status", "request_id")
    assert sorted(found) == [("FAILED", ""), ("IN_QUEUE", "r0"), ("IN_QUEUE", "r2")]
