"""What a reader of the history asks to see: read from a query, applied to entries.

The API and the page share it, so that an address of one says the same to the other:

    filters = read(request.GET, reader=request.user)
    page = page_of(user=request.user, filters=filters, asked=paging.read(request.GET))

Every filter stays inside an index that is in the order of time, or says why it may not;
searching in prompts is the business of history/search.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import TextChoices
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework.exceptions import ValidationError

from fluxsite import paging
from history import search, sources
from history.models import HistoryEntry, HistoryFailure, HistoryTask, ViewRow
from history.rows import Row, Rows

MAX_MODEL = 100
#: What `member` says instead of a name.
EVERYBODY = "all"
#: So many favourites are read through sooner than a text is looked up and they among it.
FEW_FAVOURITES = 1000


class Status(TextChoices):
    """What to see. SUCCESS is what is seen without any."""

    SUCCESS = "SUCCESS", gettext_lazy("Finished")
    FAILED = "FAILED", gettext_lazy("Failed")
    CANCELLED = "CANCELLED", gettext_lazy("Cancelled")
    ALL = "ALL", gettext_lazy("Everything, also what is not finished")


@dataclass(frozen=True, kw_only=True)
class Filters:
    """`since` and `until` are days of the reader's time zone, both included. Empty: all, but
    of `status` the finished ones, and of `member` the reader's own."""

    source: str = ""
    model: str = ""
    status: str = ""
    since: date | None = None
    until: date | None = None
    favourite: bool = False
    text: str = ""
    member: str = ""

    @property
    def active(self) -> dict[str, Any]:
        """Return the filters that are set, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value}

    @property
    def shows_only_entries(self) -> bool:
        """Whether all that is shown is finished and has pictures."""
        return self.status in ("", Status.SUCCESS)


def read(params: Mapping[str, str], *, reader: Any = None) -> Filters:
    """Read the filters of a query; empty is as good as missing.

    `member` is read for a `reader` only. Raises ValidationError naming every field that is
    wrong, and PermissionDenied when one who is not staff asks for a member.
    """
    problems: dict[str, list[str]] = {}
    values: dict[str, Any] = {}
    for name, reader_of in _READERS.items():
        try:
            text = params.get(name, "").strip()
            if "\0" in text and name != "text":
                raise ValueError(_("This cannot be searched for."))
            if text and (name != "member" or reader is not None):
                values[name] = reader_of(text, reader)
        except ValueError as error:
            problems[name] = [str(error)]
    if not problems and values.get("since", date.min) > values.get("until", date.max):
        problems["until"] = [_("This day is before the first one.")]
    if not problems and "text" in values and values.get("member") == EVERYBODY:
        # Its index is one for each member.
        problems["text"] = [_("Name one member to search in.")]
    if problems:
        raise ValidationError(problems)
    return Filters(**values)


def page_of(*, user: Any, filters: Filters, asked: paging.Asked) -> paging.Page[Row]:
    """Fetch a page of what passes the filters, in a query or two."""
    entries = entries_of(user=user, filters=filters)
    if not filters.text:
        return entries.page(asked)
    query = search.parse(filters.text)
    # Only entries are in the index. What failed or was cancelled is seldom much.
    if not filters.shows_only_entries or _are_few(entries, filters):
        return search.walk(entries, query=query, asked=asked)
    scope = search.Scope(
        user_id=_member(user, filters).pk,
        source=filters.source,
        model=filters.model,
        since=_start_of(filters.since) if filters.since else None,
        until=_end_of(filters.until) if filters.until else None,
    )
    return search.paginate(_of_all(filters), query=query, scope=scope, asked=asked)


def entries_of(*, user: Any, filters: Filters) -> Rows:
    """Return what passes the filters, whatever its text: see `page_of`."""
    if filters.member == EVERYBODY:
        entries = _of_all(filters)
    else:
        view = _VIEWS.get(filters.status, HistoryEntry)
        entries = _narrowed(Rows(view), filters)
        entries = entries.where("user_id = %s", _member(user, filters).pk)
    if filters.since:
        entries = entries.where("created_at >= %s", _start_of(filters.since))
    if filters.until:
        entries = entries.before(_end_of(filters.until))
    return entries


_VIEWS: Mapping[str, type[ViewRow]] = {
    Status.FAILED.value: HistoryFailure,
    Status.CANCELLED.value: HistoryFailure,
    Status.ALL.value: HistoryTask,
}


def _of_all(filters: Filters) -> Rows:
    """Return what passes the filters, of all members and times."""
    tasks = Rows(HistoryTask)
    if filters.shows_only_entries:
        # As HistoryEntryQuerySet.finished says it, and why.
        tasks = tasks.where("status = 'SUCCESS'").where("NOT (image_url = '')")
    return _narrowed(tasks, filters)


def _narrowed(entries: Rows, filters: Filters) -> Rows:
    if filters.status in (Status.FAILED, Status.CANCELLED):
        entries = entries.where("status = %s", filters.status)
    if filters.source:
        entries = entries.where("source = %s", filters.source)
    if filters.model:
        entries = entries.where("model = %s", filters.model)
    if filters.favourite:
        entries = entries.where("is_favourite")
    return entries


def _are_few(entries: Rows, filters: Filters) -> bool:
    return filters.favourite and not entries.newest(limit=1, after=FEW_FAVOURITES)


def _member(user: Any, filters: Filters) -> Any:
    if not filters.member:
        return user
    return get_user_model().objects.get(username=filters.member)


def _start_of(day: date) -> datetime:
    start = datetime.combine(day, time.min, tzinfo=timezone.get_current_timezone())
    return start.astimezone(UTC)


def _end_of(day: date) -> datetime:
    return _start_of(day + timedelta(days=1))


# ---------------------------------------------------------------- readers
def _source(text: str, reader: Any) -> str:
    known = sources.load()
    if text not in known:
        raise ValueError(_("Choose one of %(choices)s.") % {"choices": ", ".join(known)})
    return text


def _model(text: str, reader: Any) -> str:
    if len(text) > MAX_MODEL:
        raise ValueError(_("At most %(maximum)s characters, please.") % {"maximum": MAX_MODEL})
    return text


def _status(text: str, reader: Any) -> str:
    if text not in Status.values:
        raise ValueError(_("Choose one of %(choices)s.") % {"choices": ", ".join(Status.values)})
    return text


def _day(text: str, reader: Any) -> date:
    try:
        day = parse_date(text)
    except ValueError:
        day = None
    if day is None or not 1970 <= day.year <= 2999:
        raise ValueError(_("Write a day like 2026-11-26."))
    return day


def _flag(text: str, reader: Any) -> bool:
    if text not in ("0", "1", "true", "false"):
        raise ValueError(_("Write 1 or 0."))
    return text in ("1", "true")


def _text(text: str, reader: Any) -> str:
    return text


def _name_of_member(text: str, reader: Any) -> str:
    if not reader.is_staff:
        raise PermissionDenied
    if text != EVERYBODY and not get_user_model().objects.filter(username=text).exists():
        raise ValueError(_("There is no member of this name."))
    return text


_READERS = {
    "source": _source,
    "model": _model,
    "status": _status,
    "since": _day,
    "until": _day,
    "favourite": _flag,
    "text": _text,
    "member": _name_of_member,
}
