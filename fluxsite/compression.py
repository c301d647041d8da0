"""Pages, styles and scripts travel compressed; nothing else does.

A stream of events must not wait for a compressor to fill, and pictures are as small as they get.
Static files are compressed once per process, the first time somebody asks, by brotli for those
who read it: an eighth less than gzip. The comments of our
own, a fifth of what would travel, stay here; lines keep their numbers.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from typing import Any

import brotli
from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils.cache import patch_vary_headers
from django.utils.regex_helper import _lazy_re_compile
from django.utils.text import compress_string

MIN_BYTES = 800
MIN_STATIC_BYTES = 200
MAX_STATIC_BYTES = 4 * 1024 * 1024
#: Beyond, the best that brotli can do takes seconds.
MAX_BEST_BYTES = 256 * 1024
STATIC_TYPES = ("text/", "application/javascript", "image/svg+xml", "application/json")
#: Random bytes that hide the true size: who measures it learns nothing of tokens in the page.
PADDING = 100

#: Our own scripts write comments on lines of their own, and no line of a text begins like one.
_COMMENTS = {
    ".css": re.compile(rb"/\*.*?\*/", re.DOTALL),
    ".js": re.compile(rb"^[ \t]*(?://[^\n]*|/\*\*.*?\*/)", re.DOTALL | re.MULTILINE),
}

#: Smallest first. Pages stay with gzip, which hides their true size.
_ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "br": lambda content: brotli.compress(
        content, quality=11 if len(content) <= MAX_BEST_BYTES else 5
    ),
    "gzip": lambda content: gzip.compress(content, 9, mtime=0),
}
_ACCEPTS = {
    encoding: _lazy_re_compile(rf"\b{encoding}\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))")
    for encoding in _ENCODERS
}


def middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
    kept: dict[tuple[str, str], tuple[str, bytes]] = {}

    def answer(request: HttpRequest) -> Any:
        response: Any = get_response(request)
        if response.has_header("Content-Encoding") or response.status_code in (204, 206, 304):
            return response
        if request.path_info.startswith(settings.STATIC_URL):
            return _static(request, response, kept)
        return _page(request, response)

    return answer


def _wanted(request: HttpRequest, response: HttpResponse, *encodings: str) -> str | None:
    """Return the first of these that the browser reads."""
    patch_vary_headers(response, ("Accept-Encoding",))
    accepted = request.headers.get("Accept-Encoding", "")
    return next((each for each in encodings if _ACCEPTS[each].search(accepted)), None)


def _page(request: HttpRequest, response: Any) -> Any:
    is_page = response.get("Content-Type", "").startswith("text/html")
    if not is_page or response.streaming or len(response.content) < MIN_BYTES:
        return response
    if _wanted(request, response, "gzip"):
        response.content = compress_string(response.content, max_random_bytes=PADDING)
        response["Content-Length"] = str(len(response.content))
        response["Content-Encoding"] = "gzip"
    return response


def _static(
    request: HttpRequest, response: Any, kept: dict[tuple[str, str], tuple[str, bytes]]
) -> Any:
    size = int(response.get("Content-Length") or 0)
    is_text = response.get("Content-Type", "").startswith(STATIC_TYPES)
    if (
        response.status_code != 200
        or not is_text
        or not MIN_STATIC_BYTES <= size <= MAX_STATIC_BYTES
    ):
        return response
    encoding = _wanted(request, response, *_ENCODERS)
    if encoding is None or "Range" in request.headers or request.method == "HEAD":
        return response
    tag = response.get("ETag", "")
    known = kept.get((request.path_info, encoding))
    if known is None or known[0] != tag:
        content = without_comments(request.path_info, _content(response))
        known = kept[request.path_info, encoding] = (tag, _ENCODERS[encoding](content))
    smaller = HttpResponse(known[1], headers=dict(response.items()))
    smaller["Content-Length"] = str(len(known[1]))
    smaller["Content-Encoding"] = encoding
    # The tag tells as much, and every header travels with two dozen files.
    del smaller["Last-Modified"]
    response.close()
    return smaller


def without_comments(path: str, content: bytes) -> bytes:
    """Return a style sheet or a script of ours without its comments, anything else as it is."""
    name = path.removeprefix(settings.STATIC_URL)
    pattern = _COMMENTS.get(name[name.rfind(".") :]) if name.startswith(("css/", "js/")) else None
    return pattern.sub(lambda c: b"\n" * c[0].count(b"\n"), content) if pattern else content


def _content(response: HttpResponse | StreamingHttpResponse) -> bytes:
    if isinstance(response, StreamingHttpResponse):
        return b"".join(response)
    return response.content
