"""The database of a site under test, seen from outside: plain SQL on connections of our own.

Whether it is SQLite or PostgreSQL is decided by DATABASE_URL, as for the rest of the suite.
Statements use %s for both. Times go in and come out as aware datetimes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from django.db import connections

from generation.tests.faults.processes import wait_for

Row = dict[str, Any]

#: Every column that tells when something is due, runs out or happened.
CLOCKS = {
    "flux_tasks": (
        "created_at",
        "updated_at",
        "next_action_at",
        "submitted_at",
        "accepted_at",
        "deadline_at",
        "missing_since",
        "cancel_requested_at",
        "cancel_sent_at",
        "completed_at",
    ),
    "task_images": ("created_at", "next_action_at", "storing_since", "stored_at"),
    "sweep_leases": ("expires_at", "called_at"),
    "flux_config": ("refused_at", "probe_at"),
    "django_q_ormq": ("lock",),
    "django_q_schedule": ("next_run",),
}


def url() -> str:
    return os.environ.get("DATABASE_URL", "")


def is_postgresql() -> bool:
    return url().startswith(("postgres:", "postgresql:"))


class Database:
    """What both kinds share. `url` is the DATABASE_URL of the site, "" for its own SQLite."""

    url = ""
    #: What Django calls the database.
    name: str

    def rows(self, statement: str, *values: Any) -> list[Row]:
        raise NotImplementedError

    def change(self, statement: str, *values: Any) -> int:
        """Run one statement in a transaction of its own; return how many rows it touched."""
        raise NotImplementedError

    @contextmanager
    def locked(self, table: str) -> Iterator[None]:
        """Hold up every write to `table` (SQLite: to anything) as a transaction of somebody
        else's would."""
        raise NotImplementedError

    def slow_to_take(self, table: str) -> AbstractContextManager[None]:
        """Let an INSERT into `table` take longer than any test; what was committed before can
        be read meanwhile."""
        return self.locked(table)

    def wait_for_waiter(self) -> None:
        """Return once somebody waits for what `locked` holds."""
        raise NotImplementedError

    def is_idle(self) -> bool:
        """Tell whether nobody is in the middle of a transaction."""
        raise NotImplementedError

    @contextmanager
    def of_django(self) -> Iterator[None]:
        """Let Django's default connection lead here instead of to the database of tests."""
        connection = connections["default"]
        test_name = connection.settings_dict["NAME"]
        connection.close()
        connection.settings_dict["NAME"] = self.name
        try:
            yield
        finally:
            connection.close()
            connection.settings_dict["NAME"] = test_name

    def backup(self) -> Any:
        raise NotImplementedError

    def restore(self, backup: Any) -> None:
        """Bring a backup back. Nothing may be connected."""
        raise NotImplementedError

    def drop(self) -> None:
        raise NotImplementedError

    def row(self, statement: str, *values: Any) -> Row:
        (row,) = self.rows(statement, *values)
        return row

    def value(self, statement: str, *values: Any) -> Any:
        (value,) = self.row(statement, *values).values()
        return value

    def skip(self, seconds: float) -> None:
        """Let time pass: everything the site has written down is so much older now. A negative
        number is a clock that was put back."""
        raise NotImplementedError


