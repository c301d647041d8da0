"""Budgets: what counts, for whom, and when it starts afresh."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from credits import budgets, ledger
from credits.models import Budget, LedgerEntry

SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.fixture(autouse=True)
def _site_in_shanghai(settings):
    settings.TIME_ZONE = "Asia/Shanghai"


def at(text):
    """Travel to a wall clock time in Shanghai."""
    return time_machine.travel(datetime.fromisoformat(text).replace(tzinfo=SHANGHAI), tick=False)


def spend(user, amount, reference):
    return ledger.reserve(user=user, amount=amount, reference=reference)


# ---------------------------------------------------------------- periods
@pytest.mark.parametrize(
    ("period", "now", "start", "end"),
    [
        ("day", "2026-11-23T00:00", "2026-11-23", "2026-11-24"),
        ("day", "2026-12-31T23:59", "2026-12-31", "2027-01-01"),
        ("week", "2026-11-23T00:00", "2026-11-23", "2026-11-30"),
        ("week", "2026-11-29T23:59", "2026-11-23", "2026-11-30"),
        ("month", "2026-12-31T23:59", "2026-12-01", "2027-01-01"),
        ("month", "2028-02-29T12:00", "2028-02-01", "2028-03-01"),
    ],
)
def test_periods_are_those_of_the_calendar(period, now, start, end):
    moment = datetime.fromisoformat(now).replace(tzinfo=SHANGHAI)

    first, following = budgets.bounds(period, moment.astimezone(UTC))

    assert (first.isoformat(), following.isoformat()) == (
        f"{start}T00:00:00+08:00",
        f"{end}T00:00:00+08:00",
    )


def test_a_day_is_as_long_as_the_clock_makes_it(settings):
    settings.TIME_ZONE = "Europe/Berlin"

    start, end = budgets.bounds("day", datetime(2026, 10, 25, 12, tzinfo=UTC))

    assert (end.astimezone(UTC) - start.astimezone(UTC)).total_seconds() == 25 * 3600


# ---------------------------------------------------------------- borders
@pytest.mark.parametrize(
    ("limit", "period", "before", "after"),
    [
        ("per_day", "day", "2026-11-24T23:59:59", "2026-11-25T00:00"),
        ("per_week", "week", "2026-11-29T23:59:59", "2026-11-30T00:00"),
        ("per_month", "month", "2026-11-30T23:59:59", "2026-12-01T00:00"),
    ],
)
def test_a_budget_starts_afresh_at_the_border(rich, limit, period, before, after):
    Budget.objects.create(user=rich, **{limit: 10})

    with at(before):
        spend(rich, 8, "t1")
        with pytest.raises(ledger.BudgetExceeded) as caught:
            spend(rich, 3, "t2")
        spend(rich, 2, "t3")
    refusal = caught.value
    assert (refusal.period, refusal.limit, refusal.used) == (period, 10, 8)
    assert refusal.resets_at == datetime.fromisoformat(after).replace(tzinfo=SHANGHAI)
    assert LedgerEntry.objects.filter(kind="RESERVE").count() == 2

    with at(after):
        spend(rich, 10, "t4")
    assert ledger.account_for(user=rich).credits_balance == 80


def test_the_readers_time_zone_does_not_matter(rich):
    Budget.objects.create(user=rich, per_day=10)

    with at("2026-11-24T23:00"):
        spend(rich, 10, "t1")
    with at("2026-11-25T01:00"), timezone.override("UTC"):
        spend(rich, 10, "t2")

    assert ledger.reserved_now(user=rich) == 20


# ---------------------------------------------------------------- what counts
def test_what_came_back_does_not_count(rich):
    Budget.objects.create(user=rich, per_day=20)
    spend(rich, 10, "t1")
    spend(rich, 10, "t2")

    ledger.settle(reference="t1", charged=4)
    ledger.release(reference="t2")

    spend(rich, 16, "t3")
    with pytest.raises(ledger.BudgetExceeded) as caught:
        spend(rich, 1, "t4")
    assert caught.value.used == 20


def test_a_picture_belongs_to_the_day_it_was_asked_for(rich):
    Budget.objects.create(user=rich, per_day=10)
    with at("2026-11-24T23:59"):
        spend(rich, 10, "t1")

    with at("2026-11-25T00:01"):
        ledger.settle(reference="t1", charged=10)
        spend(rich, 10, "t2")
        [use] = budgets.state_of(account=ledger.account_for(user=rich))

    assert (use.period, use.limit, use.used, use.left) == ("day", 10, 10, 0)


def test_a_repeat_is_never_over_budget(rich):
    budget = Budget.objects.create(user=rich, per_day=10)
    first = spend(rich, 10, "t1")
    budget.per_day = 5
    budget.save()

    assert spend(rich, 10, "t1").pk == first.pk


def test_a_budget_of_nothing_allows_what_is_free(rich):
    Budget.objects.create(user=rich, per_day=0)

    spend(rich, 0, "t1")
    with pytest.raises(ledger.BudgetExceeded):
        spend(rich, 1, "t2")


def test_grants_do_not_count(rich):
    Budget.objects.create(user=rich, per_month=10)
    ledger.adjust(user=rich, amount=-50, reference="a", reason="", actor="")

    spend(rich, 10, "t1")

    assert ledger.account_for(user=rich).credits_balance == 40


# ---------------------------------------------------------------- for whom
def test_a_groups_budget_is_each_members_own(rich, bob):
    team = Group.objects.create(name="team")
    team.user_set.add(rich, bob)
    Budget.objects.create(group=team, per_day=10)
    ledger.grant(user=bob, amount=100, reference="bob", reason="", actor="")

    spend(rich, 10, "t1")
    spend(bob, 10, "t2")

    for user in (rich, bob):
        with pytest.raises(ledger.BudgetExceeded):
            spend(user, 1, f"more {user}")


def test_another_members_budget_does_not_hold_me(rich, bob):
    Budget.objects.create(user=bob, per_day=0)
    Budget.objects.create(group=Group.objects.create(name="others"), per_day=0)

    spend(rich, 100, "t1")

    assert budgets.state_of(account=ledger.account_for(user=rich)) == []


def test_of_all_budgets_the_tightest_holds(rich):
    team = Group.objects.create(name="team")
    team.user_set.add(rich)
    Budget.objects.create(user=rich, per_day=30, per_month=40)
    Budget.objects.create(group=team, per_day=10)
    everybody = Group.objects.create(name="everybody")
    everybody.user_set.add(rich)
    Budget.objects.create(group=everybody, per_day=20)

    assert budgets.limits_of(user=rich) == {"day": 10, "month": 40}


def test_a_refusal_names_the_limit_that_lasts_longest(rich):
    Budget.objects.create(user=rich, per_day=10, per_week=10, per_month=10)

    with pytest.raises(ledger.BudgetExceeded) as caught, at("2026-11-10T12:00"):
        spend(rich, 11, "t1")

    assert (caught.value.period, caught.value.used) == ("month", 0)


def test_all_budgets_together_cost_one_sum_more(rich, django_assert_num_queries):
    Budget.objects.create(user=rich, per_day=10, per_week=20, per_month=30)

    with django_assert_num_queries(9):  # And the savepoint around both.
        spend(rich, 1, "t1")


# ---------------------------------------------------------------- rows
def test_a_budget_is_for_a_member_or_a_group(rich):
    team = Group.objects.create(name="team")
    for subject in ({}, {"user": rich, "group": team}):
        with pytest.raises(ValidationError, match="not both"):
            Budget(**subject).full_clean()
        with pytest.raises(IntegrityError), transaction.atomic():
            Budget.objects.create(**subject)


def test_nobody_has_two_budgets_of_their_own(rich):
    Budget.objects.create(user=rich)

    with pytest.raises(ValidationError, match="has a budget already"):
        Budget(user=rich).full_clean()
