"""Where waiting tasks stand in our own line, before a place at the provider is free."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection

from generation.models import FluxTask


def positions(tasks: Iterable[FluxTask]) -> dict[str, tuple[int, int]]:
    """Return (position, total) for those of `tasks` that wait here, counted from 1.

    At most two queries, none when nothing waits. The line is ordered by age; fairness
    between members may let somebody pass.
    """
    waiting = [
        task
        for task in tasks
        if task.status == FluxTask.Status.PENDING and task.submission == FluxTask.Submission.UNSENT
    ]
    if not waiting:
        return {}
    counts = _count(waiting)
    total = counts[0]
    return {
        # A task that left the line between the two looks is simply next.
        task.pk: (min(counts[index + 1] + 1, max(total, 1)), max(total, 1))
        for index, task in enumerate(waiting)
    }


def _count(tasks: list[FluxTask]) -> tuple[int, ...]:
    """Return how many wait, and how many are ahead of each of the tasks. In SQL, because every
    order and every look at a card asks it, and the ORM takes thirty times as long to build the
    query as the database to answer it."""
    ahead = ", COUNT(*) FILTER (WHERE (created_at, id) < (%s, %s))" * len(tasks)
    keys = [(connection.ops.adapt_datetimefield_value(task.created_at), task.pk) for task in tasks]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT COUNT(*){ahead} FROM flux_tasks"  # noqa: S608 - placeholders alone
            " WHERE status = 'PENDING' AND submission = 'UNSENT'",
            [value for key in keys for value in key],
        )
        counts: tuple[int, ...] = cursor.fetchone()
    return counts


def all_places() -> dict[str, tuple[int, int]]:
    """Return (position, total) for every task that waits here. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM flux_tasks WHERE status = 'PENDING' AND submission = 'UNSENT'"
            " ORDER BY created_at, id"
        )
        waiting = [key for (key,) in cursor.fetchall()]
    return {key: (place, len(waiting)) for place, key in enumerate(waiting, 1)}
