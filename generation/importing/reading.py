"""What every reader of a foreign site can do, and what it says when it cannot."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from generation.importing.values import Row


class CannotRead(Exception):
    """The source cannot be opened. The text says what to do."""


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A row, or all that would have followed, that could not be read."""

    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody who had an account there."""

    email: str
    name: str


class Reader(Protocol):
    def columns(self, table: str) -> set[str]:
        """Return the columns of a table, none if there is no such table."""

    def count(self, table: str) -> int:
        """Return about how many rows there are."""

    def rows(
        self, table: str, *, columns: Sequence[str], order: Sequence[str]
    ) -> Iterator[Row | Unreadable]:
        """Yield the rows, oldest first, without holding all of them."""

    def people(self, keys: Collection[str]) -> Mapping[str, Person]:
        """Return those of the accounts with these ids that are known."""

    def close(self) -> None: ...
