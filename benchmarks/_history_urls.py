"""Our addresses and `/hello`, the least page a member can get: a session, a member, a word.

With HISTORY_TABLE the history reads from that view instead of its own.
"""

from __future__ import annotations

import os

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from history.models import HistoryEntry

HistoryEntry._meta.db_table = os.environ.get("HISTORY_TABLE", HistoryEntry._meta.db_table)


@login_required
def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"hello {request.user.pk}")


urlpatterns = [path("hello", hello), path("", include("fluxsite.urls"))]
