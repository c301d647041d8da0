"""What PostgreSQL takes of the values that SQLite keeps.

SQLite stores nearly everything in every column; PostgreSQL refuses some of it. What stands for
a character that PostgreSQL has no place for (NUL, half of a surrogate pair, bytes that are no
UTF-8) becomes U+FFFD and is counted. What cannot be changed without changing what it means, a
number out of range or a text that is too long, is refused with its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
INTEGERS = {"smallint": 15, "integer": 31, "bigint": 63}

# A pair of surrogates, any other escape by its number, or an escaped character, which may be a
# backslash that escapes nothing after it.
_escapes = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u([0-9a-fA-F]{4})|\\."
)


class Unfit(ValueError):
    """A value that PostgreSQL refuses and that cannot be changed for it."""


@dataclass
class Column:
    """A column of the target: `kind` is PostgreSQL's name of its type, `length` the most
    characters it takes."""

    name: str
    kind: str
    length: int | None = None
    #: Values in which characters were replaced.
    replaced: int = 0
    convert: Callable[[Any], Any] = field(init=False)

    def __post_init__(self) -> None:
        special: dict[str, Callable[[Any], Any]] = {
            "boolean": bool,
            "bytea": bytes,
            "jsonb": self._json,
            # Kept without a zone, in UTC.
            "timestamp with time zone": lambda value: f"{self._text(value)}+00",
            "interval": lambda value: timedelta(microseconds=value),
            "double precision": float,
        }
        self.convert = special.get(
            self.kind, self._integer if self.kind in INTEGERS else self._text
        )

    def _integer(self, value: Any) -> int:
        if not isinstance(value, int):
            msg = f"{_shown(value)} is no whole number"
            raise Unfit(msg)
        bits = INTEGERS[self.kind]
        if not -(1 << bits) <= value < 1 << bits:
            msg = f"{value} is out of range for {self.kind}"
            raise Unfit(msg)
        return value

    def _text(self, value: Any) -> str:
        text = self._decoded(value)
        if "\0" in text:
            self.replaced += 1
            text = text.replace("\0", REPLACEMENT)
        if self.length is not None and len(text) > self.length:
            msg = f"a text of {len(text)} characters, {self.length} are allowed"
            raise Unfit(msg)
        return text

    def _json(self, value: Any) -> str:
        text = self._text(value)
        if "\\u" not in text:
            return text
        fit = _escapes.sub(_fit_escape, text)
        self.replaced += fit != text
        return fit

    def _decoded(self, value: Any) -> str:
        if not isinstance(value, bytes):
            return str(value)
        try:
            return value.decode()
        except UnicodeDecodeError:
            self.replaced += 1
            return value.decode(errors="replace")


def _fit_escape(match: re.Match[str]) -> str:
    number = int(match[1] or "20", 16)
    return "\\ufffd" if number == 0 or 0xD800 <= number <= 0xDFFF else match[0]


def _shown(value: Any) -> str:
    return repr(value.decode(errors="replace") if isinstance(value, bytes) else value)[:60]
