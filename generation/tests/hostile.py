"""Files that strangers bring: bombs, forgeries, disguises, and good pictures that look odd.

Everything is made here, byte by byte and always the same. `FILES` and `FORMS` say of each
entry what must become of it; test_hostile_uploads.py brings them through the API.
"""

from __future__ import annotations

import base64
import functools
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageCms

#: Stands in whatever a stranger would like to see served; no stored file may have it.
PAYLOAD = b"HOSTILE-7f3a<script>alert(1)</script><?php system($_GET['c']); ?>"

RED, GREEN, BLUE, WHITE = (220, 30, 40), (30, 160, 60), (40, 60, 200), (240, 240, 240)
CORNERS = (RED, GREEN, BLUE, WHITE)
SIZE = (160, 120)


@dataclass(frozen=True, kw_only=True)
class Refused:
    code: str
    status: int = 400


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What is stored. `corners`: the colours of its quarters, None where nobody can say."""

    kind: str
    mode: str = "RGB"
    size: tuple[int, int] = SIZE
    corners: Iterable[Any] | None = CORNERS


@dataclass(frozen=True, kw_only=True)
class File:
    """A file in a form that is in order."""

    name: str
    make: Callable[[], bytes]
    expected: Refused | Kept
    file_name: str = "photo.jpg"
    content_type: str = "image/jpeg"


@dataclass(frozen=True, kw_only=True)
class Form:
    """A whole body."""

    name: str
    make: Callable[[], bytes]
    expected: Refused | Kept
    content_type: str = "multipart/form-data; boundary=frontier"


UNSUPPORTED = Refused(code="unsupported_format")
BROKEN = Refused(code="broken")
TOO_MANY_PIXELS = Refused(code="too_many_pixels")
TOO_SMALL = Refused(code="too_small")
TOO_LONG = Refused(code="too_long")
AS_JPEG, AS_PNG = Kept(kind="JPEG"), Kept(kind="PNG")

FILES: list[File] = []
FORMS: list[Form] = []


def _file(name: str, make: Callable[[], bytes], expected: Refused | Kept, **form: str) -> None:
    FILES.append(File(name=name, make=make, expected=expected, **form))


# ---------------------------------------------------------------- good pictures
def corners(
    mode: str = "RGB", size: tuple[int, int] = SIZE, colours: Iterable[Any] = CORNERS
) -> Image.Image:
    """Return a picture of four colours, by default red, green, blue and white."""
    image = Image.new("RGBA" if mode == "RGBA" else "RGB", size)
    width, height = size[0] // 2, size[1] // 2
    for place, colour in enumerate(colours):
        left, top = place % 2 * width, place // 2 * height
        image.paste(colour, (left, top, left + width, top + height))
    return image if image.mode == mode else image.convert(mode)


def written(image: Image.Image, kind: str, **save: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **save)
    return buffer.getvalue()


@functools.cache
def jpeg(**save: Any) -> bytes:
    return written(corners(), "JPEG", **{"quality": 95, "subsampling": 0, **save})


@functools.cache
def png() -> bytes:
    return written(corners(), "PNG")


@functools.cache
def webp(**save: Any) -> bytes:
    return written(corners(), "WEBP", **{"quality": 95, "method": 0, **save})


# ---------------------------------------------------------------- building blocks
def chunk(name: bytes, body: bytes, *, crc: int | None = None) -> bytes:
    """Return a chunk of a PNG, by default with the right checksum."""
    crc = zlib.crc32(name + body) if crc is None else crc
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc)


def raw_png(
    *,
    size: tuple[int, int] = (64, 64),
    depth: int = 8,
    colour: int = 2,
    interlaced: bool = False,
    data: bytes = b"",
    before: Iterable[bytes] = (),
    after: Iterable[bytes] = (),
) -> bytes:
    """Return a PNG with any header. `data` are its rows, each with a filter in front."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlaced)
    parts = [
        *[b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *before],
        *[chunk(b"IDAT", zlib.compress(data)), *after, chunk(b"IEND", b"")],
    ]
    return b"".join(parts)


def rows(row: bytes, *, height: int = 64) -> bytes:
    return (b"\0" + row) * height


def with_chunks(*chunks: bytes, content: bytes | None = None) -> bytes:
    """Return a good PNG with chunks after its header."""
    content = content or png()
    return content[:33] + b"".join(chunks) + content[33:]


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segments(*segments: bytes, content: bytes | None = None) -> bytes:
    """Return a good JPEG with segments at its beginning."""
    content = content or jpeg()
    return content[:2] + b"".join(segments) + content[2:]


