"""Small middlewares: a name for every request, the content security policy, and files for
programs."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any, cast

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


#: Addresses of files that answers of the API name.
_FILES = re.compile(r"/media/|/history/exports/[^/]+/file$")


def files_by_token(get_response: Handler) -> Handler:
    """Let a token fetch the files that the API gives addresses of, as its member. Pages stay
    closed to it. As in the API, a token goes before a session, and a wrong one is a 401."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if "Authorization" not in request.headers or not _FILES.match(request.path):
            return get_response(request)
        # REST framework names both in its settings, and must have been imported before them.
        from rest_framework.exceptions import APIException

        from fluxsite.api import json_error
        from fluxsite.authentication import TokenAuthentication, need

        authentication = TokenAuthentication()
        try:
            found = authentication.authenticate(cast(Any, request))
            if found is not None:
                need("read", of=found[1])
        except APIException as refusal:
            answer = json_error(
                request,
                code=str(refusal.get_codes()),
                detail=str(refusal.detail),
                status_code=refusal.status_code,
            )
            scheme = authentication.authenticate_header(cast(Any, request))
            answer["WWW-Authenticate"] = getattr(refusal, "auth_header", scheme)
            return answer
        if found is not None:
            request.user = found[0]
        return get_response(request)

    return middleware
