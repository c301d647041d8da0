"""Which models this site offers, to whom, in which order and under which names.

The catalogue says what there is; staff switch models off, name and order them, and keep some to
groups (admin, "Models"). Without a word of theirs all models are offered to everybody.

Every page and every order asks this, so a process keeps what it has read, under the revision that
the row of the configuration names, which all of them read anyway. Whatever changes the offer gives
that row a new revision in the same transaction: no process goes on with an old offer after that.

What is accepted is drawn: a model that is switched off takes no new orders, nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext_noop as _

from fluxsite import stencils
from generation import catalogue
from generation.ids import new_id
from generation.models import FluxConfig, OfferedModel, OfferedTo


@dataclass(frozen=True, kw_only=True)
class Menu:
    """The models one member may use, in the order in which they are shown."""

    models: tuple[catalogue.Model, ...]

    def family(self, model_id: object) -> catalogue.Model | None:
        """Return the model of that id, also of an id that fixes one endpoint of it; None when it
        is not offered to the member."""
        model = catalogue.family(model_id)
        return model if model is not None and self.offers(model) else None

    def offers(self, model: catalogue.Model) -> bool:
        known = catalogue.family(model.id)
        return known is not None and any(each.id == known.id for each in self.models)

    def default(self, preferred: str) -> catalogue.Model:
        """Return the preferred model if it is offered, else the first that is. With nothing on
        the menu there is still a model to show; it takes no orders."""
        chosen = self.family(preferred) or self.family(catalogue.DEFAULT_MODEL)
        if chosen is None and self.models:
            return self.models[0]
        return chosen or catalogue.family(preferred) or catalogue.MODELS[0]

    def require(self, model: catalogue.Model) -> None:
        """Raise catalogue.InvalidRequest, naming `model`, for one that is not offered."""
        if not self.offers(model):
            raise catalogue.InvalidRequest([problem_of(model)])


def problem_of(model: catalogue.Model) -> catalogue.Problem:
    """Return why a model cannot be ordered that is not on the menu."""
    return catalogue.Problem(
        field="model",
        code="model_not_offered",
        message=_("%(model)s is not offered to you here. Choose another model."),
        params={"model": model.name},
    )


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What the site offers. `groups` are those that a model is kept to, by the model's id."""

    models: tuple[catalogue.Model, ...] = catalogue.MODELS
    groups: Mapping[str, Collection[int]] = field(default_factory=dict)

    def menu(self, *, user: Any) -> Menu:
        """Return what a member may use. One query where models are kept to groups, else none."""
        if not self.groups:
            return Menu(models=self.models)
        own = set(user.groups.values_list("pk", flat=True))
        allowed = (m for m in self.models if m.id not in self.groups or own & {*self.groups[m.id]})
        return Menu(models=tuple(allowed))


_EVERYTHING = Offer()
#: The newest revision this process has read, and what it says. Replaced as one.
_read: list[tuple[str, Offer]] = [("", _EVERYTHING)]


def of(config: FluxConfig) -> Offer:
    """Return the offer as of this configuration row. Two queries after a change, else none."""
    revision, known = _read[0]
    if config.models_revision == revision:
        return known
    offer, names = _load() if config.models_revision else (_EVERYTHING, {})
    if catalogue.rename(names):
        stencils.forget()
    _read[0] = (config.models_revision, offer)
    return offer


def _load() -> tuple[Offer, dict[str, str]]:
    terms = {row.pk: row for row in OfferedModel.objects.all()}
    groups: dict[str, set[int]] = {}
    for model_id, group_id in OfferedTo.objects.values_list("model_id", "group_id"):
        groups.setdefault(model_id, set()).add(group_id)
    places: dict[str, tuple[bool, int, int]] = {}
    for index, model in enumerate(catalogue.MODELS):
        row = terms.get(model.id)
        if row is None or row.enabled:
            position = row.position if row else None
            places[model.id] = (position is None, position or 0, index)
    shown = (model for model in catalogue.MODELS if model.id in places)
    offer = Offer(models=tuple(sorted(shown, key=lambda m: places[m.id])), groups=groups)
    return offer, {pk: row.label for pk, row in terms.items() if row.label}


# ---------------------------------------------------------------- changing
def renew() -> None:
    """Have every process read the offer anew. In the transaction that changes it."""
    FluxConfig.objects.filter(pk=FluxConfig.PK).update(models_revision=new_id())


def list_new() -> None:
    """Put models that are new in the catalogue on the list of the admin; others stay."""
    rows = [OfferedModel(id=model.id) for model in catalogue.MODELS]
    OfferedModel.objects.bulk_create(rows, ignore_conflicts=True)
