"""Recompute what can be recomputed, and tell every difference.

Each question is one SQL statement, so each sees one moment of the database: the check may run
while the site works and raises no false alarm. It reads only.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from django.db.models import (
    Count,
    F,
    IntegerField,
    OuterRef,
    Q,
    Subquery,
    Sum,
)
from django.db.models.functions import Coalesce, Substr
from django.dispatch import Signal

from credits.models import Account, LedgerEntry, RedeemCode

logger = logging.getLogger(__name__)

#: Sent after a check of everything, with `differences`: a list, empty when all is right.
checked = Signal()

Kind = LedgerEntry.Kind


@dataclass(frozen=True, kw_only=True)
class Difference:
    """`about` names the account, reference or code; `expected` follows from the ledger."""

    about: str
    what: str
    expected: int
    found: int

    def __str__(self) -> str:
        return f"{self.about}: {self.what} is {self.found}, should be {self.expected}"


def check() -> list[Difference]:
    """Return every difference; an empty list when credits are right to the unit."""
    return [*_accounts(), *_endings(), *_double_endings(), *_codes()]


def nightly() -> None:
    """Check, for a schedule: says each difference in the log, as an error."""
    differences = check()
    for difference in differences:
        logger.error("ledger: %s", difference)
    announce(differences)


def announce(differences: list[Difference]) -> None:
    """Let whoever wants to know hear what a check of everything brought."""
    checked.send_robust(sender=Difference, differences=differences)


def _accounts() -> list[Difference]:
    entries = LedgerEntry.objects.filter(account=OuterRef("pk")).order_by()

    def total(column: str) -> Coalesce:
        per_account = entries.values("account").annotate(total=Sum(column)).values("total")
        return Coalesce(Subquery(per_account), 0)

    wrong = (
        Account.objects.annotate(
            amounts=total("amount"), charges=total("charged"), username=F("user__username")
        )
        .exclude(
            credits_balance=F("amounts"),
            total_used=F("charges"),
            credits_balance__gte=0,
            total_used__gte=0,
        )
        .values_list("username", "credits_balance", "amounts", "total_used", "charges")
    )
    found = []
    for username, balance, amounts, used, charges in wrong:
        if balance != amounts:
            found.append(
                Difference(about=username, what="balance", expected=amounts, found=balance)
            )
        if used != charges:
            found.append(
                Difference(about=username, what="total used", expected=charges, found=used)
            )
        # Right by the ledger and still impossible: the ledger itself gives too much away.
        if balance == amounts and balance < 0:
            found.append(Difference(about=username, what="balance", expected=0, found=balance))
        if used == charges and used < 0:
            found.append(Difference(about=username, what="total used", expected=0, found=used))
    return found


def _endings() -> list[Difference]:
    """What a settlement charged and gave back must be what was reserved under its reference,
    by the same account; a release gives back all."""
    reserved = LedgerEntry.objects.filter(
        kind=Kind.RESERVE,
        pk=OuterRef("closes"),
        account=OuterRef("account"),
        reference=OuterRef("reference"),
    ).values("amount")
    wrong = (
        LedgerEntry.objects.filter(kind__in=[Kind.SETTLE, Kind.RELEASE])
        .order_by("id")
        .annotate(
            reserved=0 - Coalesce(Subquery(reserved), 0), accounted=F("amount") + F("charged")
        )
        .filter(~Q(accounted=F("reserved")))
        .values_list("kind", "reference", "accounted", "reserved")
    )
    return [
        Difference(about=reference, what=f"what {kind} accounts for", expected=due, found=accounted)
        for kind, reference, accounted, due in wrong
    ]


def _double_endings() -> list[Difference]:
    twice = (
        LedgerEntry.objects.filter(kind__in=[Kind.SETTLE, Kind.RELEASE])
        .order_by("reference")
        .values("reference")
        .annotate(times=Count("id"))
        .filter(times__gt=1)
        .values_list("reference", "times")
    )
    return [
        Difference(about=reference, what="number of closings", expected=1, found=times)
        for reference, times in twice
    ]


def _codes() -> list[Difference]:
    redeemed = (
        LedgerEntry.objects.filter(kind=Kind.REDEEM)
        .order_by()
        .annotate(code=Substr("reference", len("code:") + 1, 32))
        .filter(code=OuterRef("pk"))
        .values("code")
        .annotate(times=Count("id"))
        .values("times")
    )
    wrong = (
        RedeemCode.objects.annotate(
            redeemed=Coalesce(Subquery(redeemed, output_field=IntegerField()), 0)
        )
        .filter(~Q(uses=F("redeemed")))
        .values_list("id", "redeemed", "uses")
    )
    return [
        Difference(about=f"code {pk}", what="number of uses", expected=redeemed, found=uses)
        for pk, redeemed, uses in wrong
    ]
