"""``manage.py import_newapi --source one-api.db``: the Midjourney tasks of a new-api relay."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from generation.importing import mapping
from generation.importing.databases import open_database
from generation.importing.reading import CannotRead
from generation.management.importing import ImportCommand


class Command(ImportCommand):
    help = (
        "Bring the Midjourney tasks of a new-api database (table midjourneys) into the history. "
        "Reads only, and may be repeated."
    )
    default_origin = "newapi"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--source", required=True, help="path of an SQLite file, sqlite:///…, postgresql://…"
        )
        super().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            reader = open_database(options["source"], people_table="users")
        except CannotRead as error:
            raise CommandError(str(error)) from error
        self.bring_over(reader, [mapping.NEW_API], options)
