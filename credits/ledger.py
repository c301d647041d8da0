"""The verbs of credits, and the only writer of accounts and their ledger.

    account_for ─ the member's account, made with the starting grant when first needed
    grant, adjust ─ by staff, with a reason and a name
    reserve ─ takes the most a task may cost from the balance
    settle ─ charges what was delivered and gives the rest back; settle_each ─ several at once
    release ─ gives everything back
    redeem ─ a code becomes credits

Each verb is one transaction, or a savepoint inside the caller's: credits are booked together
with what they are booked for, or neither is, and a refusal leaves the caller's transaction
usable. Each may be repeated: the same kind and reference book once, and a repeat returns the
first entry, whatever amount it names. A reservation is closed by exactly one of settle and
release. All of this is held by unique constraints, so it holds between processes too.

The balance changes only by an update that is conditional on the result, and that is the last
statement of a verb (only a member's budget is summed up after it, under its lock): the row is
locked as briefly as the caller's transaction allows. Callers do best to book last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q, Sum
from django.utils import timezone

from credits import budgets, codes
from credits.models import Account, LedgerEntry, RedeemCode

Kind = LedgerEntry.Kind

#: Any single amount stays well inside a database integer.
MAX_AMOUNT = 1_000_000_000
MAX_REFERENCE = 120


# ---------------------------------------------------------------- refusals
class CreditsRefused(Exception):
    """Nothing was booked."""


class InsufficientCredits(CreditsRefused):
    def __init__(self, balance: int, needed: int) -> None:
        super().__init__(f"{needed} credits are needed, {balance} are left.")
        self.balance = balance
        self.needed = needed


class BudgetExceeded(CreditsRefused):
    """`used` is what the period held before; `resets_at` is when to try again."""

    def __init__(self, period: budgets.Period, limit: int, used: int, resets_at: datetime) -> None:
        super().__init__(f"{used} of {limit} credits per {period} are used.")
        self.period = period
        self.limit = limit
        self.used = used
        self.resets_at = resets_at


class UnknownReservation(CreditsRefused):
    """Nothing was ever reserved under this reference."""


class AlreadySettled(CreditsRefused):
    """What was charged is not given back by release."""


class AlreadyReleased(CreditsRefused):
    """What was given back is not charged by settle."""


class ReferenceConflict(CreditsRefused):
    """The reference belongs to an entry of another account."""


class CodeRefused(CreditsRefused):
    """The code brought nothing."""


class CodeUnknown(CodeRefused):
    pass


class CodeExpired(CodeRefused):
    pass


class CodeUsedUp(CodeRefused):
    """As many members as may have redeemed it."""


class CodeAlreadyRedeemed(CodeRefused):
    """This member has redeemed it."""


# ---------------------------------------------------------------- accounts
def account_for(*, user: Any) -> Account:
    """Return the member's account as it stands now. The first time it is made, with the
    starting grant."""
    account = Account.objects.filter(user=user).first()
    if account:
        return account
    start = settings.CREDITS_STARTING_GRANT
    try:
        with transaction.atomic():
            account = Account.objects.create(user=user, credits_balance=start)
            if start:
                LedgerEntry.objects.create(
                    account=account,
                    kind=Kind.GRANT,
                    amount=start,
                    reference=f"start:{user.pk}",
                    reason="starting grant",
                )
    except IntegrityError:
        # Two first requests at once: whoever lost the race finds the winner's account.
        return Account.objects.get(user=user)
    return account


def _account_id(user: Any) -> str:
    """Return the id of the member's account, made if need be. In SQL for the same reason as
    _MOVE below."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM flux_credits WHERE user_id = %s", [user.pk])
        row = cursor.fetchone()
    return str(row[0] if row else account_for(user=user).pk)


def reserved_now(*, user: Any) -> int:
    """Return what is taken from the member's balance and not yet settled or released."""
    waiting = LedgerEntry.objects.open_reservations().filter(account__user=user)
    return -int(waiting.aggregate(total=Sum("amount", default=0))["total"])