def with_jpeg_size(width: int, height: int, content: bytes) -> bytes:
    """Return a JPEG whose header claims another size."""
    at = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
    return content[: at + 5] + struct.pack(">HH", height, width) + content[at + 9 :]


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP"
    for name, content in chunks:
        body += name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_canvas(width: int, height: int, *, flags: int = 0) -> tuple[bytes, bytes]:
    measures = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X", bytes((flags, 0, 0, 0)) + measures


def webp_frame() -> tuple[bytes, bytes]:
    """Return the only chunk of a plain WebP."""
    content = webp()
    return content[12:16], content[20 : 20 + struct.unpack("<I", content[16:20])[0]]


def exif(orientation: int = 1, *, maker: str = PAYLOAD.decode()) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010F] = maker
    block.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 30.0), 3: "E", 4: (2.0, 17.0, 40.0)})
    return block.tobytes()


def exif_bomb() -> bytes:
    """Return an EXIF block whose 50 000 entries all point to the same megabyte."""
    count, megabyte = 50_000, 1024 * 1024
    entries = (struct.pack("<HHII", n, 7, megabyte, 8) for n in range(1000, 1000 + count))
    ifd = struct.pack("<H", count) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8) + ifd + bytes(megabyte)


# ---------------------------------------------------------------- bombs
_file("png of 900 megapixels", lambda: raw_png(size=(30_000, 30_000)), TOO_MANY_PIXELS)
_file("png of 2^62 pixels", lambda: raw_png(size=(2**31 - 1,) * 2), TOO_MANY_PIXELS)
_file("png a row above the limit", lambda: raw_png(size=(5_000, 5_001)), TOO_MANY_PIXELS)
_file("webp with a huge canvas", lambda: riff(webp_canvas(16_384, 16_384), webp_frame()),
      TOO_MANY_PIXELS)  # fmt: skip
_file("webp of 2^48 pixels", lambda: riff(webp_canvas(2**24, 2**24), webp_frame()), TOO_MANY_PIXELS)
_file("webp lossless header of 268 megapixels", lambda: riff((b"VP8L", b"\x2f" + b"\xff" * 40)),
      TOO_MANY_PIXELS)  # fmt: skip
_file("jpeg of 4 gigapixels", lambda: with_jpeg_size(65_500, 65_500, jpeg()), TOO_MANY_PIXELS)
_file(
    "progressive jpeg of 36 megapixels",
    lambda: with_jpeg_size(6_000, 6_000, jpeg(progressive=True)),
    TOO_MANY_PIXELS,
)
_file(
    "png whose data inflate to 100 MB",
    lambda: raw_png(data=rows(bytes(RED) * 64) + bytes(100 * 1024**2)),
    Kept(kind="PNG", size=(64, 64), corners=(RED,) * 4),
)
_file(
    "png with zlib in zlib in zlib",
    lambda: raw_png(data=zlib.compress(zlib.compress(bytes(10 * 1024**2)))),
    BROKEN,
)
_file(
    "png with a compressed text of 100 MB",
    lambda: with_chunks(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100 * 1024**2)))),
    AS_PNG,
)
_file(
    "png with 200 compressed texts of 1 MB",
    lambda: with_chunks(
        *[chunk(b"iTXt", b"c\0\1\0\0\0" + zlib.compress(PAYLOAD + bytes(1024**2)))] * 200
    ),
    AS_PNG,
)
_file("png with a text of 5 MB", lambda: with_chunks(chunk(b"tEXt", b"c\0" + PAYLOAD * 80_000)),
      AS_PNG)  # fmt: skip
_file(
    "png with a profile of 100 MB",
    lambda: with_chunks(chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(100 * 1024**2)))),
    AS_PNG,
)
_file(
    "png with 5000 profiles of 1 MB",
    lambda: with_chunks(*[chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(1024**2)))] * 5_000),
    AS_PNG,
)
_file("png with 30 000 chunks", lambda: with_chunks(*[chunk(b"quIt", b"")] * 30_000), BROKEN)
_file("png with an exif bomb", lambda: with_chunks(chunk(b"eXIf", exif_bomb())), AS_PNG)
_file(
    "webp with an exif bomb",
    lambda: riff(webp_canvas(*SIZE, flags=8), webp_frame(), (b"EXIF", exif_bomb())),
    AS_JPEG,
)
_file(
    "jpeg with an exif block in 50 pieces",
    lambda: with_segments(*[segment(0xE1, b"Exif\0\0" + exif_bomb()[:65_000])] * 50),
    AS_JPEG,
)
_file(
    "jpeg with a profile of 8 MB",
    lambda: with_segments(
        *[segment(0xE2, b"ICC_PROFILE\0" + bytes((n, 128)) + bytes(65_000)) for n in range(1, 129)]
    ),
    AS_JPEG,
)
_file("jpeg with 30 000 segments", lambda: with_segments(*[segment(0xE5, b"")] * 30_000), BROKEN)
_file("jpeg with 1 MB of fill bytes", lambda: with_segments(b"\xff" * 1024**2), AS_JPEG)