# ---------------------------------------------------------------- SQLite
class SQLiteDatabase(Database):
    def __init__(self, path: Path, *, template: Path | None = None) -> None:
        self.path = path
        self.name = str(path)
        if template:
            shutil.copy(template, path)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            yield connection

    def rows(self, statement: str, *values: Any) -> list[Row]:
        with self._connection() as connection:
            found = connection.execute(*_for_sqlite(statement, values)).fetchall()
        return [{name: _moment(name, row[name]) for name in row.keys()} for row in found]  # noqa: SIM118

    def change(self, statement: str, *values: Any) -> int:
        with self._connection() as connection:
            return connection.execute(*_for_sqlite(statement, values)).rowcount

    @contextmanager
    def locked(self, table: str) -> Iterator[None]:
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                connection.execute("ROLLBACK")

    @contextmanager
    def slow_to_take(self, table: str) -> Iterator[None]:
        # A lock would hold up the commit before it too: SQLite has one for the whole file. So
        # the statement itself counts to a number; a trigger may do so by a view only.
        with self._connection() as connection:
            connection.execute(
                "CREATE VIEW counted AS WITH RECURSIVE numbers (number) AS"
                " (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < 1000000000)"
                " SELECT max(number) FROM numbers"
            )
            connection.execute(
                f"CREATE TRIGGER slow BEFORE INSERT ON {table} BEGIN SELECT * FROM counted; END"
            )
            try:
                yield
            finally:
                connection.execute("DROP TRIGGER slow")
                connection.execute("DROP VIEW counted")

    def wait_for_waiter(self) -> None:
        # SQLite keeps no list of who waits. Whoever has not come yet cannot commit either, so
        # what a test proves stays true; it only proves less.
        time.sleep(0.5)

    def is_idle(self) -> bool:
        # The turn to write is a locked file beside the database (fluxsite/sqlite).
        with Path(f"{self.path}-gate").open("a") as gate:
            try:
                fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with closing(sqlite3.connect(self.path, timeout=0)) as connection:
                    connection.execute("BEGIN IMMEDIATE")
            except (BlockingIOError, sqlite3.OperationalError):
                return False
        return True

    def skip(self, seconds: float) -> None:
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            for table, columns in CLOCKS.items():
                # As Django writes them, because times are compared as text: six digits of a
                # second, or none.
                moved = ", ".join(
                    f"{c} = replace(strftime('%Y-%m-%d %H:%M:%f', {c}, '{-seconds} seconds')"
                    " || '000', '.000000', '')"
                    for c in columns
                )
                connection.execute(f"UPDATE {table} SET {moved}")
            connection.execute("COMMIT")

    def backup(self) -> Path:
        copy = self.path.with_suffix(".backup")
        with self._connection() as connection, closing(sqlite3.connect(copy)) as target:
            connection.backup(target)
        return copy

    def restore(self, backup: Path) -> None:
        for suffix in ("-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        shutil.copy(backup, self.path)

    def drop(self) -> None:
        """Nothing to do: the file goes with the site's directory."""


def _for_sqlite(statement: str, values: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    return statement.replace("%s", "?"), tuple(
        value.astimezone(UTC).replace(tzinfo=None).isoformat(" ")
        if isinstance(value, datetime)
        else value
        for value in values
    )


def _moment(name: str, value: Any) -> Any:
    if isinstance(value, str) and name.endswith(("_at", "_since")):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return value


# ---------------------------------------------------------------- PostgreSQL
class PostgresDatabase(Database):
    def __init__(self, name: str, *, template: str = "template0") -> None:
        self.name = name
        self.url = urlunsplit(urlsplit(url())._replace(path=f"/{name}"))
        self._create(template)

    def _create(self, template: str) -> None:
        self.serve(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')
        self.serve(f'CREATE DATABASE "{self.name}" TEMPLATE "{template}"')

    @staticmethod
    def serve(statement: str) -> None:
        import psycopg

        with closing(psycopg.connect(url(), autocommit=True)) as connection:
            connection.execute(statement)

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        import psycopg
        from psycopg.rows import dict_row

        connection = psycopg.connect(self.url, autocommit=True, row_factory=dict_row)
        with closing(connection):
            yield connection

    def rows(self, statement: str, *values: Any) -> list[Row]:
        with self._connection() as connection:
            return connection.execute(statement, values or None).fetchall()

    def change(self, statement: str, *values: Any) -> int:
        with self._connection() as connection:
            return connection.execute(statement, values or None).rowcount

    @contextmanager
    def locked(self, table: str) -> Iterator[None]:
        with self._connection() as connection, connection.transaction(force_rollback=True):
            connection.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
            yield

    def wait_for_waiter(self) -> None:
        wait_for(self.waiting, what="somebody waiting for a lock", pause=0.01)

    def waiting(self) -> list[int]:
        """Return the server processes of the site that wait for a lock."""
        found = self.rows(
            "SELECT pid FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'",
            self.name,
        )
        return [row["pid"] for row in found]

    def is_idle(self) -> bool:
        busy = self.rows(
            "SELECT pid FROM pg_stat_activity "
            "WHERE datname = %s AND state <> 'idle' AND pid <> pg_backend_pid()",
            self.name,
        )
        return not busy

    def skip(self, seconds: float) -> None:
        with self._connection() as connection, connection.transaction():
            for table, columns in CLOCKS.items():
                moved = ", ".join(f"{c} = {c} - interval '{seconds} seconds'" for c in columns)
                connection.execute(f"UPDATE {table} SET {moved}")

    def backup(self) -> str:
        backup = f"{self.name}_backup"
        self.serve(f'CREATE DATABASE "{backup}" TEMPLATE "{self.name}"')
        return backup

    def restore(self, backup: str) -> None:
        self._create(backup)
        self.serve(f'DROP DATABASE "{backup}"')

    def drop(self) -> None:
        self.serve(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')
        self.serve(f'DROP DATABASE IF EXISTS "{self.name}_backup" WITH (FORCE)')
