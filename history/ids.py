"""Identifiers of exports: 32 hex digits that sort by time of birth (UUID version 7 without
dashes). The history keeps its own few lines so that it depends on no other app."""

from __future__ import annotations

import secrets
import time


def new_id() -> str:
    millis = time.time_ns() // 1_000_000
    random = secrets.randbits(74)
    high = (millis << 16) | 0x7000 | (random >> 62)
    low = (0b10 << 62) | (random & ((1 << 62) - 1))
    return f"{high:016x}{low:016x}"
