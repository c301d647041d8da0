"""Databases that a benchmark makes for itself: one is prepared, each round gets a copy of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg

from benchmarks.startup import ROOT, clean_environment

POSTGRES = "postgres://postgres@127.0.0.1:5432/postgres"


@dataclass(frozen=True, kw_only=True)
class Sqlite:
    """A data directory with a database in it."""

    directory: Path
    name = "sqlite"

    @property
    def environment(self) -> dict[str, str]:
        return {"DATA_DIR": str(self.directory), "LOG_LEVEL": "WARNING"}

    @contextlib.contextmanager
    def copied(self) -> Iterator[Sqlite]:
        with tempfile.TemporaryDirectory() as directory:
            copy = Path(directory) / "data"
            shutil.copytree(self.directory, copy, ignore=shutil.ignore_patterns("*.sqlite3*"))
            # A copy of the file alone would miss what still lies in the write-ahead log.
            with (
                contextlib.closing(sqlite3.connect(self.directory / "fluxsite.sqlite3")) as source,
                contextlib.closing(sqlite3.connect(copy / "fluxsite.sqlite3")) as target,
            ):
                source.backup(target)
            yield Sqlite(directory=copy)


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A database of our own on the local server, and a data directory for the rest."""

    directory: Path
    database: str
    name = "postgresql"

    @property
    def url(self) -> str:
        return urlunsplit(urlsplit(POSTGRES)._replace(path=f"/{self.database}"))

    @property
    def environment(self) -> dict[str, str]:
        return Sqlite(directory=self.directory).environment | {"DATABASE_URL": self.url}

    @contextlib.contextmanager
    def copied(self) -> Iterator[Postgres]:
        name = f"{self.database}_copy"
        with _created(name, template=self.database):
            yield Postgres(directory=self.directory, database=name)


Database = Sqlite | Postgres


@contextlib.contextmanager
def made(label: str = "", *, keep: Path | None = None) -> Iterator[list[Database]]:
    """Make an empty migrated database of each kind there is. A label tells apart two that are
    wanted at a time. In a directory to `keep` they stay, and are there the next time."""
    with contextlib.ExitStack() as stack:
        if keep is None:
            directory = stack.enter_context(tempfile.TemporaryDirectory())
        else:
            directory = str(keep.absolute() / f"data{label}")
        databases: list[Database] = [Sqlite(directory=Path(directory) / "sqlite")]
        try:
            psycopg.connect(POSTGRES, connect_timeout=3).close()
        except psycopg.OperationalError:
            print(f"No PostgreSQL answers at {POSTGRES}: SQLite alone is measured.")
        else:
            name = f"fluxsite_bench_{'kept' if keep else os.getpid()}{label}"
            stack.enter_context(_created(name, keep=keep is not None))
            databases.append(Postgres(directory=Path(directory) / "postgresql", database=name))
        for database in databases:
            manage(database, "migrate", "--verbosity", "0")
        yield databases


@contextlib.contextmanager
def _created(name: str, template: str = "template0", *, keep: bool = False) -> Iterator[None]:
    with psycopg.connect(POSTGRES, autocommit=True) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        if not (keep and known.fetchone()):
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        try:
            yield
        finally:
            if not keep:
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def manage(database: Database, *arguments: str) -> None:
    """Run `manage.py`; only what goes wrong is heard."""
    subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=clean_environment() | database.environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
