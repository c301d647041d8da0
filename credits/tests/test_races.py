"""Many at once, with real threads and real transactions."""

from __future__ import annotations

from collections import Counter

import pytest
from django.contrib.auth.models import User

from credits import audit, codes, ledger
from credits.models import Account, Budget, LedgerEntry, RedeemCode

pytestmark = pytest.mark.django_db(transaction=True)


def kinds(answers):
    return Counter(
        type(answer).__name__ if isinstance(answer, Exception) else answer.kind
        for answer in answers
    )


def test_forty_at_once_spend_what_is_there_and_no_more(rich, race):
    answers = race(
        lambda n: ledger.reserve(user=rich, amount=5, reference=f"t{n}"), list(range(40))
    )

    assert kinds(answers) == {"RESERVE": 20, "InsufficientCredits": 20}
    account = Account.objects.get()
    assert (account.credits_balance, ledger.reserved_now(user=rich)) == (0, 100)
    assert audit.check() == []


def test_one_reservation_sent_ten_times_is_one(rich, race):
    answers = race(lambda n: ledger.reserve(user=rich, amount=60, reference="t"), list(range(10)))

    assert kinds(answers) == {"RESERVE": 10}
    assert len({answer.pk for answer in answers}) == 1
    assert Account.objects.get().credits_balance == 40


def test_a_budget_holds_against_many_at_once(rich, race):
    Budget.objects.create(user=rich, per_day=35)

    answers = race(
        lambda n: ledger.reserve(user=rich, amount=5, reference=f"t{n}"), list(range(20))
    )

    assert kinds(answers) == {"RESERVE": 7, "BudgetExceeded": 13}
    assert Account.objects.get().credits_balance == 65
    assert audit.check() == []


def test_a_reservation_is_settled_or_released_and_never_both(rich, race):
    verbs = [
        lambda reference: ledger.settle(reference=reference, charged=7),
        lambda reference: ledger.release(reference=reference),
    ]
    settled = 0
    for number in range(5):
        reference = f"t{number}"
        ledger.reserve(user=rich, amount=10, reference=reference)
        answers = race(lambda n, reference=reference: verbs[n % 2](reference), list(range(10)))

        won = kinds(answers)
        assert won in ({"SETTLE": 5, "AlreadySettled": 5}, {"RELEASE": 5, "AlreadyReleased": 5})
        settled += "SETTLE" in won
        assert LedgerEntry.objects.filter(closes__reference=reference).count() == 1

    account = Account.objects.get()
    assert (account.credits_balance, account.total_used) == (100 - 7 * settled, 7 * settled)
    assert audit.check() == []


def test_ten_first_requests_make_one_account(alice, race, settings):
    settings.CREDITS_STARTING_GRANT = 50

    answers = race(lambda n: ledger.account_for(user=alice), list(range(10)))

    assert {(a.pk, a.credits_balance) for a in answers} == {(Account.objects.get().pk, 50)}
    assert LedgerEntry.objects.count() == 1


def test_a_code_for_one_goes_to_one_of_ten(db, race):
    members = [User.objects.create_user(f"member{n}") for n in range(10)]
    [code] = codes.make(amount=25, count=1, created_by="staff")

    answers = race(lambda user: ledger.redeem(user=user, code=code), members)

    assert kinds(answers) == {"REDEEM": 1, "CodeUsedUp": 9}
    assert RedeemCode.objects.get().uses == 1
    assert sum(Account.objects.values_list("credits_balance", flat=True)) == 25
    assert audit.check() == []


def test_a_member_redeems_a_code_once_however_often_they_press(alice, race):
    [code] = codes.make(amount=25, count=1, max_uses=10, created_by="staff")

    answers = race(lambda n: ledger.redeem(user=alice, code=code), list(range(10)))

    assert kinds(answers) == {"REDEEM": 1, "CodeAlreadyRedeemed": 9}
    assert (RedeemCode.objects.get().uses, Account.objects.get().credits_balance) == (1, 25)
