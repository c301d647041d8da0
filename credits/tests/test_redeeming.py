"""Codes may be tried ten times, then there is a pause; what is redeemed is not counted."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db import connection

from credits import audit, codes, ledger, redeeming
from credits.models import Account, RedeemFailures

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture
def clock(db):
    with time_machine.travel(NOON, tick=False) as clock:
        yield clock


def make(**changes):
    [code] = codes.make(**{"amount": 25, "count": 1, "created_by": "staff", **changes})
    return code


def fail(user, *, times=1, address=""):
    for _ in range(times):
        with pytest.raises(ledger.CodeUnknown):
            redeeming.redeem(user=user, code="nonsense", address=address)


def balance(user):
    return ledger.account_for(user=user).credits_balance


# ---------------------------------------------------------------- the limit
def test_after_ten_failures_not_even_a_good_code_is_looked_at(alice, clock):
    code = make()
    fail(alice, times=10)

    with pytest.raises(redeeming.TooManyFailures) as caught:
        redeeming.redeem(user=alice, code=code)

    assert caught.value.wait == 3600
    assert caught.value.message == "Too many codes that did not work. Try again in 60 minutes."
    assert balance(alice) == 0


def test_nine_failures_leave_one_try(alice, clock):
    fail(alice, times=9)

    redeeming.redeem(user=alice, code=make())

    assert balance(alice) == 25


def test_any_code_that_brings_nothing_counts(alice, bob, clock):
    mine, expired, used_up = make(), make(expires_at=NOON), make()
    redeeming.redeem(user=alice, code=mine)
    redeeming.redeem(user=bob, code=used_up)

    for code, refusal in [
        (mine, ledger.CodeAlreadyRedeemed),
        (expired, ledger.CodeExpired),
        (used_up, ledger.CodeUsedUp),
        ("nonsense", ledger.CodeUnknown),
    ]:
        with pytest.raises(refusal):
            redeeming.redeem(user=alice, code=code)

    failures = dict(RedeemFailures.objects.values_list("subject", "failures"))
    assert failures == {f"user:{alice.pk}": 4, f"user:{bob.pk}": 0}


def test_what_is_redeemed_is_not_counted(alice, clock):
    fail(alice, times=9)

    for code in codes.make(amount=25, count=12, created_by="staff"):
        redeeming.redeem(user=alice, code=code)

    assert balance(alice) == 300
    fail(alice)
    with pytest.raises(redeeming.TooManyFailures):
        redeeming.redeem(user=alice, code="nonsense")


def test_failures_of_one_member_do_not_stop_another(alice, bob, clock):
    fail(alice, times=10)

    redeeming.redeem(user=bob, code=make())

    assert balance(bob) == 25


# ---------------------------------------------------------------- the pause
def test_an_hour_after_the_last_failure_the_count_starts_anew(alice, clock):
    fail(alice, times=10)

    clock.shift(timedelta(minutes=59, seconds=58))
    with pytest.raises(redeeming.TooManyFailures) as caught:
        redeeming.redeem(user=alice, code="nonsense")
    clock.shift(timedelta(seconds=2))
    fail(alice, times=10)

    assert (caught.value.wait, RedeemFailures.objects.get().failures) == (2, 10)


def test_what_was_turned_away_does_not_make_the_pause_longer(alice, clock):
    fail(alice, times=10)

    clock.shift(timedelta(minutes=30))
    with pytest.raises(redeeming.TooManyFailures) as caught:
        redeeming.redeem(user=alice, code="nonsense")

    assert caught.value.wait == 1800


def test_no_hour_at_all_sees_more_than_ten(alice, clock):
    fail(alice, times=5)
    clock.shift(timedelta(minutes=50))
    fail(alice, times=5)
    clock.shift(timedelta(minutes=20))

    with pytest.raises(redeeming.TooManyFailures):
        redeeming.redeem(user=alice, code="nonsense")


def test_rows_that_say_nothing_any_more_are_deleted(alice, bob, clock):
    fail(alice, address="192.0.2.1")

    clock.shift(timedelta(hours=1))
    fail(bob)

    assert list(RedeemFailures.objects.values_list("subject", flat=True)) == [f"user:{bob.pk}"]


# ---------------------------------------------------------------- addresses
def test_an_address_has_ten_failures_whatever_its_accounts(alice, bob, clock):
    code = make()
    fail(alice, times=6, address="192.0.2.1")
    fail(bob, times=4, address="192.0.2.1")

    with pytest.raises(redeeming.TooManyFailures):
        redeeming.redeem(user=bob, code=code, address="192.0.2.1")
    redeeming.redeem(user=bob, code=code, address="192.0.2.2")

    assert balance(bob) == 25


def test_who_is_turned_away_by_address_keeps_their_own_tries(alice, bob, clock):
    fail(alice, times=10, address="192.0.2.1")

    with pytest.raises(redeeming.TooManyFailures):
        redeeming.redeem(user=bob, code="nonsense", address="192.0.2.1")

    fail(bob, times=10)


@pytest.mark.parametrize("address", ["x" * 10_000, "一" * 100, "'; --"])
def test_any_text_may_come_as_an_address(alice, clock, address):
    fail(alice, times=10, address=address)

    assert RedeemFailures.objects.filter(failures=10).count() == 2


# ---------------------------------------------------------------- costs and races
def test_a_flood_is_turned_away_with_one_question(alice, clock, django_assert_num_queries):
    fail(alice, times=10)

    with django_assert_num_queries(1), pytest.raises(redeeming.TooManyFailures):
        redeeming.redeem(user=alice, code="nonsense")


@pytest.mark.django_db(transaction=True)
def test_of_forty_guesses_at_once_exactly_ten_are_tried(alice, race):
    answers = race(lambda n: _answer(alice, f"guess {n}"), list(range(40)))

    assert Counter(answers) == {"CodeUnknown": 10, "TooManyFailures": 30}
    assert RedeemFailures.objects.get().failures == 10


@pytest.mark.django_db(transaction=True)
def test_of_forty_guesses_at_once_from_many_accounts_exactly_ten_are_tried(django_user_model, race):
    members = [django_user_model.objects.create_user(f"member{n}") for n in range(40)]

    answers = race(lambda user: _answer(user, "guess", address="192.0.2.1"), members)

    assert Counter(answers) == {"CodeUnknown": 10, "TooManyFailures": 30}


@pytest.mark.django_db(transaction=True)
def test_good_codes_among_guesses_at_once_take_nobodys_try(alice, race):
    good = codes.make(amount=25, count=20, created_by="staff")

    answers = race(lambda code: _answer(alice, code), [*good, *(f"guess {n}" for n in range(9))])

    assert Counter(answers) == {"REDEEM": 20, "CodeUnknown": 9}
    assert (Account.objects.get().credits_balance, RedeemFailures.objects.get().failures) == (
        500,
        9,
    )
    assert audit.check() == []


def _answer(user, code, **rest):
    try:
        return redeeming.redeem(user=user, code=code, **rest).kind
    except (ledger.CodeRefused, redeeming.TooManyFailures) as error:
        return type(error).__name__


def test_a_row_forgotten_between_two_statements_is_made_again(alice, clock):
    """Somebody deletes the old row just when we have found that it exists."""
    subject = f"user:{alice.pk}"
    RedeemFailures.objects.create(subject=subject, last_at=NOON - timedelta(hours=2))
    forgotten = []

    def forget_once(execute, sql, params, many, context):
        if sql.startswith("UPDATE") and "redeem_failures" in sql and not forgotten:
            forgotten.append(RedeemFailures.objects.filter(subject=subject).delete())
        return execute(sql, params, many, context)

    with connection.execute_wrapper(forget_once):
        fail(alice)

    assert (len(forgotten), RedeemFailures.objects.get().failures) == (1, 1)
