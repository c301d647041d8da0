"""``manage.py rearchive``: try again to save pictures that were given up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from generation import housekeeping, polling


class Command(BaseCommand):
    help = "Have the workers try again to save pictures that are only at the provider."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, default=30, help="those of so many days (30)")

    def handle(self, *args: Any, **options: Any) -> None:
        count = housekeeping.rearchive(older_than=timedelta(days=options["days"]))
        polling.kick()
        self.stdout.write(f"pictures to save again: {count}")
