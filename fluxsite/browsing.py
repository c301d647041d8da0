"""Who gets the API as pages: staff who are signed in, in a browser. Everybody else gets JSON."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


class PagesForStaff(DefaultContentNegotiation):
    """REST framework's own choice, with two differences: its pages are offered to staff with a
    session alone, and whoever accepts nothing we have gets the first renderer, not an error."""

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        offered = [each for each in renderers if each.format != "api"]
        if len(offered) < len(renderers) and _asks_for_pages(request) and _may_browse(request):
            offered = list(renderers)
        chosen: tuple[BaseRenderer, str]
        try:
            chosen = super().select_renderer(request, offered, format_suffix)
        except (NotAcceptable, Http404):
            chosen = offered[0], str(offered[0].media_type)
        return chosen


def _asks_for_pages(request: Request) -> bool:
    # Looked at first: who is asking may take a query to find out.
    is_accepted = "text/html" in request.headers.get("Accept", "")
    return is_accepted or request.GET.get("format") == "api"


def _may_browse(request: Request) -> bool:
    is_staff = bool(getattr(request.user, "is_staff", False))
    return is_staff and isinstance(request.successful_authenticator, SessionAuthentication)
