"""What a schedule calls every night: each job in a message of its own, so that none holds up
another."""

from __future__ import annotations

from django_q.tasks import async_task

JOBS = ("history.trash.nightly", "history.exports.nightly")


def nightly() -> None:
    for job in JOBS:
        async_task(job)
