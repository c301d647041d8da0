"""Members as staff see and stop them.

A member who is suspended cannot sign in, and nothing speaks for them any more: their sessions end,
their API tokens are revoked, what waits is withdrawn and its credits go back. What is at the
provider is left to end: it is paid for there, and its pictures are theirs. Nothing is deleted.
Reactivating lets them sign in again, and no more: sessions and tokens do not come back.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import transaction
from django.utils import timezone

from fluxsite.models import ApiToken
from generation import lifecycle
from generation.models import FluxTask

_CHUNK = 500


@dataclass(frozen=True, kw_only=True)
class Suspension:
    """What a suspension ended: tasks that waited, tokens, sessions."""

    tasks: int
    tokens: int
    sessions: int


def may_suspend(*, member: Any, by: Any) -> bool:
    """Tell whether `by` may suspend a member or let them in again: nobody themselves, and only
    superusers other staff."""
    if member.pk == by.pk or not by.has_perm("auth.change_user"):
        return False
    return bool(by.is_superuser or not (member.is_staff or member.is_superuser))


def suspend(*, members: Collection[Any], now: datetime) -> Suspension:
    """Suspend members. May be repeated: whatever an earlier call that was cut off has left is
    ended now. The door is closed first, so that nothing new comes in behind what is ended; in a
    transaction it is closed when that is over, so all is gone through once more then."""
    keys = [member.pk for member in members]
    get_user_model().objects.filter(pk__in=keys, is_active=True).update(is_active=False)
    for member in members:
        member.is_active = False
    ended = _end_all(keys, now=now)
    if transaction.get_connection().in_atomic_block:
        transaction.on_commit(lambda: _end_all(keys, now=timezone.now()))
    return ended


def _end_all(keys: Collection[int], *, now: datetime) -> Suspension:
    tokens = sum(ApiToken.objects.revoke_all(user=key) for key in keys)
    waiting = FluxTask.objects.waiting().filter(user__in=keys).select_related("user")
    tasks = sum(lifecycle.withdraw(task=task, now=now) for task in waiting)
    return Suspension(tasks=tasks, tokens=tokens, sessions=_end_sessions(keys, now=now))


def reactivate(*, member: Any) -> bool:
    """Let a member in again. False: they are not suspended."""
    suspended = get_user_model().objects.filter(pk=member.pk, is_active=False)
    return suspended.update(is_active=True) == 1


def _end_sessions(keys: Collection[int], *, now: datetime) -> int:
    """Delete the members' sessions. Django does not write down whose they are, so all are looked
    at; that they are useless meanwhile is seen to by `is_active`."""
    store, theirs = SessionStore(), {str(key) for key in keys}
    ended = [
        session.pk
        for session in Session.objects.filter(expire_date__gt=now).iterator(chunk_size=_CHUNK)
        if store.decode(session.session_data).get(SESSION_KEY) in theirs
    ]
    for start in range(0, len(ended), _CHUNK):
        Session.objects.filter(pk__in=ended[start : start + _CHUNK]).delete()
    return len(ended)


def with_address(address: str) -> Any:
    """Return the only member who has an e-mail address, or None: also where several have it.

    Case counts only where it is not ASCII. Databases compare capitals, and some letters of other
    alphabets have the capitals of ours: whoever registered such a domain would be taken for a
    member (as in CVE-2019-19844).
    """
    alike = get_user_model().objects.filter(email__iexact=address) if address else ()
    found = [user for user in alike if _folded(user.email) == _folded(address)]
    return found[0] if len(found) == 1 else None


def _folded(address: str) -> bytes:
    return address.encode().lower()
