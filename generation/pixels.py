"""What a picture is worth: the check of a result, and thumbnails of whatever was decoded.

No storage and no database here, and no more memory than needed: a JPEG is decoded once, at the
smallest scale that still makes the largest thumbnail. That reads all of the file, so one that
was cut is found out all the same; only the last step, from frequencies to pixels, is done for
fewer of them.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

from PIL import ExifTags, Image, ImageCms

Size = tuple[int, int]
Turn = Image.Transpose

FORMATS = {
    "JPEG": ("image/jpeg", "jpg"),
    "PNG": ("image/png", "png"),
    "WEBP": ("image/webp", "webp"),
}
THUMBNAIL_WIDTHS = (320, 640)
#: A result larger than this is not a picture of any model we know.
MAX_RESULT_PIXELS = {"JPEG": 64_000_000, "PNG": 64_000_000, "WEBP": 25_000_000}
#: Of a progressive JPEG all coefficients are kept while it is decoded, up to 8 bytes a pixel,
#: of WebP 15 bytes. The others take 4 at most.
MAX_PROGRESSIVE_PIXELS = 25_000_000
#: WebP has no more pixels on a side.
_MAX_THUMBNAIL_SIDE = 16_383
#: No value of any pixel above this: black, but for the noise of JPEG.
_NEARLY_BLACK = 8

# Pillow warns of large pictures when it reads their header and refuses only twice that size.
# We check every header against limits of our own, before anything is decoded.
Image.MAX_IMAGE_PIXELS = None


class NotAPicture(Exception):
    """The file is broken, cut, too large, or of no format we keep. The text is for staff."""


@dataclass(frozen=True, kw_only=True)
class Thumbnails:
    """WebP files by width in pixels. `is_black`: there is nothing to see on them."""

    files: Mapping[int, bytes]
    is_black: bool

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(len(content) for content in self.files.values())


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A whole picture. `kind` is a key of FORMATS; width and height are pixels as displayed."""

    kind: str
    width: int
    height: int
    thumbnails: Thumbnails


def check(file: IO[bytes]) -> Checked:
    """Decode all of a file that should be a picture, and make its thumbnails.

    Of an animation, or several pictures in one file, the first counts. Raises NotAPicture.
    """
    try:
        kind, size, large = _decode(file)
        thumbnails = _thumbnails(large, size=size)
    except (NotAPicture, MemoryError):
        raise
    except Exception as error:
        # Whatever a decoder stumbles over, from OSError to AssertionError: it is the file.
        msg = "What the provider sent is not a whole picture."
        raise NotAPicture(msg) from error
    return Checked(kind=kind, width=size[0], height=size[1], thumbnails=thumbnails)


def _decode(file: IO[bytes]) -> tuple[str, Size, Image.Image]:
    """Return the kind of a picture, its size as displayed, and its large thumbnail.

    The picture itself is gone with this function, before anything is encoded.
    """
    with Image.open(file, formats=tuple(FORMATS)) as picture:
        kind = "JPEG" if picture.format == "MPO" else str(picture.format)
        size = picture.size
        is_progressive = kind == "JPEG" and "progressive" in picture.info
        limit = MAX_PROGRESSIVE_PIXELS if is_progressive else MAX_RESULT_PIXELS[kind]
        if size[0] * size[1] > limit:
            msg = "The picture has too many pixels."
            raise NotAPicture(msg)
        if kind == "JPEG":
            picture.draft(None, _large_size(size, turn_of(picture)))
        picture.load()
        turn = turn_of(picture)
        return kind, _turned(size, turn), _large(picture, size=size, turn=turn)


# ---------------------------------------------------------------- thumbnails
def thumbnails_of(picture: Image.Image) -> Thumbnails:
    """Make the thumbnails of a decoded picture that is upright."""
    return _thumbnails(_large(picture, size=picture.size, turn=None), size=picture.size)


def _large(picture: Image.Image, *, size: Size, turn: Turn | None) -> Image.Image:
    """Return the large thumbnail of a picture decoded at any scale; `size` is its own."""
    image = _scaled(_ready_to_scale(picture), _large_size(size, turn))
    return _transposed(_ready_to_show(image), turn)


