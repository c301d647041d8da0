"""The tables of tasks are migrated, forwards and backwards, as if nothing read them."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connection

from fluxsite.paging import Asked
from history import filters, search, view
from history.filters import Filters
from history.models import HistoryEntry, HistoryTask
from history.tests import rows
from history.tests.later import a_later_one

SOURCES = ["flux", "midjourney", "jimeng"]

pytestmark = pytest.mark.django_db(transaction=True)


def migrate(name):
    call_command("migrate", "generation", name, verbosity=0, skip_checks=True)


def columns(model):
    with connection.cursor() as cursor:
        described = connection.introspection.get_table_description(cursor, model._meta.db_table)
    return {column.name for column in described}


def found(user):
    page = filters.page_of(user=user, filters=Filters(text="fox"), asked=Asked())
    return [row.key for row in page.rows]


def test_every_table_is_altered_forwards_and_backwards(django_user_model, settings):
    settings.MIGRATION_MODULES = {"generation": "history.tests.later"}
    alice = django_user_model.objects.create_user("alice")
    for minutes, source in enumerate(SOURCES):
        rows.task(source, alice, id="t1", minutes=minutes, prompt="a fox")
        rows.task(source, alice, id="t2", minutes=minutes, status="FAILED")
    search.fill()
    expected = ["jimeng:t1", "midjourney:t1", "flux:t1"]

    def seen():
        return {
            "later": ["later" in columns(rows.model(source)) for source in SOURCES],
            "entries": [entry.key for entry in HistoryEntry.objects.for_user(alice)],
            "tasks": HistoryTask.objects.count(),
            "found": found(alice),
        }

    before = seen()
    try:
        migrate("a_later_one")
        after = seen()
    finally:
        migrate(a_later_one.Migration.dependencies[0][1])
    back = seen()

    unchanged = {"entries": expected, "tasks": 6, "found": expected}
    assert before == {"later": [False] * 3, **unchanged}
    assert after == {"later": [True] * 3, **unchanged}
    assert back == before


def test_a_migration_that_fails_leaves_no_view_and_the_next_one_makes_it(
    django_user_model, settings, monkeypatch
):
    settings.MIGRATION_MODULES = {"generation": "history.tests.later"}
    alice = django_user_model.objects.create_user("alice")
    rows.task("flux", alice, id="t1", prompt="?")

    with pytest.raises(Exception, match="is_no_question"):
        migrate("a_later_one")
    with connection.cursor() as cursor:
        names = connection.introspection.table_names(cursor, include_views=True)
    call_command("migrate", "history", verbosity=0, skip_checks=True)

    assert view.NAME not in names
    assert [entry.key for entry in HistoryEntry.objects.all()] == ["flux:t1"]
