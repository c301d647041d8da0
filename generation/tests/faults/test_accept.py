"""From the request of a member to the answer: 202 means one task and one reservation."""

from __future__ import annotations

import http.client
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from generation.tests.faults import database
from generation.tests.faults.processes import Program, wait_for
from generation.tests.faults.site import Reply, Site, in_parallel

BROKEN = (OSError, http.client.HTTPException)


@contextmanager
def meanwhile(call: Callable[..., Reply], *arguments: Any, **named: Any) -> Iterator[Future[Reply]]:
    """Make a call from another thread while the block runs."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(call, *arguments, **named)


def kill_server(web: Program) -> None:
    """Kill the process that answers; its parent starts another."""
    for pid in web.helpers():
        os.kill(pid, signal.SIGKILL)


def test_a_web_server_killed_before_the_commit_leaves_nothing_behind(site: Site):
    """Row 1."""
    web = site.web()
    site.alice.call("POST", "estimate", {"prompt": "makes the account"})

    with (
        site.database.locked("credit_ledger"),
        meanwhile(site.alice.ask, "asked twice", key="the same") as first,
    ):
        site.database.wait_for_waiter()
        kill_server(web)
        assert isinstance(first.exception(), BROKEN)

    assert site.database.rows("SELECT id FROM flux_tasks") == []
    assert site.database.rows("SELECT id FROM credit_ledger WHERE kind = 'RESERVE'") == []
    second = site.alice.ask("asked twice", key="the same")
    third = site.alice.ask("asked twice", key="the same")
    assert (second.status, third.status) == (202, 202)
    assert second.body["id"] == third.body["id"]
    site.workers()
    site.quiet()
    site.check()


def test_a_web_server_killed_after_the_commit_answers_the_retry_with_the_same_task(site: Site):
    """Row 2. The wake-up that follows the commit takes so long that the window stays open."""
    web = site.web()
    site.alice.call("POST", "estimate", {"prompt": "makes the account"})
    task_of = "SELECT id FROM flux_tasks WHERE idempotency_key = 'the same'"

    with (
        site.database.slow_to_take("django_q_ormq"),
        meanwhile(site.alice.ask, "cut off", key="the same") as first,
    ):
        wait_for(lambda: site.database.rows(task_of), what="the commit")
        kill_server(web)
        assert isinstance(first.exception(), BROKEN)

    (made,) = site.database.rows(task_of)
    retried = site.alice.ask("cut off", key="the same")
    assert (retried.status, retried.body["id"]) == (202, made["id"])
    assert site.entries(made["id"]) == [("RESERVE", -5, 0)]
    site.workers()
    site.quiet()
    site.check()


def test_a_wake_up_that_cannot_be_queued_costs_only_time(site: Site):
    """Row 3."""
    site.web()
    site.database.change("ALTER TABLE django_q_ormq RENAME TO gone")
    task_id = site.alice.draw("nobody is told")
    site.database.change("ALTER TABLE gone RENAME TO django_q_ormq")
    assert site.database.rows("SELECT id FROM django_q_ormq") == []

    site.skip(11)  # a call that was lost is repeated after ten seconds
    site.workers()
    site.quiet()

    assert site.status(task_id) == "SUCCESS"
    site.check()


@pytest.mark.skipif(database.is_postgresql(), reason="PostgreSQL has no lock on everything")
def test_a_request_waits_for_the_database_and_is_accepted(site: Site):
    """Row 4, the short lock."""
    site.web()
    site.alice.call("POST", "estimate", {"prompt": "makes the account"})

    with meanwhile(site.alice.ask, "patient") as request:
        with site.database.locked("everything"):
            site.database.wait_for_waiter()
            assert not request.done()
        assert request.result().status == 202

    site.workers()
    site.quiet()
    site.check()


@pytest.mark.skipif(database.is_postgresql(), reason="PostgreSQL has no lock on everything")
def test_a_database_locked_for_too_long_is_a_503_and_nothing_half_done(site: Site):
    """Row 4, the long lock: held until the answer is there. The patience of twenty seconds is
    shortened to two."""
    site.web({"fluxsite.settings.DATABASES": {"default": {"OPTIONS": {"timeout": 2}}}})
    site.alice.call("POST", "estimate", {"prompt": "makes the account"})

    with site.database.locked("everything"):
        reply = site.alice.ask("impatient", key="the same", patience=40)

    assert reply.status == 503
    assert set(reply.body) == {"code", "detail", "request_id"}
    assert site.database.rows("SELECT id FROM flux_tasks") == []
    assert site.alice.ask("impatient", key="the same").status == 202
    site.workers()
    site.quiet()
    site.check()


def test_sixty_requests_at_once_buy_no_more_than_the_balance(site: Site):
    """Row 5."""
    site.env["CREDITS_STARTING_GRANT"] = "50"
    site.web(WEB_WORKERS="2")

    replies = in_parallel([lambda: site.alice.ask("one of sixty")] * 60)

    assert Counter(reply.status for reply in replies) == {202: 10, 402: 50}
    balances = "SELECT credits_balance FROM flux_credits"
    assert [row["credits_balance"] for row in site.database.rows(balances)] == [0]
    site.workers()
    site.quiet()
    site.check()
