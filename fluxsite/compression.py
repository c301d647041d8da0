"""Pages, styles and scripts travel compressed; nothing else does.

A stream of events must not wait for a compressor to fill, and pictures are as small as they get.
Static files are compressed once per process, the first time somebody asks. The comments of our
own, a fifth of what would travel, stay here; lines keep their numbers.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils.cache import patch_vary_headers
from django.utils.regex_helper import _lazy_re_compile
from django.utils.text import compress_string

MIN_BYTES = 800
MAX_STATIC_BYTES = 4 * 1024 * 1024
STATIC_TYPES = ("text/", "application/javascript", "image/svg+xml", "application/json")
#: Random bytes that hide the true size: who measures it learns nothing of tokens in the page.
PADDING = 100

#: Our own scripts write comments on lines of their own, and no line of a text begins like one.
_COMMENTS = {
    ".css": re.compile(rb"/\*.*?\*/", re.DOTALL),
    ".js": re.compile(rb"^[ \t]*(?://[^\n]*|/\*\*.*?\*/)", re.DOTALL | re.MULTILINE),
}

_accepts_gzip = _lazy_re_compile(r"\bgzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))")


def middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
    kept: dict[str, tuple[str, bytes]] = {}

    def answer(request: HttpRequest) -> Any:
        response: Any = get_response(request)
        if response.has_header("Content-Encoding") or response.status_code in (204, 206, 304):
            return response
        if request.path_info.startswith(settings.STATIC_URL):
            return _static(request, response, kept)
        return _page(request, response)

    return answer


def _wanted(request: HttpRequest, response: HttpResponse) -> bool:
    patch_vary_headers(response, ("Accept-Encoding",))
    return bool(_accepts_gzip.search(request.headers.get("Accept-Encoding", "")))


def _page(request: HttpRequest, response: Any) -> Any:
    is_page = response.get("Content-Type", "").startswith("text/html")
    if not is_page or response.streaming or len(response.content) < MIN_BYTES:
        return response
    if _wanted(request, response):
        response.content = compress_string(response.content, max_random_bytes=PADDING)
        response["Content-Length"] = str(len(response.content))
        response["Content-Encoding"] = "gzip"
    return response


def _static(request: HttpRequest, response: Any, kept: dict[str, tuple[str, bytes]]) -> Any:
    size = int(response.get("Content-Length") or 0)
    is_text = response.get("Content-Type", "").startswith(STATIC_TYPES)
    if response.status_code != 200 or not is_text or not MIN_BYTES <= size <= MAX_STATIC_BYTES:
        return response
    if not _wanted(request, response) or "Range" in request.headers:
        return response
    tag = response.get("ETag", "")
    if request.method == "HEAD":
        return response
    known = kept.get(request.path_info)
    if known is None or known[0] != tag:
        content = without_comments(request.path_info, _content(response))
        known = kept[request.path_info] = (tag, gzip.compress(content, 9, mtime=0))
    smaller = HttpResponse(known[1], status=200)
    for name, value in response.items():
        smaller[name] = value
    smaller["Content-Length"] = str(len(known[1]))
    smaller["Content-Encoding"] = "gzip"
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