def jpeg_with_scans(count: int) -> bytes:
    """Return a progressive JPEG that has its last scan many times."""
    content = jpeg(progressive=True)
    last = content.rfind(b"\xff\xda")
    return content[:-2] + content[last:-2] * count + content[-2:]


_file("jpeg with 5000 scans", lambda: jpeg_with_scans(5_000), BROKEN)
_file("jpeg with 29 scans", lambda: jpeg_with_scans(19), Kept(kind="JPEG", corners=None))


# ---------------------------------------------------------------- cut and damaged files
_WHOLE: dict[str, Callable[[], bytes]] = {
    "jpeg": jpeg,
    "progressive jpeg": lambda: jpeg(progressive=True),
    "png": png,
    "webp": webp,
    "lossless webp": lambda: webp(lossless=True),
    "webp with alpha": lambda: written(
        corners("RGBA", colours=[(*c, 128) for c in CORNERS]), "WEBP", method=0
    ),
}


def cut(make: Callable[[], bytes], part: float) -> bytes:
    content = make()
    return content[: int(len(content) * part)]


for _name, _make in _WHOLE.items():
    _file(f"{_name} cut after 3 bytes", lambda make=_make: make()[:3],
          BROKEN if "jpeg" in _name else UNSUPPORTED)  # fmt: skip
    for _part in (0.2, 0.25, 0.5, 0.75, 0.98):
        _file(f"{_name} cut at {_part:.0%}", functools.partial(cut, _make, _part), BROKEN)
_file("png without its end", lambda: png()[:-12], BROKEN)
_file("webp shorter than it says", lambda: webp()[:-2], BROKEN)
_file("png with a wrong checksum of its data",
      lambda: (lambda whole: whole[:-13] + bytes((whole[-13] ^ 1,)) + whole[-12:])(png()), BROKEN)  # fmt: skip
_file("png with a changed byte in its data",
      lambda: (lambda whole: whole[:80] + bytes((whole[80] ^ 1,)) + whole[81:])(png()), BROKEN)  # fmt: skip
_file("png with a wrong checksum of its header", lambda: png()[:29] + bytes(4) + png()[33:], BROKEN)
_file("png with a wrong checksum of a text",
      lambda: with_chunks(chunk(b"tEXt", b"c\0" + PAYLOAD, crc=1)), AS_PNG)  # fmt: skip
_file("png without a palette", lambda: raw_png(colour=3, data=rows(bytes(64))), BROKEN)
_file("png without data", raw_png, BROKEN)
_file("png without a header", lambda: png()[:8] + png()[33:], BROKEN)
_file("png with two headers", lambda: with_chunks(png()[8:33]), BROKEN)
_file("png of an unknown colour type", lambda: raw_png(colour=5, data=rows(bytes(192))), BROKEN)
_file("jpeg without a frame", lambda: b"\xff\xd8" + segment(0xE0, b"JFIF\0") + b"\xff\xd9", BROKEN)
_file("jpeg of nothing but a beginning", lambda: b"\xff\xd8\xff" + bytes(100), BROKEN)
_file("jpeg with two frames",
      lambda: with_segments(segment(0xC0, b"\x08" + bytes(14))), BROKEN)  # fmt: skip
_file("jpeg of 12 bits", lambda: jpeg().replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"),
      BROKEN)  # fmt: skip
_file("webp without a picture", lambda: riff(webp_canvas(*SIZE)), BROKEN)
_file("webp whose frame has another size than its canvas",
      lambda: riff(webp_canvas(300, 200), webp_frame()), BROKEN)  # fmt: skip
_file("webp with a chunk that reaches beyond the file",
      lambda: webp()[:16] + b"\xff\xff\xff\x7f" + webp()[20:], BROKEN)  # fmt: skip

