"""``manage.py remove_orphans``: remove files that belong to no picture."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from generation import housekeeping


class Command(BaseCommand):
    help = (
        "Remove files older than a day that belong to no picture. Where they are many, only "
        "--force removes them: look first whether this is the database they belong to."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="name them and remove nothing")
        parser.add_argument("--force", action="store_true", help="remove them though they are many")

    def handle(self, *args: Any, **options: Any) -> None:
        found = housekeeping.remove_orphans(remove=not options["dry_run"], force=options["force"])
        if options["dry_run"]:
            for name in found.names:
                self.stdout.write(name)
        elif found.is_suspicious and not options["force"]:
            raise CommandError(
                f"{found.orphans} of {found.seen} files belong to no picture: too many to be "
                "leftovers, so none was removed. Is this the right database? --dry-run names "
                "them, --force removes them."
            )
        self.stdout.write(
            f"files: {found.seen}, without a picture: {found.orphans}, removed: {found.removed}"
        )
