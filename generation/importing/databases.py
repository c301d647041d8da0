"""Databases of other sites, read and never written: SQLite files and PostgreSQL.

The other site may go on running. A reader of SQLite in the old journal mode would hold up
its writers, so rows are put in order once, and then read in short steps. PostgreSQL holds up
nobody: there it is one read-only transaction that sees everything as it was at its beginning.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from generation.importing.reading import CannotRead, Person, Reader, Unreadable
from generation.importing.values import Row

#: Rows read at a time.
STEP = 500

#: Tables of accounts: the first is Open WebUI's, the second new-api's.
_PEOPLE = {"user": "name", "users": "username"}

NO_PSYCOPG = (
    "Reading PostgreSQL needs psycopg, which is not installed here. Install it with\n"
    "  .venv/bin/python -m pip install --no-deps --require-hashes -r requirements-scale.txt"
)


def open_database(source: str, *, people_table: str) -> Reader:
    """Return a reader for the path of an SQLite file or for a database's address, as Django or
    SQLAlchemy write it. Raises CannotRead."""
    # SQLAlchemy names its driver: postgresql+psycopg2://
    address = re.sub(r"^(postgres|postgresql|sqlite)\+\w+:", r"\1:", source)
    if address.startswith(("postgres:", "postgresql:")):
        return PostgreSQL(address, people_table=people_table)
    if re.match(r"\w+://", address) and not address.startswith("sqlite://"):
        msg = f"{address.partition(':')[0]} is neither SQLite nor PostgreSQL."
        raise CannotRead(msg)
    return SQLite(_path(address), people_table=people_table)


def _path(address: str) -> Path:
    """Return the path of an SQLite address. Some mean an absolute path by three slashes."""
    rest = address.removeprefix("sqlite://").partition("?")[0] if "://" in address else address
    if rest == address:
        return Path(rest).expanduser()
    relative = Path(rest.removeprefix("/"))
    return relative if relative.exists() else Path(rest.replace("//", "/", 1))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _sorted_by(order: Sequence[str], known: Collection[str]) -> str:
    columns = [_quoted(name) for name in order if name in known]
    return ", ".join([f"COALESCE({', '.join(columns)})"] if len(columns) > 1 else columns)


# ---------------------------------------------------------------- SQLite
class SQLite:
    def __init__(self, path: Path, *, people_table: str) -> None:
        if not path.is_file():
            msg = f"There is no file {path}."
            raise CannotRead(msg)
        self._people_table = people_table
        self._connection = _connect(path)

    def columns(self, table: str) -> set[str]:
        found = self._connection.execute(f"PRAGMA table_info({_quoted(table)})")
        return {row[1] for row in found}

    def count(self, table: str) -> int:
        try:
            count = f"SELECT COUNT(*) FROM {_quoted(table)}"  # noqa: S608 - names are ours
            return int(self._connection.execute(count).fetchone()[0])
        except sqlite3.Error:
            return 0

    def rows(
        self, table: str, *, columns: Sequence[str], order: Sequence[str]
    ) -> Iterator[Row | Unreadable]:
        try:
            yield from self._rows(table, columns, _sorted_by(order, self.columns(table)))
        except sqlite3.Error as error:
            yield Unreadable(where=table, why=f"reading broke off ({error})")

    def _rows(self, table: str, columns: Sequence[str], sort: str) -> Iterator[Row]:
        # In a database for ourselves, on the disk if it grows large.
        self._connection.execute("DROP TABLE IF EXISTS temp.sequence")
        self._connection.execute(
            "CREATE TEMP TABLE sequence AS SELECT rowid AS their_rowid "  # noqa: S608
            f"FROM {_quoted(table)} ORDER BY {sort or 'rowid'}"
        )
        wanted = ", ".join(f"their.{_quoted(column)}" for column in columns)
        step = (
            f"SELECT sequence.rowid, {wanted} FROM temp.sequence "  # noqa: S608
            f"JOIN {_quoted(table)} AS their ON their.rowid = sequence.their_rowid "
            "WHERE sequence.rowid > ? ORDER BY sequence.rowid LIMIT ?"
        )
        last = 0
        while found := self._connection.execute(step, (last, STEP)).fetchall():
            for number, *cells in found:
                yield dict(zip(columns, cells, strict=True))
                last = number

    def people(self, keys: Collection[str]) -> Mapping[str, Person]:
        known = self.columns(self._people_table)
        if not {"id", "email"} <= known:
            return {}
        name = _PEOPLE[self._people_table]
        wanted = ", ".join(_quoted(c) for c in ("id", "email", *([name] if name in known else [])))
        people: dict[str, Person] = {}
        todo = sorted(keys)
        for start in range(0, len(todo), STEP):
            some = todo[start : start + STEP]
            found = self._connection.execute(
                f"SELECT {wanted} FROM {_quoted(self._people_table)} "  # noqa: S608
                f"WHERE id IN ({', '.join('?' * len(some))})",
                some,
            )
            people.update(_as_people(found))
        return people

    def close(self) -> None:
        self._connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    """Open a file for reading alone.

    A file in the newer journal mode wants two more beside it, which cannot be made in a
    directory that is read-only. Where no journal waits, nobody writes it either.
    """
    address = path.resolve().as_uri()
    journals = [path.with_name(path.name + end) for end in ("-wal", "-journal")]
    waiting = [each.name for each in journals if each.exists() and each.stat().st_size]
    ways = ["mode=ro", *([] if waiting else ["mode=ro&immutable=1"])]
    for way in ways:
        connection = sqlite3.connect(f"{address}?{way}", uri=True, timeout=30)
        connection.text_factory = _decode
        try:
            connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        except sqlite3.Error as error:
            problem = error
            connection.close()
        else:
            return connection
    msg = f"{path} cannot be read as an SQLite database ({problem})."
    if waiting:
        msg += f" Copy {waiting[0]} along with it, into a directory that can be written."
    raise CannotRead(msg)


def _decode(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _as_people(found: Any) -> Iterator[tuple[str, Person]]:
    for key, email, *name in found:
        yield (
            str(key),
            Person(email=str(email or ""), name=str(name[0] or "") if name else ""),
        )


# ---------------------------------------------------------------- PostgreSQL
class PostgreSQL:
    """All cells come as text: what the server can print, we can judge, also times and numbers
    that Python has no type for."""

    def __init__(self, address: str, *, people_table: str) -> None:
        try:
            # Only sites that need it have it.
            import psycopg
        except ImportError as error:
            raise CannotRead(NO_PSYCOPG) from error
        self._people_table = people_table
        self._failure = psycopg.Error
        try:
            self._connection = psycopg.connect(address, connect_timeout=10)
            self._connection.execute("SET datestyle TO 'ISO'")
            self._connection.execute("SET TIME ZONE 'UTC'")
            self._connection.commit()
        except psycopg.Error as error:
            msg = f"The database does not let us in: {error}"
            raise CannotRead(msg) from error
        self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        self._connection.read_only = True

    def columns(self, table: str) -> set[str]:
        found = self._connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) "
            "AND attnum > 0 AND NOT attisdropped",
            [_quoted(table)],
        )
        return {str(row[0]) for row in found}

    def count(self, table: str) -> int:
        count = f"SELECT COUNT(*) FROM {_quoted(table)}"  # noqa: S608 - names are ours
        found = self._connection.execute(count).fetchone()
        return int(found[0]) if found else 0

    def rows(
        self, table: str, *, columns: Sequence[str], order: Sequence[str]
    ) -> Iterator[Row | Unreadable]:
        wanted = ", ".join(f"{_quoted(column)}::text" for column in columns)
        sort = _sorted_by(order, self.columns(table))
        query = f"SELECT {wanted} FROM {_quoted(table)}"  # noqa: S608 - names are ours
        if sort:
            query += f" ORDER BY {sort}"
        try:
            with self._connection.cursor("rows") as cursor:
                cursor.itersize = STEP
                for cells in cursor.execute(query):
                    yield dict(zip(columns, cells, strict=True))
        except self._failure as error:
            self._connection.rollback()
            yield Unreadable(where=table, why=f"reading broke off ({error})")

    def people(self, keys: Collection[str]) -> Mapping[str, Person]:
        known = self.columns(self._people_table)
        if not {"id", "email"} <= known:
            return {}
        name = _PEOPLE[self._people_table]
        wanted = ("id", "email", *([name] if name in known else []))
        found = self._connection.execute(
            f"SELECT {', '.join(f'{_quoted(c)}::text' for c in wanted)} "  # noqa: S608
            f"FROM {_quoted(self._people_table)} WHERE id::text = ANY(%s)",
            [sorted(keys)],
        )
        return dict(_as_people(found))

    def close(self) -> None:
        self._connection.close()
