"""Our own copies: fetching results, checking them, thumbnails, names in the storage.

The database holds keys, never addresses that expire. Names follow from ids, so storing the
same picture twice writes the same objects again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import IO
from urllib.parse import urlsplit

import requests
import urllib3
from django.conf import settings
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage
from PIL import Image

from generation.models import TaskImage

THUMBNAIL_WIDTHS = (320, 640)
FORMATS = {
    "JPEG": ("image/jpeg", "jpg"),
    "PNG": ("image/png", "png"),
    "WEBP": ("image/webp", "webp"),
}
#: A result larger than this is not a picture of any model we know.
MAX_RESULT_PIXELS = 64_000_000
#: Seconds to connect, seconds between two bytes, and seconds for a whole download.
FETCH_TIMEOUT = (5.0, 20.0)
FETCH_SECONDS = 120.0

# Pillow warns of large pictures when it reads their header and refuses only twice that size.
# We check every header against limits of our own, before anything is decoded.
Image.MAX_IMAGE_PIXELS = None


class CannotStore(Exception):
    """The picture could not be fetched or is not one. `gone` means that waiting won't help."""

    def __init__(self, message: str, *, gone: bool = False) -> None:
        self.gone = gone
        super().__init__(message)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A picture in our storage. Sizes in pixels and bytes."""

    storage_key: str
    content_type: str
    width: int
    height: int
    byte_size: int
    sha256: str


# ---------------------------------------------------------------- results
def ingest(*, image: TaskImage, allowed_hosts: Sequence[str]) -> Stored:
    """Copy a result from the provider into our storage, bytes unchanged, with thumbnails.

    Raises CannotStore. Safe to repeat.
    """
    with tempfile.TemporaryFile() as file:
        digest, size = _fetch(image.provider_url, into=file, allowed_hosts=allowed_hosts)
        file.seek(0)
        picture, kind = _decode(file)
        content_type, extension = FORMATS[kind]
        key = f"generated/{image.created_at:%Y/%m}/{image.task_id}/{image.position}.{extension}"
        file.seek(0)
        try:
            default_storage.save(key, File(file))
            for width in THUMBNAIL_WIDTHS:
                _save_thumbnail(picture, key=key, width=width)
        except OSError:
            _remove(key)
            raise
    return Stored(
        storage_key=key,
        content_type=content_type,
        width=picture.width,
        height=picture.height,
        byte_size=size,
        sha256=digest,
    )


def _remove(key: str) -> None:
    """Remove what a failed save may have left, such as half a file on a full disk."""
    for each in (key, *(_thumbnail_key(key, width) for width in THUMBNAIL_WIDTHS)):
        with contextlib.suppress(OSError):
            default_storage.delete(each)


def remove_leftovers(*, older_than: timedelta) -> int:
    """Remove what saves that were killed have left beside the pictures. Returns the number."""
    remove = getattr(default_storage, "remove_stale_temporaries", None)
    return remove(older_than) if remove else 0


def make_thumbnails(*, key: str) -> None:
    """Make the thumbnails of a stored picture again. Raises CannotStore, OSError."""
    with default_storage.open(key) as file:
        picture, _kind = _decode(file)
        for width in THUMBNAIL_WIDTHS:
            _save_thumbnail(picture, key=key, width=width)


def _thumbnail_key(key: str, width: int) -> str:
    return f"{key.rpartition('.')[0]}-{width}.webp"


def _fetch(url: str, *, into: IO[bytes], allowed_hosts: Sequence[str]) -> tuple[str, int]:
    """Stream `url` into a file. Return its SHA-256 and size in bytes."""
    _check_address(url, allowed_hosts)
    deadline = time.monotonic() + FETCH_SECONDS
    digest, size = hashlib.sha256(), 0
    try:
        with requests.Session() as session:
            session.trust_env = False
            with session.get(
                url, stream=True, timeout=FETCH_TIMEOUT, allow_redirects=False
            ) as response:
                if response.status_code in (403, 404, 410):
                    msg = f"The provider no longer has it (HTTP {response.status_code})."
                    raise CannotStore(msg, gone=True)
                if response.status_code != 200:
                    msg = f"The provider answered HTTP {response.status_code}."
                    raise CannotStore(msg)
                for chunk in response.iter_content(64 * 1024):
                    size += len(chunk)
                    if size > settings.MAX_RESULT_BYTES:
                        msg = "The picture is larger than MAX_RESULT_BYTES."
                        raise CannotStore(msg)
                    if time.monotonic() > deadline:
                        msg = "The download took too long."
                        raise CannotStore(msg)
                    digest.update(chunk)
                    into.write(chunk)
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        msg = f"The download failed ({type(error).__name__})."
        raise CannotStore(msg) from error
    return digest.hexdigest(), size


def _check_address(url: str, allowed_hosts: Sequence[str]) -> None:
    """Raise CannotStore unless the address names an allowed host without doubt.

    Parsers disagree about `http://a\\@b/`: what one of them takes for the host, another takes
    for a password. Only addresses on which both agree pass.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        same = urllib3.util.parse_url(url).host == host
    except (ValueError, urllib3.exceptions.LocationParseError):
        same = False
    if not same or "\\" in url or "@" in parts.netloc:
        msg = "The provider's address is malformed."
        raise CannotStore(msg, gone=True)
    for allowed in allowed_hosts:
        if host == allowed or (allowed.startswith(".") and host.endswith(allowed)):
            return
    msg = f"{host} is not among RESULT_HOSTS."
    raise CannotStore(msg)


def _decode(file: IO[bytes]) -> tuple[Image.Image, str]:
    """Return the decoded picture and its format. A cut or forged file raises CannotStore."""
    try:
        picture = Image.open(file, formats=tuple(FORMATS))
        kind = "JPEG" if picture.format == "MPO" else str(picture.format)
        if picture.width * picture.height > MAX_RESULT_PIXELS:
            msg = "The picture has too many pixels."
            raise CannotStore(msg)
        picture.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        msg = "What the provider sent is not a whole picture."
        raise CannotStore(msg) from error
    return picture, kind


def _save_thumbnail(picture: Image.Image, *, key: str, width: int) -> None:
    small = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    if small.width > width:
        height = max(1, round(small.height * width / small.width))
        small = small.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=78, method=2)
    default_storage.save(_thumbnail_key(key, width), ContentFile(buffer.getvalue()))


# ---------------------------------------------------------------- uploads
def store_upload(*, picture: Image.Image, kind: str, user_id: int, name: str) -> Stored:
    """Write a cleaned upload and its thumbnails. `kind` is a key of FORMATS."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **({"quality": 92, "subsampling": 0} if kind == "JPEG" else {}))
    content = buffer.getvalue()
    content_type, extension = FORMATS[kind]
    key = f"uploads/{user_id}/{name}.{extension}"
    default_storage.save(key, ContentFile(content))
    for width in THUMBNAIL_WIDTHS:
        _save_thumbnail(picture, key=key, width=width)
    return Stored(
        storage_key=key,
        content_type=content_type,
        width=picture.width,
        height=picture.height,
        byte_size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
