"""Redeeming at the doors: the ledger's verb, for people who cannot try codes for ever.

After LIMIT codes that brought nothing a member waits for an hour, and so does an address: on
the API somebody may have many accounts. The count starts anew after an hour without a failure,
so no hour whatever sees more of them than LIMIT. What is redeemed is not counted.

Attempts of one subject pass one after the other: each begins with a conditional update of the
subject's row and keeps it locked until it has succeeded or is counted. So LIMIT holds however
many come at once, on SQLite and PostgreSQL. A count in a cache, as the throttles of REST
framework keep it, lets through whoever reads it before the others have written.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Case, F, Q, Value, When
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from credits import ledger
from credits.models import LedgerEntry, RedeemFailures

LIMIT = 10
PAUSE = timedelta(hours=1)

#: Of each refusal, the code for programs and the words for people.
_REFUSALS = {
    ledger.CodeUnknown: ("code_unknown", gettext_noop("This code is not known.")),
    ledger.CodeExpired: ("code_expired", gettext_noop("This code has expired.")),
    ledger.CodeUsedUp: ("code_used_up", gettext_noop("This code has been used up.")),
    ledger.CodeAlreadyRedeemed: (
        "code_already_redeemed",
        gettext_noop("You have redeemed this code before."),
    ),
}


class TooManyFailures(Exception):
    """The code was not even looked at. `wait` is the number of seconds to try again in."""

    def __init__(self, wait: timedelta) -> None:
        self.wait = max(1, math.ceil(wait.total_seconds()))
        super().__init__(f"Try again in {self.wait} s.")

    @property
    def message(self) -> str:
        minutes = math.ceil(self.wait / 60)
        text = ngettext(
            "Too many codes that did not work. Try again in %(count)s minute.",
            "Too many codes that did not work. Try again in %(count)s minutes.",
            minutes,
        )
        return text % {"count": minutes}


def redeem(*, user: Any, code: str, address: str = "") -> LedgerEntry:
    """Turn a code into credits, counting what fails by member and, if given, by address.

    Raises TooManyFailures and the kinds of ledger.CodeRefused.
    """
    now = timezone.now()
    subjects = [f"user:{user.pk}"]
    if address:
        # A digest: whatever a header says fits the column, and no addresses are collected.
        subjects.append(f"address:{hashlib.sha256(address.encode()).hexdigest()}")
    # A flood is turned away reading; only who may pass takes the lock.
    _refuse_if_full(subjects, now=now)
    refusal: ledger.CodeRefused
    with transaction.atomic():
        for subject in subjects:
            _pass(subject, now=now)
        try:
            return ledger.redeem(user=user, code=code)
        except ledger.CodeRefused as error:
            _count(subjects, now=now)
            refusal = error
    _forget(now=now)
    raise refusal


def explain(refusal: ledger.CodeRefused) -> tuple[str, str]:
    """Return the code of a refusal, for programs, and its words in the reader's language."""
    code, message = _REFUSALS[type(refusal)]
    return code, _(message)


def _refuse_if_full(subjects: Sequence[str], *, now: datetime) -> None:
    full = RedeemFailures.objects.filter(
        subject__in=subjects, failures__gte=LIMIT, last_at__gt=now - PAUSE
    )
    last = full.order_by("-last_at").first()
    if last:
        raise TooManyFailures(last.last_at + PAUSE - now)


def _pass(subject: str, *, now: datetime) -> None:
    """Lock the row of a subject that may try once more. Raises TooManyFailures."""
    may_try = Q(failures__lt=LIMIT) | Q(last_at__lte=now - PAUSE)
    row = RedeemFailures(subject=subject, last_at=now)
    while True:
        RedeemFailures.objects.bulk_create([row], ignore_conflicts=True)
        passed = RedeemFailures.objects.filter(may_try, subject=subject).update(
            failures=F("failures")
        )
        if passed == 1:
            return
        # Neither passed nor full: an old row was there a moment ago and is forgotten now.
        _refuse_if_full([subject], now=now)


def _count(subjects: Sequence[str], *, now: datetime) -> None:
    RedeemFailures.objects.filter(subject__in=subjects).update(
        failures=Case(
            When(last_at__lte=now - PAUSE, then=Value(1)),
            default=F("failures") + 1,
        ),
        last_at=now,
    )


def _forget(*, now: datetime) -> None:
    """Delete the rows that say nothing any more, but for those somebody holds right now."""
    old = RedeemFailures.objects.select_for_update(skip_locked=True).filter(
        last_at__lte=now - PAUSE
    )
    RedeemFailures.objects.filter(pk__in=old.values("pk")).delete()
