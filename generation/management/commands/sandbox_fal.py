"""``manage.py sandbox_fal``: run the stand-in for fal in the foreground."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from generation.sandbox import __main__ as sandbox


class Command(BaseCommand):
    help = "Run a stand-in for fal's queue API that paints its own pictures."
    # It touches neither database nor settings, and must start while those are still wrong.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        sandbox.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        sandbox.serve(
            host=options["host"],
            port=options["port"],
            generation_seconds=options["generation_seconds"],
            queue_seconds=options["queue_seconds"],
            concurrency=options["concurrency"],
            say=self._say if options["verbosity"] else lambda line: None,
        )

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