# ---------------------------------------------------------------- sizes
_file("empty file", lambda: b"", UNSUPPORTED)
_file("one byte", lambda: b"\xff", UNSUPPORTED)
_file("png of 1x1", lambda: written(Image.new("RGB", (1, 1)), "PNG"), TOO_SMALL)
_file("png of 0x100", lambda: raw_png(size=(0, 100)), TOO_SMALL)
_file("jpeg of 100x0", lambda: with_jpeg_size(100, 0, jpeg()), TOO_SMALL)
_file("webp of 0x0", lambda: riff((b"VP8 ", b"\0\0\0\x9d\x01\x2a" + bytes(20))), TOO_SMALL)
_file("png of 63 rows", lambda: written(Image.new("RGB", (64, 63)), "PNG"), TOO_SMALL)
_file("png of 64x64", lambda: written(corners(size=(64, 64)), "PNG"),
      Kept(kind="PNG", size=(64, 64)))  # fmt: skip
_file("jpeg 31 times as long as wide", lambda: with_jpeg_size(2_000, 64, jpeg()), TOO_LONG)
_file("png of 2^31 columns", lambda: raw_png(size=(2**31 - 1, 1)), TOO_MANY_PIXELS)
_file("more than 10 MB", lambda: jpeg() + bytes(10 * 1024**2),
      Refused(code="too_large", status=413))  # fmt: skip
_file("exactly 10 MB", lambda: jpeg() + bytes(10 * 1024**2 - len(jpeg())), AS_JPEG)


# ---------------------------------------------------------------- two files in one
def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(zipfile.ZipInfo("evil.php"), PAYLOAD)
    return buffer.getvalue()


HTML = b"<!DOCTYPE html><html><body>" + PAYLOAD + b"</body></html>"
PDF = b"%PDF-1.7\n1 0 obj<</JS(" + PAYLOAD + b")>>endobj\n%%EOF\n"

_file("jpeg and zip", lambda: jpeg() + archive(), AS_JPEG)
_file("jpeg and php after it", lambda: jpeg() + PAYLOAD, AS_JPEG)
_file("jpeg with php in a comment", lambda: with_segments(segment(0xFE, PAYLOAD)), AS_JPEG)
_file("jpeg with php in every segment",
      lambda: with_segments(*(segment(n, PAYLOAD) for n in range(0xE0, 0xF0))), AS_JPEG)  # fmt: skip
_file("jpeg with php after JFIF", lambda: with_segments(segment(0xE0, b"JFIF\0" + PAYLOAD)),
      Kept(kind="JPEG"))  # fmt: skip
_file("jpeg that is also a pdf", lambda: with_segments(segment(0xFE, PDF)) + PDF, AS_JPEG)
_file("pdf with a jpeg in it", lambda: PDF + jpeg(), UNSUPPORTED)
_file("gif header and jpeg", lambda: b"GIF89a" + jpeg(), UNSUPPORTED)
_file("javascript that is also a jpeg",
      lambda: with_segments(segment(0xE0, b"*/=1;" + PAYLOAD + b"/*")), AS_JPEG)  # fmt: skip
_file("png and html", lambda: png() + HTML, AS_PNG)
_file("png with html in texts",
      lambda: with_chunks(chunk(b"tEXt", b"Title\0" + HTML), chunk(b"iTXt", b"T\0\0\0\0\0" + HTML)),
      AS_PNG)  # fmt: skip
_file("png with html in a private chunk", lambda: with_chunks(chunk(b"evIl", HTML)), AS_PNG)
_file(
    "png with php in its palette",
    lambda: raw_png(
        colour=3, data=rows(bytes(range(20)) * 3 + bytes(4)),
        before=[chunk(b"PLTE", PAYLOAD[:63])],
    ),
    Kept(kind="PNG", size=(64, 64), corners=None),
)  # fmt: skip
_file("png with php in its pixels",
      lambda: raw_png(data=rows((PAYLOAD * 3)[:192])),
      Kept(kind="PNG", size=(64, 64), corners=None))  # fmt: skip
_file("webp and javascript", lambda: webp() + PAYLOAD, AS_JPEG)
_file("webp with javascript in chunks",
      lambda: riff(webp_canvas(*SIZE, flags=4), webp_frame(), (b"XMP ", PAYLOAD), (b"evil", PAYLOAD)),
      AS_JPEG)  # fmt: skip
_file("jpeg inside a png", lambda: png() + jpeg(), AS_PNG)

# ---------------------------------------------------------------- disguises
for _name, _type in [
    ("photo.png", "image/jpeg"),
    ("evil.svg", "image/svg+xml"),
    ("evil.html", "text/html"),
    ("evil.php", "application/x-httpd-php"),
    ("evil.exe", "application/octet-stream"),
    ("no ending", ""),
]:
    _file(f"jpeg called {_name}, declared {_type or 'nothing'}", jpeg, AS_JPEG,
          file_name=_name, content_type=_type)  # fmt: skip
