"""The audit: silent when all is right, and exact about what is not."""

from __future__ import annotations

import logging

import pytest
from django.core.management import call_command
from django.db import connection

from credits import audit, codes, ledger
from credits.models import LedgerEntry


@pytest.fixture
def busy(rich, bob):
    """A ledger with everything in it: alice has 100 - 30 + 20 - 15 = 75, used 30."""
    ledger.reserve(user=rich, amount=40, reference="t1")
    ledger.settle(reference="t1", charged=30)
    ledger.reserve(user=rich, amount=10, reference="t2")
    ledger.release(reference="t2")
    ledger.reserve(user=rich, amount=15, reference="t3")
    [code] = codes.make(amount=20, count=1, created_by="staff")
    ledger.redeem(user=rich, code=code)
    ledger.account_for(user=bob)
    return rich


def spoil(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)


def told():
    return [str(difference) for difference in audit.check()]


def test_a_right_ledger_is_said_to_be_right(busy, capsys):
    assert audit.check() == []

    call_command("check_ledger")

    assert capsys.readouterr().out == "ledger is right: 2 accounts, 7 entries\n"


@pytest.mark.parametrize(
    ("sql", "difference"),
    [
        (
            "UPDATE flux_credits SET credits_balance = credits_balance + 1 WHERE total_used > 0",
            "alice: balance is 76, should be 75",
        ),
        (
            "UPDATE flux_credits SET total_used = 31 WHERE total_used > 0",
            "alice: total used is 31, should be 30",
        ),
        (
            "UPDATE flux_credits SET credits_balance = 5 WHERE total_used = 0",
            "bob: balance is 5, should be 0",
        ),
        (
            "DELETE FROM credit_ledger WHERE kind = 'GRANT'",
            "alice: balance is 75, should be -25",
        ),
        (
            "UPDATE credit_ledger SET reference = 't9' WHERE kind = 'RELEASE'",
            "t9: what RELEASE accounts for is 10, should be 0",
        ),
        (
            "UPDATE redeem_codes SET uses = 0",
            "code {code}: number of uses is 0, should be 1",
        ),
    ],
)
def test_each_difference_is_told(busy, sql, difference):
    code = LedgerEntry.objects.get(kind="REDEEM").reference.split(":")[1]

    spoil(sql)

    assert told() == [difference.format(code=code)]


def test_a_settlement_that_loses_credits_is_told(busy):
    spoil("UPDATE credit_ledger SET amount = amount - 4 WHERE kind = 'SETTLE'")
    spoil("UPDATE flux_credits SET credits_balance = credits_balance - 4 WHERE total_used > 0")

    assert told() == ["t1: what SETTLE accounts for is 36, should be 40"]


def test_a_reservation_closed_twice_is_told(busy):
    # The database refuses a second closing, unless that claims to close something else.
    spoil(
        "INSERT INTO credit_ledger (account_id, kind, amount, charged, reference, closes_id,"
        " reason, actor, created_at) SELECT account_id, 'SETTLE', 15, 0, 't2', id,"
        " reason, actor, created_at FROM credit_ledger WHERE reference = 't3'"
    )

    assert told() == [
        "alice: balance is 75, should be 90",
        "t2: what SETTLE accounts for is 15, should be 0",
        "t2: number of closings is 2, should be 1",
    ]


def test_the_command_prints_each_difference_and_fails(busy, capsys):
    spoil("UPDATE flux_credits SET credits_balance = 1, total_used = 2")

    with pytest.raises(SystemExit) as caught:
        call_command("check_ledger")

    assert caught.value.code == 1
    assert sorted(capsys.readouterr().out.splitlines()) == [
        "alice: balance is 1, should be 75",
        "alice: total used is 2, should be 30",
        "bob: balance is 1, should be 0",
        "bob: total used is 2, should be 0",
    ]


def test_at_night_differences_are_errors_in_the_log(busy, caplog):
    caplog.set_level(logging.INFO)
    audit.nightly()
    assert caplog.records == []

    spoil("UPDATE flux_credits SET credits_balance = 1 WHERE total_used = 0")
    audit.nightly()

    said = [record for record in caplog.records if record.name == "credits.audit"]
    assert [(r.levelname, r.getMessage()) for r in said] == [
        ("ERROR", "ledger: bob: balance is 1, should be 0")
    ]


def test_the_audit_costs_the_same_for_many_accounts(busy, django_assert_num_queries):
    with django_assert_num_queries(4):
        audit.check()


def test_whoever_wants_to_know_hears_of_every_check(busy):
    heard = []

    def hear(*, differences, **_signal):
        heard.append([str(each) for each in differences])

    audit.checked.connect(hear)
    try:
        audit.nightly()
        spoil("UPDATE flux_credits SET credits_balance = 1 WHERE total_used = 0")
        audit.nightly()
    finally:
        audit.checked.disconnect(hear)

    assert heard == [[], ["bob: balance is 1, should be 0"]]
