"""Pictures that carry what they were made with, for other tools to read.

Files in the storage are as they came. On their way out the parameters are put in, or all
metadata left out, without touching a pixel: the file is the same but for some of its segments.

    PNG         text chunks `parameters`, as AUTOMATIC1111's web UI writes it, and `fluxsite`, JSON
    JPEG, WebP  the same two as Exif UserComment and in XMP; XMP also has the prompt as description

What is kept in any case is what a picture needs to look right: colour profile and orientation.
"""

from __future__ import annotations

import io
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any
from xml.sax.saxutils import escape

from PIL import Image

#: Of a prompt, in characters: what fits into one segment of a JPEG in any script, and more than
#: any prompt of ours.
MAX_PROMPT = 10_000
MAX_DESCRIPTION = 2_000

#: Either new bytes, or a range of the original's.
Piece = bytes | range


class CannotRewrite(Exception):
    """The file is not built as its type says."""


# ---------------------------------------------------------------- what is put in
#: What other tools call the parameters they know, in the order they write them.
_KNOWN = {
    "num_inference_steps": "Steps",
    "guidance_scale": "CFG scale",
    "seed": "Seed",
    "size": "Size",
    "strength": "Denoising strength",
}


@dataclass(frozen=True, kw_only=True)
class MadeWith:
    """What one picture was made with. Sizes in pixels, None when unknown."""

    source: str
    id: str
    model: str
    model_name: str
    prompt: str
    created_at: datetime
    parameters: Mapping[str, Any]
    width: int | None = None
    height: int | None = None

    def as_text(self) -> str:
        """Return the parameters as AUTOMATIC1111 writes them: the prompt, then one line."""
        given = dict(self.parameters)
        if self.width and self.height:
            given["size"] = f"{self.width}x{self.height}"
        known = {label: given.pop(name) for name, label in _KNOWN.items() if name in given}
        named = {**known, "Model": self.model_name or self.model, **given, "Version": "Fluxsite"}
        line = ", ".join(f"{name}: {_quoted(value)}" for name, value in named.items())
        return f"{self.prompt[:MAX_PROMPT]}\n{line}".strip()

    def as_json(self, *, ascii_only: bool = True) -> str:
        told = {
            "source": self.source,
            "id": self.id,
            "model": self.model,
            "prompt": self.prompt[:MAX_PROMPT],
            "parameters": dict(self.parameters),
            "created_at": self.created_at.astimezone(UTC).isoformat(),
        }
        return json.dumps(told, ensure_ascii=ascii_only, default=str)


def _quoted(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r'[,:\n"]', text) else text


# ---------------------------------------------------------------- a file and its pieces
class Rewritten(io.RawIOBase):
    """A picture's file with other metadata, to be read once from front to end.

    `made_with` None leaves all metadata out. Takes the file over and closes it. Raises
    CannotRewrite, and then does not close it.
    """

    def __init__(self, file: IO[bytes], *, content_type: str, made_with: MadeWith | None) -> None:
        super().__init__()
        try:
            pieces = _pieces_of(file, content_type, made_with)
        except (struct.error, IndexError, ValueError, OSError, SyntaxError) as error:
            raise CannotRewrite(content_type) from error
        self._file = file
        self._pieces = iter(pieces)
        self._left: Piece = b""
        self.size = sum(len(piece) for piece in pieces)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            following = next(self._pieces, None)
            if following is None:
                return 0
            self._left = following
            if isinstance(following, range):
                self._file.seek(following.start)
        length = min(len(buffer), len(self._left))
        if isinstance(self._left, bytes):
            content = self._left[:length]
        else:
            content = self._file.read(length)
            if not content:
                msg = "The file has become shorter."
                raise OSError(msg)
        buffer[: len(content)] = content
        self._left = self._left[len(content) :]
        return len(content)

    def close(self) -> None:
        self._file.close()
        super().close()


