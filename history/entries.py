"""Entries as doors show them: a row of the view with its pictures and its names for people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from functools import cached_property, lru_cache
from urllib.parse import quote

from django.urls import get_script_prefix, reverse
from django.utils import formats, timezone
from django.utils.http import RFC3986_SUBDELIMS
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from history import sources
from history.models import ViewRow
from history.rows import Row
from history.sources import Picture

#: What Django leaves as it is in an address.
_SAFE = f"{RFC3986_SUBDELIMS}/~:@"
#: Characters of a prompt that name an entry.
SHORT = 60


@dataclass(frozen=True, kw_only=True)
class Entry:
    """`pictures` is empty only of what is not finished or failed. `url` is the address of the
    entry's own page, or the one where it is told why there are none."""

    source: str
    source_label: str
    id: str
    user_id: int
    model: str
    model_name: str
    prompt: str
    image_url: str
    status: str
    created_at: datetime
    is_favourite: bool
    pictures: Sequence[Picture]
    explained_at: str = ""

    @property
    def key(self) -> str:
        return f"{self.source}:{self.id}"

    @cached_property
    def url(self) -> str:
        if self.status != "SUCCESS":
            return self.explained_at
        return _address(get_script_prefix(), self.source) + quote(self.id, safe=_SAFE)

    # ------------------------------------------------------------ on the page
    @property
    def cover(self) -> Picture | None:
        return self.pictures[0] if self.pictures else None

    @property
    def others(self) -> Sequence[Picture]:
        return self.pictures[1:]

    @property
    def is_shown(self) -> bool:
        """Whether its first picture can be seen."""
        return self.cover is not None and self.cover.is_shown

    @property
    def state(self) -> str:
        """What stands in the place of its pictures while there are none to see."""
        if self.cover is not None:
            return self.cover.state
        return {"SUCCESS": _("No picture"), "FAILED": _("Failed"), "CANCELLED": _("Cancelled")}.get(
            self.status, _("Not finished")
        )

    @cached_property
    def short_name(self) -> str:
        """The beginning of its prompt, or how its model is called."""
        if len(self.prompt) <= SHORT:
            return self.prompt or self.model_name
        return f"{self.prompt[: SHORT - 1]}…"

    @property
    def tick_text(self) -> str:
        return self.text_of_tick(self.short_name)

    @staticmethod
    def text_of_tick(name: str) -> str:
        return _("Select: %(prompt)s") % {"prompt": name}

    @property
    def count(self) -> int:
        return len(self.pictures)

    @property
    def count_text(self) -> str:
        return self.text_of_count(self.count)

    @staticmethod
    def text_of_count(n: int) -> str:
        return ngettext("%(n)s picture", "%(n)s pictures", n) % {"n": n}

    @property
    def moment(self) -> str:
        return self.created_at.isoformat()

    @property
    def day(self) -> str:
        return self.day_for(timezone.get_current_timezone(), get_language())

    def day_for(self, zone: tzinfo, language: str | None) -> str:
        """Return its day as a reader of that zone and language writes it."""
        return _date(self.created_at.astimezone(zone).date(), language)


@lru_cache(maxsize=512)
def _address(_prefix: str, source: str) -> str:
    """Return the address of a source's entries. Asked once: Django takes its time over it."""
    return reverse("history:entry", args=[source, "-"]).removesuffix("-")


@lru_cache(maxsize=512)
def _date(day: date, _language: str | None) -> str:
    return formats.date_format(day, "SHORT_DATE_FORMAT")


def compose(rows: Iterable[ViewRow | Row]) -> list[Entry]:
    """Return the entries of these rows, in one query for each source among them."""
    rows = list(rows)
    known = sources.load()
    labels = {name: str(source.label) for name, source in known.items()}
    pictures = _pictures(rows, known)
    return [
        Entry(
            source=row.source,
            source_label=labels[row.source],
            id=row.source_id,
            user_id=row.user_id,
            model=row.model,
            model_name=known[row.source].model_name(row.model) or labels[row.source],
            prompt=row.prompt,
            image_url=row.image_url,
            status=row.status,
            created_at=row.created_at,
            is_favourite=row.is_favourite,
            pictures=pictures.get((row.source, row.source_id)) or _only_picture(row),
            explained_at=_explained_at(row, known),
        )
        for row in rows
        # A source no longer in the settings stays in the view until the next migrate.
        if row.source in known
    ]


def _pictures(
    rows: Sequence[ViewRow | Row], known: Mapping[str, sources.Source]
) -> Mapping[tuple[str, str], list[Picture]]:
    ids: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        ids[row.source].append(row.source_id)
    return {
        (name, entry_id): pictures
        for name in ids.keys() & known.keys()
        for entry_id, pictures in known[name].pictures(ids[name]).items()
    }


def _explained_at(row: ViewRow | Row, known: Mapping[str, sources.Source]) -> str:
    # Nothing that is finished needs it, and Django takes its time over an address.
    return "" if row.status == "SUCCESS" else known[row.source].explained_at(row.source_id)


def _only_picture(row: ViewRow | Row) -> list[Picture]:
    """A task that was imported may have no pictures on record, only the address of one."""
    if not row.image_url:
        return []
    url = row.image_url
    return [Picture(id="", url=url, width=None, height=None, is_nsfw=False, stored=False)]