_file("png called photo.jpg", png, AS_PNG)
_file("webp called photo.png", webp, AS_JPEG, file_name="photo.png", content_type="image/png")

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>'
_small = functools.partial(Image.new, "RGB", (100, 100))
_DISGUISED: dict[str, Callable[[], bytes]] = {
    "svg": lambda: SVG,
    "svg after a declaration": lambda: b'<?xml version="1.0"?>' + SVG,
    "svg after a bom": lambda: b"\xef\xbb\xbf" + SVG,
    "html": lambda: HTML,
    "php": lambda: PAYLOAD,
    "eps": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n(%pipe%id) (w) file\n",
    "eps with a preview": lambda: b"\xc5\xd0\xd3\xc6" + bytes(100),
    "pdf": lambda: PDF,
    "zip": archive,
    "bmp": lambda: written(_small(), "BMP"),
    "tiff": lambda: written(_small(), "TIFF"),
    "ico": lambda: written(_small(), "ICO"),
    "gif": lambda: written(_small(), "GIF"),
    "ppm": lambda: written(_small(), "PPM"),
    "tga": lambda: written(_small(), "TGA"),
    "pcx": lambda: written(_small(), "PCX"),
    "jpeg 2000": lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
    "avif": lambda: written(_small(), "AVIF"),
    "heic": lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
    "riff sound": lambda: b"RIFF\x24\0\0\0WAVEfmt " + bytes(100),
    "photoshop": lambda: b"8BPS\0\1" + bytes(100),
    "elf program": lambda: b"\x7fELF" + bytes(100),
    "utf-16 text": lambda: "text".encode("utf-16"),
}
for _name, _make in _DISGUISED.items():
    _file(f"{_name} declared as png", _make, UNSUPPORTED,
          file_name="photo.png", content_type="image/png")  # fmt: skip

# ---------------------------------------------------------------- several pictures in one file
_RED_CARD, _BLUE_CARD = (lambda: corners(colours=[RED] * 4)), (lambda: corners(colours=[BLUE] * 4))
_ALL_RED = [RED] * 4


def animated(kind: str, **save: Any) -> bytes:
    """Return red, then blue."""
    return written(
        _RED_CARD(), kind, save_all=True, append_images=[_BLUE_CARD()], duration=100, **save
    )


_file("animated webp", lambda: animated("WEBP", quality=95, method=0),
      Kept(kind="JPEG", corners=_ALL_RED))  # fmt: skip
_file("animated lossless webp", lambda: animated("WEBP", lossless=True, method=0),
      Kept(kind="JPEG", corners=_ALL_RED))  # fmt: skip
_file("apng", lambda: animated("PNG"), Kept(kind="PNG", corners=_ALL_RED))
_file("apng with a picture of its own for other viewers",
      lambda: animated("PNG", default_image=True), Kept(kind="PNG", corners=_ALL_RED))  # fmt: skip
_file("mpo of two pictures",
      lambda: written(_RED_CARD(), "MPO", save_all=True, append_images=[_BLUE_CARD()], quality=95),
      Kept(kind="JPEG", corners=_ALL_RED))  # fmt: skip
_file("jpeg and another behind it", lambda: jpeg() + written(_BLUE_CARD(), "JPEG"), AS_JPEG)
_file(
    "webp of 5000 frames",
    lambda: riff(
        webp_canvas(*SIZE, flags=2),
        (b"ANIM", bytes(6)),
        *[_webp_animation_frame()] * 5_000,
    ),
    AS_JPEG,
)


@functools.cache
def _webp_animation_frame() -> tuple[bytes, bytes]:
    name, content = webp_frame()
    # A mere hundred bytes each, but for the first: none of them is looked at.
    measures = (SIZE[0] - 1).to_bytes(3, "little") + (SIZE[1] - 1).to_bytes(3, "little")
    body = bytes(6) + measures + bytes(3) + b"\x02"
    body += name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
    return b"ANMF", body


# ---------------------------------------------------------------- every kind of pixel
_GREYS = [(76,) * 3, (112,) * 3, (66,) * 3, (240,) * 3]


def _cmyk(**save: Any) -> bytes:
    return written(corners("CMYK"), "JPEG", **{"quality": 95, "subsampling": 0, **save})


def _cmyk_without_mark() -> bytes:
    """Return CMYK inverted as Adobe does and everybody expects, without Adobe's segment."""
    content = _cmyk()
    at = content.find(b"\xff\xee")
    return content[:at] + content[at + 16 :]


