"""From the moment a worker takes a task to the moment its request id is written down.

A request that may have arrived is never sent again: its task ends as `submit_unknown`, and
the member pays nothing.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest

from generation.tests.faults.processes import Program, wait_for
from generation.tests.faults.site import Site, given_back, paid


@contextmanager
def full_backlog() -> Iterator[str]:
    """An address that neither takes nor refuses connections."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, ExitStack() as callers:
        address = server.getsockname()
        for _ in range(4):
            caller = callers.enter_context(closing(socket.socket()))
            caller.setblocking(False)
            caller.connect_ex(address)
        yield f"http://127.0.0.1:{address[1]}"


def unused_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def assert_unknown(site: Site, task_id: str) -> None:
    task = site.task(task_id)
    assert (task["status"], task["error_code"]) == ("FAILED", "submit_unknown")
    assert site.entries(task_id) == given_back()


def test_a_worker_killed_while_it_connects_leaves_nothing_paid_and_nothing_sent(site: Site):
    """Row 6. Nobody can know afterwards that nothing left: it counts as unknown."""
    site.web()
    with full_backlog() as address:
        workers = site.workers(SANDBOX_URL=address)
        task_id = site.alice.draw("never left")
        site.wait_until(task_id, submission="UNKNOWN")
        workers.kill()
    site.skip()
    site.workers()
    site.quiet()

    assert_unknown(site, task_id)
    assert site.requests("submit", "never left") == []
    site.check()


def test_what_provably_never_left_is_sent_later(site: Site):
    """Row 6, the other half: a refused connection proves that nothing arrived."""
    site.web()
    workers = site.workers(SANDBOX_URL=unused_address())
    task_id = site.alice.draw("refused connection")
    wait_for(lambda: site.task(task_id)["retry_count"])
    assert site.task(task_id)["submission"] == "UNSENT"
    workers.kill()

    site.skip()
    site.workers()
    site.quiet()

    assert site.status(task_id) == "SUCCESS"
    assert site.entries(task_id) == paid()
    site.check()


def kill_cluster(site: Site, workers: Program) -> None:
    workers.kill()
    site.workers()


def kill_worker(site: Site, workers: Program) -> None:
    os.kill(workers.talking_to(site.sandbox.port), signal.SIGKILL)


@pytest.mark.parametrize("kill", [kill_cluster, kill_worker])
def test_a_worker_killed_before_the_answer_never_sends_a_second_time(site: Site, kill):
    """Row 7."""
    site.sandbox.add_fault("hold", on="submit", times=1)
    site.web()
    workers = site.workers()
    task_id = site.alice.draw("killed before the answer")
    site.wait_until_held()

    kill(site, workers)
    assert site.task(task_id)["submission"] == "UNKNOWN"
    site.sandbox.release()
    site.skip()
    site.quiet()

    assert_unknown(site, task_id)
    assert len(site.jobs("killed before the answer")) == 1
    site.check()


def test_a_lost_answer_ends_the_task_and_is_not_asked_for_by_sending_again(open_site: Site):
    """Row 8."""
    open_site.sandbox.add_fault("drop_after_accept", on="submit", times=1)
    task_id = open_site.alice.draw("lost answer")
    open_site.quiet()

    assert_unknown(open_site, task_id)
    assert len(open_site.jobs("lost answer")) == 1
    open_site.check()


def test_an_answer_that_comes_too_late_is_as_good_as_lost(site: Site):
    """Row 9. The limit of a minute is shortened to a second."""
    site.sandbox.add_fault("delay", on="submit", times=1, seconds=2)
    site.web()
    site.workers({"generation.providers.fal.SUBMIT_SECONDS": 1})
    task_id = site.alice.draw("late answer")
    site.quiet()

    assert_unknown(site, task_id)
    assert len(site.jobs("late answer")) == 1
    site.check()


def test_a_server_error_is_no_proof_that_nothing_was_taken(open_site: Site):
    """Row 10."""
    for status in (500, 502, 503):
        open_site.sandbox.add_fault(f"status_{status}", on="submit", prompt=f"answered {status}")
    tasks = [open_site.alice.draw(f"answered {status}") for status in (500, 502, 503)]
    open_site.quiet()

    for task_id in tasks:
        assert_unknown(open_site, task_id)
        assert len(open_site.requests("submit", open_site.task(task_id)["prompt"])) == 1
    open_site.check()


