"""Two questions that need no login.

/healthz ─ is this process of use? For load balancers, containers and `start` itself.
/readyz ─ can the site draw? For whoever watches it: one answer for all of its parts.
"""

from __future__ import annotations

import json

from django.conf import settings
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone, translation
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from fluxsite.operations import probes


@require_safe
@never_cache
def healthz(_request: HttpRequest) -> JsonResponse:
    """Answer 200 when the database can be reached, else 503 with the kind of trouble."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error as error:
        # The full text may name hosts and users, and anybody may ask; the log has it.
        reason = f"database: {type(error).__name__}"
        return JsonResponse({"status": "unavailable", "reason": reason}, status=503)
    return JsonResponse({"status": "ok", "version": settings.VERSION})


@require_safe
@never_cache
def readyz(_request: HttpRequest) -> HttpResponse:
    """Answer 200 when database, storage, workers and queue are well, else 503."""
    # For programs: the same whoever asks.
    with translation.override("en"):
        checks = probes.check_all(now=timezone.now())
    is_ready = all(check.is_well for check in checks)
    # For people as well: each check is one line.
    lines = ",\n".join(
        f"  {json.dumps(check.name)}: {json.dumps({'ok': check.is_well, 'detail': check.said})}"
        for check in checks
    )
    status = json.dumps("ok" if is_ready else "unavailable")
    return HttpResponse(
        f'{{"status": {status}, "checks": {{\n{lines}\n}}}}\n',
        content_type="application/json",
        status=200 if is_ready else 503,
    )
