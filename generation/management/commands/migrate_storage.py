"""``manage.py migrate_storage --to cos``: copy all pictures from one storage to another."""

from __future__ import annotations

import sys
from typing import Any

from django.conf import settings
from django.core.files.storage import storages
from django.core.management.base import BaseCommand, CommandError, CommandParser

from generation import housekeeping
from generation.management import progress

NAMES = ("local", "cos")


class Command(BaseCommand):
    help = (
        "Copy all pictures to another storage. May be stopped and called again: what is there "
        "already is skipped. Nothing is removed here; set STORAGE when it says that all is there, "
        "and call it once more for what was drawn meanwhile."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--to", required=True, choices=NAMES)

    def handle(self, *args: Any, **options: Any) -> None:
        to = options["to"]
        if to not in settings.STORAGES:
            raise CommandError("Set COS_BUCKET and the other COS_… variables first.")
        source = storages["local" if to == "cos" else "cos"]
        files = size = 0
        problems = []
        total = housekeeping.count_pictures()
        copying = housekeeping.copy_all(
            source=source, target=storages[to], chosen=housekeeping.pictures()
        )
        for picture, copied in progress.shown(copying, total=total):
            files, size = files + copied.files, size + copied.size
            if copied.problem:
                problems.append(f"{picture.pk}: {copied.problem}")
        for problem in problems:
            self.stdout.write(problem)
        self.stdout.write(f"pictures: {total}, files copied: {files}, bytes: {size}")
        if problems:
            self.stdout.write(f"not copied: {len(problems)} pictures; call it again")
            sys.exit(1)
        if to != settings.STORAGE:
            self.stdout.write(f"All is there. Start the site with STORAGE={to} now.")
