"""The SQLite file that is copied from, for nobody but us."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

ROWS = 1000


class InUse(Exception):
    """Somebody else has the file open."""


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """Open a database so that nobody else reads or writes it meanwhile.

    Raises InUse if anybody has it open, writing or not, and sqlite3.Error where it is no
    database. The kernel lets go of it however we end.
    """
    address = f"{path.absolute().as_uri()}?mode=rw"
    with closing(sqlite3.connect(address, uri=True, timeout=0, isolation_level=None)) as db:
        try:
            # Before the first look, so that the lock is on the file and not on a transaction:
            # in WAL mode everybody who is connected holds a share of it.
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise InUse(str(path)) from None
            raise
        # Texts as bytes: one that is no UTF-8 must not stop us.
        db.text_factory = bytes
        yield Source(db)


class Source:
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def migrations(self) -> set[tuple[str, str]]:
        """Return which migrations it has: app and name. Raises sqlite3.Error if it is none of
        a Django site."""
        return {
            (app.decode(), name.decode())
            for app, name in self._db.execute("SELECT app, name FROM django_migrations")
        }

    def count(self, table: str) -> int:
        return int(self._db.execute(f"SELECT count(*) FROM {_quoted(table)}").fetchone()[0])  # noqa: S608

    def all(self, statement: str) -> list[tuple[Any, ...]]:
        """Return rows, their texts as str."""
        return [
            tuple(value.decode() if isinstance(value, bytes) else value for value in row)
            for row in self._db.execute(statement)
        ]

    def rows(self, table: str, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Yield rows as SQLite keeps them, their texts as bytes, in the order of the file."""
        names = ", ".join(map(_quoted, columns))
        cursor = self._db.execute(f"SELECT {names} FROM {_quoted(table)}")  # noqa: S608
        cursor.arraysize = ROWS
        yield from cursor


def _quoted(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))
