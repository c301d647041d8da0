"""The pages of the history: the gallery, its next piece, one entry, the trash, packed files; and
the forms that do without scripts what history/api_actions.py does with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import BadRequest, ObjectDoesNotExist
from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.utils.http import content_disposition_header, url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe
from rest_framework.exceptions import ValidationError

from fluxsite import paging
from history import exports, feedback, filter_bar, gallery, marks, sources
from history import filters as filtering
from history import trash as trash_can
from history.entries import compose
from history.filters import Filters
from history.marks import MAX_AT_ONCE, Name
from history.models import Export, Feedback, HistoryEntry
from history.rows import Row

#: Fills rows of two, three, four and six.
PAGE_SIZE = 24
#: For how long the address of a packed file in a bucket is good, in seconds.
ADDRESS_SECONDS = 600


# ---------------------------------------------------------------- the gallery
@login_required
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Show the gallery from the top or from `cursor`. htmx gets just the items."""
    filters, problems = _filters(request)
    found: paging.Page[Row]
    found = paging.Page(asked=paging.Asked(), rows=[], next_cursor="")
    if not problems:
        found = filtering.page_of(
            user=request.user,
            filters=filters,
            asked=paging.Asked(limit=PAGE_SIZE, cursor=_cursor(request)),
        )
    entries = compose(found.rows)
    is_piece = _wants_piece(request) and "cursor" in request.GET
    bar = filter_bar.build(
        filters=filters,
        params=request.GET,
        used=() if is_piece else filter_bar.used_by(request.user),
    )
    context = {
        "entries": entries,
        "items": gallery.items(entries),
        "next_cursor": found.next_cursor,
        "older": bar.below(found.next_cursor),
        "bar": bar,
        "filters": "" if is_piece else filter_bar.html(bar, problems=problems),
        "problems": problems,
        "max_at_once": MAX_AT_ONCE,
    }
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
        "said": feedback.of_entry(user=request.user, name=Name(source, entry_id)),
        "reasons": Feedback.Reason.choices,
        "max_text": Feedback.MAX_TEXT,
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
    if verb not in (*_VERBS, "zip"):
        msg = "not a verb"
        raise BadRequest(msg)
    if not names:
        messages.info(request, _("Nothing was selected."))
    elif len(names) > MAX_AT_ONCE:
        maximum = {"maximum": MAX_AT_ONCE}
        messages.error(request, _("At most %(maximum)s at once, please.") % maximum)
    elif verb == "zip":
        return _export(request, names)
    else:
        messages.success(request, _VERBS[verb](request.user, names))
    return redirect(_next(request))


def _export(request: HttpRequest, names: list[Name]) -> HttpResponse:
    try:
        exports.ask(user=request.user, names=names)
    except exports.NothingToExport:
        messages.error(request, _("These entries are no longer there."))
    except exports.TooManyExports:
        messages.error(request, _("Your other files are still being packed. Wait for them."))
    return redirect("history:exports")


# ---------------------------------------------------------------- feedback
@login_required
@require_POST
def say(request: HttpRequest) -> HttpResponse:
    """Take a vote or a report by the form of an entry's page."""
    post = request.POST
    try:
        name = Name.parse(post.get("entry", ""))
    except ValueError as error:
        raise Http404 from error
    if not feedback.is_own(user=request.user, name=name):
        raise Http404
    if "vote" in post:
        if post["vote"] not in ("", *Feedback.Vote.values):
            msg = "not a vote"
            raise BadRequest(msg)
        feedback.vote(user=request.user, name=name, value=post["vote"])
    elif post.get("reason") not in Feedback.Reason.values or "\0" in post.get("text", ""):
        messages.error(request, _("Choose a reason, please."))
    else:
        text = post.get("text", "").strip()
        feedback.report(user=request.user, name=name, reason=post["reason"], text=text)
        messages.success(request, _("Thank you. The administrators see your report."))
    return redirect("history:entry", source=name.source, entry_id=name.id)


# ---------------------------------------------------------------- packed pictures
@login_required
@require_safe
def export_list(request: HttpRequest) -> HttpResponse:
    """Show the files a member had packed lately, and how those stand that are not ready."""
    member: Any = request.user
    exports.resume(user=member)
    latest = list(Export.objects.filter(user=member, expires_at__gt=timezone.now())[:PAGE_SIZE])
    for export in latest:
        export.reason = exports.REASONS.get(export.error_code, "")  # type: ignore[attr-defined]
    context = {"exports": latest, "is_waiting": any(not export.is_over for export in latest)}
    return render(request, "history/exports.html", context)


@login_required
@require_safe
def export_file(request: HttpRequest, export_id: str) -> HttpResponseBase:
    """Send a packed file to its owner; from a bucket by an address that is good for minutes."""
    member: Any = request.user
    export = get_object_or_404(
        Export,
        pk=export_id,
        user=member,
        status=Export.Status.READY,
        expires_at__gt=timezone.now(),
    )
    moment = timezone.localtime(export.created_at)
    name = f"fluxsite-{moment:%Y-%m-%d_%H-%M-%S}.zip"
    response = _sent(export.storage_key, name)
    response["Cache-Control"] = "private, no-store"
    return response


def _sent(key: str, name: str) -> HttpResponseBase:
    disposition = content_disposition_header(as_attachment=True, filename=name) or "attachment"
    if settings.STORAGE == "cos" and not settings.MEDIA_PROXY:
        parameters = {"response-content-disposition": disposition}
        return redirect(default_storage.url(key, parameters=parameters, expire=ADDRESS_SECONDS))  # type: ignore[call-arg]
    response: HttpResponseBase
    if settings.MEDIA_X_ACCEL and settings.STORAGE == "local":
        response = HttpResponse(content_type="application/zip")
        response["X-Accel-Redirect"] = f"{settings.MEDIA_X_ACCEL}/{quote(key)}"
    else:
        try:
            response = FileResponse(default_storage.open(key), content_type="application/zip")
        except FileNotFoundError as error:
            raise Http404 from error
    response["Content-Disposition"] = disposition
    return response


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
