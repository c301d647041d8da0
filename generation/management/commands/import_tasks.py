"""``manage.py import_tasks tasks.csv --kind jimeng``: tasks of any other site, from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from generation.importing import mapping
from generation.importing.files import TableFile
from generation.importing.reading import CannotRead
from generation.management.importing import ImportCommand


class Command(ImportCommand):
    help = (
        "Bring tasks from a CSV or JSON Lines file into the history; docs/import.md lists the "
        "columns. May be repeated."
    )
    default_origin = "file"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="a .csv or .jsonl file")
        parser.add_argument("--kind", required=True, choices=sorted(mapping.BY_NAME))
        super().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            reader = TableFile(options["file"])
        except CannotRead as error:
            raise CommandError(str(error)) from error
        self.bring_over(reader, [mapping.BY_NAME[options["kind"]]], options)
