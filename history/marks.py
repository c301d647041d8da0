"""What a member does to entries: favourite, trash, restore. For the page and the API alike.

Entries are named by source and id, many at once. Each verb is one conditional update in every
source's own table, limited to what is the member's, so that two tabs, a double click or a
worker that is just finishing a task do no harm: it holds, or it does not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from history import sources
from history.sources import Source

#: So many entries at once: as many as one statement names without trouble on any database.
MAX_AT_ONCE = 500
MAX_ID = 255


class Name(NamedTuple):
    """What an entry is called: in one word `source:id`."""

    source: str
    id: str

    @classmethod
    def parse(cls, text: str) -> Name:
        """Return the name written as `source:id`. Raises ValueError for what cannot be one."""
        source, _colon, entry_id = text.partition(":")
        # PostgreSQL refuses a NUL in any text.
        if source not in sources.load() or not 0 < len(entry_id) <= MAX_ID or "\0" in entry_id:
            raise ValueError(text)
        return cls(source, entry_id)

    def __str__(self) -> str:
        return f"{self.source}:{self.id}"


def set_favourite(*, user: Any, names: Iterable[Name], value: bool) -> int:
    """Mark a member's entries as favourites, or no longer. Returns how many they are."""
    return _each(names, lambda source, ids: source.set_favourite(user=user, ids=ids, value=value))


def trash(*, user: Any, names: Iterable[Name], now: datetime) -> int:
    """Move a member's entries to the trash. Returns how many went there."""
    return _each(names, lambda source, ids: source.trash(user=user, ids=ids, now=now))


def restore(*, user: Any, names: Iterable[Name]) -> int:
    """Take a member's entries out of the trash. Returns how many came back."""
    return _each(names, lambda source, ids: source.restore(user=user, ids=ids))


def remove(*, user: Any, names: Iterable[Name], now: datetime) -> int:
    """Remove entries in a member's trash for ever, now. Returns how many went.

    Touches the storage: not to be called in a transaction.
    """
    return _each(names, lambda source, ids: source.remove(user=user, ids=ids, trashed_before=now))


def any_owned(*, user: Any, names: Iterable[Name]) -> bool:
    """Tell whether any of the entries is the member's own, in the trash or not."""
    return bool(_each(names, lambda source, ids: len(source.owned(user=user, ids=ids))))


def _each(names: Iterable[Name], verb: Callable[[Source, Collection[str]], int]) -> int:
    ids: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        ids[name.source].add(name.id)
    known = sources.load()
    return sum(verb(known[source], ids[source]) for source in ids if source in known)
