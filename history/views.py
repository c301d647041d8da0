"""The pages of the history: the gallery, its next piece, and one entry."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.core.exceptions import BadRequest, ObjectDoesNotExist
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_safe

from fluxsite import paging
from history import sources
from history.entries import compose
from history.models import HistoryEntry

#: Fills rows of two, three, four and six.
PAGE_SIZE = 24


@login_required
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Show the gallery from the top or from `cursor`. htmx gets just the items."""
    source = request.GET.get("source", "")
    if source and source not in sources.load():
        raise Http404
    entries = HistoryEntry.objects.for_user(request.user)
    if source:
        entries = entries.source(source)
    found = paging.paginate(
        entries,
        asked=paging.Asked(limit=PAGE_SIZE, cursor=_cursor(request)),
        id_field="source_id",
    )
    context = {
        "entries": compose(found.rows),
        "next_cursor": found.next_cursor,
        "sources": [(name, known.label) for name, known in sources.load().items()],
        "source": source,
    }
    is_piece = _wants_piece(request) and "cursor" in request.GET
    template = "history/_entries.html" if is_piece else "history/page.html"
    return _varying(render(request, template, context))


@login_required
@require_safe
def entry(request: HttpRequest, source: str, entry_id: str) -> HttpResponse:
    """Show one entry with all its pictures and what it was made with."""
    known = sources.load().get(source)
    # PostgreSQL refuses a NUL in any text.
    if known is None or "\0" in entry_id:
        raise Http404
    mine = HistoryEntry.objects.for_user(request.user).source(source)
    row = get_object_or_404(mine, source_id=entry_id)
    try:
        details = known.details(entry_id)
    except ObjectDoesNotExist as error:
        raise Http404 from error
    context = {
        "entry": compose([row])[0],
        "parameters": details.parameters,
        "seconds": details.seconds,
        "is_piece": _wants_piece(request),
    }
    return _varying(render(request, "history/entry.html", context))


def _cursor(request: HttpRequest) -> paging.Cursor | None:
    text = request.GET.get("cursor", "")
    try:
        return paging.Cursor.decode(text) if text else None
    except paging.BadCursor as error:
        msg = "not a cursor"
        raise BadRequest(msg) from error


def _wants_piece(request: HttpRequest) -> bool:
    # When htmx rebuilds a page for the back button it wants all of it.
    headers = request.headers
    return (
        headers.get("HX-Request") == "true" and headers.get("HX-History-Restore-Request") != "true"
    )


def _varying(response: HttpResponse) -> HttpResponse:
    """One address has two bodies: caches, the browser's own among them, must know."""
    patch_vary_headers(response, ["HX-Request"])
    return response
