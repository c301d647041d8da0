"""How jobs move through the sandbox's queue, told by a clock of our own."""

from __future__ import annotations

import pytest

from generation.sandbox.faults import FaultRule
from generation.sandbox.jobs import JobStore

ENDPOINT = "fal-ai/flux-1/dev"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def make_store(clock, **options):
    defaults = {
        "generation_seconds": 4.0,
        "queue_seconds": 3.0,
        "concurrency": None,
        "keep_finished": 100,
        "on_forget": lambda job: None,
    }
    return JobStore(clock=clock, **{**defaults, **options})


def submit(store, *kinds):
    faults = [FaultRule(kind=kind) for kind in kinds]
    return store.submit(endpoint_id=ENDPOINT, body={}, prompt="", faults=faults)


def test_a_job_waits_then_runs_then_is_completed(clock):
    store = make_store(clock)
    job = submit(store)
    seen = []

    for _ in range(8):
        status = store.get(job.request_id).status
        seen.append((status, store.position(job)) if status == "IN_QUEUE" else status)
        clock.now += 1

    waiting = [("IN_QUEUE", 2), ("IN_QUEUE", 1), ("IN_QUEUE", 0)]
    assert seen == [*waiting, *["IN_PROGRESS"] * 4, "COMPLETED"]
    assert job.inference_seconds == 4.0


def test_beyond_the_concurrency_jobs_wait_in_line_with_true_positions(clock):
    store = make_store(clock, concurrency=2, queue_seconds=0.0)
    jobs = [submit(store) for _ in range(5)]
    store.get(jobs[0].request_id)

    assert [job.status for job in jobs] == ["IN_PROGRESS"] * 2 + ["IN_QUEUE"] * 3
    assert [store.position(job) for job in jobs[2:]] == [0, 1, 2]


def test_a_line_of_jobs_is_worked_off_at_the_pace_of_its_slots_even_if_nobody_looks(clock):
    store = make_store(clock, concurrency=2, queue_seconds=0.0)
    jobs = [submit(store) for _ in range(5)]

    clock.now += 100
    store.get(jobs[0].request_id)

    assert [job.finished_at - 1000 for job in jobs] == [4.0, 4.0, 8.0, 8.0, 12.0]


def test_cancelling_a_running_job_frees_its_slot(clock):
    store = make_store(clock, concurrency=1, queue_seconds=0.0)
    first, second = submit(store), submit(store)
    clock.now += 1

    assert store.cancel(first) is True
    assert store.cancel(first) is False

    assert (first.status, first.cancelled) == ("COMPLETED", True)
    assert store.get(second.request_id).started_at == 1001.0


def test_cancelling_a_waiting_job_moves_the_others_up(clock):
    store = make_store(clock, concurrency=1, queue_seconds=0.0)
    jobs = [submit(store) for _ in range(4)]

    store.cancel(jobs[1])

    assert [store.position(job) for job in jobs[2:]] == [0, 1]


@pytest.mark.parametrize("state", ["IN_QUEUE", "IN_PROGRESS"])
def test_a_job_that_never_completes_stays_where_the_rule_says(clock, state):
    store = make_store(clock)
    rule = FaultRule(kind="never_completes", parameters={"state": state})
    job = store.submit(endpoint_id=ENDPOINT, body={}, prompt="", faults=[rule])

    clock.now += 10_000

    assert store.get(job.request_id).status == state
    assert store.cancel(job) is True
    assert job.status == "COMPLETED"


def test_the_oldest_finished_jobs_are_forgotten_first(clock):
    forgotten = []
    store = make_store(clock, keep_finished=2, on_forget=forgotten.append)
    jobs = []
    for _ in range(4):
        jobs.append(submit(store))
        clock.now += 1

    clock.now += 10

    assert [store.get(job.request_id) for job in jobs] == [None, None, *jobs[2:]]
    assert forgotten == jobs[:2]


def test_the_time_to_the_next_change_is_known(clock):
    store = make_store(clock)
    assert store.seconds_to_next_event() is None

    submit(store)
    assert store.seconds_to_next_event() == 3.0

    clock.now += 3.5
    assert store.seconds_to_next_event() == 3.5


def test_a_cleared_store_starts_afresh(clock):
    store = make_store(clock, concurrency=1, queue_seconds=0.0)
    submit(store)
    store.get("start it")

    store.clear()

    assert store.snapshot() == {}
    job = submit(store)
    assert store.get(job.request_id).status == "IN_PROGRESS"
