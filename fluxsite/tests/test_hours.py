"""What every hour brought: counted right, however often, by however many."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone
from django_q.models import Schedule

from fluxsite.models import HourlyFigure
from fluxsite.operations import hours
from generation.models import FluxTask, StorageUse, TaskImage
from generation.tests.factories import FluxTaskFactory, TaskImageFactory, UserFactory
from history import feedback
from history.marks import Name
from history.models import Feedback

NOW = datetime(2026, 11, 20, 12, 34, tzinfo=UTC)
HOUR = datetime(2026, 11, 20, 12, tzinfo=UTC)
SCHNELL, DEV = "fal-ai/flux-1/schnell", "fal-ai/flux-1/dev"


def ended(at=NOW, **values):
    kind = {} if "failed" in values else {"succeeded": True}
    return FluxTaskFactory(**{**kind, **values, "completed_at": at})


def figures(name, *, hour=HOUR, hours=1):
    rows = HourlyFigure.objects.filter(name=name, begins_at=hour, hours=hours)
    return {(row.model, row.key): row.value for row in rows}


def test_it_is_counted_every_minute_and_once_more_in_the_night(db):
    minutely, nightly = Schedule.objects.filter(name__startswith="figures").order_by("name")

    assert (minutely.func, minutely.minutes) == ("fluxsite.operations.hours.roll_up", 1)
    assert (nightly.func, nightly.schedule_type) == (
        "fluxsite.operations.hours.nightly",
        Schedule.DAILY,
    )


def test_tasks_are_counted_by_model_and_by_how_they_ended(alice):
    ended(user=alice)
    ended(user=alice)
    ended(user=alice, model=DEV)
    ended(user=alice, failed=True, error_code="timeout")
    ended(user=alice, failed=True, error_code="")
    ended(user=alice, failed=True, status="CANCELLED", error_code="cancelled")
    FluxTaskFactory(user=alice, at_provider=True)

    hours.roll_up(now=NOW)

    assert figures("tasks") == {
        (SCHNELL, "SUCCESS"): 2,
        (DEV, "SUCCESS"): 1,
        (SCHNELL, "timeout"): 1,
        (SCHNELL, "internal"): 1,
        (SCHNELL, "CANCELLED"): 1,
    }


def test_each_task_is_in_the_hour_it_ended_in(alice):
    ended(HOUR - timedelta(microseconds=1), user=alice)
    ended(HOUR, user=alice)

    hours.roll_up(now=NOW)

    assert figures("tasks") == {(SCHNELL, "SUCCESS"): 1}
    assert figures("tasks", hour=HOUR - timedelta(hours=1)) == {(SCHNELL, "SUCCESS"): 1}


def test_what_was_brought_over_from_elsewhere_is_not_counted(alice):
    ended(user=alice, origin="old site", external_id="1")

    hours.roll_up(now=NOW)

    assert figures("tasks") == {}


def test_generation_times_are_counted_in_buckets(alice):
    for seconds in (0.2, 0.5, 0.51, 3.0, 4.0, 9999.0):
        ended(user=alice, generation_time=seconds)
    ended(user=alice, failed=True, generation_time=1.0)

    hours.roll_up(now=NOW)

    assert figures("seconds") == {
        (SCHNELL, "0.5"): 2,
        (SCHNELL, "0.7"): 1,
        (SCHNELL, "4"): 2,
        (SCHNELL, "inf"): 1,
    }
    assert figures("milliseconds") == {(SCHNELL, ""): 10_007_210}


def test_credits_are_what_was_charged_on_delivery(alice):
    ended(user=alice, cost_charged=7)
    ended(user=alice, cost_charged=5, model=DEV)
    ended(user=alice, failed=True, cost_reserved=9)

    hours.roll_up(now=NOW)

    assert figures("credits") == {(SCHNELL, ""): 7, (DEV, ""): 5}


def test_pictures_are_counted_by_what_became_of_them(alice):
    task = ended(user=alice)
    at_provider = {"storage_key": "", "stored_at": None}
    TaskImageFactory(task=task, user=alice, position=0)
    TaskImageFactory(task=task, user=alice, position=1, store_attempts=2)
    TaskImageFactory(
        task=task, user=alice, position=2, store_attempts=4, lost_at=NOW, **at_provider
    )
    TaskImageFactory(task=task, user=alice, position=3, **at_provider)

    hours.roll_up(now=NOW)

    assert figures("pictures") == {
        ("", "delivered"): 4,
        ("", "stored"): 2,
        ("", "retried"): 2,
        ("", "lost"): 1,
    }


def test_votes_and_reports_are_counted(alice, bob):
    this_hour = hours.begin_of_hour(timezone.now())
    name = Name(source="flux", id="a" * 32)
    feedback.vote(user=alice, name=name, value="like")
    feedback.report(user=bob, name=name, reason="broken")
    Feedback.objects.update(updated_at=this_hour, reported_at=this_hour)

    hours.roll_up(now=this_hour)

    assert figures("votes", hour=this_hour) == {("", "like"): 1, ("", "dislike"): 0}
    assert figures("reports", hour=this_hour) == {("", "broken"): 1}

    Feedback.objects.update(vote="")
    hours.roll_up(now=this_hour)

    assert figures("votes", hour=this_hour) == {("", "like"): 0, ("", "dislike"): 0}


def test_what_the_storage_holds_is_noted(alice, bob):
    for user, size in ((alice, 1000), (bob, 500)):
        StorageUse.objects.create(user=user, byte_size=size, counted_at=NOW)

    hours.roll_up(now=NOW)

    assert figures("bytes") == {("", ""): 1500}


# ---------------------------------------------------------------- again and again
def test_counting_again_changes_nothing(alice):
    ended(user=alice, cost_charged=3, generation_time=2.0)
    hours.roll_up(now=NOW)
    before = sorted(map(str, HourlyFigure.objects.all()))

    hours.roll_up(now=NOW)
    hours.nightly(now=NOW)

    assert [row for row in sorted(map(str, HourlyFigure.objects.all())) if row in before] == before
    assert figures("tasks") == {(SCHNELL, "SUCCESS"): 1}


def test_what_came_since_is_added(alice):
    ended(user=alice)
    hours.roll_up(now=NOW)
    ended(user=alice)

    hours.roll_up(now=NOW + timedelta(minutes=1))

    assert figures("tasks") == {(SCHNELL, "SUCCESS"): 2}


def test_a_failure_that_was_delivered_late_stays_a_failure_of_its_hour(alice):
    task = ended(user=alice, failed=True, error_code="timeout")
    hours.roll_up(now=NOW)
    later = NOW + timedelta(minutes=50)
    FluxTask.objects.filter(pk=task.pk).update(
        status="SUCCESS",
        error_code="",
        completed_at=later,
        submission="ACCEPTED",
        request_id="r",
    )

    hours.roll_up(now=later)

    assert figures("tasks") == {(SCHNELL, "timeout"): 1}
    assert figures("tasks", hour=HOUR + timedelta(hours=1)) == {(SCHNELL, "SUCCESS"): 1}


def test_a_picture_stored_later_is_counted_in_the_night(alice):
    task = ended(user=alice)
    image = TaskImageFactory(task=task, user=alice, storage_key="", stored_at=None)
    hours.roll_up(now=NOW)
    TaskImage.objects.filter(pk=image.pk).update(
        storage_key="k", stored_at=NOW + timedelta(days=1), store_attempts=3
    )

    hours.nightly(now=NOW + timedelta(days=2))

    assert figures("pictures")["", "stored"] == 1
    assert figures("pictures")["", "retried"] == 1


def test_hours_in_which_nobody_counted_are_made_up_for(alice):
    ended(HOUR, user=alice)
    hours.roll_up(now=NOW)
    ended(HOUR + timedelta(hours=5), user=alice)

    counted = hours.roll_up(now=NOW + timedelta(hours=9))

    assert counted == 9
    assert figures("tasks", hour=HOUR + timedelta(hours=5)) == {(SCHNELL, "SUCCESS"): 1}


def test_a_site_that_begins_to_count_takes_a_month_of_its_past(alice):
    ended(NOW - timedelta(days=60), user=alice)
    ended(NOW - timedelta(days=20), user=alice)

    hours.roll_up(now=NOW)

    assert hours.totals()["tasks"] == {(SCHNELL, "SUCCESS"): 1}


def test_a_run_that_takes_long_leaves_the_rest_to_the_next(alice, monkeypatch):
    ended(NOW - timedelta(hours=30), user=alice)
    monkeypatch.setattr(hours, "RUN_SECONDS", -1.0)

    assert [hours.roll_up(now=NOW) for _run in range(3)] == [1, 1, 1]
    assert HourlyFigure.objects.filter(name="counted").count() == 3


@pytest.mark.django_db(transaction=True)
def test_many_that_count_at_once_count_once(race):
    user = UserFactory()
    for number in range(6):
        ended(user=user, generation_time=number + 1.0, cost_charged=1)

    answers = race(lambda _each: hours.roll_up(now=NOW), list(range(4)))

    assert answers == [3, 3, 3, 3]
    assert figures("tasks") == {(SCHNELL, "SUCCESS"): 6}
    assert figures("credits") == {(SCHNELL, ""): 6}


# ---------------------------------------------------------------- days
def test_hours_of_old_days_are_folded_into_days(alice):
    day = datetime(2026, 10, 1, tzinfo=UTC)
    StorageUse.objects.create(user=alice, byte_size=70, counted_at=NOW)
    for hour in (3, 3, 17):
        ended(day + timedelta(hours=hour), user=alice, cost_charged=2)
    hours.roll_up(now=day + timedelta(hours=23))
    before = hours.totals()

    hours.nightly(now=NOW)
    hours.nightly(now=NOW)

    assert HourlyFigure.objects.filter(hours=1, begins_at__lt=day + timedelta(days=1)).count() == 0
    assert figures("tasks", hour=day, hours=24) == {(SCHNELL, "SUCCESS"): 3}
    assert figures("bytes", hour=day, hours=24) == {("", ""): 70}
    assert hours.totals()["credits"] == before["credits"] == {(SCHNELL, ""): 6}


def test_a_day_that_is_not_over_long_enough_keeps_its_hours(alice):
    at = NOW - hours.KEEP_HOURS + timedelta(hours=1)
    ended(at, user=alice)
    hours.roll_up(now=at)

    assert hours.fold(now=NOW) == 0


def test_days_are_those_of_the_sites_time_zone(alice):
    midnight = datetime(2026, 10, 1, 16, tzinfo=UTC)
    for hour in (-1, 0, 23, 24):
        ended(midnight + timedelta(hours=hour), user=alice)
    hours.roll_up(now=midnight + timedelta(hours=30))

    with timezone.override("Asia/Shanghai"):
        hours.fold(now=NOW)

    assert figures("tasks", hour=midnight, hours=24) == {(SCHNELL, "SUCCESS"): 2}


def test_a_day_of_twenty_five_hours_is_folded_whole(alice):
    midnight = datetime(2026, 10, 24, 22, tzinfo=UTC)
    ended(midnight, user=alice)
    ended(midnight + timedelta(hours=24), user=alice)
    hours.roll_up(now=midnight + timedelta(hours=40))

    with timezone.override("Europe/Berlin"):
        hours.fold(now=NOW)

    assert figures("tasks", hour=midnight, hours=25) == {(SCHNELL, "SUCCESS"): 2}


def test_a_day_that_was_not_counted_to_its_end_waits(alice):
    day = datetime(2026, 11, 1, tzinfo=UTC)
    ended(day + timedelta(hours=3), user=alice)
    ended(day + timedelta(hours=20), user=alice)
    hours.roll_up(now=day + timedelta(hours=3))

    assert hours.fold(now=NOW) == 0
    hours.nightly(now=NOW)

    assert figures("tasks", hour=day, hours=24) == {(SCHNELL, "SUCCESS"): 2}
    assert hours.totals()["tasks"] == {(SCHNELL, "SUCCESS"): 2}


def test_what_was_folded_is_not_counted_again_after_a_long_pause(alice):
    day = datetime(2026, 11, 1, tzinfo=UTC)
    ended(day + timedelta(hours=3), user=alice)
    hours.roll_up(now=day + timedelta(hours=23))
    hours.fold(now=NOW)

    hours.roll_up(now=NOW)

    assert hours.totals()["tasks"] == {(SCHNELL, "SUCCESS"): 1}


# ---------------------------------------------------------------- quick
def test_an_hour_is_counted_from_an_index(alice, django_assert_num_queries):
    ended(user=alice)

    # Five questions, and two writes: what grows and what may fall.
    with django_assert_num_queries(7):
        hours.count_hour(HOUR)
    if connection.vendor == "sqlite":
        assert "idx_flux_tasks_ended" in hours._ended(HOUR).explain()


def test_an_hour_is_never_counted_from_all_tasks_of_a_status(alice):
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite, without statistics, would")
    plans = []
    with connection.execute_wrapper(
        lambda run, sql, *rest: (plans.append(sql), run(sql, *rest))[1]
    ):
        hours.count_hour(HOUR)

    reads = [sql for sql in plans if "flux_tasks" in sql and sql.startswith("SELECT")]
    assert len(reads) == 3
    assert [sql for sql in reads if '"status" =' in sql] == []
