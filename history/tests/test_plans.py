"""The page of a history is merged from the indexes of its tables, whatever their size.

One column of another type, or one expression too many, and the database sorts everything a
member ever made instead: the same rows, ten thousand times later. No other test would tell.
"""

from __future__ import annotations

import random
import re
from typing import Any, NamedTuple

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from fluxsite.paging import Asked, Cursor
from history import filter_bar, filters, search
from history.filters import Filters
from history.models import HistoryEntry
from history.tests import rows

SOURCES = ["flux", "midjourney", "jimeng"]
# For the sake of the database; what is in it is made by `cast`.
pytestmark = pytest.mark.django_db

TABLES = ["flux_tasks", "mj_tasks", "dreamwork_tasks"]
INDEXES = ["idx_flux_tasks_history", "idx_mj_tasks_history", "idx_dreamwork_tasks_history"]
DEEP = Cursor(created_at=rows.NOON, id="jimeng-000500")


class Cast(NamedTuple):
    alice: Any
    bob: Any
    staff: Any


@pytest.fixture(scope="module", params=["with statistics", "without"])
def cast(request, django_db_setup, django_db_blocker):
    """Alice has few entries and Bob most of them. None lie in the order of time, because
    rows that do can make a bad plan look good. Trash makes the index of the history the
    shortest way by far, or the choice between it and a longer one would be a toss-up.

    SQLite has no statistics until somebody says ANALYZE; PostgreSQL sees to it by itself. They
    are made once for all tests here, which only read."""
    if request.param == "without" and connection.vendor == "postgresql":
        pytest.skip("PostgreSQL always has statistics")
    with django_db_blocker.unblock(), transaction.atomic():
        members = Cast(*(User.objects.create(username=name) for name in Cast._fields))
        for source in SOURCES:
            tasks = [rows.build(source, members.alice, minutes=m) for m in range(-200, 200)]
            tasks += [
                rows.build(source, members.alice, minutes=minutes, trashed_at=rows.NOON)
                for minutes in range(-600, 600)
            ]
            tasks += [
                rows.build(source, members.bob, minutes=minutes, is_favourite=minutes % 3 == 0)
                for minutes in range(-1000, 1000)
            ]
            tasks += [
                rows.build(source, members.bob, minutes=minutes, status="FAILED")
                for minutes in range(-400, 400)
            ]
            random.Random(1).shuffle(tasks)
            rows.model(source).objects.bulk_create(tasks)
        search.fill()
        if request.param == "with statistics":
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE")
        yield members
        transaction.set_rollback(True)


def plans_of(user, asked=None, look=filters.page_of, **chosen):
    """Return the plans of the very statements that fetch a page, or whatever one looks at."""
    statements = []

    def keep(execute, sql, params, many, context):
        statements.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(keep):
        look(user=user, filters=Filters(**chosen), asked=asked or Asked())
    with connection.cursor() as cursor:
        return [explained(cursor, sql, params) for sql, params in statements]


def explained(cursor, sql, params):
    explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    if function := re.search(r" FROM (history_page\w*)\(", sql):
        # The plan it keeps is for any member and any number of rows.
        cursor.execute(
            "SELECT prosrc, pg_get_function_arguments(oid) FROM pg_proc WHERE proname = %s",
            [function[1]],
        )
        [(source, types)] = cursor.fetchall()
        body = re.search(r"RETURN QUERY (.*);", source)[1]
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        cursor.execute(f"PREPARE looked_at ({types}) AS {body}")
        sql = f"EXECUTE looked_at ({', '.join(['%s'] * len(params))})"
    cursor.execute(f"{explain} {sql}", params)
    plan = "\n".join(str(line[-1]) for line in cursor.fetchall())
    if function:
        cursor.execute("DEALLOCATE looked_at")
        cursor.execute("SET LOCAL plan_cache_mode = auto")
    return plan


MERGE = {"sqlite": "MERGE (UNION ALL)", "postgresql": "Merge Append"}
SORT = {"sqlite": "TEMP B-TREE", "postgresql": "Sort  ("}
READS_ALL = {"sqlite": "SCAN", "postgresql": "Seq Scan"}


def assert_merged(plan):
    assert MERGE[connection.vendor] in plan, plan
    assert SORT[connection.vendor] not in plan, plan


at_any_depth = pytest.mark.parametrize("asked", [Asked(), Asked(cursor=DEEP)], ids=["top", "deep"])


@at_any_depth
def test_a_page_is_merged_from_the_three_indexes(cast, asked):
    [plan] = plans_of(cast.alice, asked)

    assert_merged(plan)
    assert [index for index in INDEXES if index in plan] == INDEXES, plan


