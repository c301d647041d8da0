"""Presets: a model, its settings and perhaps some words, saved under a name.

They belong to a member; what staff shares is offered to everybody. A preset outlives the
catalogue: it is checked when it is saved, and when it is used, whatever has become of its model
since, it fills in what is still valid (generation/composer.py).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Case, QuerySet, Value, When
from django.utils.translation import gettext_noop as _

from generation import catalogue, channel
from generation.models import Preset

MOST_PER_MEMBER = 50
#: What is shared by all of staff together, as far as it is shown.
MOST_SHARED = 200
#: So many of a member's deleted presets can be brought back, for so long.
MOST_DELETED = 20
KEPT_AFTER_DELETION = timedelta(days=1)


class PresetGone(Exception):
    """There is no such preset, or it is somebody else's."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a preset holds, checked."""

    name: str
    model: str
    parameters: Mapping[str, Any]
    prompt: str
    is_shared: bool


# ---------------------------------------------------------------- looking
def visible_to(user: Any) -> list[Preset]:
    """Return a member's own presets, then those of others that are shared, by name. One query."""
    own = Case(When(owner=user, then=Value(0)), default=Value(1))
    found = Preset.objects.visible_to(user).annotate(order=own).order_by("order", "name", "id")
    return list(found[: MOST_PER_MEMBER + MOST_SHARED])


def find(*, user: Any, preset_id: str) -> Preset | None:
    """Return a preset the member may use. At most one query."""
    if not catalogue.is_storable(preset_id):
        return None
    return Preset.objects.visible_to(user).filter(pk=preset_id).first()


def find_deleted(*, user: Any, preset_id: str) -> Preset | None:
    """Return one's own preset that was deleted and can be restored. At most one query."""
    return _own(user=user, preset_id=preset_id).filter(deleted_at__isnull=False).first()


def _own(*, user: Any, preset_id: str) -> QuerySet[Preset]:
    if not catalogue.is_storable(preset_id):
        return Preset.objects.none()
    return Preset.objects.filter(owner=user, pk=preset_id)


# ---------------------------------------------------------------- checking
def check(
    *,
    user: Any,
    name: Any,
    model_id: Any,
    parameters: Any = None,
    prompt: Any = "",
    is_shared: Any = False,
) -> Content:
    """Return what may be saved. Raises catalogue.InvalidRequest with every problem."""
    problems: list[catalogue.Problem] = []
    model = catalogue.family(model_id)
    if model is None:
        problems.append(_problem("model", "unknown_model", _("This model is not known.")))
    cleaned = _clean_parameters(model, parameters, problems) if model else {}
    if not isinstance(is_shared, bool):
        problems.append(_problem("shared", "invalid", _("Must be true or false.")))
    elif is_shared and not user.is_staff:
        problems.append(_problem("shared", "staff_only", _("Only staff can share a preset.")))
    content = {
        "name": clean_name(name, problems=problems),
        "prompt": _clean_prompt(prompt, problems),
    }
    if problems or model is None:
        raise catalogue.InvalidRequest(problems)
    return Content(model=model.id, parameters=cleaned, is_shared=is_shared, **content)


def _problem(field: str, code: str, message: str, **params: Any) -> catalogue.Problem:
    return catalogue.Problem(field=field, code=code, message=message, params=params)


def clean_name(name: Any, *, problems: list[catalogue.Problem]) -> str:
    """Return a name as it is kept, and add to `problems` what is wrong with it."""
    if not isinstance(name, str):
        problems.append(_problem("name", "invalid", _("A name is needed.")))
        return ""
    text = (
        " ".join(unicodedata.normalize("NFC", name).split()) if catalogue.is_storable(name) else ""
    )
    if not catalogue.is_storable(name) or any(unicodedata.category(c)[0] == "C" for c in text):
        message = _("The name contains characters that are not text.")
        problems.append(_problem("name", "invalid_characters", message))
    elif not text:
        problems.append(_problem("name", "required", _("A name is needed.")))
    elif len(text) > Preset.MAX_NAME_LENGTH:
        message = _("At most %(maximum)s characters, please.")
        problems.append(_problem("name", "too_long", message, maximum=Preset.MAX_NAME_LENGTH))
    return text


def _clean_prompt(prompt: Any, problems: list[catalogue.Problem]) -> str:
    """Return a prompt that may also be empty: then a preset leaves the words alone."""
    if not isinstance(prompt, str):
        problems.append(_problem("prompt", "invalid", _("The prompt must be text.")))
        return ""
    if not catalogue.is_storable(prompt):
        message = _("The prompt contains characters that are not text.")
        problems.append(_problem("prompt", "invalid_characters", message))
        return ""
    text = unicodedata.normalize("NFC", prompt).strip()
    if len(text) > catalogue.MAX_PROMPT_LENGTH:
        message = _("At most %(maximum)s characters, please.")
        problems.append(
            _problem("prompt", "too_long", message, maximum=catalogue.MAX_PROMPT_LENGTH)
        )
    return text


