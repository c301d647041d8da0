"""The verbs: what they book, what they refuse, and that a repeat changes nothing."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError

from credits import audit, ledger
from credits.models import Account, LedgerEntry
from fluxsite.append_only import AppendOnly


def balance(user):
    account = ledger.account_for(user=user)
    return account.credits_balance, account.total_used


def entries(user):
    found = LedgerEntry.objects.filter(account__user=user).order_by("id")
    return list(found.values_list("kind", "reference", "amount", "charged"))


# ---------------------------------------------------------------- accounts
def test_a_new_member_starts_with_the_starting_grant_once(alice, settings):
    settings.CREDITS_STARTING_GRANT = 50

    first = ledger.account_for(user=alice)
    again = ledger.account_for(user=alice)

    assert first.pk == again.pk
    assert balance(alice) == (50, 0)
    assert entries(alice) == [("GRANT", f"start:{alice.pk}", 50, 0)]


def test_without_a_starting_grant_there_is_no_entry(alice):
    assert balance(alice) == (0, 0)
    assert entries(alice) == []


def test_an_account_that_is_there_costs_one_query(rich, django_assert_num_queries):
    with django_assert_num_queries(1):
        ledger.account_for(user=rich)


def test_a_member_with_an_account_cannot_be_deleted(rich):
    with pytest.raises(ProtectedError):
        rich.delete()


# ---------------------------------------------------------------- grant and adjust
def test_a_grant_is_booked_with_its_reason_and_actor(alice):
    entry = ledger.grant(user=alice, amount=30, reference="g1", reason="welcome", actor="staff")

    assert (entry.kind, entry.amount, entry.reason, entry.actor) == (
        "GRANT",
        30,
        "welcome",
        "staff",
    )
    assert balance(alice) == (30, 0)


def test_a_repeated_grant_returns_the_first_entry(alice):
    first = ledger.grant(user=alice, amount=30, reference="g1", reason="", actor="staff")
    again = ledger.grant(user=alice, amount=99, reference="g1", reason="", actor="staff")

    assert (again.pk, again.amount) == (first.pk, 30)
    assert balance(alice) == (30, 0)


def test_a_reference_of_another_member_is_refused(alice, bob):
    ledger.grant(user=alice, amount=30, reference="g1", reason="", actor="staff")

    with pytest.raises(ledger.ReferenceConflict):
        ledger.grant(user=bob, amount=30, reference="g1", reason="", actor="staff")

    assert balance(bob) == (0, 0)


@pytest.mark.parametrize("amount", [0, -1, ledger.MAX_AMOUNT + 1])
def test_a_grant_gives_something_that_fits(alice, amount):
    with pytest.raises(ValueError, match="credits are not between"):
        ledger.grant(user=alice, amount=amount, reference="g1", reason="", actor="staff")


@pytest.mark.parametrize("reference", ["", "r" * 121])
def test_a_reference_has_1_to_120_characters(alice, reference):
    with pytest.raises(ValueError, match="1 to 120"):
        ledger.grant(user=alice, amount=1, reference=reference, reason="", actor="staff")


def test_an_adjustment_goes_both_ways_but_not_below_zero(rich):
    ledger.adjust(user=rich, amount=-40, reference="a1", reason="mistake", actor="staff")
    ledger.adjust(user=rich, amount=5, reference="a2", reason="", actor="staff")
    with pytest.raises(ledger.InsufficientCredits) as caught:
        ledger.adjust(user=rich, amount=-66, reference="a3", reason="", actor="staff")

    assert (caught.value.balance, caught.value.needed) == (65, 66)
    assert balance(rich) == (65, 0)
    assert [row[0] for row in entries(rich)] == ["GRANT", "ADJUST", "ADJUST"]


def test_grants_beyond_a_plain_integer_add_up(alice):
    for number in range(3):
        ledger.grant(
            user=alice, amount=ledger.MAX_AMOUNT, reference=f"g{number}", reason="", actor=""
        )

    assert balance(alice) == (3_000_000_000, 0)
    assert audit.check() == []


# ---------------------------------------------------------------- reserve
def test_a_reservation_leaves_the_balance_at_once(rich):
    entry = ledger.reserve(user=rich, amount=40, reference="t1")

    assert (entry.kind, entry.amount) == ("RESERVE", -40)
    assert balance(rich) == (60, 0)
    assert ledger.reserved_now(user=rich) == 40


def test_a_repeated_reservation_reserves_once(rich):
    first = ledger.reserve(user=rich, amount=60, reference="t1")
    again = ledger.reserve(user=rich, amount=60, reference="t1")

    assert first.pk == again.pk
    assert balance(rich) == (40, 0)


def test_nobody_reserves_more_than_there_is(rich):
    with pytest.raises(ledger.InsufficientCredits) as caught:
        ledger.reserve(user=rich, amount=101, reference="t1")

    assert (caught.value.balance, caught.value.needed) == (100, 101)
    assert balance(rich) == (100, 0)
    assert ledger.reserved_now(user=rich) == 0
    ledger.reserve(user=rich, amount=100, reference="t1")
    assert balance(rich) == (0, 0)


def test_what_is_free_can_be_reserved_without_credits(alice):
    ledger.reserve(user=alice, amount=0, reference="t1")
    ledger.settle(reference="t1", charged=0)

    assert balance(alice) == (0, 0)
    assert [row[0] for row in entries(alice)] == ["RESERVE", "SETTLE"]


def test_nothing_negative_is_reserved(rich):
    with pytest.raises(ValueError, match="-1 credits"):
        ledger.reserve(user=rich, amount=-1, reference="t1")


def test_a_reservation_costs_two_reads_and_two_writes(rich, django_assert_num_queries):
    with django_assert_num_queries(6):  # And a savepoint, opened and released.
        ledger.reserve(user=rich, amount=1, reference="t1")


def test_an_end_costs_a_read_and_two_writes(rich, django_assert_num_queries):
    ledger.reserve(user=rich, amount=5, reference="t1")

    with django_assert_num_queries(5):
        ledger.settle(reference="t1", charged=1)


# ---------------------------------------------------------------- settle and release
def test_settling_charges_what_was_delivered_and_gives_the_rest_back(rich):
    ledger.reserve(user=rich, amount=40, reference="t1")
    entry = ledger.settle(reference="t1", charged=30)

    assert (entry.amount, entry.charged, entry.closes.reference) == (10, 30, "t1")
    assert balance(rich) == (70, 30)
    assert ledger.reserved_now(user=rich) == 0


def test_releasing_gives_everything_back(rich):
    ledger.reserve(user=rich, amount=40, reference="t1")
    ledger.release(reference="t1")

    assert balance(rich) == (100, 0)
    assert entries(rich)[1:] == [("RESERVE", "t1", -40, 0), ("RELEASE", "t1", 40, 0)]


def test_a_repeated_end_changes_nothing_and_returns_the_first(rich):
    for reference in ("t1", "t2"):
        ledger.reserve(user=rich, amount=40, reference=reference)
    settled = ledger.settle(reference="t1", charged=30)
    released = ledger.release(reference="t2")

    again = ledger.settle(reference="t1", charged=40)

    assert (again.pk, again.charged) == (settled.pk, 30)
    assert ledger.release(reference="t2").pk == released.pk
    assert balance(rich) == (70, 30)


def test_what_was_settled_is_not_released(rich):
    ledger.reserve(user=rich, amount=40, reference="t1")
    ledger.settle(reference="t1", charged=40)

    with pytest.raises(ledger.AlreadySettled):
        ledger.release(reference="t1")

    assert balance(rich) == (60, 40)


def test_what_was_released_is_not_settled(rich):
    ledger.reserve(user=rich, amount=40, reference="t1")
    ledger.release(reference="t1")

    with pytest.raises(ledger.AlreadyReleased):
        ledger.settle(reference="t1", charged=40)

    assert balance(rich) == (100, 0)


def test_a_closed_reservation_is_not_opened_by_repeating_it(rich):
    first = ledger.reserve(user=rich, amount=40, reference="t1")
    ledger.release(reference="t1")

    assert ledger.reserve(user=rich, amount=40, reference="t1").pk == first.pk
    assert balance(rich) == (100, 0)


@pytest.mark.parametrize("charged", [-1, 41])
def test_no_more_is_charged_than_was_reserved(rich, charged):
    ledger.reserve(user=rich, amount=40, reference="t1")

    with pytest.raises(ValueError, match="of 40 reserved"):
        ledger.settle(reference="t1", charged=charged)


def test_what_was_never_reserved_has_no_end(rich):
    with pytest.raises(ledger.UnknownReservation):
        ledger.settle(reference="pay", charged=0)
    with pytest.raises(ledger.UnknownReservation):
        ledger.release(reference="pay")


# ---------------------------------------------------------------- inside a transaction
@pytest.mark.django_db(transaction=True)
def test_a_refusal_or_repeat_leaves_the_callers_transaction_usable(alice):
    with transaction.atomic():
        ledger.grant(user=alice, amount=10, reference="g1", reason="", actor="")
        ledger.grant(user=alice, amount=10, reference="g1", reason="", actor="")
        with pytest.raises(ledger.InsufficientCredits):
            ledger.reserve(user=alice, amount=11, reference="t1")
        ledger.reserve(user=alice, amount=4, reference="t2")
        ledger.reserve(user=alice, amount=4, reference="t2")
        ledger.settle(reference="t2", charged=3)
        with pytest.raises(ledger.AlreadySettled):
            ledger.release(reference="t2")

    assert balance(alice) == (7, 3)


@pytest.mark.django_db(transaction=True)
def test_credits_go_with_the_callers_transaction(rich):
    with transaction.atomic():
        ledger.reserve(user=rich, amount=40, reference="t1")
        transaction.set_rollback(True)

    assert balance(rich) == (100, 0)
    assert len(entries(rich)) == 1


# ---------------------------------------------------------------- append-only
def test_what_has_happened_is_not_changed(rich):
    entry = LedgerEntry.objects.get()
    entry.amount = 1000

    for change in (
        entry.save,
        entry.delete,
        lambda: LedgerEntry.objects.update(amount=1000),
        lambda: LedgerEntry.objects.all().delete(),
        lambda: entry.account.entries.update(amount=1000),
        lambda: LedgerEntry.objects.bulk_update([entry], ["amount"]),
        lambda: LedgerEntry.objects.bulk_create([LedgerEntry()]),
    ):
        with pytest.raises(AppendOnly), transaction.atomic():
            change()

    assert entries(rich) == [("GRANT", "pay", 100, 0)]


def test_a_copy_with_a_known_id_does_not_overwrite(rich):
    entry = LedgerEntry.objects.get()

    with pytest.raises(IntegrityError), transaction.atomic():
        LedgerEntry(
            pk=entry.pk, account=entry.account, kind="GRANT", amount=1000, reference="other"
        ).save()

    assert entries(rich) == [("GRANT", "pay", 100, 0)]


# ---------------------------------------------------------------- the database's own guard
@pytest.mark.parametrize(
    ("table", "assignment"),
    [
        ("flux_credits", "credits_balance = -1"),
        ("flux_credits", "total_used = -1"),
        ("credit_ledger", "kind = 'RESERVE'"),
        ("credit_ledger", "kind = 'SETTLE'"),
        ("credit_ledger", "kind = 'BONUS'"),
        ("credit_ledger", "charged = 1"),
        ("credit_ledger", "closes_id = id"),
    ],
)
def test_the_database_refuses_what_cannot_be(rich, table, assignment):
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {assignment}")

    assert Account.objects.get().credits_balance == 100


# ---------------------------------------------------------------- several at once
@pytest.fixture
def reserved(rich, bob):
    """Three reservations: two of Alice's, one of Bob's."""
    ledger.grant(user=bob, amount=20, reference="pay bob", reason="", actor="staff")
    for user, amount, reference in ((rich, 10, "a"), (rich, 7, "b"), (bob, 20, "c")):
        ledger.reserve(user=user, amount=amount, reference=reference)


def settle_each(**charged):
    with transaction.atomic():
        ledger.settle_each(charged=charged)


@pytest.mark.usefixtures("reserved")
def test_several_are_settled_as_each_would_be(rich, bob):
    settle_each(a=6, b=7, c=0)

    assert entries(rich)[-2:] == [("SETTLE", "a", 4, 6), ("SETTLE", "b", 0, 7)]
    assert entries(bob)[-1] == ("SETTLE", "c", 20, 0)
    assert (balance(rich), balance(bob)) == ((87, 13), (20, 0))
    assert ledger.settle(reference="a", charged=6).charged == 6
    assert audit.check() == []


@pytest.mark.usefixtures("reserved")
def test_any_number_is_settled_with_as_many_statements_as_one(rich, django_assert_num_queries):
    for number in range(9):
        ledger.reserve(user=rich, amount=1, reference=f"more {number}")

    # What is reserved, the entries, the accounts.
    with transaction.atomic(), django_assert_num_queries(3):
        ledger.settle_each(charged={"a": 1, "c": 2, **{f"more {n}": 1 for n in range(9)}})

    assert audit.check() == []


@pytest.mark.usefixtures("reserved")
@pytest.mark.parametrize(
    ("charged", "refusal"),
    [
        ({"a": 6, "never": 1}, ledger.UnknownReservation),
        ({"a": 6, "closed": 1}, IntegrityError),
        ({"a": 6, "given back": 1}, IntegrityError),
        ({"a": 6, "b": 8}, ValueError),
        ({"a": 6, "b": -1}, ValueError),
    ],
    ids=["unknown", "closed", "released", "too much", "less than nothing"],
)
def test_where_one_cannot_be_settled_none_is(rich, charged, refusal):
    for reference in ("closed", "given back"):
        ledger.reserve(user=rich, amount=2, reference=reference)
    ledger.settle(reference="closed", charged=2)
    ledger.release(reference="given back")
    before = entries(rich), balance(rich)

    with pytest.raises(refusal):
        settle_each(**charged)

    assert (entries(rich), balance(rich)) == before
    assert audit.check() == []


@pytest.mark.usefixtures("rich")
def test_of_nothing_nothing_is_settled(django_assert_num_queries):
    with django_assert_num_queries(0):
        ledger.settle_each(charged={})
