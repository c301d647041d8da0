"""A table as a file: CSV with a row of column names, or JSON Lines. UTF-8, with or without BOM."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from generation.importing.reading import CannotRead, Person, Unreadable
from generation.importing.values import Row

#: Characters of one cell: reference pictures as text are long, and skipped.
MAX_CELL = 64 * 1024 * 1024


class TableFile:
    """Answers for any table: there is one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_csv = path.suffix.lower() == ".csv"
        if not self._is_csv and path.suffix.lower() not in (".jsonl", ".ndjson"):
            msg = f"{path.name} should end in .csv or .jsonl."
            raise CannotRead(msg)
        try:
            with self._open() as file:
                self._columns = _columns(next(csv.reader(file), [])) if self._is_csv else []
        except (OSError, csv.Error) as error:
            msg = f"{path} cannot be read ({error})."
            raise CannotRead(msg) from error
        if self._is_csv and "id" not in self._columns:
            msg = f"The first line of {path.name} should name its columns, `id` among them."
            raise CannotRead(msg)

    def _open(self) -> Any:
        return self._path.open(encoding="utf-8-sig", errors="replace", newline="")

    def columns(self, table: str) -> set[str]:
        if self._is_csv:
            return set(self._columns)
        return {name for row in self._objects() if not isinstance(row, Unreadable) for name in row}

    def count(self, table: str) -> int:
        return sum(1 for _row in self.rows(table, columns=(), order=()))

    def rows(
        self, table: str, *, columns: Sequence[str], order: Sequence[str]
    ) -> Iterator[Row | Unreadable]:
        return self._records() if self._is_csv else self._objects()

    def people(self, keys: Collection[str]) -> Mapping[str, Person]:
        return {}

    def close(self) -> None: ...

    # ------------------------------------------------------------ CSV
    def _records(self) -> Iterator[Row | Unreadable]:
        csv.field_size_limit(MAX_CELL)
        with self._open() as file:
            lines = csv.reader(file)
            next(lines, None)
            while True:
                try:
                    cells = next(lines, None)
                except csv.Error as error:
                    yield Unreadable(where=f"line {lines.line_num}", why=str(error))
                    continue
                if cells is None:
                    return
                if cells and len(cells) != len(self._columns):
                    why = f"has {len(cells)} cells, not {len(self._columns)}"
                    yield Unreadable(where=f"line {lines.line_num}", why=why)
                elif cells:
                    yield dict(zip(self._columns, cells, strict=True))

    # ------------------------------------------------------------ JSON Lines
    def _objects(self) -> Iterator[Row | Unreadable]:
        with self._open() as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    yield Unreadable(where=f"line {number}", why=f"is no JSON ({error})"[:200])
                    continue
                if isinstance(row, dict):
                    yield row
                else:
                    yield Unreadable(where=f"line {number}", why="is no JSON object")


def _columns(cells: Sequence[str]) -> list[str]:
    return [cell.strip().lower() for cell in cells]
