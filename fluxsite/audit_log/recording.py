"""Writing the audit log: what of a row is told, what is hidden, and how much of it.

A row's state is what its columns hold, as JSON. Columns that hold secrets show only that they
changed; long texts are cut; whatever looks like a key is taken out of all texts (fluxsite/logs.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import BinaryField, Field, Model, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from rest_framework.throttling import BaseThrottle

from fluxsite import request_ids
from fluxsite.audit_log.models import AuditEntry
from fluxsite.logs import HIDDEN, redacted
from generation.fields import EncryptedTextField

#: Of an action on many rows, so many are told one by one.
MAX_ROWS = 100
#: Characters of a text.
MAX_TEXT = 500
#: Members of a many-to-many field.
MAX_MEMBERS = 100
#: Failed log-ins and refusals of one name in an hour: a flood must not fill the table.
MAX_REFUSALS = 100

#: Columns whose values never appear. `key` alone is not among them: prices have one.
_SECRET = re.compile(r"password|secret|digest|token|api_?key|private_?key|seal|cipher|_hash$")

State = dict[str, Any]
Changes = dict[str, list[Any]]


# ---------------------------------------------------------------- what a row holds
def state_of(row: Model | None) -> State:
    """Return what a row holds by field, secrets as well: only `difference` may show it."""
    if row is None:
        return {}
    absent = row.get_deferred_fields()
    state = {
        field.name: field.value_from_object(row)
        for field in row._meta.concrete_fields
        if field.attname not in absent and not getattr(field, "auto_now", False)
    }
    for relation in row._meta.many_to_many:
        state[relation.name] = _members(getattr(row, relation.name).all())
    return state


def _members(related: QuerySet[Any]) -> list[str]:
    # By a column: Django's permissions ask the database anew to say how they are called.
    named = {field.name for field in related.model._meta.concrete_fields}
    column = next((name for name in ("codename", "username", "name") if name in named), "pk")
    found = related.order_by(column).values_list(column, flat=True)[: MAX_MEMBERS + 1]
    return [str(each) for each in found]


def fresh_state(row: Model) -> State:
    """Return what the database holds of a row now."""
    return state_of(type(row)._base_manager.filter(pk=row.pk).first())  # noqa: SLF001


def difference(before: Mapping[str, Any], after: Mapping[str, Any], *, model: Any) -> Changes:
    """Return `{field: [old, new]}` of what differs, fit to be shown. An empty state is that of
    a row that is not there: then only what is not empty counts."""
    changes: Changes = {}
    for name in [*after, *(each for each in before if each not in after)]:
        old, new = before.get(name), after.get(name)
        if old == new or (not (before and after) and old in _EMPTY and new in _EMPTY):
            continue
        field = model._meta.get_field(name)
        changes[name] = [_shown(field, old), _shown(field, new)]
    return changes


_EMPTY: tuple[Any, ...] = (None, "", [], {})


def _shown(field: Field[Any, Any], value: Any) -> Any:
    if value in _EMPTY:
        return value
    is_secret = isinstance(field, (BinaryField, EncryptedTextField)) or _SECRET.search(field.name)
    return HIDDEN if is_secret else plain(value)


def plain(value: Any) -> Any:
    """Return a value as JSON that every database takes, with texts cut and without secrets."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value[:MAX_MEMBERS]]
    return text(str(value))


def text(value: str, *, limit: int = MAX_TEXT) -> str:
    # PostgreSQL takes neither NUL nor half of a surrogate pair.
    clean = value.replace("\0", "�").encode("utf-8", "replace").decode()
    # Cut last: half of a secret would not be recognised.
    clean = redacted(clean)
    return clean if len(clean) <= limit else f"{clean[: limit - 1]}…"


# ---------------------------------------------------------------- who, from where
def address_of(request: HttpRequest | None) -> str:
    """Return the client's address: what a proxy says counts if it is ours (`BEHIND_PROXY`)."""
    if request is None:
        return ""
    return (BaseThrottle().get_ident(request) or "")[:45]  # type: ignore[arg-type]


