from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _

Row = Sequence[Any]
Pages = Iterator[list[Row]]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Of which time, from `since` on and before `until`, and whose; None: without a bound."""

    since: datetime | None = None
    until: datetime | None = None
    member: Any = None

    def during(self, field: str = "created_at") -> dict[str, Any]:
        """Return the time as keywords of a filter."""
        bounds = {f"{field}__gte": self.since, f"{field}__lt": self.until}
        return {lookup: bound for lookup, bound in bounds.items() if bound is not None}


@dataclass(frozen=True, kw_only=True)
class Report:
    """`pages` yields lists of rows, each row with a value for each of the `columns`.
    `permissions` are what staff need, all of them."""

    name: str
    label: str | Promise
    columns: tuple[str, ...]
    permissions: tuple[str, ...]
    pages: Callable[[Asked], Pages]


class BadRequest(ValueError):
    """What was asked for cannot be: `field` is one of since, until, member."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


def read(*, since: str = "", until: str = "", member: str = "") -> Asked:
    """Read what is asked for: months or days of the site's time zone, both included, and a
    username. Empty: without a bound. Raises BadRequest."""
    asked = Asked(
        since=_begin_of("since", since),
        until=_end_of("until", until),
        member=_member(member),
    )
    if asked.since and asked.until and asked.since >= asked.until:
        raise BadRequest("until", _("The end is before the beginning."))
    return asked


def _begin_of(field: str, text: str) -> datetime | None:
    day = _first_day(field, text)
    return _midnight(day) if day else None


def _end_of(field: str, text: str) -> datetime | None:
    day = _first_day(field, text)
    if day is None:
        return None
    return _midnight(next_month(day) if len(text) == len("2026-01") else day + timedelta(days=1))


def _first_day(field: str, text: str) -> date | None:
    if not text:
        return None
    # Years a database and a calendar can still add a month to.
    if re.fullmatch(r"[12][0-9]{3}-[0-9]{2}(-[0-9]{2})?", text, re.ASCII):
        try:
            return date.fromisoformat(text if len(text) > len("2026-01") else f"{text}-01")
        except ValueError:
            pass
    raise BadRequest(field, _("A month such as 2026-01 or a day such as 2026-01-31 is needed."))


def next_month(day: date) -> date:
    """Return the first day of the month after that of `day`."""
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1)


def _midnight(day: date) -> datetime:
    moment = datetime.combine(day, time.min, tzinfo=timezone.get_default_timezone())
    return moment.astimezone(UTC)


def _member(name: str) -> Any:
    if not name:
        return None
    users = get_user_model()
    try:
        if "\0" in name:
            raise users.DoesNotExist
        return users.objects.get_by_natural_key(name)
    except users.DoesNotExist:
        raise BadRequest("member", _("There is no member of this name.")) from None


def months(asked: Asked, *, earliest: datetime | None) -> Iterator[tuple[str, Asked]]:
    """Yield the months of the site's time zone that are asked for, by name, each cut to what is
    asked for of it: none before `earliest`, where None says that there is nothing, and none
    after now."""
    if earliest is None:
        return
    begin = max(asked.since or earliest, earliest)
    now = timezone.now()
    end = min(asked.until or now, now)
    day = timezone.localtime(begin, timezone.get_default_timezone()).date().replace(day=1)
    while (first := _midnight(day)) < end:
        following = _midnight(next_month(day))
        bounds = Asked(since=max(first, begin), until=min(following, end), member=asked.member)
        yield f"{day:%Y-%m}", bounds
        day = next_month(day)