def _sixteen_bits(colour: int, samples: Iterable[int], key: Iterable[int] = ()) -> bytes:
    row = struct.pack(f">{len(list(samples))}H", *samples) * 64
    before = [chunk(b"tRNS", struct.pack(f">{len(list(key))}H", *key))] if key else []
    return raw_png(depth=16, colour=colour, data=rows(row), before=before)


def _solid(*colour: int, mode: str = "RGB") -> Kept:
    return Kept(kind="PNG", mode=mode, size=(64, 64), corners=[colour] * 4)


def _interlaced() -> bytes:
    """Return a red PNG in the seven passes of Adam7."""
    passes = [(8, 8), (8, 8), (16, 8), (16, 16), (32, 16), (32, 32), (64, 32)]
    data = b"".join(rows(bytes(RED) * width, height=height) for width, height in passes)
    return raw_png(data=data, interlaced=True)


_file("jpeg in grey", lambda: written(corners("L"), "JPEG", quality=95),
      Kept(kind="JPEG", corners=_GREYS))  # fmt: skip
_file("progressive jpeg", lambda: jpeg(progressive=True), AS_JPEG)
_file("jpeg with restart markers", lambda: jpeg(restart_marker_blocks=3), AS_JPEG)
_file("jpeg with halved colours", lambda: jpeg(subsampling=2), AS_JPEG)
_file("cmyk jpeg from adobe", _cmyk, AS_JPEG)
_file("progressive cmyk jpeg", lambda: _cmyk(progressive=True), AS_JPEG)
_file("cmyk jpeg without adobe's mark", _cmyk_without_mark, AS_JPEG)
_file("png in 16-bit grey", lambda: _sixteen_bits(0, (0x8000,)), _solid(128, 128, 128))
_file("png in 16-bit grey, nearly black", lambda: _sixteen_bits(0, (0x0A00,)), _solid(10, 10, 10))
_file("png in 16-bit grey with a transparent one", lambda: _sixteen_bits(0, (0x8001,), (0x8001,)),
      _solid(128, 128, 128, 0, mode="RGBA"))  # fmt: skip
_file("png in 16-bit rgb", lambda: _sixteen_bits(2, (0x8001, 0x4000, 0xFFFF)), _solid(128, 64, 255))
_file("png in 16-bit rgb with a transparent one",
      lambda: _sixteen_bits(2, (0x8001, 0x4000, 0xFFFF), (0x8001, 0x4000, 0xFFFF)),
      _solid(128, 64, 255, 0, mode="RGBA"))  # fmt: skip
_file("png in 16-bit rgba", lambda: _sixteen_bits(6, (0x8001, 0x4000, 0xFFFF, 0x1000)),
      _solid(128, 64, 255, 16, mode="RGBA"))  # fmt: skip
_file("png in 16-bit grey with alpha", lambda: _sixteen_bits(4, (0x8001, 0x4000)),
      _solid(128, 128, 128, 64, mode="RGBA"))  # fmt: skip
_file("png in grey with alpha", lambda: raw_png(colour=4, data=rows(b"\x80\x40" * 64)),
      _solid(128, 128, 128, 64, mode="RGBA"))  # fmt: skip
_file("png in 4 greys with a transparent one",
      lambda: raw_png(colour=0, depth=2, data=rows(b"\x55" * 16), before=[chunk(b"tRNS", b"\0\1")]),
      _solid(85, 85, 85, 0, mode="RGBA"))  # fmt: skip
_file("png in black and white", lambda: written(corners("L").convert("1", dither=0), "PNG"),
      Kept(kind="PNG", corners=[(0,) * 3, (0,) * 3, (0,) * 3, (255,) * 3]))  # fmt: skip
_file("png with a palette", lambda: written(corners().quantize(4), "PNG"), AS_PNG)
_file("png with a palette and a transparent colour",
      lambda: raw_png(colour=3, data=rows(bytes(64)),
                      before=[chunk(b"PLTE", bytes(RED)), chunk(b"tRNS", b"\x40")]),
      _solid(*RED, 64, mode="RGBA"))  # fmt: skip
_file("png in rgb with a transparent colour",
      lambda: raw_png(data=rows(bytes(RED) * 64),
                      before=[chunk(b"tRNS", struct.pack(">3H", *RED))]),
      _solid(*RED, 0, mode="RGBA"))  # fmt: skip
_file("png whose alpha hides nothing",
      lambda: written(corners("RGBA", colours=[(*c, 255) for c in CORNERS]), "PNG"), AS_PNG)  # fmt: skip
_file("png in seven passes", _interlaced, _solid(*RED))
_file("webp with alpha",
      lambda: written(corners("RGBA", colours=[(*c, 128) for c in CORNERS]), "WEBP", lossless=True),
      Kept(kind="PNG", mode="RGBA", corners=[(*c, 128) for c in CORNERS]))  # fmt: skip
