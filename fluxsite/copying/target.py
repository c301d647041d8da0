"""The PostgreSQL database that is copied into, by Django's own connection."""

# ruff: noqa: S608 - names come from the catalogue of the database and are quoted
from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from django.apps import apps
from django.core.management.color import no_style
from django.db import OperationalError, connection, transaction
from django.db.migrations.recorder import MigrationRecorder

from fluxsite.copying.values import Column

#: What `migrate` leaves in a new database; it makes way for what is copied.
MADE_BY_MIGRATE = {
    "auth_permission",
    "credit_prices",
    "django_content_type",
    "django_q_schedule",
    "flux_config",
    "flux_model_aliases",
    "flux_models",
}
#: Rows written by one statement. References are looked into at its end, from a list in memory.
BATCH = 20_000
LOCK_MILLISECONDS = 5_000

Row = tuple[Any, ...]


class InUse(Exception):
    """Somebody else has a table of the target locked."""


def migrations() -> set[tuple[str, str]]:
    return set(MigrationRecorder(connection).applied_migrations())


def tables() -> list[str]:
    """Return the tables of all models, those that others refer to first."""
    models = apps.get_models(include_auto_created=True)
    names = {
        model._meta.db_table for model in models if model._meta.managed and not model._meta.proxy
    }
    return _in_order(names, [(table, to) for _name, table, to in _references(names)])


def existing() -> list[str]:
    """Return those of the tables that are there: none in a new database."""
    there = connection.introspection.table_names()
    return [name for name in tables() if name in there]


def _in_order(names: set[str], references: list[tuple[str, str]]) -> list[str]:
    order: list[str] = []
    left = sorted(names)
    while left:
        free = [
            name
            for name in left
            if not any(t == name and to in left and to != name for t, to in references)
        ]
        # In a circle any may begin: `defer` takes care of what refers ahead.
        order += free or left[:1]
        left = [name for name in left if name not in order]
    return order


def _references(names: Iterable[str]) -> list[Row]:
    """Return each reference between tables: its name, the table, the one it leads to."""
    return _rows(
        "SELECT conname, own.relname, other.relname FROM pg_constraint"
        " JOIN pg_class own ON own.oid = conrelid JOIN pg_class other ON other.oid = confrelid"
        " WHERE contype = 'f' AND condeferrable AND own.relname = ANY(%s)"
        " AND connamespace = current_schema()::regnamespace",
        [sorted(names)],
    )


def columns(table: str) -> list[Column]:
    found = _rows(
        "SELECT column_name, data_type, character_maximum_length FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND table_name = %s AND is_generated = 'NEVER'"
        " ORDER BY ordinal_position",
        [table],
    )
    return [Column(name, kind, length) for name, kind, length in found]


def lock(names: Iterable[str]) -> None:
    """Keep everybody else out of the tables until the transaction ends. Raises InUse."""
    try:
        with transaction.atomic():
            _execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
            _execute(f"LOCK TABLE {_list(names)} IN ACCESS EXCLUSIVE MODE")
    except OperationalError as error:
        raise InUse(str(error)) from error


def filled(names: Iterable[str]) -> list[str]:
    """Return the tables that hold more than a new database does."""
    return [
        name
        for name in names
        if name not in MADE_BY_MIGRATE and _rows(f"SELECT 1 FROM {_quoted(name)} LIMIT 1")
    ]


def clear(names: Iterable[str]) -> None:
    _execute(f"TRUNCATE {_list(names)}")


def defer(order: list[str]) -> None:
    """Have references looked into at the end of each statement, where they lead back; of a
    reference that leads to the same table or ahead, at the end of the transaction."""
    _execute("SET CONSTRAINTS ALL IMMEDIATE")
    place = {name: number for number, name in enumerate(order)}
    ahead = [name for name, table, to in _references(order) if place[to] >= place[table]]
    if ahead:
        _execute(f"SET CONSTRAINTS {_list(ahead)} DEFERRED")


def write(table: str, columns: list[Column], rows: Iterator[Row]) -> int:
    """Write rows of converted values; return how many."""
    names = ", ".join(_quoted(column.name) for column in columns)
    written = 0
    while batch := list(islice(rows, BATCH)):
        with (
            connection.cursor() as cursor,
            cursor.copy(f"COPY {_quoted(table)} ({names}) FROM STDIN") as copy,
        ):
            for row in batch:
                copy.write_row(row)
        written += len(batch)
    return written


def settle() -> None:
    """Look into what was deferred, and let new rows get numbers after the copied ones."""
    _execute("SET CONSTRAINTS ALL IMMEDIATE")
    models = list(apps.get_models(include_auto_created=True))
    for statement in connection.ops.sequence_reset_sql(no_style(), models):
        _execute(statement)


def count(table: str) -> int:
    return int(_rows(f"SELECT count(*) FROM {_quoted(table)}")[0][0])


def all_of(statement: str) -> list[Row]:
    return _rows(statement)


def gather_statistics() -> None:
    """Tell the planner what there is now, instead of waiting until it finds out."""
    _execute("ANALYZE")


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def _rows(statement: str, params: list[Any] | None = None) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return list(cursor.fetchall())


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(_quoted, names))


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)
