"""``manage.py backup``: the database and the keys of a site that runs, whole or not at all."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.utils import timezone

KEYS = ("secret_key", "field_key")


class Command(BaseCommand):
    help = (
        "Copy the database, as it is at one moment, and the keys that are kept in DATA_DIR into a "
        "new directory. The site may run. Pictures are files of their own: docs/backup.md."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--to", required=True, type=Path, help="where directories with backups are made"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        os.umask(0o077)
        shelf: Path = options["to"].expanduser().absolute()
        place = shelf / f"fluxsite-{timezone.now():%Y%m%dT%H%M%SZ}"
        try:
            shelf.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=shelf))
            try:
                _fill(draft)
                _sync(draft)
                # Whoever finds the directory finds all of it.
                draft.rename(place)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
            _sync_directory(shelf)
        except (OSError, sqlite3.Error) as error:
            msg = f"No backup was made: {error}"
            raise CommandError(msg) from error
        self.stdout.write(str(place))
        if settings.STORAGE == "local":
            self.stderr.write(f"The pictures are in {settings.MEDIA_ROOT}: copy them next.")


def _fill(directory: Path) -> None:
    if connection.vendor == "sqlite":
        _copy_sqlite(directory / "fluxsite.sqlite3")
    else:
        _dump_postgresql(directory / "fluxsite.dump")
    for name in KEYS:
        if (settings.DATA_DIR / name).exists():
            shutil.copyfile(settings.DATA_DIR / name, directory / name)


def _copy_sqlite(path: Path) -> None:
    """Copy in one go, which holds up nobody: writers append to a log beside the file meanwhile.

    Raises sqlite3.Error also where the copy is not in order.
    """
    name = str(connection.settings_dict["NAME"])
    with (
        closing(sqlite3.connect(f"{Path(name).absolute().as_uri()}?mode=rw", uri=True)) as source,
        closing(sqlite3.connect(path)) as copy,
    ):
        source.backup(copy, pages=-1)
        # One file, without a log beside it.
        copy.execute("PRAGMA journal_mode = DELETE")
        found = [row[0] for row in copy.execute("PRAGMA integrity_check(3)")]
    if found != ["ok"]:
        msg = f"the copy is damaged: {'; '.join(found)}"
        raise sqlite3.DatabaseError(msg)


def _dump_postgresql(path: Path) -> None:
    arguments, environment = connection.client.settings_to_cmd_args_env(
        connection.settings_dict, []
    )
    command = ["pg_dump", *arguments[1:], "--format=custom", f"--file={path}"]
    try:
        dumped = subprocess.run(  # noqa: S603
            command,
            env={**os.environ, **(environment or {})},
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        msg = "pg_dump is not installed (Debian: apt install postgresql-client)."
        raise CommandError(msg) from None
    if dumped.returncode:
        msg = f"No backup was made: {dumped.stderr.strip()}"
        raise CommandError(msg)


def _sync(directory: Path) -> None:
    for path in directory.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    _sync_directory(directory)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
