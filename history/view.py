"""The SQL view `unified_image_history`: dropped before every migration, made after it.

Beside it lie `unified_image_failures`, the same of what failed or was cancelled, and
`unified_image_tasks`, of all that is not in the trash, and on PostgreSQL the functions of
`PAGES`. A view that lies there while its tables are migrated is broken by them, differently
on each database (docs/adr/0002). So no migration makes it. Its SQL is compiled from the querysets
of the sources, in the dialect of the database and in the shape that lets the database merge
the tables from their indexes instead of sorting everything a member ever made
(docs/adr/0003).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from django.apps import apps as current_apps
from django.apps.registry import Apps
from django.core.exceptions import FieldError
from django.db import connections, router, transaction
from django.db.migrations.executor import MigrationExecutor

from history import sources

logger = logging.getLogger(__name__)

NAME = "unified_image_history"
FAILURES = "unified_image_failures"
TASKS = "unified_image_tasks"
#: Which tasks are in which view. Status and trash are also the condition of the tables' partial
#: indexes, word for word: a database uses those only when it sees that it stays inside.
FILTERS = {
    NAME: "entry_status = 'SUCCESS' AND entry_trashed_at IS NULL AND entry_image_url IS NOT NULL",
    # Said by what they are not: a list of what they are would keep SQLite, once it has
    # statistics, from reading one status of them in the order of its index.
    FAILURES: "NOT (entry_status IN ('SUCCESS', 'PENDING', 'IN_QUEUE', 'IN_PROGRESS'))"
    " AND entry_trashed_at IS NULL",
    TASKS: "entry_trashed_at IS NULL",
}
#: What most pages of the history ask, by the conditions of their rows (history/rows.py): the
#: newest of a member, the favourites and those of a source among them, and those after. PostgreSQL
#: plans such a statement for twice as long as it takes to carry it out, so there these are
#: functions of its parameters and of how many rows are wanted, which keep their plan. They do so
#: behind any pooler, unlike prepared statements. Not everybody's page: without knowing that few
#: rows are wanted, PostgreSQL plans to sort them all.
_BELOW = "(created_at, id) < (%s, %s)"
PAGES = {
    ("user_id = %s",): "history_page",
    ("user_id = %s", _BELOW): "history_page_below",
    ("is_favourite", "user_id = %s"): "history_page_of_favourites",
    ("is_favourite", "user_id = %s", _BELOW): "history_page_of_favourites_below",
    ("source = %s", "user_id = %s"): "history_page_of_a_source",
    ("source = %s", "user_id = %s", _BELOW): "history_page_of_a_source_below",
}
_TYPES = {"user_id = %s": ["bigint"], "source = %s": ["text"], _BELOW: ["timestamptz", "text"]}


# ---------------------------------------------------------------- around every migration
def before_migrate(*, using: str, plan: list[Any], **kwargs: Any) -> None:
    # With nothing to migrate the view stays, and nobody who reads meanwhile misses it.
    if plan and _belongs_on(using):
        drop(using=using)


def after_migrate(*, using: str, apps: Apps = current_apps, **kwargs: Any) -> None:
    """Make the views again. `flush` sends this signal too, and without `apps`."""
    if not _belongs_on(using):
        return
    try:
        # Migrated back to before the history: no view, whatever tables there are.
        apps.get_model("history", "HistoryEntry")
        definitions = [definition(name, using=using, registry=apps) for name in FILTERS]
    except (LookupError, FieldError):
        if not _awaits_migrations(using):
            raise
        logger.info("The tables are older than the code: %s waits for them.", NAME)
        return
    if connections[using].vendor == "postgresql":
        definitions += [_page(name, conditions) for conditions, name in PAGES.items()]
    replace(definitions, using=using)


def _belongs_on(using: str) -> bool:
    return router.allow_migrate(using, "history", model_name="historyentry")


def _awaits_migrations(using: str) -> bool:
    executor = MigrationExecutor(connections[using])
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


# ---------------------------------------------------------------- the views
def drop(*, using: str) -> None:
    connection = connections[using]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            _drop_functions(cursor)
        for name in FILTERS:
            cursor.execute(f"DROP VIEW IF EXISTS {connection.ops.quote_name(name)}")


def _drop_functions(cursor: Any) -> None:
    # All that return rows of the views: another release may have others than ours, or other names.
    cursor.execute(
        "SELECT oid::regprocedure::text FROM pg_proc WHERE proname LIKE 'history\\_page%%'"
        " AND prorettype IN (SELECT reltype FROM pg_class WHERE relname = ANY(%s) AND relkind = 'v')",
        [list(FILTERS)],
    )
    for (function,) in cursor.fetchall():
        cursor.execute(f"DROP FUNCTION {function}")


def replace(definitions: Iterable[str], *, using: str) -> None:
    # One transaction: those who read see the old views or the new ones.
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        drop(using=using)
        for sql in definitions:
            cursor.execute(sql)


def definition(name: str, *, using: str, registry: Apps) -> str:
    """Return the statement that makes the view of that name.

    Raises LookupError or FieldError when the tables are older than the code.
    """
    connection = connections[using]
    first, *others = (source.tasks(registry).using(using) for source in sources.load().values())
    union = first.union(*others, all=True)
    select, params = union.query.get_compiler(using=using).as_sql()
    # A view takes no parameters. Quoting asks the driver, which wants a connection.
    connection.ensure_connection()
    quote_value = connection.schema_editor().quote_value
    quote_name = connection.ops.quote_name
    columns = ", ".join(map(quote_name, sources.COLUMNS))
    prefixed = ", ".join(_in_view(column, view=name) for column in sources.COLUMNS)
    # PostgreSQL's planner is particular. The filters stand outside, because tables filtered
    # one by one are planned one by one, without knowing that a page is wanted, and sorted
    # whole. And the union is a subquery, because in a WITH clause it is sorted as well.
    return (
        f"CREATE VIEW {quote_name(name)} ({columns}) AS SELECT {prefixed} "  # noqa: S608
        f"FROM ({select % tuple(map(quote_value, params))}) AS tasks WHERE {FILTERS[name]}"
    )


def _page(name: str, conditions: Sequence[str]) -> str:
    types = [each for condition in conditions for each in _TYPES.get(condition, [])]
    where = " AND ".join(conditions) % tuple(f"${at}" for at, _type in enumerate(types, start=1))
    return (
        f"CREATE FUNCTION {name}({', '.join([*types, 'integer'])}) RETURNS SETOF {NAME} "  # noqa: S608
        "LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS $$ BEGIN "
        f"RETURN QUERY SELECT * FROM {NAME} WHERE {where} "
        f"ORDER BY created_at DESC, id DESC LIMIT ${len(types) + 1}; END $$"
    )


def _in_view(column: str, *, view: str) -> str:
    name = sources.PREFIX + column
    if view != NAME and column == "image_url":
        return f"COALESCE({name}, '')"
    if view == TASKS and column == "status":
        # SQLite has no statistics and takes a status for something rare: it would collect all
        # tasks of that status and sort them. A status that is computed has no index.
        return f"CAST({name} AS text)"
    return name
