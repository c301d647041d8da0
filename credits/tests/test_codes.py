"""Codes: made once, known by their digest only, redeemed once by each member."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
import time_machine

from credits import audit, codes, ledger
from credits.models import LedgerEntry, RedeemCode


def make(**changes):
    [code] = codes.make(**{"amount": 25, "count": 1, "created_by": "staff", **changes})
    return code


def balance(user):
    return ledger.account_for(user=user).credits_balance


# ---------------------------------------------------------------- making
def test_a_batch_is_made_and_only_digests_are_kept(db):
    made = codes.make(amount=25, count=3, batch="spring", max_uses=2, created_by="staff")

    assert len(set(made)) == 3
    assert all(re.fullmatch(r"([0-9A-HJKMNP-TV-Z]{4}-){3}[0-9A-HJKMNP-TV-Z]{4}", c) for c in made)
    rows = list(RedeemCode.objects.values())
    assert {row["hint"] for row in rows} == {code[-4:] for code in made}
    assert {(r["batch"], r["credits"], r["max_uses"], r["uses"]) for r in rows} == {
        ("spring", 25, 2, 0)
    }
    for code in made:
        assert code not in str(rows)
        assert codes.normalise(code) not in str(rows)


@pytest.mark.parametrize("wrong", ["amount", "count", "max_uses"])
def test_a_batch_of_nothing_is_refused(db, wrong):
    with pytest.raises(ValueError, match="at least one"):
        make(**{wrong: 0})


# ---------------------------------------------------------------- typing
@pytest.mark.parametrize(
    "typed",
    [
        "0123-ABCD-1111-00ZZ",
        " 0123abcd111100zz\n",
        "o123 abcd-iLl1 oOzz",
        "０１２３ＡＢＣＤ－１１１１－００ＺＺ",
    ],
)
def test_a_code_is_recognised_however_it_is_typed(typed):
    assert codes.normalise(typed) == "0123ABCD111100ZZ"


@pytest.mark.parametrize("typed", ["", "nonsense", "\x00", "\ud800", "码", "x" * 100_000])
def test_what_is_no_code_is_unknown(alice, typed):
    make()

    with pytest.raises(ledger.CodeUnknown):
        ledger.redeem(user=alice, code=typed)

    assert balance(alice) == 0


# ---------------------------------------------------------------- redeeming
def test_a_code_becomes_credits(alice):
    entry = ledger.redeem(user=alice, code=make(batch="spring").lower())

    code = RedeemCode.objects.get()
    assert (entry.kind, entry.amount, entry.reason, entry.actor) == (
        "REDEEM",
        25,
        "spring",
        "alice",
    )
    assert entry.reference == f"code:{code.pk}:user:{alice.pk}"
    assert (balance(alice), code.uses) == (25, 1)
    assert audit.check() == []


def test_each_member_redeems_a_code_once(alice, bob):
    code = make(max_uses=2)
    ledger.redeem(user=alice, code=code)

    with pytest.raises(ledger.CodeAlreadyRedeemed):
        ledger.redeem(user=alice, code=code)
    ledger.redeem(user=bob, code=code)
    with pytest.raises(ledger.CodeAlreadyRedeemed):
        ledger.redeem(user=alice, code=code)

    assert (balance(alice), balance(bob)) == (25, 25)
    assert RedeemCode.objects.get().uses == 2


def test_a_code_is_used_up(alice, bob):
    code = make()
    ledger.redeem(user=alice, code=code)

    with pytest.raises(ledger.CodeUsedUp):
        ledger.redeem(user=bob, code=code)

    assert (balance(bob), LedgerEntry.objects.count()) == (0, 1)


def test_a_code_expires(alice):
    code = make(expires_at=datetime(2026, 12, 1, tzinfo=UTC))

    midnight = time_machine.travel("2026-12-01T00:00:00Z", tick=False)
    with midnight, pytest.raises(ledger.CodeExpired):
        ledger.redeem(user=alice, code=code)
    with time_machine.travel("2026-11-30T23:59:59Z", tick=False):
        ledger.redeem(user=alice, code=code)

    assert balance(alice) == 25


def test_all_refusals_of_a_code_are_of_one_family():
    for refusal in ("CodeUnknown", "CodeExpired", "CodeUsedUp", "CodeAlreadyRedeemed"):
        assert issubclass(getattr(ledger, refusal), ledger.CodeRefused)
