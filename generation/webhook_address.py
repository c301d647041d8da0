"""The addresses at which the provider announces results: one per task, and unguessable.

The token in an address is a keyed hash of the task's id. It needs no column, every process
with the site's secret key knows it, and it stays right over restarts; while a secret key is
being replaced, the addresses made with the one before still count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

if TYPE_CHECKING:
    from generation.models import FluxConfig


def address_for(*, config: FluxConfig, task_id: str) -> str:
    """Return where the provider is to call about a task, "" when it is not to call at all."""
    if not is_enabled(config=config):
        return ""
    token = _token(settings.SECRET_KEY, task_id)
    return f"{settings.PUBLIC_URL}/hooks/fal/{task_id}/{token}"


def is_enabled(*, config: FluxConfig) -> bool:
    """Tell whether calls are asked for and listened to."""
    return config.webhook_enabled and bool(settings.PUBLIC_URL)


def is_valid(*, task_id: str, token: str) -> bool:
    """Tell whether the token belongs to this task. No query."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return any(constant_time_compare(token, _token(key, task_id)) for key in keys)


def _token(secret: str, task_id: str) -> str:
    # A purpose of its own: no other hash made with the site's secret can pass for a token.
    salt = "generation.webhook_address"
    return salted_hmac(salt, task_id, secret=secret, algorithm="sha256").hexdigest()