@at_any_depth
@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"favourite": True},
        {"model": "midjourney"},
        {"since": rows.NOON.date()},
        {"until": rows.NOON.date()},
        {"since": rows.NOON.date(), "until": rows.NOON.date()},
        {"status": "ALL"},
        {"status": "FAILED"},
        {"status": "FAILED", "since": rows.NOON.date()},
        {"favourite": True, "since": rows.NOON.date()},
    ],
    ids=str,
)
def test_a_member_who_made_nearly_everything_causes_no_sort(cast, asked, chosen):
    [plan] = plans_of(cast.bob, asked, **chosen)

    assert_merged(plan)


@at_any_depth
@pytest.mark.parametrize("chosen", [{}, {"status": "ALL"}], ids=str)
def test_everybodys_page_is_merged_for_staff(cast, asked, chosen):
    [plan] = plans_of(cast.staff, asked, member="all", **chosen)

    assert_merged(plan)


@at_any_depth
def test_a_page_of_one_source_is_read_without_a_sort(cast, asked):
    [plan] = plans_of(cast.alice, asked, source="jimeng")

    assert "idx_dreamwork_tasks_history" in plan, plan
    assert SORT[connection.vendor] not in plan, plan


@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite's own words")
@pytest.mark.parametrize(
    ("chosen", "start"),
    [
        ({}, "_history (user_id=? AND (created_at,id)<(?,?))"),
        ({"until": rows.NOON.date()}, "_history (user_id=? AND (created_at,id)<(?,?))"),
        ({"favourite": True}, "_favourites (user_id=? AND (created_at,id)<(?,?))"),
        ({"model": "m"}, "_model (user_id=? AND model=? AND (created_at,id)<(?,?))"),
        ({"status": "CANCELLED"}, "_failures (user_id=? AND status=? AND (created_at,id)<(?,?))"),
        ({"status": "ALL"}, "_user_id (user_id=? AND (created_at,id)<(?,?))"),
    ],
    ids=str,
)
def test_sqlite_starts_reading_at_the_cursor(cast, chosen, start):
    [plan] = plans_of(cast.bob, Asked(cursor=DEEP), **chosen)

    assert plan.count(start) == 3, plan


def models_to_choose_from(*, user, filters, asked):
    return filter_bar.used_by(user)


def test_the_models_of_the_latest_entries_are_merged_too(cast):
    [plan] = plans_of(cast.bob, look=models_to_choose_from)

    # What comes after the merge only tells two hundred rows apart.
    merging = plan[plan.index(MERGE[connection.vendor]) :]
    assert_merged(merging.replace("USE TEMP B-TREE FOR DISTINCT", ""))


# PostgreSQL sorts a few hundred favourites, of the index they have, in no time.
@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite would sort all there are")
def test_favourites_are_weighed_against_a_search_without_a_sort(cast):
    plan, *_search = plans_of(cast.bob, favourite=True, text="lighthouse")

    assert_merged(plan)


def test_what_a_search_finds_is_read_by_primary_keys(cast):
    found, read = plans_of(cast.bob, text="lighthouse")

    if connection.vendor == "sqlite":
        assert "TEMP B-TREE" not in found
        assert "SEARCH place USING INTEGER PRIMARY KEY" in found
        assert [f"autoindex_{table}" in read for table in TABLES] == [True] * 3, read
    else:
        assert read.count("Index Cond: ((id)") == 3, read
    assert READS_ALL[connection.vendor] not in read, read


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite's index gives an order")
def test_postgres_looks_tokens_up(cast):
    """The function hides its plan, so here it is without."""
    definition = search.PostgresIndex.create[-1]
    body = definition.partition("$$")[2].rpartition("$$")[0]
    for name, value in {"wanted": "ARRAY[1,2]::bigint[]", "low": "0", "high": str(1 << 62)}.items():
        body = re.sub(rf"\b{name}\b", value, body)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {re.sub('LIMIT most', 'LIMIT 30', body)}")
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert "Bitmap Index Scan on history_search_tokens" in plan, plan
    assert "BitmapAnd" not in plan, plan


def test_one_entry_is_found_by_the_primary_key_of_its_table(cast):
    statement = (
        HistoryEntry.objects.for_user(cast.alice).source("flux").filter(source_id="flux-000001")
    )

    plan = statement.order_by().explain()

    assert "SCAN flux_tasks" not in plan
    assert "Seq Scan" not in plan
