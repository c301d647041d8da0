"""The studio's form, made from the catalogue: the fields of one endpoint and no others.

The catalogue alone judges what was sent; the form carries values in and problems out, and
tells the templates how each setting is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from generation import catalogue, comparing, intake

#: The reference pictures' problems are named after fal's fields; the page has one place.
_REFERENCE_FIELDS = ("image_url", "image_urls")

#: Words for choices that are not the same in every language.
_CHOICE_LABELS: Mapping[str, Any] = {
    "none": _("Off"),
    "regular": _("Regular"),
    "high": _("High"),
    "jpeg": "JPEG",
    "png": "PNG",
    "webp": "WebP",
}

_TEMPLATES_BY_NAME = {"aspect_ratio": "shapes", "num_images": "count", "strength": "slider"}
_TEMPLATES_BY_KIND = {
    "integer": "number",
    "number": "number",
    "boolean": "switch",
    "choice": "choice",
    "seed": "seed",
}


def ratio_size(ratio: str) -> tuple[int, int]:
    """Return width and height in the proportion of a ratio such as `16:9`."""
    width, _colon, height = ratio.partition(":")
    return int(width), int(height)


@dataclass(frozen=True, kw_only=True)
class Option:
    """One choice of a setting. `width` and `height` draw the outline of a shape."""

    value: str
    label: str
    checked: bool
    width: float = 0
    height: float = 0

    @property
    def x(self) -> float:
        return 12 - self.width / 2

    @property
    def y(self) -> float:
        return 12 - self.height / 2


@dataclass(frozen=True, kw_only=True)
class Row:
    """A setting as the page shows it."""

    name: str
    label: str
    help: str
    value: str
    template: str
    options: Sequence[Option]
    minimum: float | None
    maximum: float | None
    step: float | str
    problems: Sequence[str]
    advanced: bool

    @property
    def described_by(self) -> str:
        parts = [f"help-{self.name}" if self.help else "", f"problem-{self.name}"]
        return " ".join(part for part in parts if part)


class StudioForm(forms.Form):
    """What a member asks for, for one model and the endpoint its pictures lead to; or, with
    `compared`, for each of several.

    Bound to a POST it checks; unbound it shows `initial` over the catalogue's defaults.
    """

    model = forms.CharField(required=False)
    prompt = forms.CharField(required=False, strip=False)
    references = forms.Field(required=False)

    def __init__(
        self,
        *,
        user: Any,
        model: catalogue.Model,
        endpoint: catalogue.Endpoint,
        addresses: Sequence[str] = (),
        compared: Sequence[catalogue.Model] | None = None,
        data: Mapping[str, Any] | None = None,
        initial: MutableMapping[str, Any] | None = None,
    ) -> None:
        super().__init__(data=data, initial=initial)
        self.user = user
        self.studio_model = model
        self.endpoint = endpoint
        self.addresses = list(addresses)
        self.compared = compared
        for parameter in endpoint.parameters:
            self.fields[parameter.name] = forms.CharField(
                required=False,
                strip=False,
                label=_(parameter.label),
                help_text=_(parameter.help) if parameter.help else "",
                initial=_as_text(parameter.default),
            )

    @property
    def orders(self) -> list[intake.Order]:
        """What is asked of each model that would draw."""
        prompt = self["prompt"].value() or ""
        values = {p.name: self[p.name].value() for p in self.endpoint.parameters}
        if self.compared is not None:
            return comparing.orders(
                models=self.compared, prompt=prompt, addresses=self.addresses, values=values
            )
        return [
            intake.Order(
                model_id=self.studio_model.id,
                prompt=prompt,
                addresses=self.addresses,
                parameters=values,
            )
        ]

    def clean(self) -> None:
        if (
            self.compared is not None
            and not comparing.FEWEST <= len(self.compared) <= comparing.MOST
        ):
            words = {"fewest": comparing.FEWEST, "most": comparing.MOST}
            text = gettext("Choose %(fewest)s to %(most)s models to compare.")
            self.add_error(None, text % words)
            return
        for order in self.orders:
            try:
                intake.check(user=self.user, order=order)
            except catalogue.InvalidRequest as error:
                for problem in error.problems:
                    self.refuse(problem)

    def refuse(self, problem: catalogue.Problem) -> None:
        """Put a problem of the catalogue beside its field, in the reader's language."""
        name = "references" if problem.field in _REFERENCE_FIELDS else problem.field
        text = gettext(problem.message) % problem.params
        field = name if name in self.fields else None
        # Models that are compared may each have the same to say.
        if text not in self.errors.get(field or "__all__", []):
            self.add_error(field, text)

    # ------------------------------------------------------------ for the templates
    def problems_of(self, name: str) -> list[str]:
        return [str(text) for text in self.errors.get(name, [])] if self.is_bound else []

    @property
    def basic(self) -> list[Row]:
        return [row for row in self._rows if not row.advanced]

    @property
    def advanced(self) -> list[Row]:
        return [row for row in self._rows if row.advanced]

    @property
    def advanced_is_open(self) -> bool:
        return any(row.problems for row in self.advanced)

    @property
    def _rows(self) -> list[Row]:
        return [self._row(parameter) for parameter in self.endpoint.parameters]

    def _row(self, parameter: catalogue.Parameter) -> Row:
        field = self[parameter.name]
        value = _as_text(field.value())
        by_kind = _TEMPLATES_BY_KIND[parameter.kind]
        template = _TEMPLATES_BY_NAME.get(parameter.name, by_kind)
        return Row(
            name=parameter.name,
            label=str(field.label),
            help=str(field.help_text),
            value=value,
            template=f"generation/_field_{template}.html",
            options=_options(parameter, value),
            minimum=parameter.minimum,
            maximum=parameter.maximum,
            step=parameter.step or ("1" if parameter.kind == "integer" else "any"),
            problems=self.problems_of(parameter.name),
            advanced=parameter.advanced,
        )


