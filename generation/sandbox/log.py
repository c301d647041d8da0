"""What was asked of the sandbox: the record that tests look into afterwards.

Bounded by number and by bytes, oldest dropped first. The credential is never kept, only
the scheme it came with.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

MAX_ENTRIES = 5000
MAX_BYTES = 64 * 2**20
_SECRET_HEADERS = ("Authorization", "Cookie", "Proxy-Authorization")


@dataclass
class LoggedRequest:
    """``headers`` is read without regard to case; ``body`` is None unless a JSON object.

    ``stage`` is submit, status, stream, result, cancel, file, upload or other;
    ``request_id`` the job this very request created; ``answered`` the HTTP status sent, None
    while it is not sent and for ever when the connection was cut instead.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: Message
    body: dict[str, Any] | None
    stage: str = "other"
    request_id: str | None = None
    answered: int | None = None
    size: int = field(default=0, repr=False)

    def as_json(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": dict(self.headers.items()),
            "body": self.body,
            "stage": self.stage,
            "request_id": self.request_id,
            "answered": self.answered,
        }


class RequestLog:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[LoggedRequest] = deque()
        self._bytes = 0

    def add(self, entry: LoggedRequest) -> None:
        with self._lock:
            self._entries.append(entry)
            self._bytes += entry.size
            while len(self._entries) > MAX_ENTRIES or (
                self._bytes > MAX_BYTES and len(self._entries) > 1
            ):
                self._bytes -= self._entries.popleft().size

    def entries(self) -> list[LoggedRequest]:
        with self._lock:
            return list(self._entries)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self._bytes = 0


def without_secrets(headers: Message) -> Message:
    """Return a copy whose credentials read ``Key ***`` or ``Bearer ***``."""
    copy = Message()
    for name, value in headers.items():
        copy[name] = _masked(value) if name.title() in _SECRET_HEADERS else value
    return copy


def _masked(value: str) -> str:
    scheme, space, _ = value.partition(" ")
    return f"{scheme} ***" if space else "***"
