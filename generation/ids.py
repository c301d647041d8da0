"""Identifiers of tasks, pictures and uploads: 32 hex digits that sort by time of birth.

The layout is that of a UUID version 7 (RFC 9562) without dashes: 48 bits of milliseconds,
then random bits. As plain text they are the same on every database.
"""

from __future__ import annotations

import secrets
import time


def new_id() -> str:
    return id_born_at(time.time_ns() // 1_000_000)


def id_born_at(millis: int) -> str:
    """Return a new id that sorts as if it had been made then, in milliseconds since 1970."""
    random = secrets.randbits(74)
    high = (millis << 16) | 0x7000 | (random >> 62)
    low = (0b10 << 62) | (random & ((1 << 62) - 1))
    return f"{high:016x}{low:016x}"


def new_token() -> str:
    """Return an unguessable name of 32 hex digits that tells nothing about its age."""
    return secrets.token_hex(16)