def _clean_parameters(
    model: catalogue.Model, parameters: Any, problems: list[catalogue.Problem]
) -> dict[str, Any]:
    """Return the values in their own types, as one of the model's endpoints takes each."""
    if parameters is None:
        return {}
    if not isinstance(parameters, Mapping):
        problems.append(_problem("parameters", "invalid", _("An object is needed.")))
        return {}
    cleaned: dict[str, Any] = {}
    for name, value in parameters.items():
        takers = [e.by_name[name] for e in model.endpoints if name in e.by_name]
        if not takers:
            problems.append(catalogue.unknown_parameter(model, name))
            continue
        try:
            clean = _clean_value(takers, value)
        except catalogue.InvalidRequest as error:
            problems.extend(error.problems)
        else:
            if clean is not None:
                cleaned[name] = clean
    return cleaned


def _clean_value(takers: list[catalogue.Parameter], value: Any) -> Any:
    """Return a value as the first that accepts it has it. Raises what the first of all says."""
    refusals: list[catalogue.InvalidRequest] = []
    for taker in takers:
        try:
            return taker.clean(value)
        except catalogue.InvalidRequest as error:
            refusals.append(error)
    raise refusals[0]


# ---------------------------------------------------------------- changing
def save(*, user: Any, content: Content) -> Preset:
    """Save a new preset. Raises catalogue.InvalidRequest when the name is taken, there are too
    many already, or the model is not offered to the member."""
    model = catalogue.find_model(content.model)
    if model is not None:
        channel.current().offer.menu(user=user).require(model)
    _require_room(user)
    preset = Preset(
        owner=user,
        name=content.name,
        model=content.model,
        parameters=dict(content.parameters),
        prompt=content.prompt,
        is_shared=content.is_shared,
    )
    try:
        with transaction.atomic():
            preset.save(force_insert=True)
    except IntegrityError as error:
        raise _name_taken() from error
    return preset


def change(*, user: Any, preset_id: str, name: Any, is_shared: Any = False) -> None:
    """Give one's own preset another name, and for staff, share it or no longer.

    Raises PresetGone and catalogue.InvalidRequest.
    """
    own = _own(user=user, preset_id=preset_id).filter(deleted_at=None)
    preset = own.first()
    if preset is None:
        raise PresetGone
    content = check(user=user, name=name, model_id=catalogue.DEFAULT_MODEL, is_shared=is_shared)
    try:
        with transaction.atomic():
            changed = own.update(name=content.name, is_shared=content.is_shared)
    except IntegrityError as error:
        raise _name_taken() from error
    if not changed:
        raise PresetGone


def delete(*, user: Any, preset_id: str, now: datetime) -> Preset:
    """Delete one's own preset and return it; `restore` brings it back. Raises PresetGone."""
    own = _own(user=user, preset_id=preset_id).filter(deleted_at=None)
    preset = own.first()
    if preset is None or not own.update(deleted_at=now):
        raise PresetGone
    deleted = Preset.objects.filter(owner=user, deleted_at__isnull=False)
    newest = deleted.order_by("-deleted_at", "-id").values_list("pk", flat=True)[:MOST_DELETED]
    deleted.exclude(pk__in=list(newest)).delete()
    return preset


def restore(*, user: Any, preset_id: str) -> Preset:
    """Bring a deleted preset back. Raises PresetGone, catalogue.InvalidRequest when its name
    has been taken since or there are too many."""
    own = _own(user=user, preset_id=preset_id)
    preset = own.first()
    if preset is None:
        raise PresetGone
    if preset.deleted_at is None:
        return preset
    _require_room(user)
    try:
        with transaction.atomic():
            own.update(deleted_at=None)
    except IntegrityError as error:
        raise _name_taken() from error
    return preset


def forget(*, now: datetime) -> int:
    """Delete for good what was deleted long ago. Returns the number of presets."""
    old = Preset.objects.filter(deleted_at__lt=now - KEPT_AFTER_DELETION)
    return old.delete()[0]


def _require_room(user: Any) -> None:
    # Whoever saves twice at once may end up with one more: that does no harm.
    if Preset.objects.kept().filter(owner=user).count() >= MOST_PER_MEMBER:
        message = _("You have %(maximum)s presets; delete one first.")
        raise catalogue.InvalidRequest(
            [_problem("name", "too_many", message, maximum=MOST_PER_MEMBER)]
        )


def _name_taken() -> catalogue.InvalidRequest:
    message = _("You have a preset of this name.")
    return catalogue.InvalidRequest([_problem("name", "taken", message)])
