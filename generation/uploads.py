"""Where strangers' bytes enter: a reference picture is checked, turned upright and rebuilt.

What is stored is never the file that came, but a new one made from its pixels: position,
camera, comments, colour profile and anything appended to it are gone. Of an animation the first
picture is taken, of several pictures in one file the main one. Every refusal says which rule
and what to do, and leaves nothing behind: no row, no file.

Pictures pass one at a time in each process, from decoding to storing, because memory is what
they cost most: at the limits below up to 350 MB each, whatever the format. Whoever waits longer
than WAIT_SECONDS is told to come back.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, BinaryIO

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Sum
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from PIL import Image

from generation import clamav, fileformats, pixels, rates, storage
from generation.ids import new_id
from generation.models import Upload

logger = logging.getLogger(__name__)

#: Set by the memory it takes to decode them. A JPEG is decoded at reduced size where it is
#: large, a PNG costs 4 bytes a pixel and as much again to make it smaller, WebP 15.
MAX_PIXELS = {"JPEG": 108_000_000, "PNG": 25_000_000, "WEBP": 20_000_000}
#: Of a progressive JPEG all coefficients are kept at once, up to 8 bytes a pixel.
MAX_PROGRESSIVE_PIXELS = 26_000_000
MIN_SIDE = 64
MAX_ASPECT = 8
#: Longest side kept, in pixels; no model looks closer.
MAX_SIDE = 4096
#: A JPEG is decoded at half the size, or less, as long as its longest side keeps this many.
DRAFT_SIDE = 3072
WAIT_SECONDS = 30.0
RATE_WINDOW = timedelta(hours=1)
#: Rows of pixels hashed at a time.
_STRIP = 256

_one_at_a_time = threading.BoundedSemaphore(1)


class UploadRefused(Exception):
    """The file is not accepted. The text, in the reader's language, says why and what to do.

    `code` names the rule for programs, `status` is the HTTP status that fits, `retry_after`
    the number of seconds after which the same file may pass, if waiting helps.
    """

    def __init__(
        self, code: str, message: str, *, status: int = 400, retry_after: int | None = None
    ) -> None:
        self.code = code
        self.message = message
        self.status = status
        self.retry_after = retry_after
        super().__init__(message)


# ---------------------------------------------------------------- the way in
def save(*, user: Any, file: BinaryIO) -> Upload:
    """Check and store a reference picture. The same picture again returns the same row.

    Raises UploadRefused.
    """
    content = _read(file)
    _count(user)
    _scan(user, content)
    with _turn():
        picture, kind = clean(content)
        del content
        pixel_hash = _hash_pixels(picture)
        known = Upload.objects.filter(user=user, pixel_hash=pixel_hash).first()
        if known:
            return known
        # Looked at again when its size is known; a member without room need not get so far.
        _refuse_beyond_quota(user, added=1)
        upload = Upload(pk=new_id(), user=user, pixel_hash=pixel_hash)
        _store(upload, picture, kind)
        del picture  # Large, and the next one may begin.
    return _record(upload)


def _read(file: BinaryIO) -> bytes:
    content = file.read(settings.MAX_UPLOAD_BYTES + 1)
    if len(content) > settings.MAX_UPLOAD_BYTES:
        raise too_large()
    return content


def too_large() -> UploadRefused:
    """Return the refusal of a file, or of a whole request, that has too many bytes."""
    message = _("The file is larger than %(megabytes)d MB. Save it smaller and try again.")
    limit = settings.MAX_UPLOAD_BYTES // 1024**2
    return UploadRefused("too_large", message % {"megabytes": limit}, status=413)


def _count(user: Any) -> None:
    """Count an attempt. Those that fail count too: they cost as much."""
    limit = settings.UPLOADS_PER_HOUR
    if not limit:
        return
    try:
        rates.take(scope="upload", user=user, limit=limit, window=RATE_WINDOW, now=timezone.now())
    except rates.TooOften as error:
        minutes = math.ceil(error.retry_after / 60)
        message = ngettext(
            "You have brought %(limit)d pictures in this hour, which is all that is allowed. "
            "Try again in %(minutes)d minute.",
            "You have brought %(limit)d pictures in this hour, which is all that is allowed. "
            "Try again in %(minutes)d minutes.",
            minutes,
        )
        raise UploadRefused(
            "too_often",
            message % {"limit": limit, "minutes": minutes},
            status=429,
            retry_after=error.retry_after,
        ) from error


def _scan(user: Any, content: bytes) -> None:
    """Let the virus scanner see the file as it came, before anything of ours takes it apart."""
    if not settings.CLAMAV:
        return
    try:
        signature = clamav.scan(content=content)
    except clamav.ScannerUnavailable as error:
        logger.error("an upload of member %s was refused unscanned: %s", user.pk, error)  # noqa: TRY400 - the text says it all
        raise UploadRefused(
            "scanner_unavailable",
            _("Pictures cannot be scanned for viruses at the moment. Try again in a minute."),
            status=503,
            retry_after=60,
        ) from error
    if signature:
        logger.warning("an upload of member %s is infected: %s", user.pk, signature)
        raise UploadRefused(
            "infected",
            _("The virus scanner found something in this file. Choose another picture."),
        )


@contextmanager
def _turn() -> Iterator[None]:
    """Wait for our turn with a picture."""
    if not _one_at_a_time.acquire(timeout=WAIT_SECONDS):
        raise UploadRefused(
            "busy",
            _("Many pictures are being brought at the moment. Try again in a minute."),
            status=503,
            retry_after=60,
        )
    try:
        yield
    finally:
        _one_at_a_time.release()


# ---------------------------------------------------------------- keeping
def _store(upload: Upload, picture: Image.Image, kind: str) -> None:
    # Named by the row, not by the pixels: these files are ours alone, so they can be taken
    # away without asking who else has just brought the same picture.
    try:
        stored = storage.store_upload(
            picture=picture, kind=kind, user_id=upload.user_id, name=upload.pk
        )
    except OSError as error:
        logger.error("an upload of member %s could not be stored: %s", upload.user_id, error)  # noqa: TRY400 - the text says it all
        raise UploadRefused(
            "storage_unavailable",
            _("The picture could not be saved. Nothing was kept; try again in a minute."),
            status=503,
            retry_after=60,
        ) from error
    upload.storage_key, upload.content_type = stored.storage_key, stored.content_type
    upload.width, upload.height = stored.width, stored.height
    upload.byte_size, upload.thumbnails_size = stored.byte_size, stored.thumbnails_size
    upload.sha256 = stored.sha256


def _record(upload: Upload) -> Upload:
    """Write the row of a stored picture, unless there is one already or no room for it.

    Uploads of one member pass here one after the other, so the quota holds however many come
    at once. After a crash, or an answer of the database that did not arrive, files without a
    row may be left; better than a row without files.
    """
    user, size = upload.user, upload.byte_size or 0
    try:
        with transaction.atomic():
            # SQLite lets one writer in at a time anyway. `no_key`: rows that refer to the
            # member may still be written.
            get_user_model().objects.select_for_update(no_key=True).get(pk=user.pk)
            known = Upload.objects.filter(user=user, pixel_hash=upload.pixel_hash).first()
            if not known:
                _refuse_beyond_quota(user, added=size + (upload.thumbnails_size or 0))
                upload.save(force_insert=True)
    except UploadRefused:
        _remove_files(upload)
        raise
    if known:
        _remove_files(upload)
    return known or upload


def _refuse_beyond_quota(user: Any, *, added: int) -> None:
    megabytes = settings.UPLOAD_QUOTA_MB
    if megabytes and used_bytes(user) + added > megabytes * 1024**2:
        raise UploadRefused(
            "quota_exceeded",
            _(
                "Your reference pictures may take %(megabytes)d MB, and this one does not fit any "
                "more. Use one you have brought before, or ask an administrator for more room."
            )
            % {"megabytes": megabytes},
            status=403,
        )


def used_bytes(user: Any) -> int:
    """Return how many bytes a member's uploads take, thumbnails included."""
    size = Sum("byte_size", default=0) + Sum(Coalesce("thumbnails_size", 0), default=0)
    used: int = Upload.objects.filter(user=user).aggregate(used=size)["used"]
    return used


