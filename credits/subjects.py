"""What an entry was booked for, told by the app that booked it.

A reservation's reference is `<source>:<id>`, or `<source>:<id>:late` for a result that came
after its task had ended; what is paid back for a picture that was lost afterwards is adjusted
under `<source>:<id>:lost:<n>`, and what staff refund under `<source>:<id>:refund`. To credits this is a text. settings.CREDITS_SUBJECTS names for each
source the function that knows what stands behind an id, so titles, links and thumbnails of
tasks stay with the app that has tasks, and this one imports none:

    def flux_tasks(*, user, ids) -> Mapping[str, Subject]
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from django.conf import settings
from django.utils.module_loading import import_string

from credits.models import LedgerEntry

#: Entries whose reference is that of a reservation; others name a form, a code, a command.
_OF_RESERVATIONS = (LedgerEntry.Kind.RESERVE, LedgerEntry.Kind.SETTLE, LedgerEntry.Kind.RELEASE)


class Reference(NamedTuple):
    source: str
    id: str
    is_late: bool
    is_lost: bool = False
    is_refund: bool = False


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a member sees of it: `title` and `label` in words, `url` to look at it.

    `pictures` is how many were delivered. `thumb_url` is "" when there is nothing to show.
    """

    title: str
    label: str
    url: str
    pictures: int
    thumb_url: str = ""
    is_veiled: bool = False


class Describe(Protocol):
    def __call__(self, *, user: Any, ids: Collection[str]) -> Mapping[str, Subject]:
        """Return what the member may see of these ids, in a fixed number of queries. An id
        that is gone, or somebody else's, is left out."""


def reference_of(entry: LedgerEntry) -> Reference | None:
    """Return what an entry was booked for, None when it was for nothing but itself."""
    source, _colon, rest = entry.reference.partition(":")
    subject_id, _colon, mark = rest.partition(":")
    is_lost = entry.kind == LedgerEntry.Kind.ADJUST and mark.startswith("lost:")
    is_refund = entry.kind == LedgerEntry.Kind.ADJUST and mark == "refund"
    if not subject_id or not (is_lost or is_refund or entry.kind in _OF_RESERVATIONS):
        return None
    return Reference(
        source, subject_id, is_late=mark == "late", is_lost=is_lost, is_refund=is_refund
    )


def describe(*, user: Any, entries: Iterable[LedgerEntry]) -> dict[int, Subject]:
    """Return what can be said about entries, by their id."""
    references = {entry.pk: reference_of(entry) for entry in entries}
    ids: defaultdict[str, set[str]] = defaultdict(set)
    for reference in references.values():
        if reference:
            ids[reference.source].add(reference.id)
    found = {
        source: _describer(source)(user=user, ids=ids[source])
        for source in ids.keys() & settings.CREDITS_SUBJECTS.keys()
    }
    return {
        pk: subject
        for pk, reference in references.items()
        if reference and (subject := found.get(reference.source, {}).get(reference.id))
    }


def _describer(source: str) -> Describe:
    describer: Describe = import_string(settings.CREDITS_SUBJECTS[source])
    return describer
