from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from fluxsite.models import SCOPES, ApiToken

MAX_DAYS = 3650


class Command(BaseCommand):
    help = "Print a new API token for a member, and nothing else. It cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="the member's user name")
        parser.add_argument("--name", default="command line", help="what the token is for")
        parser.add_argument(
            "--scope",
            action="append",
            choices=list(SCOPES),
            help="what it may do; may be given more than once (default: everything)",
        )
        parser.add_argument("--days", type=int, help="for how long it is good (default: no end)")

    def handle(self, *args: Any, **options: Any) -> None:
        users = get_user_model().objects
        user = users.filter(username=options["user"]).first()
        if user is None:
            msg = f"There is no user named {options['user']!r}."
            raise CommandError(msg)
        if options["days"] is not None and not 1 <= options["days"] <= MAX_DAYS:
            msg = f"--days takes 1 to {MAX_DAYS}."
            raise CommandError(msg)
        ends = timezone.now() + timedelta(days=options["days"]) if options["days"] else None
        _token, secret = ApiToken.objects.issue(
            user=user,
            name=options["name"],
            expires_at=ends,
            scopes=options["scope"] or tuple(SCOPES),
        )
        self.stdout.write(secret)