def _remove_files(upload: Upload) -> None:
    thumbnails = (upload.thumbnail_key(width) for width in storage.THUMBNAIL_WIDTHS)
    for key in (upload.storage_key, *thumbnails):
        # What cannot be deleted now is found as a file without a row.
        with suppress(OSError):
            default_storage.delete(key)


def _hash_pixels(picture: Image.Image) -> str:
    """Return what the picture shows as a digest: the same in whatever file it came."""
    digest = hashlib.sha256(picture.mode.encode() + repr(picture.size).encode())
    for top in range(0, picture.height, _STRIP):
        bottom = min(picture.height, top + _STRIP)
        digest.update(picture.crop((0, top, picture.width, bottom)).tobytes())
    return digest.hexdigest()


# ---------------------------------------------------------------- cleaning
def clean(content: bytes) -> tuple[Image.Image, str]:
    """Return new pixels, upright, sRGB, without metadata, and the format to keep them in.

    Raises UploadRefused.
    """
    try:
        outline = fileformats.read(content)
    except fileformats.Unknown:
        raise _unsupported(content) from None
    except fileformats.Malformed as error:
        raise _broken() from error
    _check_size(outline)
    try:
        picture = _rebuild(outline)
    except MemoryError:
        raise
    except Exception as error:
        # Whatever a decoder stumbles over, from OSError to AssertionError: it is the file.
        logger.info("a picture could not be decoded: %s", type(error).__name__)
        raise _broken() from error
    has_alpha = picture.mode == "RGBA"
    return picture, "PNG" if has_alpha or outline.kind == "PNG" else "JPEG"


