"""Cells of foreign tables, made into what our columns take on every database.

Nothing in a cell is fatal. What cannot be kept is left out, and noted under the name of its
column, so that the summary can say how often that was the case.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

Row = Mapping[str, Any]

#: What an IntegerField holds everywhere.
MAX_INTEGER = 2**31 - 1
#: Floats name every whole number up to here; beyond it a seed has lost digits.
MAX_EXACT = 2**53
#: JSON longer than this is no description of a picture.
MAX_JSON = 1_000_000
#: No picture of any model is older than this.
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
#: Clocks differ, and so do ideas of which zone a time is in.
CLOCK_SKEW = timedelta(days=1)

_EPOCH = re.compile(r"-?\d{9,19}(\.\d+)?")
_SURROGATES = re.compile("[\ud800-\udfff]")
_TRUE = {"1", "t", "true", "yes", "y", "on"}
_FALSE = {"0", "f", "false", "no", "n", "off"}


class Cells:
    """The cells of one row. `notes` counts what could not be kept; a missing column, NULL and
    an empty text are all the same: nothing."""

    def __init__(self, row: Row, *, zone: tzinfo, now: datetime, notes: Counter[str]) -> None:
        self._row = row
        self._zone = zone
        self._now = now
        self._notes = notes
        self._noted: set[str] = set()

    def note(self, remark: str) -> None:
        """Count a remark, once a row."""
        if remark not in self._noted:
            self._noted.add(remark)
            self._notes[remark] += 1

    # ------------------------------------------------------------ text
    def text(self, *names: str) -> str:
        """Return the first of these columns that has a text, of whatever length."""
        for name in names:
            value = self._row.get(name)
            if value is None or value == "":
                continue
            text = clean_text(value)
            if text.strip():
                return text
        return ""

    def short(self, name: str, limit: int) -> str:
        """Return a text whose end does no harm if it is cut off."""
        text = self.text(name).strip()
        if len(text) <= limit:
            return text
        self.note(f"{name} cut to {limit} characters")
        return text[:limit]

    def name(self, name: str, limit: int) -> str:
        """Return a text that means nothing when it is cut: left out if it is too long."""
        text = self.text(name).strip()
        if len(text) <= limit:
            return text
        self.note(f"{name} too long, left out")
        return ""

    def seed(self, name: str) -> str:
        text = as_seed(self._row.get(name))
        if text is None:
            self.note(f"{name} is no whole number any more, left out")
        return text or ""

    # ------------------------------------------------------------ numbers
    def number(self, name: str) -> float | None:
        value = self._row.get(name)
        if value is None or value == "":
            return None
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
        self.note(f"{name} is no number, left out")
        return None

    def whole(self, name: str, *, minimum: int = -MAX_INTEGER) -> int | None:
        number = self.number(name)
        if number is None:
            return None
        if minimum <= number <= MAX_INTEGER:
            return int(number)
        self.note(f"{name} out of range, left out")
        return None

    def flag(self, name: str) -> bool | None:
        word = self.text(name).strip().lower()
        return True if word in _TRUE else False if word in _FALSE else None

    # ------------------------------------------------------------ times
    def utc(self, name: str) -> datetime | None:
        """Return a time that was written in UTC where it names no zone."""
        return self._moment(name, UTC)

    def local(self, name: str) -> datetime | None:
        """Return a time that was written by the clock on the wall of the other site."""
        return self._moment(name, self._zone)

    def _moment(self, name: str, zone: tzinfo) -> datetime | None:
        value = self._row.get(name)
        try:
            moment = as_moment(value, zone=zone)
            if moment is None or EARLIEST <= moment <= self._now + CLOCK_SKEW:
                return moment
        except (TypeError, ValueError, OverflowError, OSError):
            pass
        self.note(f"{name} is no possible time, left out")
        return None

    # ------------------------------------------------------------ JSON
    def json(self, name: str) -> Any:
        """Return what a column of JSON holds, given as text or not; None for nothing."""
        value = self._row.get(name)
        if value is None or value == "":
            return None
        try:
            return _as_json(value)
        except (ValueError, RecursionError):
            self.note(f"{name} is broken JSON, left out")
            return None

    def mapping(self, name: str) -> dict[str, Any]:
        value = self.json(name)
        return value if isinstance(value, dict) else {}

    def sequence(self, name: str) -> list[Any]:
        value = self.json(name)
        return value if isinstance(value, list) else []


# ---------------------------------------------------------------- one value
def clean_text(value: Any) -> str:
    """Return a value as text that PostgreSQL takes and every encoder too."""
    if isinstance(value, bytes | memoryview):
        value = bytes(value).decode(errors="replace")
    text = value if isinstance(value, str) else str(value)
    if "\0" in text:
        text = text.replace("\0", "")
    # Looked at first: encoding is much quicker than searching, and nearly all pass.
    try:
        text.encode()
    except UnicodeEncodeError:
        text = _SURROGATES.sub("\ufffd", text)
    return text


def as_seed(value: Any) -> str | None:
    """Return a seed as text, "" for none, None if its digits are lost.

    SQLite keeps whole numbers beyond 64 bit as floats.
    """
    if value is None or value == "" or isinstance(value, bool):
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < MAX_EXACT else None
    text = clean_text(value).strip()
    return text if re.fullmatch(r"-?\d{1,19}|\d{20}", text, re.ASCII) else None


def as_moment(value: Any, *, zone: tzinfo) -> datetime | None:
    """Return a time in UTC, None for nothing. Numbers count from 1970, in seconds or smaller.

    Raises TypeError, ValueError, OverflowError or OSError for what is no time.
    """
    if isinstance(value, str):
        value = value.strip()
        if _EPOCH.fullmatch(value):
            value = float(value)
    if value is None or value in ("", "0", 0):
        return None
    if isinstance(value, bool):
        msg = "not a time"
        raise TypeError(msg)
    if isinstance(value, int | float):
        # Seconds of our days have ten digits, and units a thousand times smaller three more each.
        thousands = next((n for n in range(4) if abs(value) < 1e11 * 1000**n), 0)
        return datetime.fromtimestamp(value / 1000**thousands, UTC)
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(clean_text(value))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return moment.astimezone(UTC)


def _as_json(value: Any) -> Any:
    """Return JSON with clean texts and no numbers that are none. Raises ValueError."""
    if isinstance(value, bytes | str):
        if len(value) > MAX_JSON:
            msg = "too long"
            raise ValueError(msg)
        value = json.loads(value, parse_constant=_refuse)
        # Some sites put JSON as text into a column of JSON.
        if isinstance(value, str) and value[:1] in ("{", "["):
            value = json.loads(value, parse_constant=_refuse)
    return clean_json(value)


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def clean_json(value: Any) -> Any:
    """Return a value of JSON as PostgreSQL takes it. Raises ValueError, RecursionError."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        msg = "not a number"
        raise ValueError(msg)
    if isinstance(value, list):
        return [clean_json(each) for each in value]
    if isinstance(value, dict):
        return {clean_text(name): clean_json(each) for name, each in value.items()}
    return value