_file("webp whose alpha hides nothing",
      lambda: riff(webp_canvas(*SIZE, flags=0x10), webp_frame()), AS_JPEG)  # fmt: skip


# ---------------------------------------------------------------- what files tell about people
def lying_down() -> bytes:
    """Return a picture that is upright once it has been turned by a quarter."""
    return written(corners().transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95,
                   subsampling=0, exif=exif(6))  # fmt: skip


def in_other_colours(kind: str, **save: Any) -> bytes:
    """Return a picture with a colour profile that names the payload."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return written(corners(), kind, icc_profile=profile + PAYLOAD, **save)


XMP = b"<x:xmpmeta tiff:Orientation='6'>" + PAYLOAD + b"</x:xmpmeta>"
_file("jpeg that tells where and how it was taken", lying_down, AS_JPEG)
_file("png that tells where and how it was taken",
      lambda: written(corners().transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif(6)), AS_PNG)  # fmt: skip
_file("webp that tells where and how it was taken",
      lambda: written(corners().transpose(Image.Transpose.ROTATE_90), "WEBP", lossless=True,
                      exif=exif(6)), AS_JPEG)  # fmt: skip
_file("jpeg with xmp",
      lambda: with_segments(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)), AS_JPEG)  # fmt: skip
_file("png with xmp", lambda: with_chunks(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)),
      AS_PNG)  # fmt: skip
_file("jpeg with a thumbnail of something else",
      lambda: with_segments(segment(0xE1, exif() + written(_BLUE_CARD(), "JPEG"))), AS_JPEG)  # fmt: skip
_file("jpeg with a profile", lambda: in_other_colours("JPEG", quality=95, subsampling=0), AS_JPEG)
_file("png with a profile", lambda: in_other_colours("PNG"), AS_PNG)
_file("webp with a profile", lambda: in_other_colours("WEBP", lossless=True), AS_JPEG)
_file("png with a broken profile", lambda: with_chunks(chunk(b"iCCP", b"p\0\0" + PAYLOAD)), AS_PNG)
_file("jpeg with photoshop's notes", lambda: with_segments(segment(0xED, b"Photoshop 3.0\0" + PAYLOAD)),
      AS_JPEG)  # fmt: skip


# ---------------------------------------------------------------- names
def part(headers: bytes, content: bytes) -> bytes:
    return b"--frontier\r\n" + headers + b"\r\n\r\n" + content + b"\r\n"


END = b"--frontier--\r\n"


def _named(disposition: bytes) -> bytes:
    headers = b'Content-Disposition: form-data; name="file"; ' + disposition
    return part(headers + b"\r\nContent-Type: image/jpeg", jpeg()) + END


NO_FILE = Refused(code="invalid")
BAD_FORM = Refused(code="parse_error")

_NAMES: dict[str, tuple[bytes, Refused | Kept]] = {
    "with a path": (b'filename="../../../../etc/passwd.jpg"', AS_JPEG),
    "with a path of windows": (b'filename="..\\\\..\\\\boot.ini"', AS_JPEG),
    "of dots": (b'filename=".."', NO_FILE),
    "with nul": (b'filename="a\0.php.jpg"', AS_JPEG),
    "with a line end in code": (b'filename="a%0d%0aX-Evil: 1.jpg"', AS_JPEG),
    "with a line end": (b'filename="a\r\nX-Evil: 1.jpg"', AS_JPEG),
    "that reads backwards": ('filename="a\u202egpj.exe"'.encode(), AS_JPEG),
    "in chinese": ('filename="照片.jpg"'.encode(), AS_JPEG),
    "in latin-1": (b'filename="caf\xe9.jpg"', NO_FILE),
    "with quotes": (b'filename="a\\"; name=\\"other.jpg"', AS_JPEG),
    "with html": (b'filename="<img src=x onerror=alert(1)>.jpg"', AS_JPEG),
    "as rfc 5987": (b"filename*=UTF-8''%2e%2e%2fevil.jpg", AS_JPEG),
    "of 600 characters": (b'filename="' + b"a" * 600 + b'.jpg"', AS_JPEG),
    "of nothing": (b'filename=""', NO_FILE),
    "without a file name": (b"", NO_FILE),
    "of a device": (b'filename="CON"', AS_JPEG),
}
for _name, (_disposition, _expected) in _NAMES.items():
    FORMS.append(
        Form(
            name=f"name {_name}",
            make=functools.partial(_named, _disposition),
            expected=_expected,
        )
    )


# ---------------------------------------------------------------- forms
def _plain(
    name: bytes = b"file", file_name: bytes = b"a.jpg", content: bytes | None = None
) -> bytes:
    headers = b'Content-Disposition: form-data; name="%s"; filename="%s"' % (name, file_name)
    return part(headers, jpeg() if content is None else content)


def _text(name: bytes, content: bytes) -> bytes:
    return part(b'Content-Disposition: form-data; name="%s"' % name, content)


def _base64(content: bytes) -> bytes:
    headers = b'Content-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
    return part(headers + b"Content-Transfer-Encoding: base64", content) + END


def _nested() -> bytes:
    inner = b'--inner\r\nContent-Disposition: file; filename="a.jpg"\r\n\r\n' + jpeg()
    headers = b'Content-Disposition: form-data; name="file"\r\n'
    return (
        part(headers + b"Content-Type: multipart/mixed; boundary=inner", inner + b"--inner--") + END
    )


def _form(name: str, make: Callable[[], bytes], expected: Refused | Kept, **form: str) -> None:
    FORMS.append(Form(name=name, make=make, expected=expected, **form))


WRONG_TYPE = Refused(code="unsupported_media_type", status=415)

_form("form in order", lambda: _plain() + END, AS_JPEG)
_form("form with other fields", lambda: _text(b"prompt", b"a cat") + _plain() + END, AS_JPEG)
_form("empty body", lambda: b"", NO_FILE)
_form("form without parts", lambda: END, NO_FILE)
_form("file in another field", lambda: _plain(b"picture") + END, NO_FILE)
_form("text in the field", lambda: _text(b"file", jpeg()) + END, NO_FILE)
_form("text and file in the field", lambda: _text(b"file", b"x") + _plain() + END, AS_JPEG)
_form("two files in the field", lambda: _plain() * 2 + END, NO_FILE)
_form("file without content", lambda: _plain(content=b"") + END, UNSUPPORTED)
_form("19 other files", lambda: _plain(b"other") * 19 + _plain() + END, AS_JPEG)
_form("21 files", lambda: _plain(b"other", content=b"x") * 21 + END, BAD_FORM)
_form("5000 files", lambda: _plain(b"other", content=b"") * 5_000 + END, BAD_FORM)
_form("5000 fields", lambda: _text(b"a", b"1") * 5_000 + _plain() + END, BAD_FORM)
_form("field of 2 MB", lambda: _text(b"a", bytes(2 * 1024**2)) + _plain() + END, BAD_FORM)
_form("wrong boundary", lambda: (_plain() + END).replace(b"frontier", b"elsewhere"), NO_FILE)
_form("no boundary", lambda: _plain() + END, BAD_FORM, content_type="multipart/form-data")
_form("empty boundary", lambda: _plain() + END, BAD_FORM,
      content_type="multipart/form-data; boundary=")  # fmt: skip
_form("boundary of 300 characters", lambda: _plain() + END, WRONG_TYPE,
      content_type="multipart/form-data; boundary=" + "b" * 300)  # fmt: skip
_form("boundary that is not ascii", lambda: _plain() + END, BAD_FORM,
      content_type="multipart/form-data; boundary=fr\u00f6ntier")  # fmt: skip
_form("unknown charset", lambda: _plain() + END, AS_JPEG,
      content_type="multipart/form-data; boundary=frontier; charset=nonsense")  # fmt: skip
_form("nested form", _nested, NO_FILE)
_form("form that is never closed", _plain, NO_FILE)
_form("form cut inside its file", lambda: _plain()[:600], NO_FILE)
_form("form cut inside its headers", lambda: _plain()[:40], NO_FILE)
_form("headers without an end",
      lambda: b"--frontier\r\nContent-Disposition: form-data; name=" + b"a" * 100_000, BAD_FORM)  # fmt: skip
_form("base64", lambda: _base64(base64.b64encode(jpeg())), AS_JPEG)
_form("broken base64", lambda: _base64(b"A" * 4001), BAD_FORM)
_form("json", lambda: b'{"file": "x"}', WRONG_TYPE, content_type="application/json")
_form("broken json", lambda: b"{", WRONG_TYPE, content_type="application/json")
_form("urlencoded", lambda: b"file=x", WRONG_TYPE,
      content_type="application/x-www-form-urlencoded")  # fmt: skip
_form("the bare file", jpeg, WRONG_TYPE, content_type="image/jpeg")
_form("no type at all", jpeg, WRONG_TYPE, content_type="")
_form("a type of nonsense", jpeg, WRONG_TYPE, content_type=';;;/="')