def carry_over(
    values: Mapping[str, Any], *, shown: catalogue.Endpoint | None, endpoint: catalogue.Endpoint
) -> dict[str, str]:
    """Return the values to show when the page turns to another endpoint.

    What the member changed stays as far as the new endpoint takes it. What still stood at the
    `shown` endpoint's default follows the new default: 28 steps suit one model, 4 another.
    """
    kept: dict[str, str] = {}
    for parameter in endpoint.parameters:
        value = _as_text(values.get(parameter.name))
        before = shown.by_name.get(parameter.name) if shown else None
        if not value or (before and value == _as_text(before.default)):
            continue
        try:
            parameter.clean(value)
        except catalogue.InvalidRequest:
            continue
        kept[parameter.name] = value
    return kept


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _options(parameter: catalogue.Parameter, value: str) -> list[Option]:
    if parameter.name == "aspect_ratio":
        return _shapes(parameter, value)
    if parameter.name == "num_images":
        numbers = range(int(parameter.minimum or 1), int(parameter.maximum or 1) + 1)
        return [Option(value=str(n), label=str(n), checked=str(n) == value) for n in numbers]
    return [
        Option(value=choice, label=str(_CHOICE_LABELS.get(choice, choice)), checked=choice == value)
        for choice in parameter.choices
    ]


def _shapes(parameter: catalogue.Parameter, value: str) -> list[Option]:
    shapes = []
    if parameter.default is None:
        shapes.append(Option(value="", label=gettext("As reference"), checked=not value))
    for choice in parameter.choices:
        width, height = ratio_size(choice)
        scale = 18 / max(width, height)
        shapes.append(
            Option(
                value=choice,
                label=choice,
                checked=choice == value,
                width=round(width * scale, 2),
                height=round(height * scale, 2),
            )
        )
    return shapes
