"""What a picture costs: the price staff have set, else the one the caller knows."""

from __future__ import annotations

from collections.abc import Mapping

from credits.models import Price


def price_of(*, key: str, default: int) -> int:
    price = Price.objects.filter(key=key).values_list("credits", flat=True).first()
    return default if price is None else price


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
