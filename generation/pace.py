"""How long the models take here: the middle of what they took lately, not what anybody promises.

measure ─ what a schedule calls: looks at the latest finished tasks, writes a row per endpoint
typical ─ what the pages read
"""

from __future__ import annotations

from statistics import median

from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext

from generation.models import FluxTask, TypicalSeconds

#: So many of an endpoint's last finished tasks are looked at.
TASKS = 50
#: Fewer say nothing yet.
FEWEST = 5
#: So many of the latest tasks of all are gone through. An endpoint that none of them used keeps
#: the figure it had.
WINDOW = 3_000


def measure() -> int:
    """Measure anew. Returns the number of endpoints with a figure from the latest tasks."""
    latest = FluxTask.objects.order_by("-created_at", "-id").values_list(
        "endpoint", "generation_time", "status", "origin"
    )
    taken: dict[str, list[float]] = {}
    for endpoint, seconds, status, origin in latest[:WINDOW].iterator():
        # Conditions in the query would have the database look for a rare match in all of them.
        if status == FluxTask.Status.SUCCESS and seconds and not origin:
            times = taken.setdefault(endpoint, [])
            if len(times) < TASKS:
                times.append(seconds)
    now = timezone.now()
    rows = [
        TypicalSeconds(endpoint=endpoint, seconds=median(times), tasks=len(times), measured_at=now)
        for endpoint, times in taken.items()
        if len(times) >= FEWEST
    ]
    TypicalSeconds.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["endpoint"],
        update_fields=["seconds", "tasks", "measured_at"],
    )
    return len(rows)


def typical() -> dict[str, float]:
    """Return the typical seconds of a task by endpoint, for those we know. One query."""
    # In SQL, because every look at a card that is being drawn asks it.
    with connection.cursor() as cursor:
        cursor.execute("SELECT endpoint, seconds FROM flux_typical_seconds")
        return dict(cursor.fetchall())


def in_words(seconds: float | None) -> str:
    """Return "about 4 s" or "about 2 min", "" for None."""
    if seconds is None:
        return ""
    if seconds < 100:
        return gettext("about %(seconds)s s") % {"seconds": max(1, round(seconds))}
    return gettext("about %(minutes)s min") % {"minutes": round(seconds / 60)}