# ---------------------------------------------------------------- by staff
def grant(*, user: Any, amount: int, reference: str, reason: str, actor: str) -> LedgerEntry:
    """Give credits to a member."""
    _require(amount=amount, least=1, reference=reference)
    entry, _fresh = _book(
        account_id=account_for(user=user).pk,
        kind=Kind.GRANT,
        amount=amount,
        reference=reference,
        reason=reason,
        actor=actor,
    )
    return entry


def adjust(*, user: Any, amount: int, reference: str, reason: str, actor: str) -> LedgerEntry:
    """Correct a balance, up or down. Raises InsufficientCredits rather than go below zero."""
    _require(amount=amount, least=-MAX_AMOUNT, reference=reference)
    entry, _fresh = _book(
        account_id=account_for(user=user).pk,
        kind=Kind.ADJUST,
        amount=amount,
        reference=reference,
        reason=reason,
        actor=actor,
    )
    return entry


# ---------------------------------------------------------------- reservations
def reserve(*, user: Any, amount: int, reference: str, savepoint: bool = True) -> LedgerEntry:
    """Take credits from the balance for something that may come to cost them.

    Raises InsufficientCredits and BudgetExceeded. Without `savepoint` the caller's transaction
    must end then: for callers that end it anyway, and whose reference is new.
    """
    _require(amount=amount, least=0, reference=reference)
    account_id = _account_id(user)
    limits = budgets.limits_of(user=user)
    if not limits:
        entry, _fresh = _book(
            account_id=account_id,
            kind=Kind.RESERVE,
            amount=-amount,
            reference=reference,
            savepoint=savepoint,
        )
        return entry
    with transaction.atomic(savepoint=savepoint):
        entry, fresh = _book(
            account_id=account_id, kind=Kind.RESERVE, amount=-amount, reference=reference
        )
        if fresh:
            # The booking has locked the account's row, so nobody else's reservation can come
            # between this sum and our commit. Our own is in the sum already.
            uses = budgets.uses_of(account_id=account_id, limits=limits, now=entry.created_at)
            exceeded = budgets.worst(uses)
            if exceeded:
                raise BudgetExceeded(
                    exceeded.period, exceeded.limit, exceeded.used - amount, exceeded.resets_at
                )
    return entry


def settle(*, reference: str, charged: int) -> LedgerEntry:
    """Charge a reservation, at most all of it, and give the rest back.

    Raises UnknownReservation and AlreadyReleased.
    """
    reservation = _reservation(reference)
    rest = _rest(reservation, charged=charged)
    entry = _close(reservation, kind=Kind.SETTLE, amount=rest, charged=charged)
    if entry.kind != Kind.SETTLE:
        raise AlreadyReleased(reference)
    return entry


def release(*, reference: str) -> LedgerEntry:
    """Give all of a reservation back. Raises UnknownReservation and AlreadySettled."""
    reservation = _reservation(reference)
    entry = _close(reservation, kind=Kind.RELEASE, amount=-reservation.amount)
    if entry.kind != Kind.RELEASE:
        raise AlreadySettled(reference)
    return entry


