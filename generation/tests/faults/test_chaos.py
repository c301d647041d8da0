"""Everything at once: members draw while processes are killed at random."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import sys
import threading
import time
from collections import Counter

from generation.tests.faults.processes import children, command_line, members, wait_for
from generation.tests.faults.site import Member, Site

TASKS = 100
#: A killed worker may wedge its cluster; the watchdog of `start` needs half a minute to see it.
DRAIN_SECS = 150


def victims(start: int) -> dict[str, list[int]]:
    """Return the processes of the web server and of the workers. What happens when `start`
    itself is killed is told in test_operation.py."""
    found = {}
    for leader in children(start):
        for word in ("gunicorn", "qcluster"):
            if word in command_line(leader):
                found[word] = members(leader)
    return found


class Visitors(threading.Thread):
    """Members who draw all the while, and ask again with the same key when cut off."""

    def __init__(self, site: Site, seconds: float) -> None:
        super().__init__()
        self._site = site
        self._pause = seconds / TASKS
        self.tasks: set[str] = set()

    def run(self) -> None:
        for number in range(TASKS):
            member = (self._site.alice, self._site.bob)[number % 2]
            self.tasks.add(self._draw(member, number))
            time.sleep(self._pause)

    @staticmethod
    def _draw(member: Member, number: int) -> str:
        for _attempt in range(60):
            try:
                reply = member.ask(f"chaos {number}", key=f"chaos {number}", patience=20)
            except (OSError, http.client.HTTPException) as error:
                reply = error
            else:
                if reply.status == 202:
                    return reply.body["id"]
            time.sleep(0.2)
        raise AssertionError(f"request {number} was never accepted: {reply}")


def test_whatever_is_killed_nothing_is_lost_and_nothing_paid_twice(
    site: Site, chaos_seconds: float
):
    """The chaos run: a SIGKILL every one to two seconds, then I1 to I8."""
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    site.configure(max_concurrent_tasks=10)
    start = site.start(WORKERS="4", WEB_WORKERS="2")
    wait_for(lambda: len(victims(start.pid)) == 2, what="web server and workers")
    visitors = Visitors(site, chaos_seconds)
    visitors.start()
    killed = Counter()
    end = time.monotonic() + chaos_seconds
    while time.monotonic() < end:
        time.sleep(dice.uniform(1, 2))
        targets = victims(start.pid)
        name = dice.choice(sorted(targets) or [""])
        if targets.get(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(dice.choice(targets[name]), signal.SIGKILL)
            killed[name] += 1
    visitors.join(120)
    assert not visitors.is_alive()

    # Leases of three minutes are waited for by moving them, once the others have settled.
    site.skip()
    site.quiet(DRAIN_SECS)

    ends = Counter(
        (row["status"], row["error_code"])
        for row in site.database.rows("SELECT status, error_code FROM flux_tasks")
    )
    sys.stderr.write(f"seed {seed}, killed {dict(killed)}, ends {dict(ends)}\n")
    assert len(visitors.tasks) == ends.total() == TASKS
    # Only a submit whose answer was lost with its worker may end without a picture.
    assert set(ends) <= {("SUCCESS", ""), ("FAILED", "submit_unknown")}
    assert start.is_running()
    site.check()
