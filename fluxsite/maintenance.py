"""While the site is being looked after: members see that, staff work as always."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import Error
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

RETRY_AFTER_SECS = 300
MAX_WORDS = 500
#: The way in for staff, what watches the site, and the provider's calls, which come once.
OPEN = (
    *("/healthz", "/readyz", "/metrics"),
    *("/login", "/logout", "/admin/login/", "/language", "/theme", "/hooks/"),
)


def words() -> str | None:
    """Return what members are told, perhaps nothing, or None while there is no maintenance."""
    try:
        with settings.MAINTENANCE_FILE.open(encoding="utf-8", errors="replace") as file:
            return file.read(MAX_WORDS).strip()
    except OSError:
        return "" if settings.MAINTENANCE else None


def middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
    def answer(request: HttpRequest) -> HttpResponse:
        told = words()
        if told is None or request.path.startswith(OPEN) or _is_staff(request):
            return get_response(request)
        return _closed(request, told)

    return answer


def _is_staff(request: HttpRequest) -> bool:
    # REST framework names both in its settings, and must have been imported before them.
    from fluxsite.api import wants_json
    from fluxsite.authentication import named_token

    # Maintenance may well mean that the database is away.
    try:
        user: Any = request.user
        if wants_json(request):
            # As the API itself has it: a token goes before a session.
            is_named, token = named_token(request)
            if is_named:
                user = token.user if token else None
        return bool(getattr(user, "is_staff", False))
    except Error:
        return False


def _closed(request: HttpRequest, told: str) -> HttpResponse:
    from fluxsite.api import json_error, wants_json

    response: HttpResponse
    if wants_json(request):
        detail = told or _("The site is being looked after. Try again in a few minutes.")
        response = json_error(request, code="maintenance", detail=detail, status_code=503)
    else:
        response = render(request, "503.html", {"told": told}, status=503)
    response["Retry-After"] = str(RETRY_AFTER_SECS)
    response["Cache-Control"] = "no-store"
    return response