def settle_each(*, charged: Mapping[str, int]) -> None:
    """Settle several reservations, by reference, with as many statements as one takes.

    Runs in a transaction of the caller's, which must end without a trace when this raises: what
    `settle` raises, and IntegrityError when one of them is closed already.
    """
    if not charged:
        return
    moment = connection.ops.adapt_datetimefield_value(timezone.now())
    rows: list[dict[str, Any]] = []
    moves: dict[str, tuple[int, int]] = {}
    for reservation in _reservations(list(charged)):
        spent = charged[reservation.reference]
        rest = _rest(reservation, charged=spent)
        rows.append(
            {
                "account_id": reservation.account_id,
                "kind": str(Kind.SETTLE),
                "amount": rest,
                "charged": spent,
                "reference": reservation.reference,
                "closes_id": reservation.pk,
                "reason": "",
                "actor": "",
                "created_at": moment,
            }
        )
        amount, used = moves.get(reservation.account_id, (0, 0))
        moves[reservation.account_id] = (amount + rest, used + spent)
    if len(rows) != len(charged):
        raise UnknownReservation(str(charged.keys() - {row["reference"] for row in rows}))
    with connection.cursor() as cursor:
        cursor.executemany(_INSERT, rows)
        # In one order for everybody, or two that do this at once could wait for each other.
        cursor.executemany(
            _MOVE,
            [
                (amount, used, moment, account_id, -amount)
                for account_id, (amount, used) in sorted(moves.items())
            ],
        )
        if cursor.rowcount != len(moves):
            raise CreditsRefused("An account of these reservations is missing.")


def _rest(reservation: _Reservation, *, charged: int) -> int:
    """Return what is given back when so much is charged."""
    reserved = -reservation.amount
    if not 0 <= charged <= reserved:
        raise ValueError(f"{charged} cannot be charged of {reserved} reserved.")
    return reserved - charged


class _Reservation(NamedTuple):
    """The columns of a RESERVE entry that closing it wants."""

    pk: int
    account_id: str
    amount: int
    reference: str


def _reservation(reference: str) -> _Reservation:
    for reservation in _reservations([reference]):
        return reservation
    raise UnknownReservation(reference)


def _reservations(references: Sequence[str]) -> list[_Reservation]:
    # In SQL for the same reason as _MOVE below.
    places = ", ".join(["%s"] * len(references))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, account_id, amount, reference FROM credit_ledger"  # noqa: S608
            f" WHERE kind = 'RESERVE' AND reference IN ({places})",
            references,
        )
        return [_Reservation(*row) for row in cursor.fetchall()]


# ---------------------------------------------------------------- codes
def redeem(*, user: Any, code: str) -> LedgerEntry:
    """Turn a code into credits. Raises the kinds of CodeRefused."""
    account = account_for(user=user)
    found = RedeemCode.objects.filter(digest=codes.digest_of(code)).first()
    if found is None:
        raise CodeUnknown
    reference = f"code:{found.pk}:user:{user.pk}"
    if _redeemed(reference):
        raise CodeAlreadyRedeemed
    now = timezone.now()
    if found.expires_at and found.expires_at <= now:
        raise CodeExpired
    is_good = Q(expires_at=None) | Q(expires_at__gt=now)
    with transaction.atomic():
        # The code's row is the gate: requests for one code pass here one after the other, and
        # staff who end it meanwhile went before.
        code_row = RedeemCode.objects.filter(pk=found.pk)
        counted = code_row.filter(is_good, uses__lt=F("max_uses")).update(uses=F("uses") + 1)
        if not counted:
            if not code_row.filter(is_good).exists():
                raise CodeExpired
            raise CodeAlreadyRedeemed if _redeemed(reference) else CodeUsedUp
        entry, fresh = _book(
            account_id=account.pk,
            kind=Kind.REDEEM,
            amount=found.credits,
            reference=reference,
            reason=found.batch,
            actor=user.get_username(),
        )
        if not fresh:
            raise CodeAlreadyRedeemed  # And the use is not counted.
    return entry


def _redeemed(reference: str) -> bool:
    return LedgerEntry.objects.filter(kind=Kind.REDEEM, reference=reference).exists()


# ---------------------------------------------------------------- booking
def _require(*, amount: int, least: int, reference: str) -> None:
    """Refuse what SQLite would take and PostgreSQL would not."""
    if not least <= amount <= MAX_AMOUNT:
        raise ValueError(f"{amount} credits are not between {least} and {MAX_AMOUNT}.")
    if not 0 < len(reference) <= MAX_REFERENCE:
        raise ValueError(f"A reference has 1 to {MAX_REFERENCE} characters.")


