"""``manage.py export {history|ledger|usage|usage_by_group}``: write a report to standard output."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from fluxsite.reports import index, writing
from fluxsite.reports.base import BadRequest, read


class Command(BaseCommand):
    help = "Write a report to standard output: CSV for spreadsheets, or an object of JSON a line."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("report", choices=list(index.REPORTS))
        parser.add_argument("--format", choices=list(writing.FORMATS), default="csv")
        parser.add_argument(
            "--since", default="", metavar="MONTH", help="from then on: 2026-01 or 2026-01-31"
        )
        parser.add_argument(
            "--until", default="", metavar="MONTH", help="up to its end: 2026-03 or 2026-03-31"
        )
        parser.add_argument("--member", default="", help="only that member's, by username")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            asked = read(since=options["since"], until=options["until"], member=options["member"])
        except BadRequest as refusal:
            raise CommandError(f"--{refusal.field}: {refusal}") from None
        report = index.REPORTS[options["report"]]
        for piece in writing.pieces(report, asked=asked, format_name=options["format"]):
            # SQLite may hold half of a surrogate pair, which no encoding knows.
            self.stdout.write(piece.encode("utf-8", "replace").decode(), ending="")
