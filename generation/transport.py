"""How reference pictures travel to the provider: as addresses it downloads, or as data.

A picture in a storage that signs addresses (Tencent COS) is named by one that is good for a
day; anything else goes along inside the request, as a data URI, made smaller where it is large.
Both are made when the request is sent and kept nowhere: an address opens the picture to whoever
has it, and a data URI is the picture.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.core.files.storage import default_storage
from PIL import Image, ImageOps

from generation.models import Picture
from generation.storage import FORMATS, CannotStore

URL = "url"
DATA = "data"

#: Seconds an address is good for: longer than a request may wait at the provider.
ADDRESS_SECONDS = 24 * 3600
#: Bytes of all pictures of a request together before base64. Bodies of more than 10 MB were
#: refused (fal-ai/fal#178), and base64 makes a third more of them.
MAX_DATA_BYTES = 7_000_000
#: A PNG larger than this, in bytes, goes as JPEG, or as WebP if it is transparent.
MAX_PNG_BYTES = 2_000_000
#: Longest side in pixels; the smaller ones are for requests that would still be too large.
SIDES = (2048, 1536, 1024, 768, 512)
_QUALITY = 92


def preferred() -> str:
    """Return the way pictures are sent first, as INPUT_TRANSPORT says."""
    if settings.INPUT_TRANSPORT == "auto":
        return URL if settings.STORAGE == "cos" else DATA
    return str(settings.INPUT_TRANSPORT)


def may_fall_back(transport: str) -> bool:
    """Tell whether a request whose pictures the provider could not download may be sent once
    more with them inside."""
    return transport == URL and settings.INPUT_TRANSPORT == "auto"


def addresses(*, pictures: Sequence[Picture], transport: str) -> list[str]:
    """Return what stands for the pictures in a request, in their order.

    Raises CannotStore when a file is missing or broken, or does not fit into a request.
    """
    if transport == URL:
        # Signing asks nobody, so a file that is missing is noticed by the provider.
        return [_signed(picture) for picture in pictures]
    return _data_uris(pictures)


def _signed(picture: Picture) -> str:
    address: str = default_storage.url(picture.storage_key, expire=ADDRESS_SECONDS)  # type: ignore[call-arg]
    return address


# ---------------------------------------------------------------- data
@dataclass(frozen=True, kw_only=True)
class _Part:
    content: bytes
    content_type: str

    @property
    def uri(self) -> str:
        return f"data:{self.content_type};base64,{base64.b64encode(self.content).decode()}"


def _data_uris(pictures: Sequence[Picture]) -> list[str]:
    for side in SIDES:
        parts = [_part(picture, side=side) for picture in pictures]
        if sum(len(part.content) for part in parts) <= MAX_DATA_BYTES:
            return [part.uri for part in parts]
    msg = "The reference pictures are too large to be sent, even made smaller."
    raise CannotStore(msg, gone=True)


def _part(picture: Picture, *, side: int) -> _Part:
    try:
        with default_storage.open(picture.storage_key) as file:
            content = file.read()
        kind = next(k for k, (mime, _) in FORMATS.items() if mime == picture.content_type)
        longest = max(picture.width or 0, picture.height or 0)
        if longest <= side and (kind != "PNG" or len(content) <= MAX_PNG_BYTES):
            return _Part(content=content, content_type=picture.content_type)
        return _smaller(content, kind=kind, side=side)
    except (OSError, ValueError, SyntaxError, StopIteration) as error:
        msg = f"The file of {picture.pk} cannot be read."
        raise CannotStore(msg, gone=True) from error


def _smaller(content: bytes, *, kind: str, side: int) -> _Part:
    original = Image.open(io.BytesIO(content), formats=(kind,))
    # A JPEG is decoded at a fraction of its size where that is enough.
    original.draft(None, (side, side))
    image = ImageOps.exif_transpose(original)
    if max(image.size) > side:
        image = ImageOps.contain(image, (side, side), Image.Resampling.LANCZOS)
    if kind == "PNG":
        part = _encoded(image, "PNG")
        if len(part.content) <= MAX_PNG_BYTES:
            return part
    return _encoded(image, "WEBP" if image.has_transparency_data else "JPEG")


def _encoded(image: Image.Image, kind: str) -> _Part:
    if kind != "PNG":
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    buffer = io.BytesIO()
    image.save(buffer, kind, **({} if kind == "PNG" else {"quality": _QUALITY}))
    return _Part(content=buffer.getvalue(), content_type=FORMATS[kind][0])
