"""Codes that were made together: what became of them, and their end.

A batch is its name: codes that are made later under the same name join it. A code itself is told
once, in the answer to its making; everything here knows only its last four characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django.db.models import BigIntegerField, Count, F, Max, Min, Q, QuerySet, Sum
from django.db.models.functions import Cast, Substr
from django.utils import timezone

from credits.models import LedgerEntry, RedeemCode

#: Codes, and redemptions of theirs, that are fetched at a time.
PAGE = 500
CODES = ("code", "credits", "max_uses", "expires_at", "batch")
USAGE = ("ends_with", "credits", "uses", "max_uses", "expires_at", "member", "redeemed_at")


def name_for(now: datetime) -> str:
    """Return the name of a batch that was given none."""
    return f"{timezone.localtime(now):%Y-%m-%d %H:%M:%S}"


def _living(now: datetime) -> Q:
    """Codes that somebody could still redeem."""
    return (Q(expires_at=None) | Q(expires_at__gt=now)) & Q(uses__lt=F("max_uses"))


def overview(*, now: datetime) -> QuerySet[Any, dict[str, Any]]:
    """Return each batch with its totals, the newest first, as dicts."""
    given = Cast("uses", BigIntegerField()) * Cast("credits", BigIntegerField())
    found: QuerySet[Any, Any] = (
        RedeemCode.objects.order_by()
        .values("batch")
        .annotate(
            codes=Count("pk"),
            living=Count("pk", filter=_living(now)),
            used=Sum("uses"),
            usable=Sum("max_uses"),
            given=Sum(given),
            made_at=Min("created_at"),
            newest_at=Max("created_at"),
        )
        .order_by("-newest_at", "batch")
    )
    return found


def expire(chosen: QuerySet[RedeemCode], *, now: datetime) -> int:
    """End those that somebody could still redeem. Return how many there were."""
    return chosen.filter(_living(now)).update(expires_at=now)


# ---------------------------------------------------------------- lists
def moment(at: datetime | None) -> str:
    """Return a time as a spreadsheet knows it, in the site's zone."""
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M:%S}" if at else ""


def usage(*, batch: str) -> Iterator[list[Sequence[Any]]]:
    """Yield, some at a time, rows of USAGE: one for each member who redeemed a code, and one
    for each code that nobody did."""
    last = ""
    while True:
        some = RedeemCode.objects.filter(batch=batch, pk__gt=last).order_by("pk")[:PAGE]
        known = {code.pk: code for code in some}
        yield from _redemptions(known)
        yield [_row(code) for code in known.values() if not code.uses]
        if len(known) < PAGE:
            return
        last = list(known)[-1]


def _redemptions(known: dict[str, RedeemCode]) -> Iterator[list[Sequence[Any]]]:
    ids = [pk for pk, code in known.items() if code.uses]
    # A reference is `code:<id>:user:<id>`: see ledger.redeem.
    entries = (
        LedgerEntry.objects.filter(kind=LedgerEntry.Kind.REDEEM)
        .annotate(code=Substr("reference", len("code:") + 1, 32))
        .filter(code__in=ids)
        .order_by("pk")
        .values_list("pk", "code", "account__user__username", "created_at")
    )
    last = 0
    while ids:
        found = list(entries.filter(pk__gt=last)[:PAGE])
        yield [_row(known[code], member, at) for _pk, code, member, at in found]
        if len(found) < PAGE:
            return
        last = found[-1][0]


def _row(code: RedeemCode, member: str = "", at: datetime | None = None) -> Sequence[Any]:
    return (
        *(f"…{code.hint}", code.credits, code.uses, code.max_uses, moment(code.expires_at)),
        *(member, moment(at)),
    )
