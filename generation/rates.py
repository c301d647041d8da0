"""How often a member may do something: one row per member, scope and window of time.

Windows are fixed: with an hour as the window the count begins anew when the clock strikes, for
everybody. So twice the limit can pass around that moment, and never more than the limit inside
one window, however many come at once: to count and to compare is a single statement.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from generation.models import RateWindow

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: No row comes back when the window is full: nothing was inserted and nothing updated.
_TAKE = """
    INSERT INTO rate_windows (scope, user_id, begins_at, count) VALUES (%s, %s, %s, 1)
    ON CONFLICT (user_id, scope, begins_at)
        DO UPDATE SET count = rate_windows.count + 1 WHERE rate_windows.count < %s
    RETURNING count
"""


class TooOften(Exception):
    """The window is full. `retry_after` is the number of seconds until the next one begins."""

    def __init__(self, retry_after: timedelta) -> None:
        self.retry_after = max(1, math.ceil(retry_after.total_seconds()))
        super().__init__(f"Try again in {self.retry_after} s.")


def take(*, scope: str, user: Any, limit: int, window: timedelta, now: datetime) -> None:
    """Count one more of `scope`, at most `limit` (from 1) in a `window`. Raises TooOften.

    What is turned away is not counted.
    """
    begins_at = now - (now - _EPOCH) % window
    when = RateWindow._meta.get_field("begins_at").get_db_prep_value(begins_at, connection)
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, [scope, user.pk, when, limit])
        taken = cursor.fetchone()
    if taken is None:
        raise TooOften(begins_at + window - now)
    if taken[0] == 1:
        _forget(scope=scope, user=user, before=begins_at - window)


def _forget(*, scope: str, user: Any, before: datetime) -> None:
    """Delete windows long past. The last one stays: a clock behind ours may still count in it."""
    RateWindow.objects.filter(user=user, scope=scope, begins_at__lt=before).delete()
