"""How often a member may change something by API, whoever speaks for them.

Reading is not counted: who follows a task asks again and again, and each count is a write, of
which SQLite has one at a time. Nor are the views that count for themselves, in a transaction
they need anyway or by a limit of their own: they say `throttle_classes = []`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.translation import ngettext
from rest_framework import exceptions, status
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from generation import rates

WINDOW = timedelta(minutes=1)


class TooOften(exceptions.APIException):
    """`wait` is when the next minute begins, in seconds."""

    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    default_code = "too_often"

    def __init__(self, wait: int) -> None:
        text = ngettext(
            "Too many requests within one minute. Try again in %(seconds)d second.",
            "Too many requests within one minute. Try again in %(seconds)d seconds.",
            wait,
        )
        super().__init__(text % {"seconds": wait})
        self.wait = wait


class ChangesThrottle(BaseThrottle):
    """At most settings.API_CHANGES_PER_MINUTE, exactly, on any number of processes."""

    def allow_request(self, request: Request, view: Any) -> bool:
        limit = settings.API_CHANGES_PER_MINUTE
        if not limit or request.method in SAFE_METHODS or not request.user.is_authenticated:
            return True
        try:
            rates.take(
                scope="api", user=request.user, limit=limit, window=WINDOW, now=timezone.now()
            )
        except rates.TooOften as error:
            raise TooOften(error.retry_after) from error
        return True
