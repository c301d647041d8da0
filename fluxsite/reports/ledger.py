"""The ledger, in the order it was written."""

from __future__ import annotations

from credits.models import LedgerEntry
from fluxsite.reports.base import Asked, Pages

#: Rows fetched at a time.
PAGE = 2000

COLUMNS = (
    *("id", "created_at", "member", "kind", "amount", "charged", "reference", "closes"),
    *("reason", "actor"),
)
_FIELDS = (
    *("pk", "created_at", "account__user__username", "kind", "amount", "charged", "reference"),
    *("closes_id", "reason", "actor"),
)


def pages(asked: Asked) -> Pages:
    entries = LedgerEntry.objects.filter(**asked.during()).order_by("pk")
    if asked.member is not None:
        entries = entries.filter(account__user=asked.member)
    last = 0
    while True:
        found = list(entries.filter(pk__gt=last).values_list(*_FIELDS)[:PAGE])
        if found:
            yield found
        if len(found) < PAGE:
            return
        last = found[-1][0]
