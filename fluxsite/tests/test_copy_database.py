"""`manage.py copy_database`: a site moves from SQLite to PostgreSQL, whole or not at all."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fluxsite.copying.values import Column, Unfit
from fluxsite.tests import everything
from generation.sandbox.server import SandboxServer
from generation.tests.faults import database
from generation.tests.faults.database import PostgresDatabase, SQLiteDatabase
from generation.tests.faults.processes import ROOT, Program, manage, wait_for
from generation.tests.faults.site import Site, environment, new_name, paid

needs_postgresql = pytest.mark.skipif(
    not database.is_postgresql(), reason="copies into a PostgreSQL: set DATABASE_URL"
)


class Old:
    """A site on SQLite with rows of every kind."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "fluxsite.sqlite3"
        self.env = environment(directory, SQLiteDatabase(self.path))
        assert manage(self.env, "migrate", "-v0").returncode == 0
        made = manage(self.env, "shell", "-v0", "-c", everything.MAKE)
        assert made.returncode == 0, made.stderr
        self.token = made.stdout.strip()

    def execute(self, statement: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            # What only a fault of ours could write.
            db.execute("PRAGMA ignore_check_constraints = ON")
            return db.execute(statement, values).fetchall()


READ = """
import sys
from django.test import Client
answer = Client().get(sys.stdin.read(), HTTP_AUTHORIZATION="Bearer %s", HTTP_HOST="localhost")
sys.stdout.write(answer.content.decode())
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Old:
    return Old(tmp_path_factory.mktemp("old"))


@pytest.fixture
def old(prepared: Old) -> Iterator[Old]:
    """The same old site for all, put back afterwards."""
    content = prepared.path.read_bytes()
    yield prepared
    for suffix in ("-wal", "-shm"):
        Path(f"{prepared.path}{suffix}").unlink(missing_ok=True)
    prepared.path.write_bytes(content)


@pytest.fixture(scope="module")
def migrated(prepared: Old) -> Iterator[str]:
    """The name of a database as `migrate` leaves it: migrating takes longer than copying."""
    base = PostgresDatabase(f"{new_name()}_template")
    assert manage(prepared.env | {"DATABASE_URL": base.url}, "migrate", "-v0").returncode == 0
    yield base.name
    base.drop()


@pytest.fixture
def new(migrated: str) -> Iterator[PostgresDatabase]:
    """A database with nothing in it but what `migrate` makes."""
    new = PostgresDatabase(new_name(), template=migrated)
    yield new
    new.drop()


@pytest.fixture
def untouched() -> Iterator[PostgresDatabase]:
    """A database without tables."""
    new = PostgresDatabase(new_name())
    yield new
    new.drop()


def copy(old: Old, new: PostgresDatabase) -> subprocess.CompletedProcess[str]:
    env = old.env | {"DATABASE_URL": new.url}
    return manage(env, "copy_database", "--from", f"sqlite:///{old.path}")


def read(env: dict[str, str], token: str, address: str) -> Any:
    answer = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v0", "-c", READ % token],
        env=env,
        cwd=ROOT,
        input=address,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(answer.stdout)


@needs_postgresql
def test_everything_arrives_and_the_site_goes_on_drawing(
    old: Old, untouched: PostgresDatabase, django_db_blocker: Any
):
    new = untouched
    # In a row that PostgreSQL would refuse: NUL, and halves of surrogate pairs.
    old.execute("UPDATE mj_tasks SET prompt = 'before' || char(0) || 'after' WHERE rowid = 1")
    old.execute("""UPDATE mj_tasks SET properties = '{"a": "\\u0000\\ud800\\ud83c\\udfa8"}'""")
    counts = {
        table: old.execute(f"SELECT count(*) FROM {table}")[0][0] for table in everything.tables()
    }
    assert [table for table, count in counts.items() if count == 0] == []

    copied = copy(old, new)

    assert copied.returncode == 0, copied.stderr
    assert "the ledger is right" in copied.stdout
    assert "mj_tasks.prompt: in 1 values" in copied.stdout
    assert {
        table: new.value(f"SELECT count(*) FROM {table}") for table in everything.tables()
    } == counts
    assert (
        new.value("SELECT prompt FROM mj_tasks WHERE prompt LIKE 'before%%'") == "before\ufffdafter"
    )
    assert new.value("SELECT DISTINCT properties->>'a' FROM mj_tasks") == "\ufffd\ufffd🎨"
    assert new.value("SELECT count(*) FROM flux_tasks WHERE retry_of_id IS NOT NULL") == 2
    moments = new.rows("SELECT DISTINCT created_at FROM flux_tasks WHERE retry_of_id IS NOT NULL")
    assert [row["created_at"] for row in moments] == [everything.MOMENT]

    # The first page, and what is searched for, are the same.
    old.execute("UPDATE mj_tasks SET prompt = ? WHERE rowid = 1", "before\ufffdafter")
    old.execute("""UPDATE mj_tasks SET properties = '{"a": "\\ufffd\\ufffd\\ud83c\\udfa8"}'""")
    moved = old.env | {"DATABASE_URL": new.url}
    for address in ("/api/unified-history?limit=5", "/api/unified-history?q=lighthouse"):
        page = read(old.env, old.token, address)
        assert page["results"]
        assert read(moved, old.token, address) == page

    # What it makes from now on gets numbers of its own.
    new.change("UPDATE flux_tasks SET next_action_at = NULL WHERE status = 'PENDING'")
    new.change("DELETE FROM sweep_leases")
    sandbox = SandboxServer(port=0, generation_seconds=0.1, queue_seconds=0.02)
    sandbox.start()
    site = Site(old.directory, Moved(new, old.token), sandbox, django_db_blocker.unblock)
    try:
        draws(site)
    finally:
        site.close()


def draws(site: Site) -> None:
    site.set_key("key:secret")
    site.web()
    site.workers()
    task = site.alice.draw("drawn after the move")
    site.wait_until(task, status="SUCCESS")
    site.wait_until_stored(task)
    assert site.entries(task) == paid()
    assert "ledger is right" in site.manage("check_ledger")


class Moved:
    """A template of which there is one copy."""

    def __init__(self, base: PostgresDatabase, token: str) -> None:
        self._base = base
        self.tokens = {"alice": token, "bob": token}

    def copy(self, _directory: Path) -> PostgresDatabase:
        return self._base


@needs_postgresql
def test_a_copy_that_is_killed_leaves_nothing_and_the_next_one_begins_anew(
    old: Old, new: PostgresDatabase, tmp_path: Path
):
    env = old.env | {"DATABASE_URL": new.url}
    # Somebody who writes into one of the last tables keeps the copy waiting inside.
    with new.locked("task_images"):
        program = Program(
            [sys.executable, "manage.py", "copy_database", "--from", str(old.path)],
            env=env,
            log=tmp_path / "copy.log",
        )
        new.wait_for_waiter()
        program.kill()
    wait_for(new.is_idle)

    assert new.value("SELECT count(*) FROM auth_user") == 0
    assert new.value("SELECT count(*) FROM auth_permission") > 0
    assert copy(old, new).returncode == 0
    assert new.value("SELECT count(*) FROM auth_user") == 2


@needs_postgresql
def test_a_target_with_members_is_refused_and_left_as_it_is(old: Old, new: PostgresDatabase):
    env = old.env | {"DATABASE_URL": new.url}
    assert copy(old, new).returncode == 0
    new.change("UPDATE auth_user SET last_name = 'from before'")

    again = manage(env, "copy_database", "--from", str(old.path))

    assert again.returncode == 1
    assert "The target is not empty: it has rows in" in again.stderr
    assert new.value("SELECT DISTINCT last_name FROM auth_user") == "from before"


@needs_postgresql
def test_a_source_that_somebody_has_open_is_refused(old: Old, new: PostgresDatabase):
    with closing(sqlite3.connect(old.path)) as idle:
        idle.execute("SELECT count(*) FROM auth_user").fetchone()

        refused = copy(old, new)

    assert refused.returncode == 1
    assert "is in use. Stop everything that uses it first" in refused.stderr
    assert new.value("SELECT count(*) FROM auth_user") == 0


@needs_postgresql
def test_numbers_and_texts_postgresql_has_no_room_for_are_named_and_nothing_is_copied(
    old: Old, new: PostgresDatabase
):
    old.execute("UPDATE flux_tasks SET retry_count = ? WHERE status = 'FAILED'", 1 << 31)
    old.execute("UPDATE auth_group SET name = ?", "x" * 151)

    refused = copy(old, new)

    assert refused.returncode == 1
    assert "PostgreSQL does not take 3 of the values. Nothing was copied" in refused.stderr
    assert "flux_tasks.retry_count of id=" in refused.stderr
    assert "2147483648 is out of range for integer" in refused.stderr
    assert "a text of 151 characters, 150 are allowed" in refused.stderr
    assert new.value("SELECT count(*) FROM auth_user") == 0


@needs_postgresql
def test_databases_of_different_releases_are_refused_by_the_name_of_a_migration(
    old: Old, new: PostgresDatabase
):
    old.execute("DELETE FROM django_migrations WHERE app = 'axes' AND name LIKE '0001%'")

    refused = copy(old, new)

    assert refused.returncode == 1
    assert "not of the same release: only one of them has axes.0001_initial" in refused.stderr


def test_a_target_that_is_no_postgresql_is_refused(tmp_path: Path):
    env = environment(tmp_path, SQLiteDatabase(tmp_path / "fluxsite.sqlite3"))

    refused = manage(env, "copy_database")

    assert refused.returncode == 1
    assert "Set it to postgres://user:password@host/name" in refused.stderr


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("boolean", 0, False),
        (
            "timestamp with time zone",
            b"2026-03-04 05:06:07.080900",
            "2026-03-04 05:06:07.080900+00",
        ),
        ("text", b"\xff\xfe", "\ufffd\ufffd"),
        ("text", "猫\0".encode(), "猫\ufffd"),
        ("jsonb", rb'"\\u0000 \\\u0000"', r'"\\u0000 \\\ufffd"'),
        ("jsonb", rb'"\ud83c\udfa8 \udfa8\ud83c"', r'"\ud83c\udfa8 \ufffd\ufffd"'),
        ("bigint", (1 << 63) - 1, (1 << 63) - 1),
        ("bytea", b"\0\xff", b"\0\xff"),
    ],
)
def test_values_become_what_postgresql_takes(kind, value, expected):
    assert Column("x", kind).convert(value) == expected


@pytest.mark.parametrize(
    ("kind", "value"), [("smallint", 1 << 15), ("integer", b"seven"), ("bigint", 1.5)]
)
def test_a_number_is_refused_rather_than_changed(kind: str, value: Any):
    with pytest.raises(Unfit):
        Column("x", kind).convert(value)
