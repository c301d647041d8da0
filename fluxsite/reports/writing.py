"""Pages of a report as pieces of a file: CSV for spreadsheets, lines of JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone

from fluxsite import spreadsheets
from fluxsite.reports.base import Asked, Pages, Report


@dataclass(frozen=True, kw_only=True)
class Format:
    extension: str
    content_type: str
    write: Callable[[Sequence[str], Pages], Iterator[str]]


def as_csv(columns: Sequence[str], pages: Pages) -> Iterator[str]:
    yield spreadsheets.MARK + spreadsheets.lines([columns])
    for page in pages:
        yield spreadsheets.lines([_for_people(value) for value in row] for row in page)


def _for_people(value: Any) -> Any:
    if isinstance(value, datetime):
        # As spreadsheets know a time: in the site's zone, without its name.
        local = timezone.localtime(value, timezone.get_default_timezone())
        return f"{local:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, dict):
        return _json(value) if value else ""
    return value


def as_json_lines(columns: Sequence[str], pages: Pages) -> Iterator[str]:
    """An object a line: read, cut and put together line by line, however many there are."""
    for page in pages:
        yield "".join(f"{_json(dict(zip(columns, row, strict=True)))}\n" for row in page)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_for_programs)


def _for_programs(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return str(value)


FORMATS: Mapping[str, Format] = {
    "csv": Format(extension="csv", content_type=spreadsheets.CONTENT_TYPE, write=as_csv),
    "json": Format(
        extension="jsonl",
        content_type="application/x-ndjson; charset=utf-8",
        write=as_json_lines,
    ),
}


def pieces(report: Report, *, asked: Asked, format_name: str) -> Iterator[str]:
    """Yield the file piece by piece, none longer than a page of the report. A page is asked for
    when its piece is; whoever closes the iterator ends it."""
    write = FORMATS[format_name].write
    return (piece for piece in write(report.columns, report.pages(asked)) if piece)
