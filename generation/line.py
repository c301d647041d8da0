"""Where waiting tasks stand in our own line, before a place at the provider is free."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Count, Q
from django.db.models.functions import Coalesce

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
    line = FluxTask.objects.waiting().order_by()
    ahead = {
        f"n{index}": Coalesce(
            Count(
                "pk",
                filter=Q(created_at__lt=task.created_at)
                | Q(created_at=task.created_at, pk__lt=task.pk),
            ),
            0,
        )
        for index, task in enumerate(waiting)
    }
    counts = line.aggregate(total=Count("pk"), **ahead)
    total = counts["total"]
    return {
        # A task that left the line between the two looks is simply next.
        task.pk: (min(counts[f"n{index}"] + 1, max(total, 1)), max(total, 1))
        for index, task in enumerate(waiting)
    }
