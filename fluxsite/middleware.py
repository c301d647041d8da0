"""Two small middlewares: a name for every request, and the content security policy."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from fluxsite import request_ids

Handler = Callable[[HttpRequest], HttpResponse]


def request_id(get_response: Handler) -> Handler:
    """Name each request, in the reply's X-Request-ID, in errors and in every log line.

    A proxy's own name is kept when it looks like one.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-ID", "")
        name = given if re.fullmatch(r"[\w.-]{8,64}", given, re.ASCII) else secrets.token_hex(8)
        with request_ids.named(name):
            response = get_response(request)
            response["X-Request-ID"] = name
            return response

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
