"""What the view holds, and that it outlives everything that happens to its tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.core.management import call_command
from django.core.management.sql import emit_post_migrate_signal, emit_pre_migrate_signal
from django.db import DatabaseError, connection, models, transaction
from django.db.migrations import Migration
from django.test.utils import CaptureQueriesContext

from history import sources, view
from history.models import HistoryEntry, HistoryFailure, HistoryTask
from history.rows import Rows
from history.tests import rows

ALL = ["flux", "midjourney", "jimeng"]


def view_exists():
    with connection.cursor() as cursor:
        found = connection.introspection.get_table_list(cursor)
    return ("unified_image_history", "v") in [(table.name, table.type) for table in found]


# ---------------------------------------------------------------- what it holds
def test_view_has_the_columns_of_the_specification_and_a_few_more(db):
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM unified_image_history")
        columns = [column[0] for column in cursor.description]

    assert columns == [
        "key",
        "source",
        "id",
        "user_id",
        "model",
        "prompt",
        "image_url",
        "status",
        "created_at",
        "is_favourite",
    ]


@pytest.mark.parametrize("model", [HistoryEntry, HistoryFailure, HistoryTask])
def test_model_has_exactly_the_columns_of_the_view(model):
    columns = {field.column for field in model._meta.fields}

    assert columns == set(sources.COLUMNS)


@pytest.mark.parametrize("source", ALL)
def test_entry_tells_everything_about_a_finished_task(alice, source):
    rows.task(
        source,
        alice,
        id="t1",
        model="some-model",
        prompt="山水 with a % and a 'quote'",
        image_url="https://cdn.example/a.png",
        is_favourite=True,
    )

    entry = HistoryEntry.objects.values().get()

    assert entry == {
        "key": f"{source}:t1",
        "source": source,
        "source_id": "t1",
        "user_id": alice.pk,
        "model": "some-model",
        "prompt": "山水 with a % and a 'quote'",
        "image_url": "https://cdn.example/a.png",
        "status": "SUCCESS",
        "created_at": datetime(2026, 5, 4, 12, 0, tzinfo=UTC),
        "is_favourite": True,
    }


@pytest.mark.parametrize("source", ALL)
def test_our_own_address_comes_before_the_providers(alice, source):
    rows.task(source, alice, image_url="https://cdn.example/a.png", cloud_image_url="/media/a")

    assert HistoryEntry.objects.get().image_url == "/media/a"


@pytest.mark.parametrize("source", ALL)
def test_our_own_address_alone_is_enough(alice, source):
    rows.task(source, alice, image_url="", cloud_image_url="/media/a")

    assert HistoryEntry.objects.get().image_url == "/media/a"


@pytest.mark.parametrize("source", ALL)
@pytest.mark.parametrize(
    "fields",
    [
        {"image_url": "", "cloud_image_url": ""},
        {"trashed_at": rows.NOON},
        {"status": "FAILED"},
        {"status": "FAILURE"},
        {"status": "IN_PROGRESS"},
    ],
    ids=["no picture", "trashed", "failed", "failure", "unfinished"],
)
def test_what_is_no_finished_picture_is_no_entry(alice, source, fields):
    rows.task(source, alice, **fields)

    assert list(HistoryEntry.objects.all()) == []


@pytest.mark.parametrize("source", ALL)
@pytest.mark.parametrize("status", ["SUCCESS", "FAILED", "CANCELLED"])
def test_tasks_are_there_whatever_became_of_them(alice, source, status):
    rows.task(source, alice, id="t1", status=status, image_url="")
    rows.task(source, alice, id="t2", status=status, trashed_at=rows.NOON)

    [task] = HistoryTask.objects.all()

    assert (task.key, task.status, task.image_url) == (f"{source}:t1", status, "")
    assert list(HistoryTask.objects.finished()) == []
    assert HistoryFailure.objects.count() == (status != "SUCCESS")


def test_finished_tasks_are_the_entries(alice):
    for minutes, fields in enumerate([{}, {"status": "FAILED"}, {"image_url": ""}, {}]):
        rows.task("jimeng", alice, minutes=minutes, **fields)

    entries = list(HistoryEntry.objects.values_list())

    assert len(entries) == 2
    assert list(HistoryTask.objects.finished().values_list()) == entries


def test_entries_of_a_member_are_only_theirs(alice, bob):
    mine = rows.task("flux", alice)
    rows.task("flux", bob)

    entries = HistoryEntry.objects.for_user(alice)

    assert [entry.source_id for entry in entries] == [mine.pk]


def test_entries_of_a_source_are_only_its_own(alice):
    rows.task("flux", alice)
    jimeng = rows.task("jimeng", alice)

    assert [entry.source_id for entry in HistoryEntry.objects.source("jimeng")] == [jimeng.pk]


# ---------------------------------------------------------------- migrations
@pytest.mark.django_db(transaction=True)
def test_a_migration_with_nothing_to_do_leaves_the_view_in_place():
    emit_pre_migrate_signal(0, False, "default", plan=[])

    assert view_exists()


@pytest.mark.django_db(transaction=True)
def test_flush_keeps_the_view(django_user_model):
    alice = django_user_model.objects.create_user("alice")
    rows.task("flux", alice)

    call_command("flush", interactive=False, verbosity=0)

    assert list(HistoryEntry.objects.all()) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("app", ["generation", "history"])
def test_view_goes_and_returns_with_the_migrations_under_it(app):
    try:
        call_command("migrate", app, "zero", verbosity=0, skip_checks=True)
        before = view_exists()
    finally:
        call_command("migrate", verbosity=0, skip_checks=True)

    assert (before, view_exists()) == (False, True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("source", ALL)
def test_a_table_is_rebuilt_although_the_view_reads_it(source, django_user_model):
    """On SQLite a changed column copies the table; on PostgreSQL it needs the view away."""
    alice = django_user_model.objects.create_user("alice")
    rows.task(source, alice, id="t1")
    model = rows.model(source)
    old = model._meta.get_field("model")
    longer = models.CharField(max_length=300)
    longer.set_attributes_from_name("model")
    longer.model = model

    def alter(before, after):
        emit_pre_migrate_signal(
            0, False, "default", plan=[(Migration("0002", "generation"), False)]
        )
        with connection.schema_editor() as editor:
            editor.alter_field(model, before, after)
        emit_post_migrate_signal(0, False, "default")

    try:
        alter(old, longer)
        keys = [entry.key for entry in HistoryEntry.objects.all()]
    finally:
        alter(longer, old)

    assert keys == [f"{source}:t1"]


@pytest.mark.django_db(transaction=True)
def test_the_same_rebuild_fails_with_the_view_in_place():
    """The reason for all this. Should it ever pass, no view needs to be dropped."""
    model = rows.model("flux")
    old = model._meta.get_field("model")
    longer = models.CharField(max_length=300)
    longer.set_attributes_from_name("model")
    longer.model = model

    with pytest.raises(DatabaseError), connection.schema_editor() as editor:
        editor.alter_field(model, old, longer)


def test_a_mistake_in_a_source_is_not_taken_for_an_old_database(db, settings):
    settings.HISTORY_SOURCES = ["history.tests.test_view.SourceWithoutTable"]

    with pytest.raises(LookupError):
        view.after_migrate(using="default")


class SourceWithoutTable(sources.Source):
    name = "nowhere"
    label = "Nowhere"

    def tasks(self, registry):
        return registry.get_model("generation", "NoSuchTask").objects.all()

    def pictures(self, ids):
        return {}

    def details_of(self, ids):
        raise FieldDoesNotExist


class NothingHere:
    """A router of databases that keeps the history out of this one."""

    def allow_migrate(self, db, app_label, **hints):
        return app_label != "history"


def test_a_database_that_is_not_the_historys_gets_no_view(db, settings):
    with transaction.atomic():
        view.drop(using="default")
        settings.DATABASE_ROUTERS = [NothingHere()]
        view.after_migrate(using="default")
        exists = view_exists()
        transaction.set_rollback(True)

    assert exists is False


def test_a_source_left_out_of_the_settings_leaves_the_view_after_migrate(alice, settings):
    rows.task("flux", alice)
    rows.task("jimeng", alice)
    settings.HISTORY_SOURCES = [settings.HISTORY_SOURCES[0]]

    with transaction.atomic():
        view.after_migrate(using="default")
        names = [entry.source for entry in HistoryEntry.objects.all()]
        transaction.set_rollback(True)

    assert names == ["flux"]


def test_no_model_of_the_history_waits_for_a_migration(db):
    call_command("makemigrations", "history", check=True, dry_run=True, skip_checks=True)


def test_an_entry_is_called_by_its_key():
    assert str(HistoryEntry(key="flux:t1")) == "flux:t1"


def test_only_what_members_say_and_have_packed_has_a_table_of_its_own():
    managed = [
        model.__name__
        for model in apps.get_app_config("history").get_models()
        if model._meta.managed
    ]

    assert sorted(managed) == ["Export", "Feedback"]


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite plans in no time")
@pytest.mark.parametrize("conditions", view.PAGES, ids=view.PAGES.values())
def test_the_function_of_a_page_answers_what_its_view_does(alice, bob, conditions):
    for minutes in range(8):
        for user in (alice, bob):
            rows.task("flux", user, minutes=minutes, is_favourite=minutes % 2 == 0)
    values = {
        "source = %s": ["flux"],
        "user_id = %s": [alice.pk],
        "(created_at, id) < (%s, %s)": [rows.NOON + timedelta(minutes=7), "t"],
    }
    params = [each for condition in conditions for each in values.get(condition, [])]
    found = Rows(HistoryEntry, conditions=conditions, params=tuple(params))

    with CaptureQueriesContext(connection) as queries:
        by_function = found.newest(limit=4)
    by_view = found.newest(limit=4, after=1)

    assert f"FROM {view.PAGES[conditions]}(" in queries[0]["sql"]
    assert len(by_function) >= 3
    assert by_function[1:] == by_view[: len(by_function) - 1]


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has no functions")
@pytest.mark.django_db(transaction=True)
def test_functions_of_another_release_do_not_hold_up_a_migration():
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION history_page_of_yesterday() RETURNS SETOF unified_image_history"
            " LANGUAGE sql AS $$ SELECT * FROM unified_image_history $$"
        )

    call_command("migrate", "generation", "0012", verbosity=0)
    call_command("migrate", verbosity=0)

    with connection.cursor() as cursor:
        cursor.execute("SELECT proname FROM pg_proc WHERE proname LIKE 'history_page%'")
        assert {name for (name,) in cursor.fetchall()} == set(view.PAGES.values())
