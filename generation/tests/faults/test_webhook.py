"""The provider calls: signed, repeated, too early, at the same time as a look. A call only ever
means "look now", and makes good an answer that was lost."""

from __future__ import annotations

import pytest

from generation.sandbox.jobs import Job
from generation.tests.faults.processes import wait_for
from generation.tests.faults.site import Site, in_parallel, paid


@pytest.fixture
def called_site(site: Site) -> Site:
    """A site that the sandbox may call."""
    site.env["PUBLIC_URL"] = f"http://127.0.0.1:{site.port}"
    site.configure(webhook_enabled=True)
    site.web()
    site.workers()
    return site


def call(site: Site, job: Job, times: int) -> None:
    """Let the sandbox deliver a job's webhook so many times at once."""
    assert job.webhook
    courier = site.sandbox.courier()
    in_parallel([lambda: courier._deliver(job)] * times)


def test_a_call_before_the_answer_of_the_submit_claims_the_task(called_site: Site):
    """Row 20."""
    site = called_site
    site.sandbox.add_fault("hold", on="submit", times=1)
    task_id = site.alice.draw("called early")
    site.wait_until_held()
    (job,) = site.jobs("called early")
    site.wait_until(task_id, submission="ACCEPTED", request_id=job.request_id)
    call(site, job, times=5)
    site.sandbox.release()
    site.quiet()

    assert site.task(task_id)["request_id"] == job.request_id
    assert site.status(task_id) == "SUCCESS"
    assert site.entries(task_id) == paid()
    assert len(site.requests("submit", "called early")) == 1
    site.check()


def test_a_call_makes_good_an_answer_that_was_lost(called_site: Site):
    """Row 20, and rows 8 and 9 with webhooks."""
    site = called_site
    site.sandbox.add_fault("drop_after_accept", on="submit", times=1)
    task_id = site.alice.draw("answer lost, call heard")
    site.quiet()

    assert site.status(task_id) == "SUCCESS"
    assert site.entries(task_id) == paid()
    assert len(site.requests("submit", "answer lost, call heard")) == 1
    site.check()


def test_calls_for_a_finished_task_change_nothing(called_site: Site):
    """Row 20, late and often."""
    site = called_site
    task_id = site.alice.draw("called late")
    site.quiet()
    before = site.task(task_id)
    (job,) = site.jobs("called late")
    call(site, job, times=5)

    after = site.task(task_id)
    assert (after["status"], after["completed_at"]) == ("SUCCESS", before["completed_at"])
    assert site.entries(task_id) == paid()
    site.check()


def test_a_call_in_the_middle_of_a_look_settles_once(called_site: Site):
    """Row 21."""
    site = called_site
    site.sandbox.add_fault("hold", on="result", times=1)
    task_id = site.alice.draw("looked at and called about")
    site.wait_until_held()
    (job,) = site.jobs("looked at and called about")
    wait_for(lambda: site.task(task_id)["webhook_at"], what="the call")
    call(site, job, times=5)
    site.sandbox.release()
    site.quiet()

    assert site.status(task_id) == "SUCCESS"
    assert site.entries(task_id) == paid()
    assert len(site.images(task_id)) == 1
    site.check()
