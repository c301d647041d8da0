"""What an administrator types."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command

from credits import ledger
from credits.models import LedgerEntry, RedeemCode


def test_credits_are_granted_by_name(alice, capsys):
    call_command("grant_credits", "alice", "30", "--reason", "welcome")
    call_command("grant_credits", "alice", "12")

    assert capsys.readouterr().out == "alice has 30 credits\nalice has 42 credits\n"
    entry = LedgerEntry.objects.order_by("id").first()
    assert (entry.kind, entry.amount, entry.reason, entry.actor) == (
        "GRANT",
        30,
        "welcome",
        "manage.py",
    )


def test_an_unknown_member_gets_nothing(alice):
    with pytest.raises(CommandError, match="no member named carol"):
        call_command("grant_credits", "carol", "30")


@pytest.mark.parametrize("amount", ["0", "-5", "99999999999"])
def test_only_a_sensible_amount_is_granted(alice, amount):
    with pytest.raises(CommandError, match="credits are not between"):
        call_command("grant_credits", "--", "alice", amount)

    assert LedgerEntry.objects.count() == 0


def test_codes_are_printed_and_nothing_else(alice, settings, capsys):
    settings.TIME_ZONE = "Asia/Shanghai"

    call_command(
        "make_redeem_codes",
        *("--credits", "25", "--count", "3", "--batch", "spring"),
        *("--expires", "2027-01-31", "--max-uses", "2"),
    )

    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3
    rows = RedeemCode.objects.values_list("batch", "max_uses", "expires_at", "created_by")
    assert set(rows) == {("spring", 2, datetime(2027, 1, 31, 16, tzinfo=UTC), "manage.py")}


def test_printed_codes_can_be_redeemed(alice, capsys):
    call_command("make_redeem_codes", "--credits", "25", "--count", "1")

    assert ledger.redeem(user=alice, code=capsys.readouterr().out).amount == 25


def test_no_codes_of_nothing_are_made(db):
    with pytest.raises(CommandError, match="at least one"):
        call_command("make_redeem_codes", "--credits", "0", "--count", "3")
