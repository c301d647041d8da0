"""The addresses of styles, scripts and icons, and what travels with them.

An address names the content of all of them, `/static/1f0c9a2b/css/base.css`: whoever has a file
never asks for it again, and a page never gets half of its scripts from another release.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, MutableMapping
from importlib.metadata import version
from pathlib import Path

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponseRedirect

from fluxsite.middleware import policy

ROOT = "/static/"


def release(directory: Path, *, packages: Iterable[str]) -> str:
    """Return the name, eight hex digits, of what lies in `directory` and in these packages.

    Servers of one release agree on it: it tells of contents, not of times.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(directory).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    for package in packages:
        digest.update(f"{package} {version(package)}\0".encode())
    return digest.hexdigest()[:8]


def add_headers(headers: MutableMapping[str, str], path: str, _url: str) -> None:
    """Complete the answer with a file, for WhiteNoise.

    A policy is for what may be opened as a page; for the rest that of the page counts.
    """
    headers["X-Content-Type-Options"] = "nosniff"
    if path.endswith((".svg", ".html")):
        headers["Content-Security-Policy"] = policy()


def of_another_release(request: HttpRequest, path: str) -> HttpResponseRedirect:
    """Lead a page that was opened before an update to the files there are now."""
    if request.path_info.startswith(settings.STATIC_URL):
        raise Http404
    response = HttpResponseRedirect(settings.STATIC_URL + path)
    response["Cache-Control"] = "no-cache"
    return response
