"""Several machines on one database: clusters with data directories of their own, pictures in
one bucket."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from generation.sandbox.server import SandboxServer
from generation.tests.faults.database import SQLiteDatabase
from generation.tests.faults.processes import Program, peers, wait_for
from generation.tests.faults.site import Site, Template, paid

TASKS = 40
AT_ONCE = 6


@pytest.fixture
def many(
    tmp_path: Path, template: Template, cos: Any, django_db_blocker: Any
) -> Iterator[Machines]:
    sandbox = SandboxServer(port=0, generation_seconds=0.6, queue_seconds=0.02)
    sandbox.start()
    site = Site(tmp_path, template, sandbox, django_db_blocker.unblock)
    site.forget_requests()
    site.configure(max_concurrent_tasks=AT_ONCE)
    yield Machines(site, cos)
    site.close()


class Machines:
    """Machines that share nothing but the database, the bucket and the keys."""

    def __init__(self, site: Site, cos: Any) -> None:
        self.site = site
        self.clusters: list[Program] = []
        options = cos.options()
        self._shared = {
            "STORAGE": "cos",
            "COS_BUCKET": options["bucket_name"],
            "COS_REGION": options["region"],
            "COS_SECRET_ID": options["secret_id"],
            "COS_SECRET_KEY": options["secret_key"],
            "COS_DOMAIN": options["domain"],
            "COS_SCHEME": options["scheme"],
            "SECRET_KEY": (site.directory / "secret_key").read_text().strip(),
            "FIELD_ENCRYPTION_KEYS": (site.directory / "field_key").read_text().strip(),
        }
        if isinstance(site.database, SQLiteDatabase):
            self._shared["DATABASE_URL"] = f"sqlite:///{site.database.path}"

    def _environment(self, name: str) -> dict[str, str]:
        directory = self.site.directory / name
        directory.mkdir()
        return {**self._shared, "DATA_DIR": str(directory)}

    def web(self) -> None:
        self.site.web(**self._environment("web-data"))

    def cluster(self) -> None:
        data = self._environment(f"cluster-{len(self.clusters)}")
        self.clusters.append(self.site.workers(**data))

    def sweeping(self) -> Program:
        """Return the cluster that talks to the provider, stopped where nothing is being sent:
        of a request that is cut off there, nobody could say whether it arrived."""
        return wait_for(self._stopped, what="a cluster that asks and does not send", pause=0.02)

    def _stopped(self) -> Program | None:
        for cluster in self.clusters:
            if any(self.site.sandbox.port in peers(pid) for pid in cluster.members()):
                self.site.stop(cluster)
                if self._is_asking():
                    return cluster
                cluster.signal(signal.SIGCONT)
        return None

    def _is_asking(self) -> bool:
        statement = "SELECT count(*) AS n FROM flux_tasks WHERE submission = %s AND status IN "
        sent = "('PENDING', 'IN_QUEUE', 'IN_PROGRESS')"
        count = self.site.database.value
        return not count(statement + sent, "UNKNOWN") and count(statement + sent, "ACCEPTED") > 0

    def successes(self) -> int:
        count = "SELECT count(*) AS n FROM flux_tasks WHERE status = 'SUCCESS'"
        return self.site.database.value(count)

    def wait_for_successes(self, number: int) -> None:
        wait_for(lambda: self.successes() >= number, what=f"{number} pictures")


def most_at_once(sandbox: SandboxServer) -> int:
    """Return how many requests the sandbox had at a time at most."""
    changes = []
    for job in sandbox.jobs.values():
        assert job.finished_at is not None
        changes += [(job.submitted_at, 1), (job.finished_at, -1)]
    most = now = 0
    for _moment, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def test_of_three_machines_one_dies_and_one_sleeps_and_every_task_is_drawn_once(
    many: Machines, cos: Any
):
    """Row 39. Limits hold over all of them, and pictures are stored by whoever is there."""
    site = many.site
    many.web()
    for _ in range(3):
        many.cluster()
    tasks = [(site.alice, site.bob)[n % 2].draw(f"machine {n}") for n in range(TASKS)]
    many.wait_for_successes(5)

    dead = many.sweeping()
    dead.kill()
    many.clusters.remove(dead)
    before = many.successes()
    many.wait_for_successes(before + 5)

    asleep = many.sweeping()
    many.clusters.remove(asleep)
    # Longer than every lease there is, also those of what it was storing.
    site.skip()
    many.wait_for_successes(many.successes() + 5)
    asleep.signal(signal.SIGCONT)
    many.wait_for_successes(TASKS)
    site.skip()  # What the dead one was storing.
    site.quiet()

    assert {site.status(task) for task in tasks} == {"SUCCESS"}
    assert [site.entries(task) for task in tasks] == [paid()] * TASKS
    for task in tasks:
        assert len(site.jobs(site.task(task)["prompt"])) == 1
        assert site.files_of(task) <= set(cos.objects())
    assert most_at_once(site.sandbox) <= AT_ONCE
    site._check_next_task()
    site._check_ledger()
    site._check_ends()
    site._check_submits()
    assert not (site.directory / "media").exists()
    for number in range(3):
        assert not list((site.directory / f"cluster-{number}").glob("media/generated/*"))
