"""``manage.py make_redeem_codes --credits N --count N``: print a batch of new codes."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from credits import batches, codes
from credits.models import RedeemCode
from credits.signals import moved_by_command


class Command(BaseCommand):
    help = "Make codes that bring credits, and print them: they cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--credits", type=int, required=True, help="what each code brings")
        parser.add_argument("--count", type=int, required=True, help="how many codes")
        parser.add_argument("--batch", default="", help="a name to find them by (the time)")
        parser.add_argument(
            "--expires",
            type=date.fromisoformat,
            metavar="YYYY-MM-DD",
            help="the last day on which they can be redeemed, in the site's time zone",
        )
        parser.add_argument(
            "--max-uses", type=int, default=1, help="how many members may redeem each (1)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        options["batch"] = options["batch"] or batches.name_for(timezone.now())
        try:
            with transaction.atomic():
                made = codes.make(
                    amount=options["credits"],
                    count=options["count"],
                    batch=options["batch"],
                    max_uses=options["max_uses"],
                    expires_at=end_of(options["expires"]) if options["expires"] else None,
                    created_by="manage.py",
                )
                names = ("credits", "count", "max_uses", "expires", "batch")
                moved_by_command.send(
                    Command,
                    command="make_redeem_codes",
                    on=RedeemCode,
                    moved={name: options[name] for name in names if options[name]},
                    reason="",
                )
        except ValueError as error:
            raise CommandError(str(error)) from None
        self.stdout.write("\n".join(made))


def end_of(day: date) -> datetime:
    return datetime.combine(
        day + timedelta(days=1), time.min, tzinfo=timezone.get_default_timezone()
    )
