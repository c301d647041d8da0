"""Errors to Sentry, where SENTRY_DSN names one. Imported only then: the package is an extra.

What is sent says where the code broke and for which request. It has no form, no query, no
cookie, no local variable and no member in it, and passes through the same sieve as the log.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from fluxsite import request_ids
from fluxsite.logs import redacted

#: What Sentry would tell of a request beside its address and method.
_PRIVATE = ("data", "query_string", "cookies", "headers", "env")


def start() -> None:
    """Report errors of this process from now on. Raises ImproperlyConfigured."""
    try:
        import sentry_sdk
    except ImportError as error:
        msg = "SENTRY_DSN is set, but sentry-sdk is missing: pip install -r requirements-sentry.txt"
        raise ImproperlyConfigured(msg) from error
    sentry_sdk.init(
        dsn=settings.SENTRY_DSN,
        release=f"fluxsite@{settings.VERSION}",
        send_default_pii=False,
        max_request_body_size="never",
        # They hold prompts and keys.
        include_local_variables=False,
        before_send=clean,
        before_breadcrumb=_crumb,
    )


def clean(event: Any, _hint: Any = None) -> Any:
    """Return an event without what is nobody's business, and with the name of its request."""
    for name in _PRIVATE:
        event.get("request", {}).pop(name, None)
    event.pop("user", None)
    event.setdefault("tags", {})["request_id"] = request_ids.current()
    return _redacted(event)


def _crumb(crumb: Any, _hint: Any = None) -> Any:
    # Statements have values in them.
    return None if crumb.get("category") == "query" else _redacted(crumb)


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict):
        return {key: _redacted(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(each) for each in value]
    return value
