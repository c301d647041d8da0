"""The pages of the history: the gallery, its next piece, one entry, the trash, and the form
that marks entries where scripts do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import BadRequest, ObjectDoesNotExist
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe
from rest_framework.exceptions import ValidationError

from fluxsite import paging
from history import filter_bar, marks, sources
from history import filters as filtering
from history import trash as trash_can
from history.entries import compose
from history.filters import Filters
from history.marks import MAX_AT_ONCE, Name
from history.models import HistoryEntry

#: Fills rows of two, three, four and six.
PAGE_SIZE = 24


# ---------------------------------------------------------------- the gallery
@login_required
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Show the gallery from the top or from `cursor`. htmx gets just the items."""
    filters, problems = _filters(request)
    found: paging.Page[HistoryEntry]
    found = paging.Page(asked=paging.Asked(), rows=[], next_cursor="")
    if not problems:
        found = paging.paginate(
            filtering.entries_of(user=request.user, filters=filters),
            asked=paging.Asked(limit=PAGE_SIZE, cursor=_cursor(request)),
            id_field="source_id",
        )
    context = {
        "entries": compose(found.rows),
        "next_cursor": found.next_cursor,
        "bar": filter_bar.build(filters=filters, params=request.GET, user=request.user),
        "problems": problems,
        "max_at_once": MAX_AT_ONCE,
    }
    is_piece = _wants_piece(request) and "cursor" in request.GET
    template = "history/_entries.html" if is_piece else "history/page.html"
    return _varying(render(request, template, context, status=400 if problems else 200))


def _filters(request: HttpRequest) -> tuple[Filters, Mapping[str, str]]:
    """Return the filters asked for, and what is wrong with them by name."""
    try:
        return filtering.read(request.GET), {}
    except ValidationError as error:
        detail: Any = error.detail
        if "source" in detail:
            raise Http404 from error
        return Filters(), {name: str(texts[0]) for name, texts in detail.items()}


# ---------------------------------------------------------------- one entry
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


# ---------------------------------------------------------------- the trash
@login_required
@require_safe
def trash(request: HttpRequest) -> HttpResponse:
    """Show what was thrown away, from the top or from `cursor`."""
    found = trash_can.page_of(user=request.user, limit=PAGE_SIZE, cursor=_cursor(request))
    context = {
        "thrown": found.rows,
        "next_cursor": found.next_cursor,
        "days": trash_can.KEPT.days,
        "max_at_once": MAX_AT_ONCE,
    }
    is_piece = _wants_piece(request) and "cursor" in request.GET
    template = "history/_trash_entries.html" if is_piece else "history/trash.html"
    return _varying(render(request, template, context))


# ---------------------------------------------------------------- marks
def _favourite(user: Any, names: list[Name]) -> str:
    n = marks.set_favourite(user=user, names=names, value=True)
    return ngettext("%(n)s is a favourite now.", "%(n)s are favourites now.", n) % {"n": n}


def _unfavourite(user: Any, names: list[Name]) -> str:
    n = marks.set_favourite(user=user, names=names, value=False)
    text = ngettext("%(n)s is no longer a favourite.", "%(n)s are no longer favourites.", n)
    return text % {"n": n}


def _trash(user: Any, names: list[Name]) -> str:
    n = marks.trash(user=user, names=names, now=timezone.now())
    return ngettext("%(n)s moved to the trash.", "%(n)s moved to the trash.", n) % {"n": n}


def _restore(user: Any, names: list[Name]) -> str:
    n = marks.restore(user=user, names=names)
    return ngettext("%(n)s is back.", "%(n)s are back.", n) % {"n": n}


def _remove(user: Any, names: list[Name]) -> str:
    n = marks.remove(user=user, names=names, now=timezone.now())
    return ngettext("%(n)s deleted for ever.", "%(n)s deleted for ever.", n) % {"n": n}


_VERBS: dict[str, Callable[[Any, list[Name]], str]] = {
    "favourite": _favourite,
    "unfavourite": _unfavourite,
    "trash": _trash,
    "restore": _restore,
    "remove": _remove,
}


@login_required
@require_POST
def mark(request: HttpRequest) -> HttpResponse:
    """Do something to the entries that were ticked, or to the `one` whose button was pressed.

    `do` is a verb; `one` is a verb and an entry. Leads back to `next`.
    """
    verb, texts = request.POST.get("do", ""), request.POST.getlist("entry")
    if "one" in request.POST:
        verb, _space, one = request.POST["one"].partition(" ")
        texts = [one]
    try:
        names = [Name.parse(text) for text in texts]
    except ValueError as error:
        msg = "not an entry"
        raise BadRequest(msg) from error
    if verb not in _VERBS:
        msg = "not a verb"
        raise BadRequest(msg)
    if not names:
        messages.info(request, _("Nothing was selected."))
    elif len(names) > MAX_AT_ONCE:
        messages.error(request, too_many())
    else:
        messages.success(request, _VERBS[verb](request.user, names))
    return redirect(_next(request))


def too_many() -> str:
    return _("At most %(maximum)s at once, please.") % {"maximum": MAX_AT_ONCE}


def _next(request: HttpRequest) -> str:
    following = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(following, allowed_hosts=None):
        return following
    return reverse("history:page")


# ---------------------------------------------------------------- helpers
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
