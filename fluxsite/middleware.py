"""Two small middlewares: a name for every request, and the content security policy."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable
from contextvars import ContextVar

from django.conf import settings
from django.http import HttpRequest, HttpResponse

_current: ContextVar[str] = ContextVar("request_id", default="-")

Handler = Callable[[HttpRequest], HttpResponse]


def current_request_id() -> str:
    return _current.get()


def request_id(get_response: Handler) -> Handler:
    """Name each request, in the reply's X-Request-ID, in errors and in every log line.

    A proxy's own name is kept when it looks like one.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-ID", "")
        name = given if re.fullmatch(r"[\w.-]{8,64}", given, re.ASCII) else secrets.token_hex(8)
        token = _current.set(name)
        try:
            response = get_response(request)
            response["X-Request-ID"] = name
            return response
        finally:
            _current.reset(token)

    return middleware


def policy() -> str:
    """Return `SECURE_CSP` as the value of a Content-Security-Policy."""
    return "; ".join(
        " ".join([directive, *sources]) for directive, sources in settings.SECURE_CSP.items()
    )


def content_security_policy(get_response: Handler) -> Handler:
    """Add the policy to every reply that has none of its own. Static files: assets.py."""
    ours = policy()

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Content-Security-Policy", ours)
        return response

    return middleware


class RequestIdFilter(logging.Filter):
    """Give every log record the name of the request it belongs to, `-` outside of one."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = current_request_id()
        return True
