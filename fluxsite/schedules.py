"""What is done by the clock: the schedules of django-q2, which are rows of the database.

Each app keeps its own after every migrate; this module knows none of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.db import connections


def keep(
    *,
    using: str,
    daily: Mapping[str, str] | None = None,
    by_minutes: Mapping[str, tuple[int, str]] | None = None,
) -> None:
    """Make the schedules that are missing, by name: the path of a function, and every how many
    minutes it is called. Those that are there stay as an administrator left them."""
    from django_q.models import Schedule

    # A migration back to an older state leaves no table to write to.
    if Schedule._meta.db_table not in connections[using].introspection.table_names():
        return
    wanted = {
        name: {"func": func, "schedule_type": Schedule.DAILY}
        for name, func in (daily or {}).items()
    } | {
        name: {"func": func, "schedule_type": Schedule.MINUTES, "minutes": minutes}
        for name, (minutes, func) in (by_minutes or {}).items()
    }
    for name, defaults in wanted.items():
        Schedule.objects.get_or_create(name=name, defaults=defaults)
