from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from fluxsite.models import ApiToken


class Command(BaseCommand):
    help = "Print a new API token for a member, and nothing else. It cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="the member's user name")
        parser.add_argument("--name", default="command line", help="what the token is for")

    def handle(self, *args: Any, **options: Any) -> None:
        users = get_user_model().objects
        user = users.filter(username=options["user"]).first()
        if user is None:
            msg = f"There is no user named {options['user']!r}."
            raise CommandError(msg)
        _token, secret = ApiToken.objects.issue(user=user, name=options["name"])
        self.stdout.write(secret)
