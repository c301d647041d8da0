"""What a reader of the history asks to see: read from a query, applied to entries.

The API and the page share it, so that an address of one says the same to the other. Every
filter stays inside an index that is already in the order of time, or says why it may not
(history/models.py); searching in prompts is the business of history/search.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.translation import gettext as _
from rest_framework.exceptions import ValidationError

from history import sources
from history.models import HistoryEntry, HistoryEntryQuerySet

#: Longer than any prompt one would search for.
MAX_TEXT = 200
MAX_MODEL = 100


@dataclass(frozen=True, kw_only=True)
class Filters:
    """`since` and `until` are days of the reader's time zone, both included. Empty: all."""

    source: str = ""
    model: str = ""
    since: date | None = None
    until: date | None = None
    favourite: bool = False
    text: str = ""

    @property
    def active(self) -> dict[str, Any]:
        """Return the filters that are set, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value}


def read(params: Mapping[str, str]) -> Filters:
    """Read the filters of a query; empty is as good as missing.

    Raises ValidationError naming every field that is wrong.
    """
    problems: dict[str, list[str]] = {}
    values: dict[str, Any] = {}
    for name, reader in _READERS.items():
        try:
            text = params.get(name, "").strip()
            if "\0" in text:
                raise ValueError(_("This cannot be searched for."))
            if text:
                values[name] = reader(text)
        except ValueError as error:
            problems[name] = [str(error)]
    if not problems and values.get("since", date.min) > values.get("until", date.max):
        problems["until"] = [_("This day is before the first one.")]
    if problems:
        raise ValidationError(problems)
    return Filters(**values)


def entries_of(*, user: Any, filters: Filters) -> HistoryEntryQuerySet:
    """Return a member's entries that pass the filters."""
    entries = HistoryEntry.objects.for_user(user)
    if filters.source:
        entries = entries.source(filters.source)
    if filters.model:
        entries = entries.filter(model=filters.model)
    if filters.favourite:
        entries = entries.filter(is_favourite=True)
    if filters.since:
        entries = entries.filter(created_at__gte=_start_of(filters.since))
    if filters.until:
        entries = entries.filter(created_at__lt=_start_of(filters.until + timedelta(days=1)))
    if filters.text:
        entries = entries.filter(prompt__icontains=filters.text)
    return entries


def _start_of(day: date) -> datetime:
    start = datetime.combine(day, time.min, tzinfo=timezone.get_current_timezone())
    return start.astimezone(UTC)


# ---------------------------------------------------------------- readers
def _source(text: str) -> str:
    known = sources.load()
    if text not in known:
        raise ValueError(_("Choose one of %(choices)s.") % {"choices": ", ".join(known)})
    return text


def _model(text: str) -> str:
    if len(text) > MAX_MODEL:
        raise ValueError(_("At most %(maximum)s characters, please.") % {"maximum": MAX_MODEL})
    return text


def _text(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise ValueError(_("At most %(maximum)s characters, please.") % {"maximum": MAX_TEXT})
    return text


def _day(text: str) -> date:
    try:
        day = parse_date(text)
    except ValueError:
        day = None
    if day is None or not 1970 <= day.year <= 2999:
        raise ValueError(_("Write a day like 2026-11-26."))
    return day


def _flag(text: str) -> bool:
    if text not in ("0", "1", "true", "false"):
        raise ValueError(_("Write 1 or 0."))
    return text in ("1", "true")


_READERS = {
    "source": _source,
    "model": _model,
    "since": _day,
    "until": _day,
    "favourite": _flag,
    "text": _text,
}
