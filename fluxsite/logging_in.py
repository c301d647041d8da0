"""Who guesses passwords is locked out for a while: django-axes, with a count that holds.

Axes asks at the door of every login (of the site, of the admin) whether it may go on, and notes
afterwards what failed. Many tries at the same moment all pass such a door before the first has
failed. Here a try is counted before the password is looked at, in one statement, and taken back
when it was right: so no more tries reach the password than are allowed, however many come at
once and on any number of processes.

Two counts keep each other's errors small. A name is locked for one address alone, so nobody can
keep others out by guessing at their names. And an address has a limit for all names together,
against one password tried on everybody; it is wide, because behind an address there may be a
whole organisation, and only what failed counts.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import re
from datetime import timedelta
from typing import Any

from axes.backends import AxesStandaloneBackend
from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from rest_framework.throttling import BaseThrottle

logger = logging.getLogger(__name__)

#: Where axes keeps browsers, of which any number can be made up, we keep what a row counts.
ONE_NAME = "one name"
ALL_NAMES = "all names"

#: `attempt_time` is when the count began; it begins anew when that is long ago enough.
#: No row comes back for whoever is locked out: nothing was inserted and nothing updated.
_TRY = """
    INSERT INTO axes_accessattempt (
        username, ip_address, user_agent, attempt_time, failures_since_start,
        http_accept, path_info, get_data, post_data
    ) VALUES (%s, %s, %s, %s, 1, '', '', '', '')
    ON CONFLICT (username, ip_address, user_agent) DO UPDATE SET
        failures_since_start = CASE WHEN axes_accessattempt.attempt_time <= %s THEN 1
            ELSE axes_accessattempt.failures_since_start + 1 END,
        attempt_time = CASE WHEN axes_accessattempt.attempt_time <= %s THEN excluded.attempt_time
            ELSE axes_accessattempt.attempt_time END
    WHERE axes_accessattempt.attempt_time <= %s
        OR axes_accessattempt.failures_since_start < %s
    RETURNING failures_since_start
"""


class LockedOut(Exception):
    """Nothing was looked at."""


def address_of(request: HttpRequest) -> str:
    """Return the visitor's address, as settings.REST_FRAMEWORK["NUM_PROXIES"] says it is found.

    Of IPv6 the network of 64 bits, all of which one visitor may have. "0.0.0.0": there is none.
    """
    given = BaseThrottle().get_ident(request) or ""  # type: ignore[arg-type]
    # Some proxies name the port as well.
    named = re.fullmatch(r"\[(.+)\](?::\d+)?|([\d.]+):\d+", given, re.ASCII)
    if named:
        given = named[1] or named[2]
    try:
        address = ipaddress.ip_address(given.partition("%")[0])
    except ValueError:
        return "0.0.0.0"  # noqa: S104 - nobody listens here
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((address, 64), strict=False).network_address)
    return str(address)


class Door(AxesStandaloneBackend):  # type: ignore[misc]
    """Asks the handler before any password is looked at: the first of AUTHENTICATION_BACKENDS."""

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> None:
        # No request: a command on this machine, which nobody on the web can make us call.
        if request is not None:
            super().authenticate(request, **credentials)


class Handler(AxesDatabaseHandler):  # type: ignore[misc]
    """What axes calls before each login and after it (settings.AXES_HANDLER)."""

    def is_allowed(self, request: Any, credentials: Any = None) -> bool:
        """Count a try and tell whether it may go on."""
        name, address = _subject(request, credentials)
        try:
            with transaction.atomic():
                _take(name, address, ONE_NAME, limit=settings.LOGIN_TRIES)
                if settings.LOGIN_TRIES_PER_ADDRESS:
                    _take("", address, ALL_NAMES, limit=settings.LOGIN_TRIES_PER_ADDRESS)
        except LockedOut:
            return False
        return True

    def user_login_failed(
        self, sender: Any, credentials: Any, request: Any = None, **kwargs: Any
    ) -> None:
        """Have whoever was not even let try told so (axes' middleware does); the try is counted."""
        if request is None:
            return
        address = address_of(request)
        if request.axes_locked_out:
            request.axes_credentials = credentials
            logger.warning("a login from %s was refused: too many tries", address)
        else:
            logger.info("a login from %s failed", address)

    def user_logged_in(self, sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
        """Forget what failed before, and that the address tried."""
        address = address_of(request)
        rows = AccessAttempt.objects.filter(ip_address=address)
        tried = rows.filter(username=user.get_username(), user_agent=ONE_NAME)
        if tried.delete()[0]:
            rows.filter(username="", user_agent=ALL_NAMES, failures_since_start__gt=0).update(
                failures_since_start=F("failures_since_start") - 1
            )

    def user_logged_out(self, *args: Any, **kwargs: Any) -> None:
        """Who leaves is no concern of ours."""


def _subject(request: Any, credentials: Any) -> tuple[str, str]:
    return str((credentials or {}).get("username") or "")[:255], address_of(request)


def _take(name: str, address: str, kind: str, *, limit: int) -> None:
    now = timezone.now()
    field: Any = AccessAttempt._meta.get_field("attempt_time")
    at, before = (
        field.get_db_prep_value(moment, connection)
        for moment in (now, now - settings.AXES_COOLOFF_TIME)
    )
    with connection.cursor() as cursor:
        cursor.execute(_TRY, [name, address, kind, at, before, before, before, limit])
        if cursor.fetchone() is None:
            raise LockedOut


def wait_of(request: HttpRequest, name: str) -> timedelta:
    """Return when that name, or any, may be tried again from where the request comes."""
    rows = AccessAttempt.objects.filter(ip_address=address_of(request), username__in=[name, ""])
    waits = [
        row.attempt_time + settings.AXES_COOLOFF_TIME - timezone.now()
        for row in rows
        if is_locked(row)
    ]
    wait: timedelta = max([timedelta(seconds=1), *waits])
    return wait


def is_locked(row: AccessAttempt) -> bool:
    """Tell whether a row keeps somebody out at the moment."""
    one = row.user_agent == ONE_NAME
    limit = settings.LOGIN_TRIES if one else settings.LOGIN_TRIES_PER_ADDRESS
    is_new = row.attempt_time > timezone.now() - settings.AXES_COOLOFF_TIME
    return bool(limit) and is_new and row.failures_since_start >= limit


def locked_out(
    request: HttpRequest, original_response: HttpResponse | None, credentials: Any
) -> HttpResponse:
    """Answer whoever was not let try: 429, and how long to wait (settings.AXES_LOCKOUT_CALLABLE)."""
    wait = wait_of(request, _subject(request, credentials)[0])
    context = {"minutes": math.ceil(wait.total_seconds() / 60)}
    response = render(request, "429.html", context, status=429)
    response["Retry-After"] = str(math.ceil(wait.total_seconds()))
    response["Cache-Control"] = "no-store"
    return response


def forget() -> int:
    """Delete what locks nobody out any more, every night. Return how many rows there were."""
    old = AccessAttempt.objects.filter(
        attempt_time__lte=timezone.now() - settings.AXES_COOLOFF_TIME
    )
    deleted, _by_model = old.delete()
    return int(deleted)
