"""`/media/<id>`: the permanent address of every picture, for its owner and for staff.

Where the bytes come from is the storage's affair: a bucket is redirected to with a signed
address that is good for hours; a file on our disk is sent by us, or by the proxy in front of
us. `?download` asks for it to be saved under a name instead of shown.

A finished picture that is saved carries what it was made with (history/embedding.py), and
`?download=plain` asks for it without any metadata. That is done while it passes through us; the
file in the storage stays as it came. Uploads are free of metadata since they were taken in.
"""

from __future__ import annotations

import logging
import re
from typing import IO, Any
from urllib.parse import quote

from django.conf import settings
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
from django.utils.http import content_disposition_header, parse_etags
from django.views.decorators.http import require_safe

from generation import storage
from generation.models import Picture, TaskImage, Upload
from history import facts
from history.embedding import CannotRewrite, Rewritten

logger = logging.getLogger(__name__)

_ADDRESS = re.compile(r"^(?:https?://[^/\\@?#]+)?/media/([0-9a-f]{32})$")
#: The bytes behind an address never change, but the right to see them may. Seconds.
MAX_AGE = 86400
#: Left of a signed address when a browser follows a redirect it kept, at least, in seconds.
MARGIN = 300


def find_own_picture(*, user: Any, address: object) -> Upload | TaskImage | None:
    """Return the picture a member means by one of our addresses, or None.

    A host in front of it is ignored: we never fetch what an address names, we look up its id.
    """
    match = _ADDRESS.match(address) if isinstance(address, str) else None
    if match is None:
        return None
    picture = find_picture(match[1])
    return picture if picture is not None and picture.user_id == user.pk else None


def find_picture(picture_id: str) -> Upload | TaskImage | None:
    """Return the picture of that id, whoever's it is, or None."""
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
    picture = find_picture(picture_id)
    allowed = picture is not None and (
        picture.user_id == request.user.pk or bool(getattr(request.user, "is_staff", False))
    )
    if picture is None or not allowed or width not in (None, *storage.THUMBNAIL_WIDTHS):
        raise Http404
    return answer(request, picture, width)


def answer(
    request: HttpRequest, picture: Upload | TaskImage, width: int | None = None
) -> HttpResponseBase:
    """Send a picture, or its thumbnail, to a reader who may see it."""
    if not picture.storage_key:
        return _at_provider(picture)
    as_attachment = "download" in request.GET
    if as_attachment and width is None and isinstance(picture, TaskImage):
        return _rewritten(picture, is_plain=request.GET["download"] == "plain")
    if settings.STORAGE == "cos" and not settings.MEDIA_PROXY:
        return _in_the_bucket(picture, width, as_attachment=as_attachment)
    return _from_here(request, picture, width, as_attachment=as_attachment)


def _at_provider(picture: Picture) -> HttpResponse:
    address = getattr(picture, "provider_url", "")
    if not address or getattr(picture, "lost_at", None):
        raise Http404
    response = HttpResponseRedirect(address)
    response["Cache-Control"] = "no-store"
    return response


def _rewritten(picture: TaskImage, *, is_plain: bool) -> HttpResponseBase:
    """Send a picture to be saved, with what it was made with or without any metadata."""
    made_with = None if is_plain else facts.of_picture(picture)
    try:
        file: IO[bytes] = default_storage.open(picture.storage_key)
        length: int = file.size  # type: ignore[attr-defined]
    except FileNotFoundError as error:
        raise Http404 from error
    body: IO[bytes] | Rewritten = file
    if is_plain or made_with is not None:
        try:
            body = Rewritten(file, content_type=picture.content_type, made_with=made_with)
            length = body.size
        except CannotRewrite:
            # Odd, but a picture that browsers show: then as it is.
            logger.warning("media: %s cannot be rewritten", picture.pk)
            file.seek(0)
    response = FileResponse(body, content_type=picture.content_type)
    response["Content-Length"] = length
    response["Content-Disposition"] = _disposition(picture, None, as_attachment=True)
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "private, no-store"
    return response


def _in_the_bucket(picture: Picture, width: int | None, *, as_attachment: bool) -> HttpResponse:
    parameters = {}
    if as_attachment:
        disposition = _disposition(picture, width, as_attachment=True)
        parameters = {"response-content-disposition": disposition}
    address, seconds = default_storage.signed_url(  # type: ignore[attr-defined]
        _key(picture, width), parameters=parameters
    )
    response = HttpResponseRedirect(address)
    response["Cache-Control"] = f"private, max-age={max(0, min(MAX_AGE, seconds - MARGIN))}"
    return response


def _from_here(
    request: HttpRequest, picture: Picture, width: int | None, *, as_attachment: bool
) -> HttpResponseBase:
    # The name of the object fixes its bytes, except that an original may be stored anew.
    etag = f'"{picture.pk}-{picture.sha256[:16]}{f"-{width}" if width else ""}"'
    response: HttpResponseBase
    if etag in parse_etags(request.headers.get("If-None-Match", "")):
        response = HttpResponseNotModified()
    else:
        response = _file(picture, width)
        response["Content-Disposition"] = _disposition(picture, width, as_attachment=as_attachment)
        # A picture opened by itself is shown, and can do nothing else.
        response["Content-Security-Policy"] = "default-src 'none'; sandbox"
        response["X-Content-Type-Options"] = "nosniff"
    response["ETag"] = etag
    response["Cache-Control"] = f"private, max-age={MAX_AGE}"
    return response


def _file(picture: Picture, width: int | None) -> HttpResponseBase:
    key = _key(picture, width)
    content_type = "image/webp" if width else picture.content_type
    if settings.MEDIA_X_ACCEL and settings.STORAGE == "local":
        response = HttpResponse(content_type=content_type)
        # The proxy sends the file, and its length with it.
        response["X-Accel-Redirect"] = f"{settings.MEDIA_X_ACCEL}/{quote(key)}"
        return response
    try:
        return FileResponse(default_storage.open(key), content_type=content_type)
    except FileNotFoundError as error:
        raise Http404 from error


def _key(picture: Picture, width: int | None) -> str:
    return picture.thumbnail_key(width) if width else picture.storage_key


def _disposition(picture: Picture, width: int | None, *, as_attachment: bool) -> str:
    extension = _key(picture, width).rpartition(".")[2]
    name = f"{picture.pk}{f'-{width}' if width else ''}.{extension}"
    return content_disposition_header(as_attachment, name) or "inline"
