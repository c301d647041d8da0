"""Pages and figures for those who run the site."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from fluxsite.operations.metrics import exposition


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer with figures for Prometheus: to METRICS_TOKEN, or to staff who are signed in."""
    if not (_has_token(request) or _is_staff(request)):
        response = HttpResponse("Staff, or the token of METRICS_TOKEN.\n", "text/plain", status=401)
        response["WWW-Authenticate"] = 'Bearer realm="Fluxsite metrics"'
        return response
    body, content_type = exposition(accept=request.headers.get("Accept", ""))
    return HttpResponse(body, content_type)


def _has_token(request: HttpRequest) -> bool:
    scheme, _blank, token = request.headers.get("Authorization", "").partition(" ")
    return (
        bool(settings.METRICS_TOKEN)
        and scheme.lower() == "bearer"
        and constant_time_compare(token.strip(), settings.METRICS_TOKEN)
    )


def _is_staff(request: HttpRequest) -> bool:
    user: Any = request.user
    return bool(user.is_active and user.is_staff)