def _book(
    *,
    account_id: str,
    kind: LedgerEntry.Kind,
    amount: int,
    reference: str,
    reason: str = "",
    actor: str = "",
    savepoint: bool = True,
) -> tuple[LedgerEntry, bool]:
    """Write an entry and change the balance by its amount.

    False beside the entry: it was booked before, and nothing changed. Raises
    InsufficientCredits, ReferenceConflict.
    """
    try:
        with transaction.atomic(savepoint=savepoint):
            entry = _write(
                account_id=account_id,
                kind=kind,
                amount=amount,
                reference=reference,
                reason=reason,
                actor=actor,
            )
    except IntegrityError:
        known = LedgerEntry.objects.filter(kind=kind, reference=reference).first()
        if known is None:
            raise
        if known.account_id != account_id:
            raise ReferenceConflict(reference) from None
        return known, False
    return entry, True


def _close(
    reservation: _Reservation, *, kind: LedgerEntry.Kind, amount: int, charged: int = 0
) -> LedgerEntry:
    """Close a reservation and return what closed it, which may be an older entry of the
    other kind."""
    try:
        with transaction.atomic():
            entry = _write(
                account_id=reservation.account_id,
                kind=kind,
                amount=amount,
                charged=charged,
                reference=reservation.reference,
                closes_id=reservation.pk,
            )
    except IntegrityError:
        known = LedgerEntry.objects.filter(closes_id=reservation.pk).first()
        if known is None:
            raise
        return known
    return entry


# In SQL, because all that a member orders waits for the row of their account: Django takes ten
# times as long to build these statements as the database to execute them, and it would do so
# holding the write lock.
_INSERT = """
    INSERT INTO credit_ledger
        (account_id, kind, amount, charged, reference, closes_id, reason, actor, created_at)
    VALUES (%(account_id)s, %(kind)s, %(amount)s, %(charged)s, %(reference)s, %(closes_id)s,
        %(reason)s, %(actor)s, %(created_at)s)
"""
_MOVE = """
    UPDATE flux_credits
    SET credits_balance = credits_balance + %s, total_used = total_used + %s, updated_at = %s
    WHERE id = %s AND credits_balance >= %s
"""


def _write(
    *,
    account_id: str,
    kind: LedgerEntry.Kind,
    amount: int,
    reference: str,
    charged: int = 0,
    closes_id: int | None = None,
    reason: str = "",
    actor: str = "",
) -> LedgerEntry:
    """Insert an entry and do to its account what it says, or raise InsufficientCredits.

    Raises IntegrityError when it was booked before. Runs in a transaction of the caller's.
    """
    now = timezone.now()
    moment = connection.ops.adapt_datetimefield_value(now)
    values: dict[str, Any] = {
        "account_id": account_id,
        "kind": str(kind),
        "amount": amount,
        "charged": charged,
        "reference": reference,
        "closes_id": closes_id,
        "reason": reason,
        "actor": actor,
    }
    with connection.cursor() as cursor:
        # Older versions of SQLite, still to be met, cannot return what they insert.
        returns = connection.features.can_return_columns_from_insert
        insert = f"{_INSERT} RETURNING id" if returns else _INSERT
        cursor.execute(insert, values | {"created_at": moment})
        entry_id = cursor.fetchone()[0] if returns else cursor.lastrowid
        cursor.execute(_MOVE, (amount, charged, moment, account_id, -amount))
        moved = cursor.rowcount
    if moved != 1:
        account = Account.objects.filter(pk=account_id)
        balance = account.values_list("credits_balance", flat=True).get()
        raise InsufficientCredits(balance, -amount)
    # In the order of the model's fields, as from_db wants them.
    row = {"id": entry_id, **values, "created_at": now}
    return LedgerEntry.from_db(connection.alias, list(row), list(row.values()))