def _pieces_of(file: IO[bytes], content_type: str, made_with: MadeWith | None) -> list[Piece]:
    if content_type not in _REWRITERS:
        raise ValueError(content_type)
    file.seek(0)
    # Only the header is read.
    with Image.open(file, formats=("PNG", "JPEG", "WEBP")) as picture:
        orientation = picture.getexif().get(0x0112, 1)
        header = _Header(
            size=picture.size,
            has_alpha=picture.has_transparency_data,
            # Anything else is no orientation.
            orientation=orientation if orientation in range(2, 9) else 1,
        )
    end = file.seek(0, io.SEEK_END)
    return _joined(_REWRITERS[content_type](file, end, header, made_with))


@dataclass(frozen=True, kw_only=True)
class _Header:
    size: tuple[int, int]
    has_alpha: bool
    orientation: int


def _joined(pieces: Iterator[Piece]) -> list[Piece]:
    """Join ranges that follow each other, so that a file is read in few, long goes."""
    joined: list[Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else b""
        if isinstance(piece, range) and isinstance(last, range) and last.stop == piece.start:
            joined[-1] = range(last.start, piece.stop)
        else:
            joined.append(piece)
    return joined


def _read(file: IO[bytes], at: int, length: int) -> bytes:
    file.seek(at)
    content = file.read(length)
    if len(content) < length:
        msg = "The file ends in the middle."
        raise ValueError(msg)
    return content


# ---------------------------------------------------------------- PNG
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_METADATA = (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME")


def _png(file: IO[bytes], end: int, header: _Header, made_with: MadeWith | None) -> Iterator[Piece]:
    at = len(_PNG)
    yield range(at)
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", _read(file, at, 8))
        following = at + 12 + length
        if following > end:
            msg = "A chunk is longer than its file."
            raise ValueError(msg)
        if kind not in _PNG_METADATA:
            yield range(at, following)
        if kind == b"IHDR":
            yield from _png_metadata(header, made_with)
        at = following


def _png_metadata(header: _Header, made_with: MadeWith | None) -> Iterator[bytes]:
    if header.orientation != 1:
        yield _chunk(b"eXIf", _exif(header, None))
    if made_with is not None:
        yield _png_text("parameters", made_with.as_text())
        yield _png_text("fluxsite", made_with.as_json())


def _png_text(keyword: str, text: str) -> bytes:
    # NUL ends things in there, and no text of ours has one.
    text = text.replace("\0", "")
    try:
        return _chunk(b"tEXt", keyword.encode() + b"\0" + text.encode("latin-1"))
    except UnicodeEncodeError:
        content = text.encode("utf-8", "replace")
        return _chunk(b"iTXt", keyword.encode() + b"\0\0\0\0\0" + content)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


# ---------------------------------------------------------------- JPEG
_APP0, _APP1, _APP2, _APP14, _APP15, _COMMENT, _START_OF_SCAN = (
    *(0xE0, 0xE1, 0xE2, 0xEE, 0xEF),
    *(0xFE, 0xDA),
)
_XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"


def _jpeg(
    file: IO[bytes], end: int, header: _Header, made_with: MadeWith | None
) -> Iterator[Piece]:
    if _read(file, 0, 2) != b"\xff\xd8":
        msg = "not a JPEG"
        raise ValueError(msg)
    yield range(2)
    at, is_told = 2, False
    while True:
        mark, kind, length = struct.unpack(">BBH", _read(file, at, 4))
        if mark != 0xFF:
            msg = "A segment was expected."
            raise ValueError(msg)
        # Exif wants to be the first, but for the one that says JFIF.
        if kind != _APP0 and not is_told:
            yield from _jpeg_metadata(header, made_with)
            is_told = True
        if kind == _START_OF_SCAN:
            yield range(at, end)
            return
        if _is_kept(file, at, kind):
            yield range(at, at + 2 + length)
        at += 2 + length


def _is_kept(file: IO[bytes], at: int, kind: int) -> bool:
    """Tell whether a segment is needed to show the picture."""
    if kind == _APP2:
        return _read(file, at + 4, 12) == b"ICC_PROFILE\0"
    if kind in (_APP0, _APP14):
        return True
    return not (_APP0 < kind <= _APP15 or kind == _COMMENT)


def _jpeg_metadata(header: _Header, made_with: MadeWith | None) -> Iterator[bytes]:
    if made_with is not None or header.orientation != 1:
        yield _segment(b"Exif\0\0" + _exif(header, made_with))
    if made_with is not None:
        yield _segment(_XMP_MARK + _xmp(made_with))


def _segment(content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, _APP1, len(content) + 2) + content


# ---------------------------------------------------------------- WebP
_ALPHA_FLAG, _EXIF_FLAG, _XMP_FLAG = 0x10, 0x08, 0x04


def _webp(
    file: IO[bytes], end: int, header: _Header, made_with: MadeWith | None
) -> Iterator[Piece]:
    if _read(file, 0, 4) != b"RIFF" or _read(file, 8, 4) != b"WEBP":
        msg = "not a WebP"
        raise ValueError(msg)
    flags, pieces = 0, []
    for kind, at, following in _webp_chunks(file, end):
        if kind == b"VP8X":
            flags = _read(file, at + 8, 1)[0]
        elif kind not in (b"EXIF", b"XMP "):
            pieces.append(range(at, following))
    flags &= ~(_EXIF_FLAG | _XMP_FLAG)
    told = list(_webp_metadata(header, made_with))
    for kind, _content in told:
        flags |= _EXIF_FLAG if kind == b"EXIF" else _XMP_FLAG
    head = b""
    if flags:
        # A file of one chunk becomes one with a header, which must say what the picture has.
        flags |= _ALPHA_FLAG if header.has_alpha else 0
        width, height = header.size
        canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        head = _riff(b"VP8X", bytes([flags, 0, 0, 0]) + canvas)
    tail = b"".join(_riff(kind, content) for kind, content in told)
    length = 4 + len(head) + sum(map(len, pieces)) + len(tail)
    yield b"RIFF" + struct.pack("<I", length) + b"WEBP" + head
    yield from pieces
    yield tail


def _webp_chunks(file: IO[bytes], end: int) -> Iterator[tuple[bytes, int, int]]:
    at = 12
    end = min(end, 8 + struct.unpack("<I", _read(file, 4, 4))[0])
    while at + 8 <= end:
        kind, length = struct.unpack("<4sI", _read(file, at, 8))
        # Chunks are even.
        following = at + 8 + length + length % 2
        if following > end:
            msg = "A chunk is longer than its file."
            raise ValueError(msg)
        yield kind, at, following
        at = following


def _webp_metadata(header: _Header, made_with: MadeWith | None) -> Iterator[tuple[bytes, bytes]]:
    if made_with is not None or header.orientation != 1:
        yield b"EXIF", _exif(header, made_with)
    if made_with is not None:
        yield b"XMP ", _xmp(made_with)


def _riff(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


_Rewriter = Callable[[IO[bytes], int, _Header, MadeWith | None], Iterator[Piece]]
_REWRITERS: Mapping[str, _Rewriter] = {"image/png": _png, "image/jpeg": _jpeg, "image/webp": _webp}


# ---------------------------------------------------------------- Exif and XMP
def _exif(header: _Header, made_with: MadeWith | None) -> bytes:
    exif = Image.Exif()
    if header.orientation != 1:
        exif[0x0112] = header.orientation
    if made_with is not None:
        exif[0x0131] = "Fluxsite"
        # Those who write this field write the big end first, whatever the rest is in.
        text = made_with.as_text().encode("utf-16-be", "replace")
        exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + text
    return exif.tobytes().removeprefix(b"Exif\0\0")


_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    ' xmlns:fluxsite="urn:fluxsite:1">'
    '<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{description}</rdf:li></rdf:Alt>'
    "</dc:description>"
    "<fluxsite:parameters>{parameters}</fluxsite:parameters>"
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
    '<?xpacket end="r"?>'
)
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _xmp(made_with: MadeWith) -> bytes:
    described = made_with.prompt[:MAX_DESCRIPTION]
    description, parameters = (
        escape(_NOT_IN_XML.sub("", text))
        for text in (described, made_with.as_json(ascii_only=False))
    )
    return _XMP.format(description=description, parameters=parameters).encode("utf-8", "replace")
