"""What a stranger's JPEG, PNG or WebP file is, found out before any decoder sees it.

`read` walks the parts of the file, in time proportional to its size, and returns what the
picture needs: its size, how it is to be turned, its colour profile and the `bare` file. Bare
means the parts that make pixels and no others. Comments, EXIF, XMP, thumbnails, text, further
frames and pictures, anything appended: decoders never parse them, so what is wrong with them
cannot hurt and cannot refuse a good picture.

Nothing here is decompressed but a PNG's colour profile, up to MAX_PROFILE bytes.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

#: Parts of one file. A 10 MB PNG written in steps of 1 KB has half as many.
MAX_PARTS = 20_000
#: A progressive JPEG is gone over once for each scan. Encoders write 10, seldom up to 20; a
#: forged file of a few MB could hold thousands, and keep a processor busy for hours.
MAX_SCANS = 40
#: Bytes of a colour profile; those of printing presses have about 2 MB.
MAX_PROFILE = 4 * 1024 * 1024

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Unknown(Exception):
    """Not a JPEG, PNG or WebP file."""


class Malformed(Exception):
    """It begins like one of the three, but its parts do not fit together."""


@dataclass(frozen=True, kw_only=True)
class Outline:
    """`width` and `height` in pixels as stored, before the picture is turned by
    `orientation`, 1 to 8 as EXIF numbers them. `kind` is Pillow's name of the format."""

    kind: str
    width: int
    height: int
    bare: bytes
    orientation: int = 1
    profile: bytes = b""
    #: The decoder has to keep all of a JPEG's coefficients at once.
    is_progressive: bool = False
    #: Bits of one sample; 16 for some PNG.
    depth: int = 8


def read(content: bytes) -> Outline:
    """Return the outline of a file. Raises Unknown and Malformed."""
    if content.startswith(b"\xff\xd8\xff"):
        return _read_jpeg(content)
    if content.startswith(PNG_SIGNATURE):
        return _read_png(content)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return _read_webp(content)
    raise Unknown


# ---------------------------------------------------------------- JPEG
_SOI, _EOI, _SOS, _APP0, _APP1, _APP2, _APP14 = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xE2, 0xEE
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
#: Besides the frame: Huffman and arithmetic tables, restart interval, quantisation.
_TABLES = {0xC4, 0xCC, 0xDB, 0xDD}
#: A marker, after fill bytes.
_MARKER = re.compile(rb"\xff++([^\x00\xff])", re.DOTALL)
#: What ends the data of a scan: any marker but the restarts in it.
_SCAN_END = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)


def _read_jpeg(content: bytes) -> Outline:
    bare, profile = [b"\xff\xd8"], dict[int, bytes]()
    exif, frame, code, scans = b"", b"", 0, 0
    for marker, body, data in _jpeg_parts(content):
        keep = marker in _TABLES
        if marker in _FRAMES:
            if frame or len(body) < 8:
                raise Malformed
            keep, frame, code = True, body, marker
        elif marker in (_SOS, _EOI):
            keep, scans = True, scans + (marker == _SOS)
        elif marker in (_APP0, _APP14):
            # They tell which colours the samples mean.
            keep = body[2:].startswith((b"JFIF\0", b"Adobe"))
        elif marker == _APP1 and body[2:8] == b"Exif\0\0":
            exif = exif or body[8:]
        elif marker == _APP2 and body[2:14] == b"ICC_PROFILE\0" and len(body) > 16:
            profile.setdefault(body[14], body[16:])
        if keep:
            bare += [bytes((0xFF, marker)), body, data]
    if not frame or not 0 < scans <= MAX_SCANS:
        raise Malformed
    return Outline(
        kind="JPEG",
        width=int.from_bytes(frame[5:7], "big"),
        height=int.from_bytes(frame[3:5], "big"),
        bare=b"".join(bare),
        orientation=_orientation(exif),
        profile=b"".join(profile[number] for number in sorted(profile)),
        is_progressive=code in _PROGRESSIVE,
    )


