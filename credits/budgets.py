"""Budgets: what a member has used of what they may spend, per calendar period.

A reservation counts in the period in which it was made, with all of it while it is open, with
what was charged once it is settled, with nothing once it is released. So a picture that is
ready after midnight still belongs to the day it was asked for, and no settlement ever exceeds
a budget that its reservation kept. Periods are those of the site's time zone, whatever zone
the reader is in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Literal

from django.db import connection
from django.db.models import Q, Sum
from django.utils import timezone

from credits.models import Account, LedgerEntry

Period = Literal["day", "week", "month"]
PERIODS: tuple[Period, ...] = ("day", "week", "month")


@dataclass(frozen=True, kw_only=True)
class Use:
    """The tightest limit of one period, what is used of it, and when it starts afresh."""

    period: Period
    limit: int
    used: int
    resets_at: datetime

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used)


def bounds(period: Period, now: datetime) -> tuple[datetime, datetime]:
    """Return the first moment of the period around `now`, and of the one after it."""
    zone = timezone.get_default_timezone()
    today = now.astimezone(zone).date()
    if period == "day":
        first, following = today, today + timedelta(days=1)
    elif period == "week":
        first = today - timedelta(days=today.weekday())
        following = first + timedelta(days=7)
    else:
        first = today.replace(day=1)
        following = (first + timedelta(days=31)).replace(day=1)

    def midnight(day: date) -> datetime:
        return datetime.combine(day, time.min, tzinfo=zone)

    return midnight(first), midnight(following)


# In SQL, because every reservation asks it: Django takes longer to build this query than the
# database to answer it and to do all the rest of a reservation.
_LIMITS = """
    SELECT per_day, per_week, per_month FROM credit_budgets
    WHERE user_id = %s
        OR group_id IN (SELECT group_id FROM auth_user_groups WHERE user_id = %s)
"""


def limits_of(*, user: Any) -> dict[Period, int]:
    """Return the tightest limit per period among the budgets of a member and their groups."""
    with connection.cursor() as cursor:
        cursor.execute(_LIMITS, [user.pk, user.pk])
        rows = cursor.fetchall()
    limits: dict[Period, int] = {}
    for row in rows:
        for period, limit in zip(PERIODS, row, strict=True):
            if limit is not None:
                limits[period] = min(limit, limits.get(period, limit))
    return limits


def uses_of(*, account_id: str, limits: dict[Period, int], now: datetime) -> list[Use]:
    """Return how the account stands with each limit, all with one query."""
    if not limits:
        return []
    around = {period: bounds(period, now) for period in limits}
    sums: dict[str, Sum] = {}
    for period, (start, _end) in around.items():
        since = Q(created_at__gte=start)
        sums[f"{period}_reserved"] = Sum("amount", filter=since, default=0)
        sums[f"{period}_returned"] = Sum("closing__amount", filter=since, default=0)
    first = min(start for start, _end in around.values())
    found = (
        LedgerEntry.objects.reservations()
        .filter(account_id=account_id, created_at__gte=first)
        .aggregate(**sums)
    )
    return [
        Use(
            period=period,
            limit=limit,
            used=-found[f"{period}_reserved"] - found[f"{period}_returned"],
            resets_at=around[period][1],
        )
        for period, limit in limits.items()
    ]


def state_of(*, account: Account) -> list[Use]:
    """Return how a member stands with their budgets, for showing; empty without budgets."""
    limits = limits_of(user=account.user)
    return uses_of(account_id=account.pk, limits=limits, now=timezone.now())


def worst(uses: Iterable[Use]) -> Use | None:
    """Return the exceeded limit that lasts longest: waiting for another one would not help."""
    exceeded = [use for use in uses if use.used > use.limit]
    return max(exceeded, key=lambda use: use.resets_at, default=None)
