"""CSV as spreadsheets read it: 中文 is 中文, a number a number, and a text never a formula."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

#: In front of a file, it tells Excel that this is UTF-8.
MARK = "\ufeff"
CONTENT_TYPE = "text/csv; charset=utf-8"

#: What begins a formula, the full-width forms with it: some programs read them as the others.
_FORMULAS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_BREAKS = ("\t", "\r", "\n")


def harmless(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: with ' in front where it would.

    Spreadsheets skip blanks, and people do not see some characters: neither hides a formula.
    """
    begins = text.lstrip()
    while begins and unicodedata.category(begins[0]) in ("Cc", "Cf", "Zs", "Zl", "Zp"):
        begins = begins[1:].lstrip()
    if text.startswith(_BREAKS) or begins.startswith(_FORMULAS):
        return f"'{text}"
    return text


def lines(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as lines of CSV. Texts are made harmless; whole and broken numbers stay as
    they are, whatever their sign, and None is an empty cell."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    # A NUL ends the file for some programs.
    return harmless(str(value).replace("\0", "�"))
