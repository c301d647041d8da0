"""Prices: what staff decided, else what the caller knows."""

from __future__ import annotations

import pytest

from credits import pricing
from credits.models import Price

pytestmark = pytest.mark.django_db


def test_a_price_is_the_callers_until_staff_decide():
    assert pricing.price_of(key="m", default=10) == 10

    Price.objects.create(key="m", credits=12)

    assert pricing.price_of(key="m", default=10) == 12
    assert pricing.price_of(key="other", default=10) == 10


def test_a_price_may_be_nothing():
    Price.objects.create(key="m", credits=0)

    assert pricing.price_of(key="m", default=10) == 0


def test_all_prices_cost_one_query(django_assert_num_queries):
    Price.objects.create(key="b", credits=7)
    Price.objects.create(key="gone", credits=9)

    with django_assert_num_queries(1):
        prices = pricing.prices_of(defaults={"a": 1, "b": 2})

    assert prices == {"a": 1, "b": 7}
