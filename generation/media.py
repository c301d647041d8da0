"""`/media/<id>`: the permanent address of every picture, for its owner and for staff."""

from __future__ import annotations

import re
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.files.storage import default_storage
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotModified,
    HttpResponseRedirect,
)
from django.http.response import HttpResponseBase
from django.utils.http import parse_etags
from django.views.decorators.http import require_safe

from generation import storage
from generation.models import Picture, TaskImage, Upload

_ADDRESS = re.compile(r"^(?:https?://[^/\\@?#]+)?/media/([0-9a-f]{32})$")
#: The bytes behind an address never change, but the right to see them may.
CACHE_CONTROL = "private, max-age=86400"


def find_own_picture(*, user: Any, address: object) -> Upload | TaskImage | None:
    """Return the picture a member means by one of our addresses, or None.

    A host in front of it is ignored: we never fetch what an address names, we look up its id.
    """
    match = _ADDRESS.match(address) if isinstance(address, str) else None
    if match is None:
        return None
    picture = _find(match[1])
    return picture if picture is not None and picture.user_id == user.pk else None


def _find(picture_id: str) -> Upload | TaskImage | None:
    return (
        TaskImage.objects.filter(pk=picture_id).first()
        or Upload.objects.filter(pk=picture_id).first()
    )


@require_safe
@login_required
def media(request: HttpRequest, picture_id: str, width: int | None = None) -> HttpResponseBase:
    """Send a picture, or its thumbnail of that width.

    Before our own copy is there, the reader is sent to the provider's.
    """
    picture = _find(picture_id)
    allowed = picture is not None and (
        picture.user_id == request.user.pk or bool(getattr(request.user, "is_staff", False))
    )
    if picture is None or not allowed or width not in (None, *storage.THUMBNAIL_WIDTHS):
        raise Http404
    if not picture.storage_key:
        return _at_provider(picture)
    # The name of the object fixes its bytes, except that an original may be stored anew.
    etag = f'"{picture.sha256[:32]}{f"-{width}" if width else ""}"'
    if etag in parse_etags(request.headers.get("If-None-Match", "")):
        response: HttpResponseBase = HttpResponseNotModified()
    else:
        response = _file(picture, width)
    response["ETag"] = etag
    response["Cache-Control"] = CACHE_CONTROL
    return response


def _at_provider(picture: Picture) -> HttpResponse:
    address = getattr(picture, "provider_url", "")
    if not address:
        raise Http404
    response = HttpResponseRedirect(address)
    response["Cache-Control"] = "no-store"
    return response


def _file(picture: Picture, width: int | None) -> FileResponse:
    key = picture.thumbnail_key(width) if width else picture.storage_key
    try:
        file = default_storage.open(key)
    except FileNotFoundError as error:
        raise Http404 from error
    extension = key.rpartition(".")[2]
    response = FileResponse(
        file,
        content_type="image/webp" if width else picture.content_type,
        filename=f"{picture.pk}.{extension}",
    )
    # A picture opened by itself is shown, and can do nothing else.
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response["X-Content-Type-Options"] = "nosniff"
    return response
