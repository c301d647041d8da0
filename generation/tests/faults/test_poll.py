"""While the provider has a task: every question may fail, and none is the last word but one."""

from __future__ import annotations

import os
import signal

from generation.sandbox.jobs import Job
from generation.tests.faults.processes import wait_for
from generation.tests.faults.site import PRICE, Site, given_back, in_parallel, paid


def test_a_worker_killed_while_it_asks_is_followed_by_another(site: Site):
    """Row 15. Nothing is moved in time here: the lease of six seconds runs out by itself."""
    site.sandbox.add_fault("hold", on="status", times=1)
    site.web()
    workers = site.workers()
    task_id = site.alice.draw("killed while asking")
    site.wait_until_held()

    os.kill(workers.talking_to(site.sandbox.port), signal.SIGKILL)
    site.quiet()

    assert site.sandbox.held == 1
    assert site.status(task_id) == "SUCCESS"
    assert site.entries(task_id) == paid()
    site.check()


def test_answers_that_make_no_sense_for_a_while_change_nothing(open_site: Site):
    """Row 16."""
    faults = {
        "denied": {"kind": "status_404", "body": {"status": "NOT_FOUND"}},
        "broken": {"kind": "status_500"},
        "cut": {"kind": "reset"},
        "prose": {"kind": "non_json"},
        "strange": {"kind": "wrong_shape", "body": {"status": 7, "queue_position": -1}},
    }
    for prompt, fault in faults.items():
        open_site.sandbox.add_fault(**fault, on="status", prompt=prompt, times=3)
    open_site.sandbox.add_fault("unknown_status", prompt="paused")
    tasks = [open_site.alice.draw(prompt) for prompt in (*faults, "paused")]
    open_site.quiet()

    assert {open_site.status(task_id) for task_id in tasks} == {"SUCCESS"}
    open_site.check()


def test_a_request_denied_for_long_is_lost(open_site: Site):
    """Row 16, the other end: after a minute of denials the task ends."""
    open_site.sandbox.add_fault(
        "status_404", on="status", prompt="denied", body={"status": "NOT_FOUND"}
    )
    task_id = open_site.alice.draw("denied for ever")
    wait_for(lambda: open_site.task(task_id)["missing_since"])
    assert open_site.status(task_id) == "IN_QUEUE"

    open_site.skip(61)
    open_site.quiet()

    task = open_site.task(task_id)
    assert (task["status"], task["error_code"]) == ("FAILED", "request_lost")
    assert open_site.entries(task_id) == given_back()
    open_site.check()


def test_a_request_that_never_finishes_is_cancelled_once_and_given_back_once(open_site: Site):
    """Row 17."""
    open_site.sandbox.add_fault("never_completes", state="IN_QUEUE", prompt="never")
    task_id = open_site.alice.draw("never done")
    open_site.wait_until(task_id, status="IN_QUEUE", submission="ACCEPTED")

    open_site.make_overdue(task_id)
    open_site.quiet()

    task = open_site.task(task_id)
    assert (task["status"], task["error_code"]) == ("FAILED", "timeout")
    assert open_site.entries(task_id) == given_back()
    assert len(open_site.requests("cancel")) == 1
    assert [job.cancelled for job in open_site.jobs("never done")] == [True]
    open_site.check()


def test_a_result_that_comes_too_late_is_charged_only_when_it_is_asked_for(open_site: Site):
    """Row 18."""
    silence = open_site.sandbox.add_fault("status_500", on="status", prompt="late")
    task_id = open_site.alice.draw("too late")
    wait_for(lambda: silence.struck)
    open_site.make_overdue(task_id)
    open_site.wait_until(task_id, status="FAILED", error_code="timeout")
    silence.times = 0
    open_site.alice.draw("somebody else's")
    open_site.quiet()
    assert open_site.status(task_id) == "FAILED"
    assert open_site.entries(task_id) == given_back()

    replies = in_parallel(
        [lambda: open_site.alice.call("POST", f"task/{task_id}/recover").status] * 5
    )
    open_site.wait_until(task_id, status="SUCCESS")
    open_site.quiet()

    assert sorted(replies)[0] in (200, 202)
    assert set(replies[1:]) <= {200, 202, 409}
    assert open_site.entries(task_id) == [*given_back(), *paid()]
    assert open_site.task(task_id)["cost_charged"] == PRICE
    open_site.check()


def most_at_once(jobs: list[Job]) -> int:
    """Return how many jobs the provider had at the same time."""
    events = [(job.submitted_at, 1) for job in jobs]
    events += [(job.finished_at, -1) for job in jobs if job.finished_at is not None]
    most = now = 0
    for _moment, change in sorted(events):
        now += change
        most = max(most, now)
    return most


def test_two_hundred_tasks_that_waited_for_an_hour_are_no_stampede(site: Site):
    """Row 19. Most are refused by the provider: it is their number that counts, and painting
    two hundred pictures would tell nothing more."""
    limit = 40
    site.configure(max_concurrent_tasks=limit)
    site.sandbox.add_fault("content_policy", prompt="refused")
    site.web()
    calls = [lambda n=n: site.alice.draw(f"refused {n}") for n in range(190)]
    calls += [lambda n=n: site.bob.draw(f"drawn {n}") for n in range(10)]
    tasks = [task for start in range(0, 200, 25) for task in in_parallel(calls[start : start + 25])]
    site.skip(3600)

    site.workers()
    site.workers()
    site.quiet()

    ends = [site.status(task_id) for task_id in tasks]
    assert (ends.count("FAILED"), ends.count("SUCCESS")) == (190, 10)
    jobs = list(site.sandbox.jobs.values())
    assert len(jobs) == 200
    assert most_at_once(jobs) <= limit
    site.check()
