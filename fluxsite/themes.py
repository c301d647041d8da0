"""Light, dark, or as the visitor's system has it: a cookie, so that the first byte knows it."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

COOKIE = "theme"
SYSTEM = "system"
THEMES = (SYSTEM, "light", "dark")
YEAR = 365 * 24 * 3600


def chosen(request: HttpRequest | None) -> str:
    """Return the theme of that visitor, one of THEMES."""
    value = request.COOKIES.get(COOKIE, SYSTEM) if request else SYSTEM
    return value if value in THEMES else SYSTEM


def remember(response: HttpResponse, theme: str, *, secure: bool) -> None:
    """Let the browser know the theme from now on."""
    if theme == SYSTEM:
        response.delete_cookie(COOKIE, samesite="Lax")
    else:
        response.set_cookie(
            COOKIE, theme, max_age=YEAR, samesite="Lax", secure=secure, httponly=True
        )


@require_POST
def choose(request: HttpRequest) -> HttpResponse:
    """Take a theme and lead back to `next`; what is no theme changes nothing."""
    target = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(
        target, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    ):
        target = "/"
    response = HttpResponseRedirect(target)
    theme = request.POST.get("theme", "")
    if theme in THEMES:
        remember(response, theme, secure=request.is_secure())
    return response
