"""Rows of the views of the history, asked for by SQL.

Django takes four times as long to write such a question and to dress the rows as the database to
answer it, and every page of the history is such a question.

    mine = Rows(HistoryEntry).where("user_id = %s", user.pk).where("is_favourite")
    page = mine.page(asked)
"""

# ruff: noqa: S608 - the names of views are ours, values are parameters
from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connections, router

from fluxsite import paging
from history.models import HistoryEntry, ViewRow
from history.view import NAME, PAGES

_COLUMNS = "source, id, user_id, model, prompt, image_url, status, created_at, is_favourite"
_CREATED_AT = HistoryEntry._meta.get_field("created_at").cached_col


class Row(NamedTuple):
    """What a ViewRow is."""

    source: str
    source_id: str
    user_id: int
    model: str
    prompt: str
    image_url: str
    status: str
    created_at: datetime
    is_favourite: bool

    @property
    def key(self) -> str:
        return f"{self.source}:{self.source_id}"


@dataclass(frozen=True)
class Rows:
    """The rows of a view for which all conditions hold, from before `end` if there is one.
    Nothing is asked before it is fetched."""

    view: type[ViewRow]
    conditions: tuple[str, ...] = ()
    params: tuple[Any, ...] = ()
    end: datetime | None = None

    @property
    def using(self) -> str:
        return router.db_for_read(self.view)

    def where(self, condition: str, *params: Any) -> Rows:
        """Return those of them for which a condition holds too, written in SQL."""
        return replace(
            self, conditions=(*self.conditions, condition), params=(*self.params, *params)
        )

    def before(self, end: datetime) -> Rows:
        """Return those of them that are older than that."""
        return replace(self, end=end)

    def page(self, asked: paging.Asked) -> paging.Page[Row]:
        """Fetch the page that was asked for, in one query."""
        found = self._below(asked.cursor) if asked.cursor is not None else self
        # One row more than shown tells whether there is a next page.
        rows = found.newest(limit=asked.limit + 1, after=paging.first_row(asked))
        return paging.cut(rows, asked=asked, id_field="source_id")

    def newest(self, *, limit: int, after: int = 0) -> list[Row]:
        """Fetch the newest ones, after so many others."""
        if not after and (function := self._function()):
            places = ", ".join(["%s"] * (len(self.params) + 1))
            return self._fetch(f"{function}({places})", (*self.params, limit))
        offset = f" OFFSET {after:d}" if after else ""
        return self.fetch(f" ORDER BY created_at DESC, id DESC LIMIT {limit:d}{offset}")

    def with_ids(self, ids: Collection[str]) -> list[Row]:
        """Fetch those of these ids, in any order."""
        places = ", ".join(["%s"] * len(ids))
        return self.where(f"id IN ({places})", *ids).fetch() if ids else []

    def _below(self, cursor: paging.Cursor) -> Rows:
        # Of two bounds SQLite may begin at the higher one and walk down to the other.
        if self.end is not None and self.end <= cursor.created_at:
            return self
        # As a pair it is where an index begins; alternatives take PostgreSQL long to plan.
        unbounded = replace(self, end=None)
        return unbounded.where("(created_at, id) < (%s, %s)", cursor.created_at, cursor.id)

    def fetch(self, order: str = "") -> list[Row]:
        """Fetch all of them; `order` is the end of the statement."""
        if self.end is not None:
            return replace(self, end=None).where("created_at < %s", self.end).fetch(order)
        where = f" WHERE {' AND '.join(self.conditions)}" if self.conditions else ""
        return self._fetch(f"{self.view._meta.db_table}{where}{order}", self.params)

    def _function(self) -> str | None:
        """Return the function that answers this with a plan it keeps, where there is one."""
        is_whole = self.view._meta.db_table == NAME and self.end is None
        if is_whole and connections[self.using].vendor == "postgresql":
            return PAGES.get(self.conditions)
        return None

    def _fetch(self, source: str, values: Sequence[Any]) -> list[Row]:
        connection = connections[self.using]
        ops = connection.ops
        params = [
            ops.adapt_datetimefield_value(each) if isinstance(each, datetime) else each
            for each in values
        ]
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {_COLUMNS} FROM {source}", params)
            found = cursor.fetchall()
        # SQLite knows neither times nor truth.
        for convert in ops.get_db_converters(_CREATED_AT):
            found = [
                (*row[:7], convert(row[7], _CREATED_AT, connection), bool(row[8])) for row in found
            ]
        return [Row._make(row) for row in found]
