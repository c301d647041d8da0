"""`manage.py backup`: of a site that is written to meanwhile, and brought back."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fluxsite.tests import everything
from generation.tests.faults import database
from generation.tests.faults.database import Database, PostgresDatabase, SQLiteDatabase
from generation.tests.faults.processes import manage
from generation.tests.faults.site import environment, new_name

READ_KEY = """
from generation import fields
from generation.models import FluxConfig
print(fields.decrypt(FluxConfig.objects.get().api_key))
"""


def new_database(directory: Path) -> Database:
    if database.is_postgresql():
        return PostgresDatabase(new_name())
    return SQLiteDatabase(directory / "fluxsite.sqlite3")


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Database]]:
    """The directory and the database of a site with rows of every kind."""
    directory = tmp_path_factory.mktemp("old")
    base = new_database(directory)
    env = environment(directory, base)
    assert manage(env, "migrate", "-v0").returncode == 0
    made = manage(env, "shell", "-v0", "-c", everything.MAKE)
    assert made.returncode == 0, made.stderr
    yield directory, base
    base.drop()


@contextmanager
def written_to(base: Database) -> Iterator[list[int]]:
    """Let somebody give credits all the time, each gift in one transaction of two statements."""
    gifts: list[int] = []
    over = threading.Event()
    account = base.value("SELECT min(id) AS id FROM flux_credits")

    def give() -> None:
        while not over.is_set():
            _give(base, account, len(gifts))
            gifts.append(1)

    thread = threading.Thread(target=give)
    thread.start()
    try:
        yield gifts
    finally:
        over.set()
        thread.join()


def _give(base: Database, account: str, number: int) -> None:
    entry = (
        "INSERT INTO credit_ledger (account_id, kind, amount, charged, reference, reason, actor,"
        " created_at) VALUES (%s, 'GRANT', 1, 0, %s, '', '', '2026-03-04 05:06:07')"
    )
    balance = "UPDATE flux_credits SET credits_balance = credits_balance + 1 WHERE id = %s"
    with base._connection() as db:
        db.execute("BEGIN")
        for statement, values in ((entry, (account, f"gift-{number}")), (balance, (account,))):
            holes = "?" if isinstance(base, SQLiteDatabase) else "%s"
            db.execute(statement.replace("%s", holes), values)
        db.execute("COMMIT")


def restore(backup: Path, directory: Path) -> dict[str, str]:
    """Bring a backup back as docs/backup.md tells; return the environment of the new site."""
    base = new_database(directory)
    for name in ("secret_key", "field_key"):
        shutil.copy(backup / name, directory)
    if isinstance(base, PostgresDatabase):
        command = ["pg_restore", "--no-owner", "--exit-on-error", "-d", base.url]
        subprocess.run([*command, str(backup / "fluxsite.dump")], check=True)
    else:
        shutil.copy(backup / "fluxsite.sqlite3", directory)
    return environment(directory, base)


@pytest.mark.skipif(
    database.is_postgresql() and shutil.which("pg_dump") is None, reason="no pg_dump found"
)
def test_a_backup_of_a_busy_site_is_one_moment_of_it_and_makes_a_site_again(
    old: tuple[Path, Database], tmp_path: Path
):
    directory, base = old
    env = environment(directory, base)
    with written_to(base) as gifts:
        made = manage(env, "backup", "--to", str(tmp_path / "shelf"))

    assert made.returncode == 0, made.stderr
    assert gifts
    (backup,) = (tmp_path / "shelf").iterdir()
    assert made.stdout.strip() == str(backup)
    assert {stat.S_IMODE(path.stat().st_mode) for path in backup.iterdir()} == {0o600}
    assert f"The pictures are in {directory / 'media'}" in made.stderr

    new_directory = tmp_path / "new"
    new_directory.mkdir()
    new_env = restore(backup, new_directory)
    try:
        checked = manage(new_env, "check_ledger")
        assert checked.returncode == 0, checked.stdout
        assert manage(new_env, "migrate", "--check", "-v0").returncode == 0
        key = manage(new_env, "shell", "-v0", "-c", READ_KEY)
        assert key.stdout.strip() == "key:secret", key.stderr
        # The pictures that come beside it are those its rows tell of.
        shutil.copytree(directory / "media", new_directory / "media")
        pictures = manage(new_env, "check_pictures")
        assert pictures.stdout.strip() == "pictures are right: 4"
    finally:
        if database.is_postgresql():
            name = new_env["DATABASE_URL"].rpartition("/")[2]
            PostgresDatabase.serve(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.mark.skipif(database.is_postgresql(), reason="damages the file of a SQLite")
def test_a_backup_that_fails_leaves_nothing_behind(old: tuple[Path, Database], tmp_path: Path):
    directory, _base = old
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(directory / "fluxsite.sqlite3", copy)
    with (copy / "fluxsite.sqlite3").open("r+b") as file:
        file.seek(20 * 4096)
        file.write(os.urandom(40 * 4096))

    made = manage(
        environment(copy, SQLiteDatabase(copy / "fluxsite.sqlite3")),
        *("backup", "--to", str(tmp_path / "shelf")),
    )

    assert made.returncode == 1
    assert "No backup was made" in made.stderr
    assert list((tmp_path / "shelf").iterdir()) == []
