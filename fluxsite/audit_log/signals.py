"""What tells of itself: log-ins of staff, and commands that move credits."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.http import HttpRequest

from credits.signals import moved_by_command
from fluxsite.audit_log import recording
from fluxsite.audit_log.models import AuditEntry


def connect() -> None:
    user_logged_in.connect(_logged_in)
    user_login_failed.connect(_login_failed)
    moved_by_command.connect(_moved_by_command)


def _logged_in(*, user: Any, request: HttpRequest | None = None, **kwargs: Any) -> None:
    if user.is_staff:
        recording.record(action=AuditEntry.LOGIN, by=user, on=user, request=request)


def _login_failed(
    *, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
) -> None:
    users = get_user_model()
    name = credentials.get(users.USERNAME_FIELD)
    # No database holds a name with a NUL, and PostgreSQL does not even look.
    if not isinstance(name, str) or "\0" in name:
        return
    user = users.objects.filter(**{users.USERNAME_FIELD: name}, is_staff=True).first()
    if user is not None:
        # Nobody has proved to be that user: the name is what it was tried on.
        recording.record_refusal(action=AuditEntry.LOGIN_FAILED, by="", on=user, request=request)


def _moved_by_command(
    *, command: str, on: Any, moved: dict[str, Any], reason: str, **kwargs: Any
) -> None:
    recording.record(
        action=command,
        by="manage.py",
        on=on,
        changes={name: [None, recording.plain(value)] for name, value in moved.items()},
        message=reason,
    )
