"""Answers that go on for minutes and hold no thread: the connection is taken over.

gunicorn lends the client's socket to the view (`gunicorn.socket` of the WSGI environment). We
keep a duplicate of its descriptor and put a dead socket in the place of the server's own. To
the server it looks as if the client had left in the middle: it gives up the answer, closes what
it has and goes on to the next request, whatever kind of worker it is. docs/adr/0013 tells why.
"""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Mapping
from typing import Any

from django.http import HttpResponseBase

#: A head fits any buffer, so only a client that is in trouble makes us wait.
HEAD_SECS = 5.0
#: Descriptors a process needs for everything else.
SPARE_DESCRIPTORS = 256


def connection_of(environ: Mapping[str, Any]) -> socket.socket | None:
    """Return the connection a request came over, None where it cannot be taken over: another
    server, one that speaks TLS itself, HTTP/2."""
    connection = environ.get("gunicorn.socket")
    # A subclass keeps a state of its own between us and the descriptor. Over HTTP/2 the
    # connection belongs to other requests too.
    if type(connection) is not socket.socket:
        return None
    if not str(environ.get("SERVER_PROTOCOL", "")).startswith("HTTP/1."):
        return None
    return connection


def room(*, wanted: int) -> int:
    """Return how many connections a process may hold: `wanted`, or what its files allow."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(0, min(wanted, soft - SPARE_DESCRIPTORS))


def take_over(connection: socket.socket, *, response: HttpResponseBase) -> socket.socket:
    """Send the head of a response and return the connection, which is now ours and does not
    block. Raises OSError when the client is gone or no descriptor is free."""
    ours = take(connection)
    try:
        ours.settimeout(HEAD_SECS)
        ours.sendall(head(response))
        ours.settimeout(0)
    except BaseException:
        ours.close()
        raise
    return ours


def take(connection: socket.socket) -> socket.socket:
    """Return the connection, which is now ours and does not block. Nothing has been answered
    yet. Raises OSError when the client is gone or no descriptor is free."""
    ours = connection.dup()
    try:
        _put_dead_socket_in_place_of(connection)
        ours.settimeout(0)
        if ours.family in (socket.AF_INET, socket.AF_INET6):
            ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        ours.close()
        raise
    return ours


def _put_dead_socket_in_place_of(connection: socket.socket) -> None:
    # Closing it would not do: its number could be another file's before the server closes it
    # again; and a shutdown, which servers like to do first, would reach our duplicate.
    dead, other_end = socket.socketpair()
    with dead:
        other_end.close()
        os.dup2(dead.fileno(), connection.fileno(), inheritable=False)


def head(response: HttpResponseBase) -> bytes:
    """Return the head of a response as it is sent over a connection that we have taken."""
    lines = [
        f"HTTP/1.1 {response.status_code} {response.reason_phrase}",
        *(f"{name}: {value}" for name, value in response.items()),
        *(f"Set-Cookie: {cookie.OutputString()}" for cookie in response.cookies.values()),
        # The end of the connection is the end of the answer.
        "Connection: close",
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")
