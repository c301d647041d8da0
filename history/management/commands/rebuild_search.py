"""``manage.py rebuild_search``: write into the index of the search what it has not got."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from history import search

#: Seconds between two looks at how far it is.
EVERY = 1.0


class Command(BaseCommand):
    help = "Add the entries that the search does not find yet. May be cut off and begun again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--anew", action="store_true", help="forget the index first")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["anew"]:
            search.clear()
        seen = added = 0
        while True:
            filled = search.fill(seconds=EVERY)
            seen, added = seen + filled.seen, added + filled.added
            if sys.stderr.isatty():
                self.stderr.write(f"\rentries seen: {seen}, added: {added} ", ending="")
            if filled.finished:
                break
        self.stdout.write(f"entries seen: {seen}, added: {added}")
