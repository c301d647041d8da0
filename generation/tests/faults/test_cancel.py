"""A member changes their mind, at every moment of a task's life."""

from __future__ import annotations

from generation.tests.faults.processes import wait_for
from generation.tests.faults.site import Site, given_back, in_parallel, paid


def assert_cancelled(site: Site, task_id: str) -> None:
    task = site.task(task_id)
    assert (task["status"], task["error_code"]) == ("CANCELLED", "cancelled")
    assert site.entries(task_id) == given_back()


def test_a_task_cancelled_in_line_is_never_sent(site: Site):
    """Row 32, before anything was sent."""
    site.web()
    task_id = site.alice.draw("changed my mind")

    statuses = [reply.status for reply in in_parallel([lambda: site.alice.cancel(task_id)] * 5)]

    assert sorted(statuses) == [200, 409, 409, 409, 409]
    assert_cancelled(site, task_id)
    site.workers()
    site.check()
    assert site.requests("submit", "changed my mind") == []
    assert site.requests("cancel") == []


def test_a_task_cancelled_at_the_provider_ends_once_whatever_comes_first(open_site: Site):
    """Row 32, while it is sent, waits, is drawn, and is finished already."""
    open_site.sandbox.add_fault("hold", on="submit", prompt="being sent", times=1)
    open_site.sandbox.add_fault("hold", on="result", prompt="finished", times=1)
    open_site.sandbox.add_fault("never_completes", prompt="in line", state="IN_QUEUE")
    open_site.sandbox.add_fault("never_completes", prompt="being")
    open_site.sandbox.add_fault("status_429", on="submit", prompt="sent back", retry_after=1)
    finished = open_site.alice.draw("finished")
    in_line, drawn = open_site.alice.draw("in line"), open_site.alice.draw("being drawn")
    sent = open_site.alice.draw("being sent")
    open_site.wait_until(in_line, submission="ACCEPTED")
    open_site.wait_until(drawn, status="IN_PROGRESS")
    open_site.wait_until_held(2)
    sent_back = open_site.alice.draw("sent back")
    wait_for(lambda: open_site.task(sent_back)["retry_count"])
    tasks = [finished, in_line, drawn, sent, sent_back]

    for task_id in tasks:
        assert open_site.alice.cancel(task_id).status == 200
    assert open_site.task(sent)["status"] == "PENDING"
    open_site.sandbox.release()
    open_site.quiet()

    for task_id in (in_line, drawn, sent, sent_back):
        assert_cancelled(open_site, task_id)
    # It was done before it was told to stop: delivered, charged.
    assert open_site.status(finished) == "SUCCESS"
    assert open_site.entries(finished) == paid()
    assert {open_site.alice.cancel(task_id).status for task_id in tasks} == {409}
    ours = {open_site.task(task_id)["request_id"] for task_id in tasks}
    jobs = open_site.sandbox.jobs.values()
    cancelled = {job.prompt for job in jobs if job.cancelled and job.request_id in ours}
    assert cancelled == {"in line", "being drawn", "being sent"}
    open_site.check()
