"""Accounts that start empty unless a test says otherwise."""

from __future__ import annotations

import pytest

from credits import ledger


@pytest.fixture(autouse=True)
def _empty_start(settings):
    settings.CREDITS_ENABLED = True
    settings.CREDITS_STARTING_GRANT = 0
    settings.TIME_ZONE = "UTC"


@pytest.fixture
def rich(alice):
    """Alice, with 100 credits."""
    ledger.grant(user=alice, amount=100, reference="pay", reason="", actor="staff")
    return alice
