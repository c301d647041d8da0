"""Where strangers' bytes enter: a reference picture is checked, turned upright and rebuilt.

What is stored is never the file that came, but a new one made from its pixels: position,
camera, comments and anything appended to it are gone. Every refusal says which rule and what
to do.
"""

from __future__ import annotations

import hashlib
import io
import threading
from typing import Any, BinaryIO

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _
from PIL import Image, ImageOps

from generation import pixels, storage
from generation.models import Upload

#: A JPEG is decoded at reduced size where it is large; other formats cost up to 15 bytes a pixel.
MAX_PIXELS = {"JPEG": 108_000_000, "PNG": 25_000_000, "WEBP": 25_000_000}
MIN_SIDE = 64
MAX_ASPECT = 8
#: Longest side kept, in pixels; no model looks closer.
MAX_SIDE = 4096

#: A picture of the allowed size may take half a gigabyte while it is decoded: one at a time.
_decoding = threading.BoundedSemaphore(1)

_MAGIC = ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"))


class UploadRefused(Exception):
    """The file is not accepted. The text, in the reader's language, says why and what to do."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


def save(*, user: Any, file: BinaryIO) -> Upload:
    """Check and store a reference picture. The same picture again returns the same row.

    Raises UploadRefused.
    """
    content = file.read(settings.MAX_UPLOAD_BYTES + 1)
    if len(content) > settings.MAX_UPLOAD_BYTES:
        raise UploadRefused(
            "too_large",
            _("The file is larger than %(megabytes)d MB. Save it smaller and try again.")
            % {"megabytes": settings.MAX_UPLOAD_BYTES // 1024**2},
        )
    with _decoding:
        picture, kind = clean(content)
    # Named by the pixels: the same picture lands on the same name, whatever file it came in.
    digest = hashlib.sha256(picture.mode.encode() + repr(picture.size).encode() + picture.tobytes())
    name = digest.hexdigest()
    known = Upload.objects.filter(user=user, pixel_hash=name).first()
    if known:
        return known
    stored = storage.store_upload(picture=picture, kind=kind, user_id=user.pk, name=name)
    try:
        with transaction.atomic():
            return Upload.objects.create(
                user=user,
                storage_key=stored.storage_key,
                content_type=stored.content_type,
                width=stored.width,
                height=stored.height,
                byte_size=stored.byte_size,
                thumbnails_size=stored.thumbnails_size,
                sha256=stored.sha256,
                pixel_hash=name,
            )
    except IntegrityError:
        return Upload.objects.get(user=user, pixel_hash=name)


def clean(content: bytes) -> tuple[Image.Image, str]:
    """Return new pixels, upright, sRGB, without metadata, and the format to keep them in.

    Raises UploadRefused.
    """
    kind = _kind(content)
    try:
        original = Image.open(io.BytesIO(content), formats=(kind,))
        _check_size(original, kind)
        if kind == "JPEG":
            original.draft(None, (MAX_SIDE, MAX_SIDE))
        original.load()
        image = pixels.to_srgb(pixels.upright(original))
        has_alpha = image.has_transparency_data
        image = pixels.to_eight_bits(image).convert("RGBA" if has_alpha else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UploadRefused(
            "broken", _("The picture is damaged or cut off. Save it again and try once more.")
        ) from error
    if max(image.size) > MAX_SIDE:
        image = ImageOps.contain(image, (MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    # A new image from bare pixels: nothing that travelled with the old one comes along.
    fresh = Image.frombytes(image.mode, image.size, image.tobytes())
    return fresh, "PNG" if has_alpha or kind == "PNG" else "JPEG"


def _kind(content: bytes) -> str:
    for magic, kind in _MAGIC:
        if content.startswith(magic):
            return kind
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    if content[4:8] == b"ftyp":
        message = _("HEIC and AVIF pictures are not accepted. Save it as JPEG and try again.")
    elif not content:
        message = _("The file is empty. Choose another one.")
    else:
        message = _("This is not a JPEG, PNG or WebP picture. Save it as one of these.")
    raise UploadRefused("unsupported_format", message)


def _check_size(image: Image.Image, kind: str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS[kind]:
        raise UploadRefused(
            "too_many_pixels",
            _(
                "The picture has %(pixels)d megapixels; at most %(limit)d are accepted. Make it smaller."
            )
            % {"pixels": width * height // 10**6, "limit": MAX_PIXELS[kind] // 10**6},
        )
    if min(width, height) < MIN_SIDE:
        raise UploadRefused(
            "too_small",
            _("The picture is smaller than %(side)d pixels. Choose a larger one.")
            % {"side": MIN_SIDE},
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise UploadRefused(
            "too_long",
            _("The picture is more than %(ratio)d times as long as wide. Crop it.")
            % {"ratio": MAX_ASPECT},
        )