def entry(
    *,
    action: str,
    by: Any = None,
    on: Any = None,
    changes: Mapping[str, Any] | None = None,
    message: str = "",
    request: HttpRequest | None = None,
) -> AuditEntry:
    """Return an entry that is not written yet. `by` is a user or a name, without it the user of
    the request; `on` a row, or a model where it is about no row or too many."""
    actor_id, actor = _actor(by if by is not None else getattr(request, "user", None))
    is_row = isinstance(on, Model)
    return AuditEntry(
        actor_id=actor_id,
        actor=actor,
        action=action[:100],
        object_type=on._meta.label_lower if on is not None else "",
        object_id=text(str(on.pk), limit=255) if is_row else "",
        object_label=text(str(on), limit=200) if is_row else "",
        changes=dict(changes or {}),
        message=text(message, limit=2000),
        request_id=request_ids.to_keep() or "",
        address=address_of(request),
    )


def _actor(by: Any) -> tuple[str, str]:
    if by is None or isinstance(by, str):
        return "", (by or "")[:150]
    if not by.is_authenticated:
        return "", ""
    return str(by.pk), by.get_username()


# ---------------------------------------------------------------- writing
def record(**what: Any) -> AuditEntry:
    """Write an entry; keywords as those of `entry`. Belongs into the transaction of what it
    tells of."""
    [written] = AuditEntry.objects.append([entry(**what)])
    return written


def record_refusal(**what: Any) -> None:
    """Write an entry about something that was refused, unless there were very many of its kind
    within the hour: the web server's log has them all."""
    refusal = entry(**what)
    recent = AuditEntry.objects.filter(
        action=refusal.action, created_at__gte=timezone.now() - timedelta(hours=1)
    ).filter(actor=refusal.actor, object_label=refusal.object_label)
    if not recent[MAX_REFUSALS - 1 : MAX_REFUSALS].exists():
        AuditEntry.objects.append([refusal])


def record_password(user: Any, *, request: HttpRequest) -> None:
    """Write that somebody of staff has a new password, chosen by themselves."""
    if user.is_staff:
        record(action=AuditEntry.PASSWORD, on=user, request=request)


class Selection:
    """Rows that an action is about to touch, and what they hold before it."""

    def __init__(self, rows: Iterable[Model]) -> None:
        self.rows = list(rows)
        self.before = {row.pk: state_of(row) for row in self.rows}
        #: Keys of rows that were not there any more when `differences` looked.
        self.gone: set[Any] = set()

    @classmethod
    def of(cls, queryset: QuerySet[Any]) -> Selection:
        """Return the first rows of a queryset, one more than are told one by one."""
        keys = list(queryset.order_by("pk").values_list("pk", flat=True)[: MAX_ROWS + 1])
        return cls.with_keys(queryset.model, keys)

    @classmethod
    def with_keys(cls, model: Any, keys: Collection[Any]) -> Selection:
        return cls(_of_keys(model, keys) if keys else [])

    def differences(self) -> dict[Any, Changes]:
        """Return what became of the rows, by key; nothing of those that are as before."""
        if not self.rows:
            return {}
        model = type(self.rows[0])
        after = {row.pk: state_of(row) for row in _of_keys(model, self.before.keys())}
        self.gone = self.before.keys() - after.keys()
        changes = {
            key: difference(before, after.get(key, {}), model=model)
            for key, before in self.before.items()
        }
        return {key: each for key, each in changes.items() if each}

    def record(
        self,
        *,
        changes: Mapping[Any, Changes],
        total: int,
        words: Mapping[Any, str] | None = None,
        **what: Any,
    ) -> None:
        """Write an entry for each row, and one about the rest if there are too many."""
        told = self.rows[:MAX_ROWS]
        words = words or {}
        entries = [
            entry(on=row, changes=changes.get(row.pk), message=words.get(row.pk, ""), **what)
            for row in told
        ]
        if total > len(told):
            rest = {"rows": [None, total - len(told)]}
            entries.append(entry(on=type(told[0]), changes=rest, **what))
        AuditEntry.objects.append(entries)


def _of_keys(model: Any, keys: Collection[Any]) -> list[Any]:
    return list(model._base_manager.filter(pk__in=list(keys)).order_by("pk"))  # noqa: SLF001
