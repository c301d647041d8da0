"""``manage.py copy_database``: bring a site from SQLite into the PostgreSQL of DATABASE_URL."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DataError, IntegrityError, connection, transaction
from django.db.migrations.executor import MigrationExecutor

from credits import audit
from fluxsite.copying import source, target
from fluxsite.copying.values import Column, Unfit
from generation import fields
from generation.models import FluxConfig
from history import search, view

#: How many values that are refused are told one by one.
TOLD = 20
SCHEMES = ("sqlite:///", "sqlite:")


class Command(BaseCommand):
    help = (
        "Copy everything from a SQLite database into the empty PostgreSQL database that "
        "DATABASE_URL names, in one transaction: whole or not at all. Stop the site first."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--from",
            dest="source",
            default=str(settings.DATA_DIR / "fluxsite.sqlite3"),
            help="a path, or sqlite:///path (the database in DATA_DIR)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if connection.vendor != "postgresql":
            msg = "DATABASE_URL names no PostgreSQL. Set it to postgres://user:password@host/name."
            raise CommandError(msg)
        path = _path(options["source"])
        begun = time.monotonic()
        try:
            with source.opened(path) as old:
                _refuse_filled(target.existing())
                call_command("migrate", verbosity=0, interactive=False)
                self._compare_migrations(old)
                with transaction.atomic():
                    total = self._copy(old)
                    self._compare(old)
        except source.InUse:
            msg = (
                f"{path} is in use. Stop everything that uses it first: ./run, or web server and "
                "workers where they run apart."
            )
            raise CommandError(msg) from None
        except sqlite3.Error as error:
            msg = f"{path} cannot be read: {error}"
            raise CommandError(msg) from error
        seconds = time.monotonic() - begun
        self.stdout.write(f"{total} rows copied, {total / max(seconds, 0.001):.0f} a second")
        self._index()
        self._look_at_keys()

    # ------------------------------------------------------------ before
    def _compare_migrations(self, old: source.Source) -> None:
        new = target.migrations()
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):  # pragma: no cover
            msg = "The target could not be migrated."
            raise CommandError(msg)
        had = old.migrations()
        lacking, beyond = sorted(new - had), sorted(had - new)
        if lacking or beyond:
            parts = [f"{app}.{name}" for app, name in (*lacking, *beyond)]
            msg = (
                "The databases are not of the same release: only one of them has "
                f"{', '.join(parts[:TOLD])}. Start the old site once with this release, with the "
                "same OIDC_SERVER_URL, and stop it again."
            )
            raise CommandError(msg)

    # ------------------------------------------------------------ copying
    def _copy(self, old: source.Source) -> int:
        tables = target.tables()
        try:
            target.lock(tables)
        except target.InUse as error:
            msg = f"The target is in use: {error}".rstrip()
            raise CommandError(msg) from None
        _refuse_filled(tables)
        target.clear(tables)
        target.defer(tables)
        refused: list[str] = []
        total = sum(self._copy_table(old, table, refused) for table in tables)
        if refused:
            told = "\n".join(f"  {line}" for line in refused[:TOLD])
            msg = (
                f"PostgreSQL does not take {len(refused)} of the values. Nothing was copied; mend "
                f"these first:\n{told}"
            )
            raise CommandError(msg)
        try:
            target.settle()
        except IntegrityError as error:
            msg = f"A row refers to one that is not there. Nothing was copied.\n{error}"
            raise CommandError(msg) from error
        search.clear()
        return total

    def _copy_table(self, old: source.Source, table: str, refused: list[str]) -> int:
        columns = target.columns(table)
        begun = time.monotonic()
        rows = _converted(old, table, columns, refused)
        if refused:  # Nothing is written any more, but all that is wrong is told.
            return sum(1 for _row in rows)
        try:
            written = target.write(table, columns, rows)
        except (DataError, IntegrityError) as error:
            msg = f"PostgreSQL does not take a row of {table}. Nothing was copied.\n{error}"
            raise CommandError(msg) from error
        if written:
            self.stdout.write(f"  {table}: {written} ({time.monotonic() - begun:.1f} s)")
        for column in columns:
            if column.replaced:
                self.stdout.write(
                    f"  {table}.{column.name}: in {column.replaced} values characters that "
                    "PostgreSQL does not take became U+FFFD"
                )
        return written

    # ------------------------------------------------------------ after
    def _compare(self, old: source.Source) -> None:
        wrong = [
            f"{name}: {before} rows were {after}"
            for name in (*target.tables(), *view.FILTERS)
            if (before := old.count(name)) != (after := target.count(name))
        ]
        for what, statement in _SUMS.items():
            was, is_now = old.all(statement), target.all_of(statement)
            wrong += [f"{what}: {was[0]} became {is_now[0]}"] if was != is_now else []
        for direction in ("DESC", "ASC"):
            if _ends(old.all(_ENDS.format(direction, ""))) != _ends(
                target.all_of(_ENDS.format(direction, 'COLLATE "C"'))
            ):
                wrong.append(f"{view.NAME}: other rows at its {direction} end")
        wrong += [f"ledger: {difference}" for difference in audit.check()]
        if wrong:
            msg = "The copy is not the same, and was taken back:\n  " + "\n  ".join(wrong[:TOLD])
            raise CommandError(msg)
        entries = target.count(view.NAME)
        self.stdout.write(
            f"the same in both: rows of every table, sums of the ledger, first and last pages of "
            f"the history ({entries} entries); the ledger is right"
        )

    def _index(self) -> None:
        """Fill the index of the search, and the planner's statistics. Cut off here, the site is
        whole: the rest is done in its first night, or by rebuild_search."""
        target.gather_statistics()
        begun = time.monotonic()
        filled = search.fill()
        target.gather_statistics()
        self.stdout.write(
            f"index of the search: {filled.added} entries ({time.monotonic() - begun:.1f} s)"
        )

    def _look_at_keys(self) -> None:
        try:
            for config in FluxConfig.objects.all():
                fields.decrypt(config.api_key)
        except fields.KeyUnreadable:
            self.stderr.write(
                "The fal key was copied and cannot be read here: give this site the field_key "
                "and secret_key of the old DATA_DIR, or FIELD_ENCRYPTION_KEYS and SECRET_KEY."
            )


# The same SQL on both. Sums of nothing are null on both.
_SUMS = {
    "the ledger": "SELECT count(*), sum(amount), sum(charged) FROM credit_ledger",
    "balances": "SELECT count(*), sum(credits_balance), sum(total_used) FROM flux_credits",
}
_ENDS = (
    f"SELECT source, id, user_id, prompt FROM {view.NAME}"  # noqa: S608
    " ORDER BY created_at {0}, id {1} {0} LIMIT 24"
)


def _ends(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    # A NUL in a prompt is one that was replaced.
    return [(*row[:-1], row[-1].replace("\0", "\N{REPLACEMENT CHARACTER}")) for row in rows]


def _refuse_filled(tables: list[str]) -> None:
    if filled := target.filled(tables):
        msg = (
            f"The target is not empty: it has rows in {', '.join(filled[:TOLD])}. Nothing was "
            "changed. Make a new database."
        )
        raise CommandError(msg)


def _converted(
    old: source.Source, table: str, columns: list[Column], refused: list[str]
) -> Iterator[tuple[Any, ...]]:
    """Yield rows as PostgreSQL takes them; what it does not take goes to `refused`."""
    names = [column.name for column in columns]
    converters = [column.convert for column in columns]
    for row in old.rows(table, names):
        try:
            yield tuple(
                None if value is None else convert(value)
                for convert, value in zip(converters, row, strict=True)
            )
        except Unfit:
            refused += _reasons(table, columns, row)


def _reasons(table: str, columns: list[Column], row: tuple[Any, ...]) -> Iterator[str]:
    key = row[0].decode(errors="replace") if isinstance(row[0], bytes) else row[0]
    for column, value in zip(columns, row, strict=True):
        try:
            if value is not None:
                column.convert(value)
        except Unfit as error:
            yield f"{table}.{column.name} of {columns[0].name}={key}: {error}"


def _path(given: str) -> Path:
    for scheme in SCHEMES:
        given = given.removeprefix(scheme)
    path = Path(given).expanduser()
    if not path.is_file():
        msg = f"There is no file {path}."
        raise CommandError(msg)
    return path
