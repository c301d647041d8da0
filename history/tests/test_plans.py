"""The page of a history is merged from the indexes of its tables, whatever their size.

One column of another type, or one expression too many, and the database sorts everything a
member ever made instead: the same rows, ten thousand times later. No other test would tell.
"""

from __future__ import annotations

import random

import pytest
from django.db import connection

from fluxsite.paging import Asked, Cursor, paginate
from history.models import HistoryEntry
from history.tests import rows

SOURCES = ["flux", "midjourney", "jimeng"]
INDEXES = ["idx_flux_tasks_history", "idx_mj_tasks_history", "idx_dreamwork_tasks_history"]
DEEP = Cursor(created_at=rows.NOON, id="jimeng-000500")


@pytest.fixture
def full_tables(alice, bob):
    """Alice has few entries and Bob most of them. None lie in the order of time, because
    rows that do can make a bad plan look good. Trash makes the index of the history the
    shortest way by far, or the choice between it and a longer one would be a toss-up."""
    for source in SOURCES:
        tasks = [rows.build(source, alice, minutes=minutes) for minutes in range(-200, 200)]
        tasks += [
            rows.build(source, alice, minutes=minutes, trashed_at=rows.NOON)
            for minutes in range(-600, 600)
        ]
        tasks += [rows.build(source, bob, minutes=minutes) for minutes in range(-1000, 1000)]
        random.Random(1).shuffle(tasks)
        rows.model(source).objects.bulk_create(tasks)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def plan_of(entries, asked):
    """Return the plan of the very statement that fetches a page."""
    statements = []

    def keep(execute, sql, params, many, context):
        statements.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(keep):
        paginate(entries, asked=asked, id_field="source_id")
    [(sql, params)] = statements
    explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    with connection.cursor() as cursor:
        cursor.execute(f"{explain} {sql}", params)
        return "\n".join(str(line[-1]) for line in cursor.fetchall())


MERGE = {"sqlite": "MERGE (UNION ALL)", "postgresql": "Merge Append"}
SORT = {"sqlite": "TEMP B-TREE", "postgresql": "Sort  ("}


@pytest.mark.usefixtures("full_tables")
@pytest.mark.parametrize("asked", [Asked(), Asked(cursor=DEEP)], ids=["top", "deep"])
def test_a_page_is_merged_from_the_three_indexes(alice, asked):
    plan = plan_of(HistoryEntry.objects.for_user(alice), asked)

    assert MERGE[connection.vendor] in plan, plan
    assert SORT[connection.vendor] not in plan, plan
    assert [index for index in INDEXES if index in plan] == INDEXES, plan


@pytest.mark.usefixtures("full_tables")
@pytest.mark.parametrize("asked", [Asked(), Asked(cursor=DEEP)], ids=["top", "deep"])
def test_a_member_who_made_nearly_everything_causes_no_sort(bob, asked):
    plan = plan_of(HistoryEntry.objects.for_user(bob), asked)

    assert MERGE[connection.vendor] in plan, plan
    assert SORT[connection.vendor] not in plan, plan


@pytest.mark.usefixtures("full_tables")
@pytest.mark.parametrize("asked", [Asked(), Asked(cursor=DEEP)], ids=["top", "deep"])
def test_a_page_of_one_source_is_read_without_a_sort(alice, asked):
    plan = plan_of(HistoryEntry.objects.for_user(alice).source("jimeng"), asked)

    assert "idx_dreamwork_tasks_history" in plan, plan
    assert SORT[connection.vendor] not in plan, plan


@pytest.mark.usefixtures("full_tables")
@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite's own words")
def test_sqlite_starts_reading_at_the_cursor(alice):
    plan = plan_of(HistoryEntry.objects.for_user(alice), Asked(cursor=DEEP))

    assert plan.count("(user_id=? AND created_at<?)") == 3, plan


@pytest.mark.usefixtures("full_tables")
def test_one_entry_is_found_by_the_primary_key_of_its_table(alice):
    statement = HistoryEntry.objects.for_user(alice).source("flux").filter(source_id="flux-000001")

    plan = statement.order_by().explain()

    assert "SCAN flux_tasks" not in plan
    assert "Seq Scan" not in plan
