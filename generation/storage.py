"""Our own copies of pictures: results of the provider, uploads, and the names they have.

The database holds keys, never addresses that expire. Names follow from ids, so storing the
same picture twice writes the same objects again. A picture is checked (generation/pixels.py)
before any of it is written; if writing fails, nothing of it stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import tempfile
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage
from PIL import Image

from generation import fetching, pixels
from generation.models import TaskImage

FORMATS = pixels.FORMATS
THUMBNAIL_WIDTHS = pixels.THUMBNAIL_WIDTHS


class CannotStore(Exception):
    """The picture could not be fetched or is not one. `gone` means that waiting won't help."""

    def __init__(self, message: str, *, gone: bool = False) -> None:
        self.gone = gone
        super().__init__(message)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A picture in our storage. Sizes in pixels, as displayed, and in bytes.

    `is_black`: there is nothing to see on it, as on what a provider's safety checker sends.
    """

    storage_key: str
    content_type: str
    width: int
    height: int
    byte_size: int
    thumbnails_size: int
    sha256: str
    is_black: bool


# ---------------------------------------------------------------- results
def ingest(*, image: TaskImage, allowed_hosts: fetching.Hosts) -> Stored:
    """Copy a result from the provider into our storage, bytes unchanged, with thumbnails.

    Raises CannotStore; OSError when the storage fails. Safe to repeat.
    """
    # Without a name on Linux: whoever is killed leaves nothing behind.
    with tempfile.TemporaryFile() as file:
        try:
            fetched = fetching.fetch(
                url=image.provider_url,
                into=file,
                hosts=allowed_hosts,
                max_bytes=settings.MAX_RESULT_BYTES,
            )
            file.seek(0)
            checked = pixels.check(file)
        except fetching.CannotFetch as error:
            raise CannotStore(str(error), gone=error.gone) from error
        except pixels.NotAPicture as error:
            raise CannotStore(str(error)) from error
        content_type, extension = FORMATS[checked.kind]
        key = f"generated/{image.created_at:%Y/%m}/{image.task_id}/{image.position}.{extension}"
        file.seek(0)
        try:
            _save(key, File(file), checked.thumbnails)
            _require_kept(key, size=fetched.size)
        except Exception:
            # Unless somebody else stored it meanwhile, under the same names.
            if not TaskImage.objects.filter(pk=image.pk, stored_at__isnull=False).exists():
                _remove(key)
            raise
    return Stored(
        storage_key=key,
        content_type=content_type,
        width=checked.width,
        height=checked.height,
        byte_size=fetched.size,
        thumbnails_size=checked.thumbnails.size,
        sha256=fetched.sha256,
        is_black=checked.thumbnails.is_black,
    )


def _require_kept(key: str, *, size: int) -> None:
    """Raise OSError unless the storage has what it said it has taken."""
    kept = default_storage.size(key)
    if kept != size:
        msg = f"The storage has kept {kept} of {size} bytes."
        raise OSError(msg)


def _save(key: str, original: File[bytes], thumbnails: pixels.Thumbnails) -> None:
    default_storage.save(key, original)
    _save_thumbnails(key, thumbnails)


def _save_thumbnails(key: str, thumbnails: pixels.Thumbnails) -> None:
    for width, content in thumbnails.files.items():
        default_storage.save(_thumbnail_key(key, width), ContentFile(content))


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
    try:
        with default_storage.open(key) as file:
            thumbnails = pixels.check(file).thumbnails
    except pixels.NotAPicture as error:
        raise CannotStore(str(error)) from error
    _save_thumbnails(key, thumbnails)


def _thumbnail_key(key: str, width: int) -> str:
    return f"{key.rpartition('.')[0]}-{width}.webp"


# ---------------------------------------------------------------- uploads
def store_upload(*, picture: Image.Image, kind: str, user_id: int, name: str) -> Stored:
    """Write a cleaned upload and its thumbnails. `kind` is a key of FORMATS."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **({"quality": 92, "subsampling": 0} if kind == "JPEG" else {}))
    content = buffer.getvalue()
    content_type, extension = FORMATS[kind]
    key = f"uploads/{user_id}/{name}.{extension}"
    thumbnails = pixels.thumbnails_of(picture)
    try:
        _save(key, ContentFile(content), thumbnails)
    except Exception:
        _remove(key)
        raise
    return Stored(
        storage_key=key,
        content_type=content_type,
        width=picture.width,
        height=picture.height,
        byte_size=len(content),
        thumbnails_size=thumbnails.size,
        sha256=hashlib.sha256(content).hexdigest(),
        is_black=thumbnails.is_black,
    )
