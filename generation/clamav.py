"""Asking a clamd whether bytes are known to be harmful: its INSTREAM command, and no more.

The daemon is told where to find by the setting CLAMAV, `host:port` or `unix:/path`. It gets
the bytes themselves, so it may run anywhere and needs no access to our files. One call takes
at most CLAMAV_SECONDS, however slowly the daemon talks.
"""

from __future__ import annotations

import re
import socket
import time
from contextlib import closing
from typing import Any

from django.conf import settings

_CHUNK = 256 * 1024
#: No answer of clamd is longer: it is one line.
_MAX_ANSWER = 4096
_ANSWER = re.compile(r"stream: (?:(OK)|([ -~]{1,500}) FOUND)")


class ScannerUnavailable(Exception):
    """The bytes were not scanned, for the reason in the text, which is for staff."""


def scan(*, content: bytes) -> str | None:
    """Return the name of the signature that fits, None for clean bytes.

    Raises ScannerUnavailable: the daemon cannot be reached, takes too long, gives up, answers
    with something else, or was not given all because it takes less (its StreamMaxLength).
    """
    deadline = time.monotonic() + settings.CLAMAV_SECONDS
    try:
        with closing(_connect(deadline)) as connection:
            answer = _ask(connection, content, deadline)
    except OSError as error:
        reason = str(error) or type(error).__name__
        msg = f"clamd at {settings.CLAMAV}: {reason}"
        raise ScannerUnavailable(msg) from error
    found = _ANSWER.fullmatch(answer)
    if found is None:
        # Such as "INSTREAM size limit exceeded. ERROR".
        msg = f"clamd at {settings.CLAMAV} answered {answer[:200]!r}"
        raise ScannerUnavailable(msg)
    return found[2]


def _connect(deadline: float) -> socket.socket:
    problem: OSError = ConnectionError("has no address")
    for family, where in _places():
        connection = socket.socket(family)
        try:
            connection.settimeout(_left(deadline))
            connection.connect(where)
        except OSError as error:
            connection.close()
            problem = error
        else:
            return connection
    raise problem


def _places() -> list[tuple[int, Any]]:
    address: str = settings.CLAMAV
    if address.startswith("unix:"):
        return [(socket.AF_UNIX, address.removeprefix("unix:"))]
    host, _colon, port = address.rpartition(":")
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    return [(family, where) for family, _kind, _protocol, _name, where in found]


def _ask(connection: socket.socket, content: bytes, deadline: float) -> str:
    try:
        _send(connection, b"zINSTREAM\0", deadline)
        for start in range(0, len(content), _CHUNK):
            chunk = content[start : start + _CHUNK]
            _send(connection, len(chunk).to_bytes(4, "big") + chunk, deadline)
        _send(connection, bytes(4), deadline)
    except ConnectionError:
        # It hung up because it had enough, and may have said why.
        return _receive(connection, deadline)
    return _receive(connection, deadline)


def _send(connection: socket.socket, data: bytes, deadline: float) -> None:
    connection.settimeout(_left(deadline))
    connection.sendall(data)


def _receive(connection: socket.socket, deadline: float) -> str:
    answer = b""
    while b"\0" not in answer and len(answer) < _MAX_ANSWER:
        connection.settimeout(_left(deadline))
        part = connection.recv(_MAX_ANSWER)
        if not part:
            msg = "hung up before it had answered"
            raise ConnectionError(msg)
        answer += part
    return answer.partition(b"\0")[0].decode("ascii", "backslashreplace").strip()


def _left(deadline: float) -> float:
    """Return the seconds left. Raises TimeoutError when there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        msg = "timed out"
        raise TimeoutError(msg)
    return left