def _jpeg_parts(content: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield marker, body with its length and, for a scan, the data that follow it, up to the
    end of the picture. Without an end it was cut, as the decoder will find out."""
    position = 2
    for _part in range(MAX_PARTS):
        found = _MARKER.match(content, position)
        if found is None and position == len(content):
            return
        if found is None:
            raise Malformed
        marker, start = found[1][0], found.end()
        if marker == _EOI:
            yield marker, b"", b""
            return
        end = start + int.from_bytes(content[start : start + 2], "big")
        if end < start + 2 or end > len(content):
            raise Malformed
        position = end
        if marker == _SOS:
            stop = _SCAN_END.search(content, end)
            position = stop.start() if stop else len(content)
        yield marker, content[start:end], content[end:position]
    raise Malformed


# ---------------------------------------------------------------- PNG
_PNG_PICTURE = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


def _read_png(content: bytes) -> Outline:
    bare, header, exif, profile = [PNG_SIGNATURE], b"", b"", b""
    for name, body, whole in _png_parts(content):
        if name == b"IHDR":
            if header or len(body) != 13:
                raise Malformed
            header = body
        elif name == b"eXIf":
            exif = exif or body
        elif name == b"iCCP":
            profile = profile or _inflate(body)
        if name in _PNG_PICTURE:
            bare.append(whole)
    if not header:
        raise Malformed
    return Outline(
        kind="PNG",
        width=int.from_bytes(header[:4], "big"),
        height=int.from_bytes(header[4:8], "big"),
        bare=b"".join(bare),
        orientation=_orientation(exif),
        profile=profile,
        depth=header[8],
    )


def _png_parts(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield name, body and the whole of each chunk, up to the end of the picture.

    Checksums are compared of what the picture is made from, as Pillow does not for its data.
    """
    position = len(PNG_SIGNATURE)
    for _part in range(MAX_PARTS):
        name = content[position + 4 : position + 8]
        start = position + 8
        end = start + int.from_bytes(content[position : position + 4], "big")
        if end + 4 > len(content):
            raise Malformed
        body, checksum = content[start:end], content[end : end + 4]
        if name in _PNG_PICTURE and zlib.crc32(body, zlib.crc32(name)) != int.from_bytes(checksum):
            raise Malformed
        yield name, body, content[position : end + 4]
        if name == b"IEND":
            return
        position = end + 4
    raise Malformed


def _inflate(body: bytes) -> bytes:
    """Return the colour profile of an iCCP chunk, b"" for one that is broken or too large."""
    packed = body[body.find(b"\0") + 2 :]
    inflating = zlib.decompressobj()
    try:
        profile = inflating.decompress(packed, MAX_PROFILE)
    except zlib.error:
        return b""
    return profile if inflating.eof else b""


# ---------------------------------------------------------------- WebP
_ALPHA, _ANIMATION = 0x10, 0x02


def _read_webp(content: bytes) -> Outline:
    bare, size, exif, profile = [], (0, 0), b"", b""
    has_frame = False
    for name, body, whole in _webp_parts(content):
        keep = name in (b"ALPH", b"ANIM")
        if name == b"VP8X":
            size = _webp_size(name, body)
            # The parts it announces but for these two are not coming.
            flags = bytes((body[0] & (_ALPHA | _ANIMATION),))
            bare.append(whole[:8] + flags + whole[9:])
        elif name in (b"VP8 ", b"VP8L", b"ANMF"):
            # Of an animation the first picture.
            keep, has_frame = not has_frame, True
            size = size if any(size) else _webp_size(name, body)
        elif name == b"EXIF":
            exif = exif or body
        elif name == b"ICCP":
            profile = profile or body
        if keep:
            bare.append(whole)
    if not has_frame:
        raise Malformed
    chunks = b"".join(bare)
    return Outline(
        kind="WEBP",
        width=size[0],
        height=size[1],
        bare=b"RIFF" + (len(chunks) + 4).to_bytes(4, "little") + b"WEBP" + chunks,
        orientation=_orientation(exif.removeprefix(b"Exif\0\0")),
        profile=profile,
    )


def _webp_parts(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield name, body and the whole of each chunk inside the RIFF file."""
    stop = 8 + int.from_bytes(content[4:8], "little")
    if stop > len(content):
        raise Malformed
    position = 12
    for _part in range(MAX_PARTS):
        if position + 8 > stop:
            return
        name = content[position : position + 4]
        start = position + 8
        end = start + int.from_bytes(content[position + 4 : start], "little")
        if end > stop:
            raise Malformed
        padding = b"\0" if (end - start) % 2 else b""
        yield name, content[start:end], content[position:end] + padding
        position = end + len(padding)
    raise Malformed


def _webp_size(name: bytes, body: bytes) -> tuple[int, int]:
    if name == b"VP8X" and len(body) >= 10:
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if name == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = (int.from_bytes(body[at : at + 2], "little") for at in (6, 8))
        return width & 0x3FFF, height & 0x3FFF
    if name == b"VP8L" and body[:1] == b"\x2f":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise Malformed


# ---------------------------------------------------------------- EXIF
def _orientation(exif: bytes) -> int:
    """Return the orientation an EXIF block tells, 1 where it tells none.

    A bad block is no reason to refuse a good picture. Nothing else of the block is read: its
    entries may point to the same bytes thousands of times.
    """
    if exif[:4] not in (b"II*\0", b"MM\0*"):
        return 1
    order = "little" if exif.startswith(b"II") else "big"

    def number(at: int, length: int) -> int:
        return int.from_bytes(exif[at : at + length], order)  # type: ignore[arg-type]

    directory = number(4, 4)
    for entry in range(directory + 2, directory + 2 + 12 * number(directory, 2), 12):
        if number(entry, 2) == 0x0112:
            value = number(entry + 8, 2 if number(entry + 2, 2) == 3 else 4)
            return value if value in range(1, 9) else 1
    return 1