def _unsupported(content: bytes) -> UploadRefused:
    if not content:
        message = _("The file is empty. Choose another one.")
    elif content[4:8] == b"ftyp":
        message = _("HEIC and AVIF pictures are not accepted. Save it as JPEG and try again.")
    else:
        message = _("This is not a JPEG, PNG or WebP picture. Save it as one of these.")
    return UploadRefused("unsupported_format", message)


def _broken() -> UploadRefused:
    message = _("The picture is damaged or cut off. Save it again and try once more.")
    return UploadRefused("broken", message)


def _check_size(outline: fileformats.Outline) -> None:
    width, height = outline.width, outline.height
    limit = MAX_PROGRESSIVE_PIXELS if outline.is_progressive else MAX_PIXELS[outline.kind]
    if width * height > limit:
        message = _(
            "The picture has %(pixels)d megapixels; at most %(limit)d are accepted. Make it smaller."
        )
        figures = {"pixels": width * height // 10**6, "limit": limit // 10**6}
        raise UploadRefused("too_many_pixels", message % figures)
    if min(width, height) < MIN_SIDE:
        message = _("The picture is smaller than %(side)d pixels. Choose a larger one.")
        raise UploadRefused("too_small", message % {"side": MIN_SIDE})
    if max(width, height) > MAX_ASPECT * min(width, height):
        message = _("The picture is more than %(ratio)d times as long as wide. Crop it.")
        raise UploadRefused("too_long", message % {"ratio": MAX_ASPECT})


def _rebuild(outline: fileformats.Outline) -> Image.Image:
    """Decode a picture and return it as 8-bit RGB or RGBA, without anything but its pixels.

    Each step lets go of the picture before it. Raises whatever a decoder raises.
    """
    picture = _to_eight_bits(_decode(outline), outline.depth)
    if picture.mode != "CMYK":
        # Also where it changes nothing: a copy that holds no decoder.
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    if max(picture.size) > MAX_SIDE:
        scale = MAX_SIDE / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    turn = pixels.TURNS.get(outline.orientation)
    if turn is not None:
        picture = picture.transpose(turn)
    picture = _to_srgb(picture, outline.profile)
    if picture.mode == "RGBA" and picture.getchannel("A").getextrema() == (255, 255):
        picture = picture.convert("RGB")  # It hides nothing.
    picture.info = {}
    return picture


def _decode(outline: fileformats.Outline) -> Image.Image:
    picture = Image.open(io.BytesIO(outline.bare), formats=(outline.kind,))
    if picture.size != (outline.width, outline.height):
        msg = "The decoder sees another size than we have checked."
        raise ValueError(msg)
    if outline.kind == "JPEG":
        longest = max(picture.size)
        size = tuple(max(1, side * DRAFT_SIDE // longest) for side in picture.size)
        picture.draft(None, size)  # type: ignore[arg-type]
    picture.load()
    return picture


def _to_eight_bits(picture: Image.Image, depth: int) -> Image.Image:
    """Bring samples, and the colour that stands for "transparent", to 8 bits.

    Pillow clips 16-bit grey to white when it converts, and leaves that colour in the file's
    own depth.
    """
    key = picture.info.get("transparency")
    if picture.mode.startswith("I"):
        picture = picture.point(lambda value: value * (1 / 256)).convert("L")
    if picture.mode in ("L", "RGB") and key is not None and depth != 8:
        highest = 2**depth - 1
        samples = key if isinstance(key, tuple) else (key,)
        scaled = tuple(
            sample >> 8 if depth == 16 else (sample & highest) * 255 // highest
            for sample in samples
        )
        picture.info["transparency"] = scaled if isinstance(key, tuple) else scaled[0]
    return picture


def _to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Convert from the picture's own colour profile, as phones use, to sRGB."""
    mode = "RGBA" if picture.mode == "RGBA" else "RGB"
    if 0 < len(profile) <= fileformats.MAX_PROFILE:
        picture = pixels.to_srgb(picture, profile=profile)
    return picture if picture.mode == mode else picture.convert(mode)
