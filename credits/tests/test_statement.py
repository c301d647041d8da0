"""The ledger as people read it: one line per event, and all lines together are the balance."""

from __future__ import annotations

import pytest

from credits import codes, ledger, statement, subjects
from credits.models import LedgerEntry
from credits.subjects import Reference


@pytest.fixture(autouse=True)
def _sources(settings):
    settings.CREDITS_SUBJECTS = {"thing": "credits.tests.subjects.things"}


def lines(user):
    entries = statement.events(account=ledger.account_for(user=user))
    return statement.compose(user=user, entries=list(entries))


def words(line):
    return (line.state, line.amount, line.title, line.text)


# ---------------------------------------------------------------- lines
def test_a_reservation_is_one_line_from_start_to_end(rich):
    ledger.reserve(user=rich, amount=20, reference="thing:1")
    [reserved, _grant] = lines(rich)
    ledger.settle(reference="thing:1", charged=10)
    [charged, _grant] = lines(rich)

    assert words(reserved) == ("reserved", -20, "thing 1", "Reserved until it is done")
    assert words(charged) == (
        "charged",
        -10,
        "thing 1",
        "Charged for 1 picture; 10 of 20 given back",
    )


def test_a_charge_in_full_says_for_what(rich):
    ledger.reserve(user=rich, amount=20, reference="thing:2")
    ledger.settle(reference="thing:2", charged=20)

    assert words(lines(rich)[0]) == ("charged", -20, "thing 2", "Charged for 2 pictures")


def test_what_was_given_back_cost_nothing(rich):
    ledger.reserve(user=rich, amount=20, reference="thing:1")
    ledger.release(reference="thing:1")

    assert words(lines(rich)[0]) == (
        "returned",
        0,
        "thing 1",
        "Nothing was charged; 20 credits were given back",
    )


def test_a_late_result_is_a_line_of_its_own(rich):
    ledger.reserve(user=rich, amount=10, reference="thing:1")
    ledger.release(reference="thing:1")
    ledger.reserve(user=rich, amount=10, reference="thing:1:late")
    ledger.settle(reference="thing:1:late", charged=10)

    late, first, _grant = lines(rich)
    assert words(late) == ("charged", -10, "thing 1", "Charged for 1 picture that came late")
    assert words(first)[:3] == ("returned", 0, "thing 1")


def test_what_is_gone_is_still_accounted_for(rich):
    for amount, reference in [(10, "thing:901"), (5, "elsewhere:1"), (1, "bare")]:
        ledger.reserve(user=rich, amount=amount, reference=reference)
        ledger.settle(reference=reference, charged=amount)

    assert [words(line) for line in lines(rich)[:3]] == [
        ("charged", -1, "Pictures that are no longer here", "Charged"),
        ("charged", -5, "Pictures that are no longer here", "Charged"),
        ("charged", -10, "Pictures that are no longer here", "Charged"),
    ]


def test_what_staff_did_is_told_with_their_reason(alice, settings):
    settings.CREDITS_STARTING_GRANT = 50
    ledger.grant(user=alice, amount=30, reference="a", reason="Prize", actor="staff")
    ledger.adjust(user=alice, amount=-5, reference="b", reason="Twice", actor="staff")

    assert [words(line) for line in lines(alice)] == [
        ("adjusted", -5, "Corrected by staff", "Twice"),
        ("granted", 30, "Granted by staff", "Prize"),
        ("granted", 50, "Credits to begin with", ""),
    ]


def test_a_redeemed_code_does_not_tell_the_name_of_its_batch(alice):
    [code] = codes.make(amount=25, count=1, batch="for the angry", created_by="staff")
    ledger.redeem(user=alice, code=code)

    assert words(lines(alice)[0]) == ("redeemed", 25, "Code redeemed", "")


def test_all_lines_together_are_the_balance(rich):
    for number, charged in enumerate([None, 0, 3, 7, 7]):
        ledger.reserve(user=rich, amount=7, reference=f"thing:{number}")
        if charged is not None:
            ledger.settle(reference=f"thing:{number}", charged=charged)
    ledger.reserve(user=rich, amount=7, reference="thing:9")
    ledger.release(reference="thing:9")

    account = ledger.account_for(user=rich)
    assert sum(line.amount for line in lines(rich)) == account.credits_balance == 76
    assert len(lines(rich)) == 7


# ---------------------------------------------------------------- references
@pytest.mark.parametrize(
    ("kind", "reference", "expected"),
    [
        ("RESERVE", "thing:1", Reference("thing", "1", is_late=False)),
        ("SETTLE", "thing:1", Reference("thing", "1", is_late=False)),
        ("RELEASE", "thing:1:late", Reference("thing", "1", is_late=True)),
        ("ADJUST", "thing:1:lost:0", Reference("thing", "1", is_late=False, is_lost=True)),
        ("ADJUST", "thing:1:refund", Reference("thing", "1", is_late=False, is_refund=True)),
        ("RESERVE", "bare", None),
        ("GRANT", "start:1", None),
        ("REDEEM", "code:1:user:2", None),
        ("ADJUST", "admin:1", None),
    ],
)
def test_a_reference_names_what_was_booked_for(kind, reference, expected):
    assert subjects.reference_of(LedgerEntry(kind=kind, reference=reference)) == expected


@pytest.mark.parametrize("count", [1, 3])
def test_lines_take_one_query_and_what_their_sources_take(rich, count, django_assert_num_queries):
    for number in range(count):
        ledger.reserve(user=rich, amount=1, reference=f"thing:{number}")
        ledger.settle(reference=f"thing:{number}", charged=1)
    account = ledger.account_for(user=rich)

    with django_assert_num_queries(1):
        entries = list(statement.events(account=account))
        found = [words(line) for line in statement.compose(user=rich, entries=entries)]

    assert len(found) == count + 1
