"""``manage.py check_pictures``: is every picture still what was stored? Exit 1 if not."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from generation import housekeeping
from generation.management import progress


class Command(BaseCommand):
    help = "Read every stored picture and compare it with what was stored (SHA-256)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--quick", action="store_true", help="compare sizes, read nothing")
        parser.add_argument("--days", type=int, help="only pictures of the last so many days")
        parser.add_argument("--repair", action="store_true", help="make missing thumbnails again")

    def handle(self, *args: Any, **options: Any) -> None:
        since = timezone.now() - timedelta(days=options["days"]) if options["days"] else None
        total = housekeeping.count_pictures(since=since)
        damaged = repaired = 0
        for picture in progress.shown(housekeeping.pictures(since=since), total=total):
            for damage in housekeeping.verify(picture, read=not options["quick"]):
                if options["repair"] and housekeeping.repair(damage):
                    repaired += 1
                    continue
                damaged += 1
                self.stdout.write(str(damage))
        if repaired:
            self.stdout.write(f"thumbnails made again: {repaired}")
        if damaged:
            self.stdout.write(f"damaged: {damaged} files, of {total} pictures")
            sys.exit(1)
        self.stdout.write(f"pictures are right: {total}")
