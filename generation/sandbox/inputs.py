"""Input pictures: fetched, checked and reduced.

Data URIs and http addresses of this machine only: a stand-in that reached out to whatever
host a prompt names would be a hole in the network it runs in.
"""

from __future__ import annotations

import base64
import binascii
import io
import ipaddress
import socket
import urllib.error
import urllib.parse
import urllib.request
import warnings
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from typing import IO

from PIL import Image, ImageOps

FETCH_TIMEOUT_SECS = 5.0
MAX_BYTES = 30 * 2**20
MAX_PIXELS = 64 * 2**20
# Painting needs no more, and a finished job keeps its inputs for as long as it is kept.
REDUCED_PX = 1024


class Undownloadable(Exception):
    """The address could not be fetched."""


class Unreadable(Exception):
    """Bytes arrived and are no picture."""


@dataclass(frozen=True)
class InputPicture:
    """An upright JPEG of at most ``REDUCED_PX`` a side; width and height before reduction."""

    jpeg: bytes
    width: int
    height: int


def load(url: str) -> InputPicture:
    """Return the picture behind a data URI or a loopback address."""
    data = _from_data_uri(url) if url.startswith("data:") else _download(url)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise Unreadable("too many pixels")
                return _reduce(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Unreadable(str(error)) from error


def is_loopback(host: str) -> bool:
    """Say whether every address of the host is on this machine."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(ipaddress.ip_address(entry[4][0]).is_loopback for entry in found)


def _reduce(picture: Image.Image) -> InputPicture:
    upright = ImageOps.exif_transpose(picture)
    width, height = upright.size
    upright.thumbnail((REDUCED_PX, REDUCED_PX))
    if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        layer = upright.convert("RGBA")
        upright = Image.new("RGBA", layer.size, "white")
        upright.alpha_composite(layer)
    buffer = io.BytesIO()
    upright.convert("RGB").save(buffer, "JPEG", quality=90)
    return InputPicture(buffer.getvalue(), width, height)


def _from_data_uri(uri: str) -> bytes:
    header, comma, data = uri.partition(",")
    if not comma:
        raise Undownloadable("not a data URI")
    if len(data) > MAX_BYTES * 4 // 3 + 4:
        raise Undownloadable("too large")
    raw = urllib.parse.unquote_to_bytes(data)
    if not header.endswith(";base64"):
        return raw
    try:
        return base64.b64decode(raw)
    except binascii.Error as error:
        raise Unreadable(str(error)) from error


class _LoopbackRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        _require_loopback(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_loopback(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not is_loopback(parts.hostname or ""):
        raise Undownloadable("not an address of this machine")


def _download(url: str) -> bytes:
    # An empty ProxyHandler: a proxy from the environment would not reach loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _LoopbackRedirects())
    try:
        _require_loopback(url)
        with opener.open(url, timeout=FETCH_TIMEOUT_SECS) as reply:
            data: bytes = reply.read(MAX_BYTES + 1)
    except (OSError, ValueError, HTTPException) as error:
        raise Undownloadable(str(error)) from error
    if len(data) > MAX_BYTES:
        raise Undownloadable("too large")
    return data