def _thumbnails(large: Image.Image, *, size: Size) -> Thumbnails:
    # A gap of 1: to half the size, pixels are merged by fours, at a fifth of the price.
    small = _scaled(large, _thumbnail_size(size, THUMBNAIL_WIDTHS[0]), gap=1.0)
    files = dict.fromkeys(THUMBNAIL_WIDTHS, _webp(large))
    if small is not large:
        files[THUMBNAIL_WIDTHS[0]] = _webp(small)
    return Thumbnails(files=files, is_black=_is_black(small))


def _large_size(size: Size, turn: Turn | None) -> Size:
    """Return the size of the large thumbnail before it is turned."""
    return _turned(_thumbnail_size(_turned(size, turn), THUMBNAIL_WIDTHS[-1]), turn)


def _thumbnail_size(size: Size, max_width: int) -> Size:
    width, height = size
    scale = min(1.0, max_width / width, _MAX_THUMBNAIL_SIDE / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _ready_to_scale(image: Image.Image) -> Image.Image:
    """Return pixels between which there is something in the middle: no palette indexes."""
    if image.mode.startswith("I"):
        return _to_eight_bits(image)
    if image.has_transparency_data:
        return image if image.mode == "RGBA" else image.convert("RGBA")
    return image if image.mode in ("RGB", "L", "CMYK") else image.convert("RGB")


def _scaled(image: Image.Image, size: Size, *, gap: float = 1.5) -> Image.Image:
    if image.size == size:
        return image
    return image.resize(size, Image.Resampling.HAMMING, reducing_gap=gap)


def _ready_to_show(image: Image.Image) -> Image.Image:
    image = to_srgb(image)
    return image if image.mode in ("RGB", "RGBA") else image.convert("RGB")


def _webp(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    # Method 4 would make it a tenth smaller and take four times as long.
    image.save(buffer, "WEBP", quality=75, method=0)
    return buffer.getvalue()


def _is_black(image: Image.Image) -> bool:
    histogram = image.histogram()
    red, green, blue, *alpha = (
        histogram[start : start + 256] for start in range(0, len(histogram), 256)
    )
    is_opaque = not alpha or not any(alpha[0][:255])
    return is_opaque and not any(any(band[_NEARLY_BLACK + 1 :]) for band in (red, green, blue))


# ---------------------------------------------------------------- turning
#: How to turn a picture upright, by the orientation its EXIF block tells.
TURNS = {
    2: Turn.FLIP_LEFT_RIGHT,
    3: Turn.ROTATE_180,
    4: Turn.FLIP_TOP_BOTTOM,
    5: Turn.TRANSPOSE,
    6: Turn.ROTATE_270,
    7: Turn.TRANSVERSE,
    8: Turn.ROTATE_90,
}
_TO_THE_SIDE = (Turn.TRANSPOSE, Turn.ROTATE_270, Turn.TRANSVERSE, Turn.ROTATE_90)


def turn_of(image: Image.Image) -> Turn | None:
    """Return what brings a picture upright, None for one that is. A PNG must be loaded."""
    # Not Pillow's exif_transpose: it also rewrites the block, and stumbles over bad ones.
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (OSError, ValueError, SyntaxError, struct.error, KeyError, TypeError):
        return None  # A bad block is no reason to refuse a good picture.


def _transposed(image: Image.Image, turn: Turn | None) -> Image.Image:
    return image if turn is None else image.transpose(turn)


def _turned(size: Size, turn: Turn | None) -> Size:
    return (size[1], size[0]) if turn in _TO_THE_SIDE else size


# ---------------------------------------------------------------- colours
def to_srgb(image: Image.Image, *, profile: bytes = b"") -> Image.Image:
    """Convert from a colour profile, the picture's own if none is given, to sRGB."""
    profile = profile or image.info.get("icc_profile", b"")
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK"):
        return image
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), outputMode=mode
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image  # A broken profile costs a shade of colour, not the picture.
    return converted or image


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Return 16-bit grey as 8-bit grey; Pillow would clip it to white."""
    if image.mode.startswith("I"):
        return image.point(lambda value: value * (1 / 256)).convert("L")
    return image
