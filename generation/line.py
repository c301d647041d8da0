"""Where waiting tasks stand in our own line, before a place at the provider is free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import connection

from generation.models import FluxTask


@dataclass(frozen=True, kw_only=True)
class Place:
    """A task's place in line, counted from 1, the length of the line, and how many of it
    belong to the same member."""

    position: int
    total: int
    own: int


def positions(tasks: Iterable[FluxTask]) -> dict[str, Place]:
    """Return the places of those of `tasks` that wait here.

    At most one query, none when nothing waits. The line is ordered by age; fairness between
    members may let somebody pass.
    """
    waiting = [
        task
        for task in tasks
        if task.status == FluxTask.Status.PENDING and task.submission == FluxTask.Submission.UNSENT
    ]
    if not waiting:
        return {}
    total, *counts = _count(waiting)
    # A task that left the line between the two looks is simply next.
    return {
        task.pk: Place(position=min(ahead + 1, max(total, 1)), total=max(total, 1), own=max(own, 1))
        for task, ahead, own in zip(waiting, counts[::2], counts[1::2], strict=True)
    }


def _count(tasks: list[FluxTask]) -> tuple[int, ...]:
    """Return how many wait, and for each of the tasks how many are ahead of it and how many are
    its member's. In SQL, because every order and every look at a card asks it, and the ORM takes
    thirty times as long to build the query as the database to answer it."""
    one = ", COUNT(*) FILTER (WHERE (created_at, id) < (%s, %s)), COUNT(*) FILTER (WHERE user_id = %s)"
    keys = [
        (connection.ops.adapt_datetimefield_value(task.created_at), task.pk, task.user_id)
        for task in tasks
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT COUNT(*){one * len(tasks)} FROM flux_tasks"  # noqa: S608 - placeholders alone
            " WHERE status = 'PENDING' AND submission = 'UNSENT'",
            [value for key in keys for value in key],
        )
        counts: tuple[int, ...] = cursor.fetchone()
    return counts


def all_places() -> dict[str, Place]:
    """Return the place of every task that waits here. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, user_id FROM flux_tasks"
            " WHERE status = 'PENDING' AND submission = 'UNSENT' ORDER BY created_at, id"
        )
        waiting = cursor.fetchall()
    own = Counter(user for _key, user in waiting)
    return {
        key: Place(position=position, total=len(waiting), own=own[user])
        for position, (key, user) in enumerate(waiting, 1)
    }


def drawing_of(*, user: Any) -> int:
    """Return how many of a member's tasks take a place at the provider. One query."""
    with connection.cursor() as cursor:
        # The plus keeps SQLite from going through all the member ever asked for.
        cursor.execute(
            "SELECT COUNT(*) FROM flux_tasks WHERE +user_id = %s"
            " AND status IN ('PENDING', 'IN_QUEUE', 'IN_PROGRESS') AND submission <> 'UNSENT'",
            [user.pk],
        )
        return int(cursor.fetchone()[0])
