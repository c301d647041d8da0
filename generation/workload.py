"""What is unfinished at the moment, for whoever runs the site.

Everything is counted from the indexes of what is unfinished, so it takes as long with ten
million finished tasks as with none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Min, Q

from generation import channel, polling
from generation.models import FluxTask, TaskImage

#: Due work that nobody touched for so long is stuck: a sweep comes by every minute.
STUCK_AFTER = timedelta(minutes=3)

Submission = FluxTask.Submission


@dataclass(frozen=True, kw_only=True)
class Workload:
    """`tasks` counts unfinished ones by status and submission. Times are None where there is
    nothing to tell of; `workers_seen_at` is when a worker last swept, or now while one does."""

    now: datetime
    channel: channel.Channel
    tasks: Mapping[tuple[str, str], int]
    oldest_waiting_at: datetime | None
    oldest_due_at: Mapping[str, datetime]
    pictures_to_store: int
    pictures_failing: int
    workers_seen_at: datetime | None

    @property
    def waiting(self) -> int:
        """Tasks that wait here to be sent."""
        return self.tasks.get((FluxTask.Status.PENDING, Submission.UNSENT), 0)

    @property
    def at_provider(self) -> int:
        """Tasks that take a slot: sent, or perhaps sent."""
        return sum(self.tasks.values()) - self.waiting

    @property
    def unknown(self) -> int:
        """Tasks of which nobody knows yet whether the provider has them."""
        return sum(n for (_status, sent), n in self.tasks.items() if sent == Submission.UNKNOWN)

    @property
    def stuck_since(self) -> datetime | None:
        """Since when work lies there that a healthy site would have touched, None without any.

        A long line alone is no trouble: tasks may wait for a slot, for their member's turn or
        for the breaker. That nothing at all is being drawn meanwhile is.
        """
        due = [at for sent, at in self.oldest_due_at.items() if sent != Submission.UNSENT]
        if self.at_provider == 0 and self.channel.may_send(self.now):
            due += [at for sent, at in self.oldest_due_at.items() if sent == Submission.UNSENT]
        # What is sent can only be asked about while there is a connection.
        if self.channel.connection is None or not due or min(due) > self.now - STUCK_AFTER:
            return None
        return min(due)


def measure(*, now: datetime) -> Workload:
    """Count what is unfinished. Five queries."""
    tasks: dict[tuple[str, str], int] = {}
    oldest_waiting_at = None
    unfinished = FluxTask.objects.unfinished().order_by().values_list("status", "submission")
    for status, sent, number, oldest in unfinished.annotate(n=Count("pk"), at=Min("created_at")):
        tasks[status, sent] = number
        if (status, sent) == (FluxTask.Status.PENDING, Submission.UNSENT):
            oldest_waiting_at = oldest
    due = FluxTask.objects.filter(next_action_at__lte=now).order_by().values_list("submission")
    pictures = TaskImage.objects.filter(stored_at=None, next_action_at__isnull=False).aggregate(
        waiting=Count("pk"), failing=Count("pk", filter=Q(store_attempts__gt=0))
    )
    return Workload(
        now=now,
        channel=channel.current(),
        tasks=tasks,
        oldest_waiting_at=oldest_waiting_at,
        oldest_due_at=dict(due.annotate(at=Min("next_action_at"))),
        pictures_to_store=pictures["waiting"],
        pictures_failing=pictures["failing"],
        workers_seen_at=polling.last_swept_at(now=now),
    )
