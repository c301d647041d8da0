"""Where the history's entries come from: the contract of a source, and finding the sources.

The history knows no table of tasks. Each class named in settings.HISTORY_SOURCES brings one,
and says how its models are called, which pictures belong to an entry and what it was made
with. A new source is a new class and a line in that setting; the next `migrate` takes it
into the view (history/view.py), whose filters decide which tasks are entries.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, ClassVar

from django.apps.registry import Apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, ObjectDoesNotExist
from django.db.models import Expression, F, QuerySet, TextField, Value
from django.db.models.functions import Cast, Concat
from django.utils.functional import Promise
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

#: The columns of the view in their order: those of the specification and a few more. `key`
#: is for programs that want one column to name a row.
COLUMNS = (
    "key",
    "source",
    "id",
    "user_id",
    "model",
    "prompt",
    "image_url",
    "status",
    "created_at",
    "is_favourite",
)
#: What the view asks of a task beside its columns. A table that knows no trash has NULL.
FILTERED_BY = ("trashed_at",)
#: When a task that was removed for ever was thrown away: before anything ever was. It is thus
#: neither an entry nor in the trash, without a column and an index of its own.
REMOVED_AT = datetime(1970, 1, 1, tzinfo=UTC)
PREFIX = "entry_"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture of an entry. Sizes in pixels as displayed, None when unknown.

    `id` is "" for a picture that has no address of ours: `url` is then the provider's.
    `stored` False means that there is no copy of our own, at least not yet; with `lost` there
    will be none. `storage_key` is the name of that copy in the storage.
    """

    id: str
    url: str
    width: int | None
    height: int | None
    is_nsfw: bool
    stored: bool
    lost: bool = False
    storage_key: str = ""

    def thumb_url(self, width: int) -> str:
        """Return the address of the thumbnail of that width, 320 or 640 pixels."""
        return f"{self.url}/{width}" if self.id else self.url

    @property
    def is_shown(self) -> bool:
        """Whether it can be seen: it may be lost, or not be here yet."""
        return not self.lost and bool(self.url) and (self.stored or not self.id)

    @property
    def state(self) -> str:
        """What stands in its place while it cannot be seen."""
        if self.lost:
            return _("Lost")
        return _("Saving") if self.id else _("No picture")

    @property
    def thumb_320(self) -> str:
        return self.thumb_url(320)

    @property
    def thumb_640(self) -> str:
        return self.thumb_url(640)


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A setting an entry was made with. `name` is that of the API, `label` for people."""

    name: str
    label: str
    value: Any

    @property
    def text(self) -> str:
        if isinstance(self.value, bool):
            return _("Yes") if self.value else _("No")
        return str(self.value)


@dataclass(frozen=True, kw_only=True)
class Details:
    """What an entry was really made with. `seconds` None means that nobody measured."""

    parameters: tuple[Parameter, ...]
    seconds: float | None


class Source(ABC):
    name: ClassVar[str]
    label: ClassVar[str | Promise]

    @abstractmethod
    def tasks(self, registry: Apps) -> QuerySet[Any, Any]:
        """Return the source's whole table, as `as_columns` makes it.

        `registry` has the models as the database has their tables: during a partial
        migration these are older than the code. Raises LookupError or FieldError when
        they are too old.
        """

    @abstractmethod
    def pictures(self, ids: Collection[str]) -> Mapping[str, list[Picture]]:
        """Return the pictures of these entries in their order, in one query or two.

        An entry that is missing has none but its `image_url`.
        """

    @abstractmethod
    def details_of(self, ids: Collection[str]) -> Mapping[str, Details]:
        """Return what these entries were made with, in one query. Some may be missing."""

    def details(self, entry_id: str) -> Details:
        """Return what the entry was made with. Raises ObjectDoesNotExist."""
        try:
            return self.details_of([entry_id])[entry_id]
        except KeyError:
            raise ObjectDoesNotExist(entry_id) from None

    def explained_at(self, task_id: str) -> str:
        """Return the address that says why a task has no pictures, "" if there is none."""
        return ""

    def model_name(self, model: str) -> str:
        """Return how people call the model with that id."""
        return model

    # ------------------------------------------------------------ marks
    # Each is one conditional update, and returns how many entries it held for. A source
    # whose entries cannot be marked leaves these alone.
    def owned(self, *, user: Any, ids: Collection[str]) -> set[str]:
        """Return those of the ids that are the member's own, in the trash or not."""
        return set()

    def set_favourite(self, *, user: Any, ids: Collection[str], value: bool) -> int:
        """Mark a member's entries as favourites, or no longer."""
        return 0

    def trash(self, *, user: Any, ids: Collection[str], now: datetime) -> int:
        """Move a member's entries to the trash. Nothing that is still being made goes there."""
        return 0

    def restore(self, *, user: Any, ids: Collection[str]) -> int:
        """Take a member's entries out of the trash again."""
        return 0

    # ------------------------------------------------------------ for ever
    def trashed_before(self, moment: datetime, *, limit: int) -> list[str]:
        """Return entries that lie in the trash since `moment` or longer, the oldest first."""
        return []

    def remove(self, *, ids: Collection[str], trashed_before: datetime, user: Any = None) -> int:
        """Remove entries for ever, if they lie in the trash since then or longer.

        With `user` only that member's. What must stay, such as what the books refer to, stays
        without prompt and pictures and is never seen again (docs/adr/0012). Touches the
        storage: not to be called in a transaction.
        """
        return 0


def as_columns(
    table: QuerySet[Any, Any], *, source: str, image_url: Expression
) -> QuerySet[Any, Any]:
    """Return a table of tasks with COLUMNS and FILTERED_BY, each name after PREFIX.

    The table's own columns are called what the view calls them, and go into it bare: wrapped
    in anything, a column cannot be read from its index. What is computed is cast, because
    SQLite merges the tables from their indexes only where each column has one affinity in
    all of them, and a computed value has none (docs/adr/0003). `image_url` is NULL for a
    task without a picture.
    """
    key = Concat(Value(f"{source}:"), "id", output_field=TextField())
    computed: dict[str, Expression] = {
        "key": Cast(key, TextField()),
        "source": Cast(Value(source), TextField()),
        "image_url": Cast(image_url, TextField()),
    }
    # Prefixed: Django gives no expression the name of a field.
    return table.order_by().values(
        **{PREFIX + column: computed.get(column, F(column)) for column in (*COLUMNS, *FILTERED_BY)}
    )


# ---------------------------------------------------------------- finding them
def load() -> Mapping[str, Source]:
    """Return the sources in use by name. Raises ImproperlyConfigured."""
    return _load(tuple(settings.HISTORY_SOURCES))


@cache
def _load(paths: tuple[str, ...]) -> Mapping[str, Source]:
    if not paths:
        msg = "HISTORY_SOURCES is empty: the history needs at least one source."
        raise ImproperlyConfigured(msg)
    sources: dict[str, Source] = {}
    for path in paths:
        try:
            source = import_string(path)()
        except ImportError as error:
            msg = f"HISTORY_SOURCES names {path}, which cannot be imported: {error}"
            raise ImproperlyConfigured(msg) from error
        if source.name in sources:
            msg = f"HISTORY_SOURCES has two sources called {source.name}."
            raise ImproperlyConfigured(msg)
        sources[source.name] = source
    return sources
