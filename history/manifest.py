"""What lies beside packed pictures: names for their files, and lists of what they are."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone

from fluxsite import spreadsheets
from history.entries import Entry
from history.sources import Details, Picture

#: Of a prompt, as much as makes a name one recognises; in bytes because file systems count them.
MAX_NAME_BYTES = 80


@dataclass(frozen=True, kw_only=True)
class PackedPicture:
    """`file` is its name in the archive, "" where `problem` says why it is not there."""

    picture: Picture
    file: str = ""
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class PackedEntry:
    entry: Entry
    details: Details | None
    pictures: Sequence[PackedPicture]

    @property
    def parameters(self) -> dict[str, Any]:
        return {each.name: each.value for each in self.details.parameters} if self.details else {}


# ---------------------------------------------------------------- names
class FileNames:
    """Names of files in one archive: when, and what of. Safe on every system, and no two alike."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def make(self, entry: Entry, extension: str) -> str:
        moment = timezone.localtime(entry.created_at)
        words = slug(entry.prompt) or slug(entry.model_name) or entry.source
        # A date in front: so it sorts, and is never one of the names Windows keeps for itself.
        base = f"{moment:%Y-%m-%d_%H-%M-%S}_{words}"
        number, name = 1, f"{base}.{extension}"
        # Many file systems do not tell capitals from small letters.
        while name.casefold() in self._taken:
            number += 1
            name = f"{base}_{number}.{extension}"
        self._taken.add(name.casefold())
        return name


def slug(text: str) -> str:
    """Return words as a part of a file's name: letters and digits of any script, and dashes."""
    words = "-".join(re.findall(r"[^\W_]+", unicodedata.normalize("NFC", text)))
    short = words.encode()[:MAX_NAME_BYTES].decode(errors="ignore")
    if short != words and "-" in short:
        # Rather no word than half of one.
        short = short.rpartition("-")[0]
    return short.strip("-")


# ---------------------------------------------------------------- lists
def as_json(entries: Iterable[PackedEntry], *, packed_at: datetime) -> str:
    told = [
        {
            "source": each.entry.source,
            "id": each.entry.id,
            "model": each.entry.model,
            "model_name": each.entry.model_name,
            "prompt": each.entry.prompt,
            "seed": _seed(each),
            "parameters": each.parameters,
            "seconds": each.details.seconds if each.details else None,
            "created_at": _time(each.entry.created_at),
            "is_favourite": each.entry.is_favourite,
            "pictures": [
                {
                    "id": picture.picture.id,
                    "file": picture.file or None,
                    "problem": picture.problem or None,
                    "width": picture.picture.width,
                    "height": picture.picture.height,
                }
                for picture in each.pictures
            ],
        }
        for each in entries
    ]
    body = {"packed_at": _time(packed_at), "entries": told}
    return json.dumps(body, ensure_ascii=False, indent=2, default=str)


HEADINGS = (
    *("file", "source", "id", "model", "model_name", "prompt", "seed"),
    *("width", "height", "created_at", "parameters", "problem"),
)


def as_csv(entries: Iterable[PackedEntry]) -> str:
    """Return a line for each picture. The mark in front lets Excel read 中文."""
    buffer = io.StringIO()
    buffer.write(spreadsheets.MARK)
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    writer.writerow(HEADINGS)
    for each in entries:
        parameters = json.dumps(each.parameters, ensure_ascii=False, default=str)
        for picture in each.pictures:
            cells = (
                *(picture.file, each.entry.source, each.entry.id, each.entry.model),
                *(each.entry.model_name, each.entry.prompt, _seed(each)),
                *(picture.picture.width or "", picture.picture.height or ""),
                *(_time(each.entry.created_at), parameters, picture.problem),
            )
            writer.writerow([spreadsheets.harmless(str(cell)) for cell in cells])
    return buffer.getvalue()


def _seed(each: PackedEntry) -> str:
    return str(each.parameters.get("seed", ""))


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
