"""Bodies that come in chunks, without a length.

openai-node sends forms so when a file is a stream, as do axios (LibreChat) and others. Django
reads a body only as far as its announced length, so of these it sees nothing and says nothing.
Here they get the longest length a form may have: what is read ends where the body does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import IO, Any

from django.conf import settings

from generation.receiving import FormTooLarge

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class _Bounded:
    """A body that may not go on beyond the length it was given."""

    def __init__(self, body: IO[bytes], *, limit: int) -> None:
        self._body = body
        self._left = limit

    def read(self, size: int) -> bytes:
        return self._counted(self._body.read(size))

    def readline(self, size: int) -> bytes:
        return self._counted(self._body.readline(size))

    def _counted(self, content: bytes) -> bytes:
        self._left -= len(content)
        if self._left <= 0:
            raise FormTooLarge
        return content


def understood(application: Application, *, below: str) -> Application:
    """Wrap a WSGI application so that it reads chunked bodies, of addresses below a path.

    Only where the web server marks the end of the body (`wsgi.input_terminated`); else to read
    as long as something comes would be to wait for ever.
    """

    def wrapped(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        is_chunked = environ.get("HTTP_TRANSFER_ENCODING", "").strip().lower() == "chunked"
        is_ended = bool(environ.get("wsgi.input_terminated"))
        if is_chunked and is_ended and environ.get("PATH_INFO", "").startswith(below):
            limit = settings.MAX_FORM_BYTES
            environ["CONTENT_LENGTH"] = str(limit)
            environ["wsgi.input"] = _Bounded(environ["wsgi.input"], limit=limit)
        return application(environ, start_response)

    return wrapped
