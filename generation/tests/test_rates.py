"""A limit in a window of time: exact, however many come at once."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from generation import rates
from generation.models import RateWindow

HOUR = timedelta(hours=1)
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def take(user, *, limit=3, window=HOUR, now=NOON, scope="upload", amount=1):
    """Return 0 for what passed, otherwise the seconds to wait."""
    try:
        rates.take(scope=scope, user=user, limit=limit, window=window, now=now, amount=amount)
    except rates.TooOften as error:
        return error.retry_after
    return 0


def test_so_many_pass_and_the_next_is_told_how_long_to_wait(alice):
    later = NOON + timedelta(minutes=20)

    assert [take(alice, now=later) for _ in range(5)] == [0, 0, 0, 2400, 2400]


def test_what_is_turned_away_is_not_counted(alice):
    for _ in range(9):
        take(alice)

    assert RateWindow.objects.get().count == 3


def test_the_next_window_begins_anew(alice):
    before, after = NOON - timedelta(microseconds=1), NOON

    assert [take(alice, limit=1, now=now) for now in (before, before, after, after)] == [
        0,
        1,
        0,
        3600,
    ]


def test_members_and_scopes_are_counted_apart(alice, bob):
    taken = [take(user, limit=1, scope=scope) for user in (alice, bob) for scope in ("a", "b")]

    assert taken == [0, 0, 0, 0]


def test_windows_may_have_any_length(alice):
    now = NOON + timedelta(seconds=31)

    assert take(alice, limit=1, window=timedelta(seconds=7), now=now) == 0
    assert 0 < take(alice, limit=1, window=timedelta(seconds=7), now=now) <= 7


def test_the_limit_may_change_inside_a_window(alice):
    assert [take(alice, limit=limit) for limit in (2, 2, 2, 3, 1)] == [0, 0, 3600, 0, 3600]


def test_windows_long_past_are_forgotten_and_no_others(alice, bob):
    take(bob)
    for hours in range(5):
        take(alice, now=NOON + hours * HOUR)

    assert rates.forget(now=NOON + 4 * HOUR + HOUR / 2) == 3
    assert sorted(row.begins_at.hour for row in RateWindow.objects.all()) == [14, 15, 16]


def test_several_are_counted_together_or_not_at_all(alice):
    assert [take(alice, limit=5, amount=amount) for amount in (2, 4, 3, 1)] == [0, 3600, 0, 3600]
    assert RateWindow.objects.get().count == 5


def test_more_at_once_than_the_limit_have_a_window_to_themselves(alice, bob):
    assert [take(alice, limit=2, amount=4), take(alice, limit=2)] == [0, 3600]
    assert [take(bob, limit=2), take(bob, limit=2, amount=4)] == [0, 3600]


def test_a_clock_that_is_behind_cannot_begin_a_window_twice(alice):
    take(alice, limit=1)
    take(alice, limit=1, now=NOON + HOUR)

    assert take(alice, limit=1, now=NOON + HOUR - timedelta(seconds=1)) == 1


def test_to_take_costs_one_statement(alice, django_assert_num_queries):
    take(alice)

    with django_assert_num_queries(1):
        take(alice)
    with django_assert_num_queries(1):
        take(alice, limit=2)


@pytest.mark.django_db(transaction=True)
def test_of_forty_at_once_exactly_so_many_pass(alice, race):
    answers = race(lambda _n: take(alice, limit=10), list(range(40)))

    assert Counter(answers) == {0: 10, 3600: 30}
    assert RateWindow.objects.get().count == 10
