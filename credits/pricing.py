"""What a picture costs: the price staff have set, else the one the caller knows."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import connection

from credits.models import Price


def price_of(*, key: str, default: int) -> int:
    # In SQL, because every request that costs asks it; see credits/ledger.py.
    with connection.cursor() as cursor:
        cursor.execute("SELECT credits FROM credit_prices WHERE key = %s", [key])
        row = cursor.fetchone()
    return default if row is None else int(row[0])


def prices_of(*, defaults: Mapping[str, int]) -> dict[str, int]:
    """Return the price of every key, with one query."""
    decided = Price.objects.filter(key__in=defaults).values_list("key", "credits")
    return {**defaults, **dict(decided)}


def list_new(*, prices: Mapping[str, int]) -> None:
    """Put keys that have no price yet on the list, for staff to see and change. Prices that
    staff have decided stay."""
    Price.objects.bulk_create(
        [Price(key=key, credits=credits_) for key, credits_ in prices.items()],
        ignore_conflicts=True,
    )
