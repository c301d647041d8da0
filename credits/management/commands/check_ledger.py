"""``manage.py check_ledger``: recompute all credits; exit 1 on any difference."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand

from credits import audit
from credits.models import Account, LedgerEntry


class Command(BaseCommand):
    help = "Recompute every balance from the ledger and tell every difference."

    def handle(self, *args: Any, **options: Any) -> None:
        differences = audit.check()
        audit.announce(differences)
        for difference in differences:
            self.stdout.write(str(difference))
        if differences:
            sys.exit(1)
        accounts, entries = Account.objects.count(), LedgerEntry.objects.count()
        self.stdout.write(f"ledger is right: {accounts} accounts, {entries} entries")
