"""How the page shows its filters: chips that are links, each of them a way out of its filter.

What filters there are is told by history/filters.py. A filter that has no line in _LABELS here
still works: its chip names it and its value.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import Any

from django.db import connections, router
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import formats, timezone
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import get_language, pgettext
from django.utils.translation import gettext as _

from fluxsite import stencils
from history import sources
from history.filters import Filters, Status
from history.models import HistoryEntry

#: Models are looked for among so many of a member's latest entries.
LATEST = 200


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A value of a filter; `url` leads to the page with it, all other filters kept."""

    value: str
    label: str
    is_chosen: bool
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A filter that is set; `url` leads to the page without it."""

    name: str
    label: str
    url: str


@dataclass(frozen=True, kw_only=True)
class FilterBar:
    """What the bar shows. Two that are equal look the same to readers of one language.

    `given` are the filters that are set, as they stand in the address, `used` the sources and
    models to choose from, and `today` is that of the reader.
    """

    filters: Filters
    given: tuple[tuple[str, str], ...]
    used: frozenset[tuple[str, str]]
    today: date

    @cached_property
    def values(self) -> Mapping[str, str]:
        return dict(self.given)

    @cached_property
    def _page(self) -> str:
        return reverse("history:page")

    @property
    def here(self) -> str:
        return self._url(self.values)

    def below(self, cursor: str) -> str:
        """Return the address of what comes below a cursor, "" if nothing does."""
        return self._url({**self.values, "cursor": cursor}) if cursor else ""

    @property
    def chips(self) -> list[Chip]:
        return [
            Chip(name=name, label=_label(name, value), url=self._with(name, ""))
            for name, value in self.filters.active.items()
        ]

    @property
    def sources(self) -> list[Choice]:
        known = [("", _("All")), *((n, str(s.label)) for n, s in sources.load().items())]
        return [self._choice("source", value, label) for value, label in known]

    @property
    def favourites(self) -> Choice:
        return Choice(
            value="1",
            label=_("Favourites"),
            url=self._with("favourite", "" if self.filters.favourite else "1"),
            is_chosen=self.filters.favourite,
        )

    @property
    def models(self) -> list[Choice]:
        """The models the member drew with lately, by name."""
        names = {model: _model_name(model, source) for source, model in self.used if model}
        if self.filters.model:
            names.setdefault(self.filters.model, _model_name(self.filters.model))
        ordered = sorted(names.items(), key=lambda item: item[1].casefold())
        return [self._option("model", value, label) for value, label in ordered]

    @property
    def statuses(self) -> list[Choice]:
        shown = [("", Status.SUCCESS.label), *(s for s in Status.choices if s[0] != "SUCCESS")]
        return [self._option("status", value, str(label)) for value, label in shown]

    @property
    def spans(self) -> list[Choice]:
        """The last days, in the reader's time zone."""
        spans = [(_("Today"), 0), (_("Last 7 days"), 6), (_("Last 30 days"), 29)]
        return [
            self._choice("since", (self.today - timedelta(days=days)).isoformat(), label, until="")
            for label, days in spans
        ]

    def _option(self, name: str, value: str, label: str) -> Choice:
        return Choice(value=value, label=label, is_chosen=self.values.get(name, "") == value)

    def _choice(self, name: str, value: str, label: str, **others: str) -> Choice:
        return Choice(
            value=value,
            label=label,
            url=self._with(name, value, **others),
            is_chosen=self.values.get(name, "") == value,
        )

    def _with(self, name: str, value: str, **others: str) -> str:
        changed = {**self.values, **others, name: value}
        return self._url({key: text for key, text in changed.items() if text})

    def _url(self, values: Mapping[str, str]) -> str:
        return f"{self._page}?{urlencode(values)}" if values else self._page


def build(
    *, filters: Filters, params: Mapping[str, str], used: Collection[tuple[str, str]] = ()
) -> FilterBar:
    """Return the bar for the filters that were read from `params`."""
    return FilterBar(
        filters=filters,
        given=tuple((name, params.get(name, "").strip()) for name in filters.active),
        used=frozenset(used),
        today=timezone.localdate(),
    )


def used_by(user: Any) -> list[tuple[str, str]]:
    """Return the sources and models of the member's latest entries. One query."""
    # With what it is ordered by, or SQLite sorts all there are instead of merging. By hand,
    # because Django takes longer to dress the rows than to show the rest of the page.
    table = HistoryEntry._meta.db_table
    sql = (
        "SELECT DISTINCT source, model FROM"  # noqa: S608
        f" (SELECT source, model, created_at, id FROM {table} WHERE user_id = %s"
        " ORDER BY created_at DESC, id DESC LIMIT %s) AS latest"
    )
    with connections[router.db_for_read(HistoryEntry)].cursor() as cursor:
        cursor.execute(sql, [user.pk, LATEST])
        return list(cursor.fetchall())


def html(bar: FilterBar, *, problems: Mapping[str, str]) -> SafeString:
    """Return what the template makes of the bar, in the language of the reader."""
    # What is searched for is long and seldom asked again.
    render = _html if bar.filters.text else _kept_html
    return render(bar, tuple(problems.values()), get_language(), tuple(sources.load()))


def _html(
    bar: FilterBar, problems: tuple[str, ...], _language: str | None, _sources: tuple[str, ...]
) -> SafeString:
    return render_to_string("history/_filters.html", {"bar": bar, "problems": problems})


_kept_html = stencils.kept(_html)


# ---------------------------------------------------------------- words
def _model_name(model: str, source: str = "") -> str:
    known = sources.load()
    if source in known:
        return known[source].model_name(model)
    names = (each.model_name(model) for each in known.values())
    return next((name for name in names if name != model), model)


def _day(day: date) -> str:
    return formats.date_format(day, "SHORT_DATE_FORMAT")


_LABELS: dict[str, Callable[[Any], str]] = {
    "source": lambda name: str(sources.load()[name].label),
    "model": _model_name,
    "status": lambda status: str(Status(status).label),
    "since": lambda day: pgettext("days", "From %(day)s") % {"day": _day(day)},
    "until": lambda day: pgettext("days", "Until %(day)s") % {"day": _day(day)},
    "favourite": lambda _set: _("Favourites"),
    "text": lambda text: _("“%(text)s”") % {"text": text},
}


def _label(name: str, value: Any) -> str:
    write = _LABELS.get(name)
    return write(value) if write else f"{name}: {value}"


def labels(filters: Filters) -> Sequence[str]:
    """Return what the filters that are set are called."""
    return [_label(name, value) for name, value in filters.active.items()]
