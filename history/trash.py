"""The trash: what a member threw away, newest first, and its end after thirty days."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.db.models import Q, QuerySet
from django.utils import timezone

from fluxsite.paging import Cursor
from history import sources
from history.entries import Entry, compose
from history.models import HistoryEntry
from history.sources import COLUMNS, PREFIX, REMOVED_AT

logger = logging.getLogger(__name__)

#: How long what was thrown away can be taken back.
KEPT = timedelta(days=30)
#: What a nightly job may take, in seconds; well below the cluster's own limit.
NIGHTLY_SECONDS = 100.0
BATCH = 100


@dataclass(frozen=True, kw_only=True)
class Thrown:
    """An entry in the trash."""

    entry: Entry
    trashed_at: datetime

    @property
    def removed_at(self) -> datetime:
        return self.trashed_at + KEPT


@dataclass(frozen=True, kw_only=True)
class Page:
    """`next_cursor` is "" at the end of the list."""

    rows: list[Thrown]
    next_cursor: str


def page_of(*, user: Any, limit: int, cursor: Cursor | None = None) -> Page:
    """Return a page of a member's trash, in one query and one for each source's pictures."""
    first, *others = (
        _thrown(source.tasks(apps), user=user, cursor=cursor) for source in sources.load().values()
    )
    rows = first.union(*others, all=True) if others else first
    found = list(rows.order_by(f"-{PREFIX}trashed_at", f"-{PREFIX}id")[: limit + 1])
    shown = [(_entry_row(row), row[f"{PREFIX}trashed_at"]) for row in found[:limit]]
    entries = {entry.key: entry for entry in compose(row for row, _at in shown)}
    next_cursor = ""
    if len(found) > limit:
        last, trashed_at = shown[-1]
        next_cursor = Cursor(created_at=trashed_at, id=last.source_id).encode()
    return Page(
        rows=[Thrown(entry=entries[row.key], trashed_at=at) for row, at in shown],
        next_cursor=next_cursor,
    )


def _thrown(tasks: QuerySet[Any, Any], *, user: Any, cursor: Cursor | None) -> QuerySet[Any, Any]:
    mine = tasks.filter(user=user, trashed_at__gt=REMOVED_AT)
    if cursor is None:
        return mine
    return mine.filter(
        Q(trashed_at__lt=cursor.created_at) | Q(trashed_at=cursor.created_at, id__lt=cursor.id)
    )


def _entry_row(row: Mapping[str, Any]) -> HistoryEntry:
    values = {name: row[PREFIX + name] for name in COLUMNS}
    # A task that failed has no picture.
    values["image_url"] = values["image_url"] or ""
    return HistoryEntry(source_id=values.pop("id"), **values)


# ---------------------------------------------------------------- the end
def nightly() -> None:
    """Remove for ever what was thrown away thirty days ago."""
    removed = remove_old(seconds=NIGHTLY_SECONDS)
    if removed:
        logger.info("history: removed %d entries for ever", removed)


def remove_old(*, seconds: float = float("inf")) -> int:
    """Remove what lies in the trash for longer than KEPT. Returns the number of entries."""
    before = timezone.now() - KEPT
    end = time.monotonic() + seconds
    removed = 0
    for source, ids in _old(before):
        removed += source.remove(ids=ids, trashed_before=before)
        if time.monotonic() > end:
            break
    return removed


def _old(before: datetime) -> Iterator[tuple[sources.Source, list[str]]]:
    for source in sources.load().values():
        last: list[str] = []
        while ids := source.trashed_before(before, limit=BATCH):
            # What cannot be removed tonight must not keep us here until tomorrow.
            if ids == last:
                break
            yield source, ids
            last = ids
