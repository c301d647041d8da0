"""How often a member may do something: one row per member, scope and window of time.

Windows are fixed: with an hour as the window the count begins anew when the clock strikes, for
everybody. So twice the limit can pass around that moment, and never more than the limit inside
one window, however many come at once: to count and to compare is a single statement. A count in
a cache, as the throttles of REST framework keep it, lets through whoever reads it before the
others have written.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from generation.models import RateWindow

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Longer than any window, and than clocks are apart.
KEPT = timedelta(hours=3)
#: No row comes back when the window is full: nothing was inserted and nothing updated.
_TAKE = """
    INSERT INTO rate_windows (scope, user_id, begins_at, count) VALUES (%s, %s, %s, %s)
    ON CONFLICT (user_id, scope, begins_at)
        DO UPDATE SET count = rate_windows.count + excluded.count
            WHERE rate_windows.count + excluded.count <= %s
    RETURNING count
"""


class TooOften(Exception):
    """The window is full. `retry_after` is the number of seconds until the next one begins."""

    def __init__(self, retry_after: timedelta) -> None:
        self.retry_after = max(1, math.ceil(retry_after.total_seconds()))
        super().__init__(f"Try again in {self.retry_after} s.")


def take(
    *, scope: str, user: Any, limit: int, window: timedelta, now: datetime, amount: int = 1
) -> None:
    """Count `amount` more of `scope`, at most `limit` (from 1) in a `window` of an hour or less.
    Raises TooOften.

    What is turned away is not counted. More at once than the limit fill a window by themselves.
    Inside a transaction it is counted if that is.
    """
    begins_at = now - (now - _EPOCH) % window
    when = RateWindow._meta.get_field("begins_at").get_db_prep_value(begins_at, connection)
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, [scope, user.pk, when, min(amount, limit), limit])
        is_full = cursor.fetchone() is None
    if is_full:
        raise TooOften(begins_at + window - now)


def forget(*, now: datetime) -> int:
    """Delete windows long past, every night. Return how many there were."""
    deleted, _by_model = RateWindow.objects.filter(begins_at__lt=now - KEPT).delete()
    return deleted
