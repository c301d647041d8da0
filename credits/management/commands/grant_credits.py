"""``manage.py grant_credits USER N``: give credits to a member."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from credits import ledger
from credits.ids import new_id
from credits.signals import moved_by_command


class Command(BaseCommand):
    help = "Give credits to a member."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="the member's username")
        parser.add_argument("amount", type=int, metavar="N", help="how many credits")
        parser.add_argument("--reason", default="", help="noted in the ledger")

    def handle(self, *args: Any, **options: Any) -> None:
        users = get_user_model()
        try:
            user = users.objects.get_by_natural_key(options["user"])
            with transaction.atomic():
                ledger.grant(
                    user=user,
                    amount=options["amount"],
                    reference=f"command:{new_id()}",
                    reason=options["reason"],
                    actor="manage.py",
                )
                moved_by_command.send(
                    Command,
                    command="grant_credits",
                    on=user,
                    moved={"credits": options["amount"]},
                    reason=options["reason"],
                )
        except users.DoesNotExist:
            raise CommandError(f"There is no member named {options['user']}.") from None
        except ValueError as error:
            raise CommandError(str(error)) from None
        balance = ledger.account_for(user=user).credits_balance
        self.stdout.write(f"{options['user']} has {balance} credits")
