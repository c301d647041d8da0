"""A line that tells how far a long command has come. On a terminal only: logs stay short."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

T = TypeVar("T")

WIDTH = 30
#: Seconds between two looks at the bar.
EVERY = 0.2


def shown(items: Iterable[T], *, total: int, out: TextIO | None = None) -> Iterator[T]:
    """Yield the items, showing how many of `total` are done."""
    out = out or sys.stderr
    if not out.isatty():
        yield from items
        return
    begun, told, done = time.monotonic(), 0.0, 0
    for item in items:
        yield item
        done += 1
        if time.monotonic() - told > EVERY:
            told = time.monotonic()
            out.write(f"\r{line(done, total, seconds=told - begun)}")
            out.flush()
    out.write(f"\r{line(done, total, seconds=time.monotonic() - begun)}\n")


def line(done: int, total: int, *, seconds: float) -> str:
    share = min(1.0, done / total) if total else 1.0
    bar = "█" * round(WIDTH * share)
    left = f"{seconds * (1 - share) / share:.0f} s left" if 0 < share < 1 else f"{seconds:.0f} s"
    return f"{bar:░<{WIDTH}} {done}/{total}  {left}   "
