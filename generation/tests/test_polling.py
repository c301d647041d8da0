"""The sweep: one at a time, fair, limited, and back on its feet after any death."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from django_q.models import OrmQ, Schedule

from generation import lifecycle, polling
from generation.models import FluxConfig, FluxTask, SweepLease, TaskImage
from generation.providers.base import PictureLink, Progress, Refused, Result
from generation.tests.factories import FluxTaskFactory, TaskImageFactory, UserFactory


def live_lease(seconds=5):
    SweepLease.objects.create(
        name=polling.LEASE, holder="other", expires_at=timezone.now() + timedelta(seconds=seconds)
    )


# ---------------------------------------------------------------- wake-ups
def test_a_kick_starts_a_sweep_when_none_is_alive(db):
    polling.kick()

    assert OrmQ.objects.count() == 1


def test_many_kicks_call_one_sweep(db):
    for _time in range(5):
        polling.kick()

    assert OrmQ.objects.count() == 1


def test_a_call_that_was_lost_is_repeated(db):
    polling.kick()
    SweepLease.objects.update(called_at=timezone.now() - polling.CALL_AGAIN_AFTER * 2)

    polling.kick()

    assert OrmQ.objects.count() == 2


def test_a_kick_does_nothing_while_a_sweep_is_alive(db):
    live_lease()

    polling.kick()

    assert OrmQ.objects.count() == 0


def test_a_dead_sweeps_lease_runs_out(db):
    live_lease(seconds=-1)

    polling.kick()

    assert OrmQ.objects.count() == 1


def test_the_schedule_is_there_after_migrating(db):
    schedule = Schedule.objects.get(name="sweep")

    assert (schedule.func, schedule.minutes) == ("generation.polling.kick", 1)


# ---------------------------------------------------------------- one sweep
def test_a_second_sweep_leaves_the_work_to_the_first(drawing, alice):
    live_lease()
    task = FluxTaskFactory(user=alice)

    polling.sweep(window=5, idle=0)

    task.refresh_from_db()
    assert task.submission == "UNSENT"


def test_a_sweep_that_lost_its_lease_stops(drawing, alice, monkeypatch):
    monkeypatch.setattr(polling, "LEASE_SECONDS", 0.0)
    drawing.add_fault(kind="never_completes")
    run = polling._Sweep(holder="me")
    assert polling._take_lease("me")
    SweepLease.objects.update(holder="other", expires_at=timezone.now() + timedelta(seconds=0.9))

    run.until(polling.time.monotonic() + 30, idle=30)
    run.close()

    assert SweepLease.objects.get().holder == "other"


def test_a_sweep_with_work_left_calls_its_successor(drawing, alice):
    drawing.add_fault(kind="never_completes")
    FluxTaskFactory(user=alice)

    polling.sweep(window=0.3, idle=0)

    assert OrmQ.objects.count() == 1
    assert not polling._lease_is_live(timezone.now())


def test_a_sweep_without_work_calls_nobody(drawing):
    polling.sweep(window=1, idle=0)

    assert OrmQ.objects.count() == 0


def test_a_sweep_that_ends_keeps_no_connections(drawing, alice):
    FluxTaskFactory(user=alice)
    run = polling._Sweep(holder="me")
    assert polling._take_lease("me")
    run.until(polling.time.monotonic() + 5, idle=0)
    lines = polling.channel.current().provider()._lines
    assert lines._free != []

    run.close()

    assert lines._free == []


def test_a_sweep_told_to_end_still_writes_down_what_it_was_sending(drawing, alice):
    """Told by SIGTERM while fal holds its answer, as when a site is stopped."""
    drawing.add_fault(kind="delay", on="submit", seconds=1)
    task = FluxTaskFactory(user=alice)
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("after the sweep"))
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()

    polling.sweep(window=30, idle=0)

    signal.signal(signal.SIGTERM, before)
    task.refresh_from_db()
    assert (task.submission, task.status) == ("ACCEPTED", "IN_QUEUE")
    assert heard == ["after the sweep"]


def test_a_task_that_cannot_be_written_down_does_not_stop_the_others(drawing, alice, work):
    poisoned = FluxTaskFactory(user=alice, prompt="poison")
    drawing.add_fault(kind="huge_seed")
    TaskImage.objects.create(user=alice, source="flux", task_id=poisoned.pk, position=0)
    healthy = FluxTaskFactory(user=alice)

    polling.sweep(window=3, idle=0)

    poisoned.refresh_from_db()
    healthy.refresh_from_db()
    assert (poisoned.status == "SUCCESS", healthy.status) == (False, "SUCCESS")


def test_of_answers_that_come_together_one_that_cannot_be_written_down_stops_no_other(
    drawing, alice, bob
):
    tasks = FluxTaskFactory.create_batch(6, user=alice, at_provider=True)
    poisoned = FluxTaskFactory(user=bob, at_provider=True)
    TaskImage.objects.create(user=bob, source="flux", task_id=poisoned.pk, position=0)
    run = polling._Sweep(holder="me")
    back = []
    for task in [*tasks[:3], poisoned, *tasks[3:]]:
        run._in_flight[task.pk] = task
        picture = PictureLink(url="https://v3.fal.media/a.png")
        back.append((task, run._looks, lifecycle.Look(outcome=Result(pictures=(picture,)))))

    run._write_down_all(back)

    run.close()
    assert run._in_flight == {}
    assert set(FluxTask.objects.filter(user=alice).values_list("status", flat=True)) == {"SUCCESS"}
    assert FluxTask.objects.get(user=bob).status != "SUCCESS"


def test_a_question_and_its_answer_read_a_task_once(drawing, alice, django_assert_num_queries):
    FluxTaskFactory.create_batch(3, user=alice, at_provider=True)
    now, paces, known = timezone.now(), polling._Paces(), polling._Known()

    # What is due, the tasks, how many there are, and the claim.
    with django_assert_num_queries(4):
        claimed = polling._claim_to_ask("me", now, most=10, paces=paces, known=known)
    looks = [(task, lifecycle.Look(outcome=Progress(state="running"))) for task in claimed]
    with django_assert_num_queries(3):
        assert lifecycle.record_looks(looks=looks, now=now) == []

    assert len(claimed) == 3
    failure = Refused("content_policy")
    # A savepoint, the end of the task, and nothing is read.
    for task in claimed:
        with django_assert_num_queries(3):
            lifecycle.record_look(task=task, look=lifecycle.Look(outcome=failure), now=now)


@pytest.mark.django_db(transaction=True)
def test_a_database_that_does_not_answer_loses_no_submit(drawing, alice, monkeypatch):
    """As when another process holds the write lock, or PostgreSQL restarts."""
    monkeypatch.setattr(polling, "DATABASE_SECONDS", 0.05)
    drawing.add_fault(kind="never_completes")
    drawing.add_fault(kind="delay", on="submit", seconds=0.4)
    task = FluxTaskFactory(user=alice)
    refused = []

    def refuse(execute, sql, params, many, context):
        is_news = sql.startswith("UPDATE") and "request_id" in sql
        if len(refused) < 3 and (is_news or (refused and "flux_config" in sql)):
            refused.append(sql)
            raise OperationalError("database is locked")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse):
        polling.sweep(window=2, idle=0)

    task.refresh_from_db()
    assert len(refused) == 3
    assert (task.submission, len(drawing.jobs)) == ("ACCEPTED", 1)


@pytest.mark.parametrize("text", ["\\u0000", "\\ud800"], ids=["nul", "surrogate"])
def test_no_text_of_the_provider_wedges_a_task(drawing, alice, work, text):
    body = {"detail": [{"loc": ["body"], "msg": json.loads(f'"{text}"'), "type": "value_error"}]}
    drawing.add_fault(kind="status_422", on="result", body=body)
    task = FluxTaskFactory(user=alice)

    work()

    task.refresh_from_db()
    assert (task.status, task.error_code) == ("FAILED", "invalid_input")


def test_a_slow_submit_holds_up_nobody_after_the_window(drawing, alice, bob):
    drawing.add_fault(kind="hold", on="submit", prompt="slow")
    slow = FluxTaskFactory(user=alice, prompt="slow")
    quick = FluxTaskFactory(user=bob)
    run = polling._Sweep(holder="first")
    assert polling._take_lease("first")
    run.until(polling.time.monotonic() + 0.3, idle=0)
    polling._release_lease("first")

    polling.sweep(window=3, idle=0)
    drawing.release()
    run.drain(polling.time.monotonic() + 10)
    run.close()

    slow.refresh_from_db()
    quick.refresh_from_db()
    assert (quick.status, slow.submission) == ("SUCCESS", "ACCEPTED")


# ---------------------------------------------------------------- who is next
def test_no_more_tasks_are_sent_than_the_configuration_allows(drawing, alice, settings):
    polling.channel.load_config()
    FluxConfig.objects.update(max_concurrent_tasks=2)
    drawing.add_fault(kind="never_completes")
    FluxTaskFactory.create_batch(5, user=alice)

    polling.sweep(window=1, idle=0)

    assert Counter(FluxTask.objects.values_list("submission", flat=True)) == {
        "ACCEPTED": 2,
        "UNSENT": 3,
    }
    assert len(drawing.jobs) == 2


def test_the_member_with_the_fewest_running_goes_first(drawing, alice, bob):
    now = timezone.now()
    polling.channel.load_config()
    FluxConfig.objects.update(max_concurrent_tasks=3)
    drawing.add_fault(kind="never_completes")
    FluxTaskFactory(user=alice, at_provider=True, next_action_at=now + timedelta(hours=1))
    for seconds in range(5):
        FluxTaskFactory(user=alice, created_at=now - timedelta(seconds=60 - seconds))
    late = FluxTaskFactory(user=bob, created_at=now)

    polling.sweep(window=1, idle=0)

    late.refresh_from_db()
    assert late.submission == "ACCEPTED"
    assert FluxTask.objects.filter(user=alice).at_provider().count() == 2


def test_a_member_who_asks_for_one_starts_within_two_places(drawing, alice, bob, work):
    polling.channel.load_config()
    FluxConfig.objects.update(max_concurrent_tasks=2)
    hundred = FluxTaskFactory.create_batch(12, user=alice)
    one = FluxTaskFactory(user=bob)

    work()

    one.refresh_from_db()
    earlier = FluxTask.objects.filter(submitted_at__lt=one.submitted_at).count()
    assert earlier <= 2
    assert FluxTask.objects.filter(status="SUCCESS").count() == len(hundred) + 1


def test_one_member_may_be_held_to_fewer_places(drawing, alice, bob):
    polling.channel.load_config()
    FluxConfig.objects.update(max_concurrent_tasks=5, max_concurrent_per_member=2)
    drawing.add_fault(kind="never_completes")
    FluxTaskFactory.create_batch(4, user=alice)
    FluxTaskFactory(user=bob)

    polling.sweep(window=1, idle=0)

    at_provider = FluxTask.objects.at_provider()
    assert (at_provider.filter(user=alice).count(), at_provider.filter(user=bob).count()) == (2, 1)


def test_a_task_that_waited_a_day_to_be_sent_ends_and_says_so(drawing, alice):
    polling.channel.load_config()
    FluxConfig.objects.update(enabled=False)
    old = FluxTaskFactory(user=alice, created_at=timezone.now() - timedelta(hours=25))
    young = FluxTaskFactory(user=alice, created_at=timezone.now() - timedelta(hours=23))

    polling.sweep(window=0.5, idle=0)

    old.refresh_from_db()
    young.refresh_from_db()
    assert (old.status, old.error_code) == ("FAILED", "provider_unavailable")
    assert young.status == "PENDING"


def test_a_switched_off_site_sends_nothing(drawing, alice):
    polling.channel.load_config()
    FluxConfig.objects.update(enabled=False)
    FluxTaskFactory(user=alice)

    polling.sweep(window=0.5, idle=0)

    assert drawing.jobs == {}


def test_a_switched_off_site_still_follows_what_is_running(drawing, alice):
    FluxTaskFactory(user=alice)
    polling.sweep(window=0.05, idle=0)
    FluxConfig.objects.update(enabled=False)

    polling.sweep(window=5, idle=0)

    assert FluxTask.objects.get().status == "SUCCESS"


def test_choosing_who_is_next_costs_the_same_for_any_number_of_members(
    drawing, django_assert_num_queries
):
    FluxTaskFactory.create_batch(7)
    config = polling.channel.load_config()

    # Whether anybody waits, who runs what, the line, the chosen.
    with django_assert_num_queries(4):
        chosen = polling._to_send(config, timezone.now(), most=3)

    assert len(chosen) == 3


def test_the_pictures_of_those_who_are_next_are_read_for_all_at_once(
    drawing, alice, django_assert_num_queries
):
    config = polling.channel.load_config()
    for _task in range(3):
        image = TaskImageFactory(user=alice)
        task = FluxTaskFactory(user=alice, input_image_url=image.url)
        task.inputs.create(position=0, image=image)

    with django_assert_num_queries(4 + 2):
        chosen = polling._to_send(config, timezone.now(), most=3)

    with django_assert_num_queries(0):
        assert all(task.inputs.all()[0].picture.url for task in chosen)


def test_no_more_is_chosen_for_sending_than_can_be_sent_soon(drawing, alice, monkeypatch):
    """What a killed sweep has chosen and not sent ends as `submit_unknown`."""
    monkeypatch.setattr(polling, "SEND_BATCH", 4)
    drawing.add_fault(kind="hold", on="submit")
    FluxTaskFactory.create_batch(9, user=alice)
    run = polling._Sweep(holder="me")
    assert polling._take_lease("me")

    for _round in range(3):
        run._tick()

    assert Counter(FluxTask.objects.values_list("submission", flat=True)) == {
        "UNKNOWN": 4,
        "UNSENT": 5,
    }
    drawing.release()
    run.drain(polling.time.monotonic() + 10)
    run.close()


# ---------------------------------------------------------------- how often
@pytest.mark.parametrize(
    ("age", "seconds"), [(0, 0.4), (10, 0.7), (45, 2.0), (200, 5.0), (4000, 10.0)]
)
def test_young_tasks_are_asked_about_often_and_old_ones_seldom(age, seconds):
    now = timezone.now()
    task = FluxTask(accepted_at=now - timedelta(seconds=age))

    assert polling.ask_again_after(task, now=now) == seconds


def test_a_task_is_claimed_by_one_sweep_only(drawing, alice):
    FluxTaskFactory(user=alice, at_provider=True)
    now = timezone.now()

    claimed = [
        len(
            polling._claim_to_ask(
                holder, now, most=10, paces=polling._Paces(), known=polling._Known()
            )
        )
        for holder in ("one", "other")
    ]

    assert claimed == [1, 0]


def test_many_tasks_are_each_asked_about_more_rarely(drawing, alice, monkeypatch):
    monkeypatch.setattr(polling, "ASKED_PER_SECOND", 2)
    task = FluxTaskFactory.create_batch(3, user=alice, at_provider=True)[0]

    assert polling._Paces().seconds_for(task, now=timezone.now()) == 1.75


@pytest.mark.parametrize("stage", ["submit", "status"])
def test_a_throttling_provider_is_left_alone_for_as_long_as_it_asks(drawing, alice, stage):
    drawing.add_fault(kind="status_429", on=stage, retry_after=60)
    FluxTaskFactory.create_batch(3, user=alice, at_provider=stage == "status")
    run = polling._Sweep(holder="me")
    assert polling._take_lease("me")
    run._tick()
    run._harvest(0.5)
    asked = len(drawing.requests)

    run.until(polling.time.monotonic() + 1, idle=5)

    run.close()
    assert asked == 3
    assert len(drawing.requests) == 3


# ---------------------------------------------------------------- pictures
def test_a_picture_is_announced_once_and_again_after_its_lease(drawing, alice):
    image = TaskImageFactory(
        user=alice, storage_key="", stored_at=None, next_action_at=timezone.now()
    )
    now = timezone.now()

    polling._announce_pictures(now)
    polling._announce_pictures(now)
    assert OrmQ.objects.count() == 1

    polling._announce_pictures(now + lifecycle.STORE_LEASE + timedelta(seconds=1))
    assert OrmQ.objects.count() == 2
    assert image.pk in str([q.task for q in OrmQ.objects.all()])


def test_downloads_leave_workers_for_the_sweep(drawing, alice, settings):
    settings.STORE_WORKERS = 2
    for position in range(5):
        TaskImageFactory(
            user=alice,
            task_id="t",
            position=position,
            storage_key="",
            stored_at=None,
            next_action_at=timezone.now(),
        )

    polling._announce_pictures(timezone.now())
    polling._announce_pictures(timezone.now())

    assert OrmQ.objects.count() == 2


def test_storing_what_is_stored_does_nothing(drawing, alice):
    image = TaskImageFactory(user=alice)

    polling.store(image.pk)
    polling.store("0" * 32)

    assert TaskImage.objects.get().store_attempts == 0


# ---------------------------------------------------------------- a hung cluster
def overdue(**kwargs):
    return FluxTaskFactory(
        user=UserFactory(), next_action_at=timezone.now() - timedelta(minutes=1), **kwargs
    )


def test_due_work_that_nobody_touches_means_a_hung_cluster(drawing):
    overdue(at_provider=True)

    assert polling.cluster_is_stuck()
    assert OrmQ.objects.count() == 1


def test_work_left_by_a_sweep_that_died_is_announced_long_before_the_cluster_is_called_hung(
    drawing, alice
):
    FluxTaskFactory(
        user=alice, at_provider=True, next_action_at=timezone.now() - timedelta(seconds=2)
    )

    assert not polling.cluster_is_stuck()
    assert OrmQ.objects.count() == 1


def test_a_living_sweep_is_not_a_hung_cluster(drawing):
    overdue(at_provider=True)
    live_lease()

    assert not polling.cluster_is_stuck()


def test_tasks_that_cannot_be_drawn_are_no_sign_of_a_hung_cluster(db):
    overdue()

    assert not polling.cluster_is_stuck()


def test_nothing_to_do_is_not_a_hung_cluster(drawing, alice):
    FluxTaskFactory(user=alice, succeeded=True)

    assert not polling.cluster_is_stuck()