def test_a_throttled_request_waits_within_reason_and_holds_no_worker(open_site: Site):
    """Row 11. A day is cut to five minutes; what is running is followed meanwhile."""
    open_site.sandbox.add_fault(
        "status_429", on="submit", prompt="throttled", times=1, retry_after=86400
    )
    open_site.sandbox.add_fault("never_completes", prompt="running")
    running = open_site.alice.draw("running")
    open_site.wait_until(running, status="IN_PROGRESS")
    task_id = open_site.alice.draw("throttled")
    task = wait_for(lambda: (row := open_site.task(task_id))["retry_count"] and row)

    assert (task["status"], task["submission"]) == ("PENDING", "UNSENT")
    assert 200 < (task["next_action_at"] - task["updated_at"]).total_seconds() <= 300
    open_site.alice.cancel(running)
    open_site.wait_until(running, status="CANCELLED")
    assert len(open_site.requests("submit", "throttled")) == 1

    wait_for(lambda: not open_site.is_sweeping(), what="the end of the sweep")
    open_site.skip()
    open_site.quiet()
    assert open_site.status(task_id) == "SUCCESS"
    open_site.check()


def test_a_refused_key_holds_the_line_until_one_task_is_taken(open_site: Site):
    """Row 12. First the key is refused, then the account, then all is well."""
    refused = open_site.sandbox.add_fault("status_401", on="submit", times=1)
    locked = open_site.sandbox.add_fault("status_403", on="submit", times=1)
    first = open_site.alice.draw("meets the refusal")
    wait_for(lambda: open_site.configuration()["refused_at"], what="the breaker")
    others = [open_site.alice.draw(f"waits {number}") for number in range(3)]
    open_site.wait_until(first, submission="UNSENT")
    time.sleep(1)  # ten rounds of a sweep, none of which may send
    assert open_site.configuration()["refusal_code"] == "provider_refused_key"
    assert len(open_site.requests("submit")) == 1
    assert open_site.entries(first) == [("RESERVE", -5, 0)]

    # One of them tries, and is refused again; none is lost.
    open_site.skip(31)
    wait_for(lambda: locked.struck, what="a probe")
    time.sleep(1)
    assert len(open_site.requests("submit")) == 2
    open_site.skip(61)
    open_site.quiet()

    assert (refused.struck, locked.struck) == (1, 1)
    assert {open_site.status(task_id) for task_id in [first, *others]} == {"SUCCESS"}
    assert open_site.configuration()["refused_at"] is None
    open_site.check()


def test_a_message_delivered_many_times_sends_one_request(site: Site):
    """Row 13."""
    site.web()
    tasks = [site.alice.draw(f"delivered often {number}") for number in range(5)]
    copy = "INSERT INTO django_q_ormq (key, payload, lock) SELECT key, payload, lock FROM "
    for _ in range(3):
        site.database.change(f"{copy} django_q_ormq")

    site.workers()
    site.workers()
    site.quiet()

    for number, task_id in enumerate(tasks):
        assert site.status(task_id) == "SUCCESS"
        assert len(site.requests("submit", f"delivered often {number}")) == 1
    site.check()


def test_a_cluster_that_slept_through_its_lease_does_no_harm(site: Site):
    """Row 13, two at once on the same tasks: the first stops in the middle of a submit and
    of a look, the second takes over, the first wakes up."""
    site.sandbox.add_fault("hold", on="submit", prompt="being sent", times=1)
    site.sandbox.add_fault("hold", on="result", prompt="being asked", times=1)
    site.web()
    sleeper = site.workers()
    sent, asked = site.alice.draw("being sent"), site.alice.draw("being asked")
    site.wait_until_held(2)
    site.stop(sleeper)

    site.skip()
    site.workers()
    site.wait_until(asked, status="SUCCESS")
    site.wait_until(sent, status="FAILED")
    site.sandbox.release()
    sleeper.signal(signal.SIGCONT)
    site.quiet()

    assert_unknown(site, sent)
    assert site.entries(asked) == paid()
    site.check()


def test_a_sweep_that_outlives_its_time_limit_still_writes_down_what_it_sent(site: Site):
    """Row 14. django-q2's limit of three minutes is shortened to two seconds."""
    site.sandbox.add_fault("hold", on="submit", times=1)
    site.web()
    workers = site.workers({"fluxsite.settings.Q_CLUSTER": {"timeout": 2, "retry": 8}})
    task_id = site.alice.draw("outlives the limit")
    site.wait_until_held()
    sender = workers.talking_to(site.sandbox.port)
    before = set(workers.members())
    wait_for(lambda: set(workers.members()) - before, what="another worker in its place")

    site.sandbox.release()
    site.wait_until(task_id, submission="ACCEPTED")
    workers.kill()
    site.skip()
    site.workers()
    site.quiet()

    assert sender in before
    assert len(site.requests("submit", "outlives the limit")) == 1
    assert site.status(task_id) == "SUCCESS"
    site.check()
