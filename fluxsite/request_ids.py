"""The name of the request that something happens for, from the browser to the worker.

A web request is named by fluxsite/middleware.py. A task keeps the name of the request that asked
for it, and what a worker does for the task is done under that name; a message to the workers
takes the name along. Every line of the log bears it.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

NONE = "-"
#: Names are of a proxy's making at times; no longer than this.
MAX_LENGTH = 64

_current: ContextVar[str] = ContextVar("request_id", default=NONE)


def current() -> str:
    """Return the name, `-` outside of any request."""
    return _current.get()


def to_keep() -> str | None:
    """Return the name as a row keeps it: None outside of any request."""
    name = current()
    return None if name == NONE else name


@contextmanager
def named(name: str | None) -> Iterator[None]:
    """Do something for the request of that name, or for none."""
    token = _current.set(name or NONE)
    try:
        yield
    finally:
        _current.reset(token)


# ---------------------------------------------------------------- messages to the workers
_KEY = "request_id"


def send_along(*, task: MutableMapping[str, Any], **_: Any) -> None:
    """Put the name into a message to the workers (django-q2's signal before it is sent)."""
    if name := to_keep():
        task[_KEY] = name


def take_over(*, task: MutableMapping[str, Any], **_: Any) -> None:
    """Go on under the name in a message (django-q2's signal before it is executed)."""
    _current.set(task.get(_KEY) or NONE)
