"""Any order of verbs, compared with a ledger simple enough to be right."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from credits import audit, codes, ledger
from credits.models import Account

REFERENCES = st.sampled_from(["a", "b", "c", "d", "e"])
MEMBERS = st.sampled_from(["alice", "bob"])
AMOUNTS = st.integers(0, 60)


@pytest.fixture
def _start_with_50(request):
    # By name: hypothesis has a `settings` of its own in this module.
    request.getfixturevalue("settings").CREDITS_STARTING_GRANT = 50


class LedgerMachine(RuleBasedStateMachine):
    """The model: balance and use by member; what each reference booked, and how it ended."""

    def __init__(self):
        super().__init__()
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.users = {name: User.objects.create_user(name) for name in ("alice", "bob")}
        self.balance = dict.fromkeys(self.users, 50)
        self.used = dict.fromkeys(self.users, 0)
        self.granted, self.adjusted = {}, {}
        self.reserved, self.ended = {}, {}
        [self.code] = codes.make(amount=20, count=1, max_uses=1, created_by="staff")
        self.redeemed_by = None
        for user in self.users.values():
            ledger.account_for(user=user)

    def teardown(self):
        transaction.set_rollback(True)
        self.atomic.__exit__(None, None, None)

    def book(self, known, name, reference, amount, verb):
        """What grant, adjust and reserve have in common."""
        if reference in known and known[reference][0] != name:
            with pytest.raises(ledger.ReferenceConflict):
                verb()
        elif reference in known:
            assert verb().amount == known[reference][1]
        elif self.balance[name] + amount < 0:
            with pytest.raises(ledger.InsufficientCredits) as caught:
                verb()
            assert (caught.value.balance, caught.value.needed) == (self.balance[name], -amount)
        else:
            assert verb().amount == amount
            known[reference] = (name, amount)
            self.balance[name] += amount

    @rule(name=MEMBERS, reference=REFERENCES, amount=st.integers(1, 60))
    def grant(self, name, reference, amount):
        def verb():
            return ledger.grant(
                user=self.users[name], amount=amount, reference=reference, reason="", actor=""
            )

        self.book(self.granted, name, reference, amount, verb)

    @rule(name=MEMBERS, reference=REFERENCES, amount=st.integers(-60, 60))
    def adjust(self, name, reference, amount):
        def verb():
            return ledger.adjust(
                user=self.users[name], amount=amount, reference=reference, reason="", actor=""
            )

        self.book(self.adjusted, name, reference, amount, verb)

    @rule(name=MEMBERS, reference=REFERENCES, amount=AMOUNTS)
    def reserve(self, name, reference, amount):
        def verb():
            return ledger.reserve(user=self.users[name], amount=amount, reference=reference)

        self.book(self.reserved, name, reference, -amount, verb)

    @rule(reference=REFERENCES, charged=AMOUNTS)
    def settle(self, reference, charged):
        if reference not in self.reserved:
            with pytest.raises(ledger.UnknownReservation):
                ledger.settle(reference=reference, charged=charged)
            return
        name, amount = self.reserved[reference]
        if charged > -amount:
            with pytest.raises(ValueError, match="cannot be charged"):
                ledger.settle(reference=reference, charged=charged)
        elif self.ended.get(reference) == "released":
            with pytest.raises(ledger.AlreadyReleased):
                ledger.settle(reference=reference, charged=charged)
        elif reference in self.ended:
            assert (
                ledger.settle(reference=reference, charged=charged).charged
                == (self.ended[reference])
            )
        else:
            ledger.settle(reference=reference, charged=charged)
            self.ended[reference] = charged
            self.balance[name] += -amount - charged
            self.used[name] += charged

    @rule(reference=REFERENCES)
    def release(self, reference):
        if reference not in self.reserved:
            with pytest.raises(ledger.UnknownReservation):
                ledger.release(reference=reference)
        elif self.ended.get(reference, "released") != "released":
            with pytest.raises(ledger.AlreadySettled):
                ledger.release(reference=reference)
        else:
            ledger.release(reference=reference)
            name, amount = self.reserved[reference]
            if reference not in self.ended:
                self.balance[name] -= amount
            self.ended[reference] = "released"

    @rule(name=MEMBERS)
    def redeem(self, name):
        def verb():
            return ledger.redeem(user=self.users[name], code=self.code)

        if self.redeemed_by is None:
            assert verb().amount == 20
            self.redeemed_by = name
            self.balance[name] += 20
        else:
            same = self.redeemed_by == name
            with pytest.raises(ledger.CodeAlreadyRedeemed if same else ledger.CodeUsedUp):
                verb()

    @invariant()
    def the_accounts_are_those_of_the_model(self):
        stored = Account.objects.values_list("user__username", "credits_balance", "total_used")
        assert {name: (balance, used) for name, balance, used in stored} == {
            name: (self.balance[name], self.used[name]) for name in self.users
        }

    @invariant()
    def what_is_reserved_is_that_of_the_model(self):
        for name, user in self.users.items():
            assert ledger.reserved_now(user=user) == -sum(
                amount
                for reference, (owner, amount) in self.reserved.items()
                if owner == name and reference not in self.ended
            )

    @invariant()
    def the_audit_finds_nothing(self):
        assert audit.check() == []


@pytest.mark.django_db
@pytest.mark.usefixtures("_start_with_50")
def test_any_order_of_verbs_is_what_a_simple_ledger_says():
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
