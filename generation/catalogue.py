"""The models as data: what each can do, what it accepts, where the request goes.

A member picks a *model*; the number of reference pictures picks the *endpoint* at fal. The
form, the validation, the API's schema and the body sent to fal all derive from the entries
at the end of this file, so a new model is a new entry and no code. No Django in here.

Sources of the entries: fal's own schemas as published with its client and documentation,
read in November 2026. Where our API differs from fal's on purpose:

- `aspect_ratio` is the one way to say the shape. Endpoints that want `image_size` get it
  from `Parameter.wire_values`.
- `sync_mode` is never sent: it would return pictures inside the reply and lose them for the
  queue.
- fal ignores parameters it does not know, so a wrong name gives a wrong picture. We refuse.
"""

from __future__ import annotations

import dataclasses
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

#: Longest prompt accepted, in characters. fal names no limit; this bounds a row.
MAX_PROMPT_LENGTH = 10_000
#: fal's seeds are unsigned 64 bit.
MAX_SEED = 2**64 - 1

TaskType = Literal["text_to_image", "image_to_image", "redux", "multi_image"]
Kind = Literal["integer", "number", "boolean", "choice", "seed"]


def _(text: str) -> str:
    """Mark a text for translation without importing Django."""
    return text


# ---------------------------------------------------------------- problems
@dataclass(frozen=True, kw_only=True)
class Problem:
    """One reason why a request cannot run. `message` is an English message id with
    %(name)s places for `params`, so that doors can translate it."""

    field: str
    code: str
    message: str
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return self.message % self.params


class InvalidRequest(Exception):
    """The request cannot run. `problems` names every reason, each with its field."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{p.field}: {p}" for p in problems))


# ---------------------------------------------------------------- what an entry consists of
#: Names staff have given to models, by id. Replaced as one.
_given_names: list[Mapping[str, str]] = [{}]


def rename(names: Mapping[str, str]) -> bool:
    """Call the models with these ids by these names from now on, in this process; all others
    by their own. False: they are called so already."""
    if _given_names[0] == names:
        return False
    _given_names[0] = dict(names)
    return True


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One setting of an endpoint: its type, default and range as our API has them.

    `default` None means that fal decides. `wire_name` and `wire_values` say how it is sent
    where fal's own form differs. `advanced` settings are folded away on the page.
    """

    name: str
    kind: Kind
    label: str
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    wire_name: str = ""
    wire_values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    advanced: bool = True
    help: str = ""

    def clean(self, value: Any) -> Any:
        """Return `value` in its own type, from JSON or from a form's text.

        Raises InvalidRequest. None and "" mean "not given" and return None.
        """
        if value is None or value == "":
            return None
        return _CLEANERS[self.kind](self, value)

    def problem(self, code: str, message: str, **params: Any) -> InvalidRequest:
        return InvalidRequest([Problem(field=self.name, code=code, message=message, params=params)])

    def wire(self, value: Any) -> tuple[str, Any]:
        """Return the name and value fal gets for a cleaned `value`."""
        return self.wire_name or self.name, self.wire_values.get(value, value)


def _clean_boolean(parameter: Parameter, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "on", "1"):
        return True
    if value in ("false", "off", "0"):
        return False
    raise parameter.problem("invalid", _("Must be true or false."))


def _clean_integer(parameter: Parameter, value: Any) -> int:
    number = _whole(value)
    if number is None:
        raise parameter.problem("invalid", _("A whole number is needed."))
    _check_range(parameter, number)
    return number


def _clean_seed(parameter: Parameter, value: Any) -> str:
    # Kept as text everywhere: it does not fit a database integer or a JavaScript number.
    return str(_clean_integer(parameter, value))


def _clean_number(parameter: Parameter, value: Any) -> float:
    number = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value) if abs(value) < 1e9 else math.inf
    elif isinstance(value, str) and len(value) <= 30 and value.isascii():
        try:
            number = float(value)
        except ValueError:
            number = None
    if number is None or not math.isfinite(number):
        raise parameter.problem("invalid", _("A number is needed."))
    _check_range(parameter, number)
    return number


def _clean_choice(parameter: Parameter, value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or value not in parameter.choices:
        raise parameter.problem(
            "invalid_choice",
            _("Choose one of %(choices)s."),
            choices=", ".join(parameter.choices),
        )
    return value


_CLEANERS: Mapping[str, Any] = {
    "boolean": _clean_boolean,
    "integer": _clean_integer,
    "seed": _clean_seed,
    "number": _clean_number,
    "choice": _clean_choice,
}


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, str):
        digits = value.strip().removeprefix("-")
        # Bounded before int(): a text of a million digits would take seconds.
        if digits.isascii() and digits.isdigit() and len(digits) <= 30:
            return int(value)
    return None


def _check_range(parameter: Parameter, number: float) -> None:
    low, high = parameter.minimum, parameter.maximum
    too_low = low is not None and number < low
    too_high = high is not None and number > high
    if too_low or too_high:
        raise parameter.problem(
            "out_of_range",
            _("Must be between %(minimum)s and %(maximum)s."),
            minimum=low,
            maximum=high,
        )


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One address at fal. `image_param` is the name the reference pictures go under.

    `credits` is the price of a picture a new site starts with; after that its price list
    decides (admin, "Prices").
    """

    id: str
    task_type: TaskType
    credits: int
    parameters: tuple[Parameter, ...]
    image_param: Literal["", "image_url", "image_urls"] = ""
    min_images: int = 0
    max_images: int = 0
    has_prompt: bool = True

    @cached_property
    def by_name(self) -> Mapping[str, Parameter]:
        return {parameter.name: parameter for parameter in self.parameters}

    def takes(self, images: int) -> bool:
        return self.min_images <= images <= self.max_images

    @property
    def max_num_images(self) -> int:
        parameter = self.by_name.get("num_images")
        return int(parameter.maximum or 1) if parameter else 1


@dataclass(frozen=True, kw_only=True)
class Model:
    """What a member picks. The first endpoint that takes the given number of reference
    pictures draws; `id` is the name the API and the history know it by. `picture` is the name
    of a drawing in static/img/models."""

    id: str
    own_name: str
    summary: str
    endpoints: tuple[Endpoint, ...]
    picture: str = "any"

    @property
    def name(self) -> str:
        """What the model is called here: as staff have named it, else by its own name."""
        return _given_names[0].get(self.id) or self.own_name

    @property
    def min_images(self) -> int:
        return min(endpoint.min_images for endpoint in self.endpoints)

    @property
    def max_images(self) -> int:
        return max(endpoint.max_images for endpoint in self.endpoints)

    def endpoint_for(self, images: int) -> Endpoint:
        """Return the endpoint for that many reference pictures. Raises InvalidRequest."""
        for endpoint in self.endpoints:
            if endpoint.takes(images):
                return endpoint
        raise InvalidRequest([_picture_count_problem(self, images)])


def _picture_count_problem(model: Model, images: int) -> Problem:
    params = {"model": model.name, "minimum": model.min_images, "maximum": model.max_images}
    if images < model.min_images:
        name = model.endpoints[0].image_param or "image_url"
        message = _("%(model)s needs a reference picture.")
        return Problem(field=name, code="required", message=message, params=params)
    name = "image_urls" if images > 1 else "image_url"
    if model.max_images == 0:
        message = _("%(model)s draws from the prompt alone; remove the reference picture.")
    else:
        message = _("%(model)s takes at most %(maximum)s reference pictures.")
    return Problem(field=name, code="too_many", message=message, params=params)


# ---------------------------------------------------------------- a checked request
@dataclass(frozen=True, kw_only=True)
class Request:
    """A request that fal will understand: what was asked, cleaned and with defaults."""

    model: Model
    endpoint: Endpoint
    prompt: str
    parameters: Mapping[str, Any]
    images: int

    @property
    def num_images(self) -> int:
        return int(self.parameters.get("num_images") or 1)

    @property
    def task_type(self) -> TaskType:
        if self.endpoint.task_type == "redux" or self.images == 0:
            return self.endpoint.task_type
        return "multi_image" if self.images > 1 else "image_to_image"


def build_payload(
    *,
    endpoint: Endpoint,
    prompt: str,
    parameters: Mapping[str, Any],
    image_urls: Sequence[str],
) -> dict[str, Any]:
    """Return the body for fal from cleaned parameters. Unset ones are left to fal."""
    payload: dict[str, Any] = {}
    if endpoint.has_prompt:
        payload["prompt"] = prompt
    if endpoint.image_param == "image_urls":
        payload["image_urls"] = list(image_urls)
    elif endpoint.image_param and image_urls:
        payload[endpoint.image_param] = image_urls[0]
    for name, value in parameters.items():
        parameter = endpoint.by_name.get(name)
        if parameter is None or value is None:
            continue
        wire_name, wire_value = parameter.wire(value)
        payload[wire_name] = int(wire_value) if parameter.kind == "seed" else wire_value
    return payload


def check(*, model_id: str, prompt: Any, images: int, parameters: Mapping[str, Any]) -> Request:
    """Check a request against the catalogue and return it cleaned.

    `images` is the number of reference pictures. Raises InvalidRequest with every problem
    found, each under the name of its field.
    """
    model = find_model(model_id)
    if model is None:
        raise InvalidRequest(
            [Problem(field="model", code="unknown_model", message=_("This model is not known."))]
        )
    endpoint = model.endpoint_for(images)
    problems: list[Problem] = []
    text = _clean_prompt(endpoint, prompt, problems)
    cleaned: dict[str, Any] = {p.name: p.default for p in endpoint.parameters}
    for name, value in parameters.items():
        parameter = endpoint.by_name.get(name)
        try:
            if parameter is None:
                problems.append(unknown_parameter(model, name))
            elif (clean := parameter.clean(value)) is not None:
                cleaned[name] = clean
        except InvalidRequest as error:
            problems.extend(error.problems)
    if problems:
        raise InvalidRequest(problems)
    return Request(model=model, endpoint=endpoint, prompt=text, parameters=cleaned, images=images)


def unknown_parameter(model: Model, name: str) -> Problem:
    return Problem(
        # The name goes back to the caller, and half a surrogate pair cannot be encoded.
        field=name[:100].encode(errors="replace").decode(),
        code="unknown_parameter",
        message=_("%(model)s has no such setting here."),
        params={"model": model.name},
    )


def is_storable(text: str) -> bool:
    """PostgreSQL refuses NUL, and no encoder takes half of a surrogate pair."""
    return "\x00" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _clean_prompt(endpoint: Endpoint, prompt: Any, problems: list[Problem]) -> str:
    def refuse(code: str, message: str, **params: Any) -> str:
        problems.append(Problem(field="prompt", code=code, message=message, params=params))
        return ""

    if prompt is None:
        prompt = ""
    if not isinstance(prompt, str):
        return refuse("invalid", _("The prompt must be text."))
    if not is_storable(prompt):
        return refuse("invalid_characters", _("The prompt contains characters that are not text."))
    text = unicodedata.normalize("NFC", prompt).strip()
    if len(text) > MAX_PROMPT_LENGTH:
        return refuse(
            "too_long", _("At most %(maximum)s characters, please."), maximum=MAX_PROMPT_LENGTH
        )
    if not endpoint.has_prompt:
        # A variation has no prompt at fal; the words stay out of the history as well.
        return (
            "" if not text else refuse("not_used", _("This model takes no prompt; leave it empty."))
        )
    if not any(not unicodedata.category(char).startswith(("Z", "C")) for char in text):
        return refuse("required", _("Write what you want to see."))
    return text


# ---------------------------------------------------------------- parameters
_COUNT = Parameter(
    name="num_images",
    kind="integer",
    label=_("Pictures"),
    default=1,
    minimum=1,
    maximum=4,
    advanced=False,
)
_SEED = Parameter(
    name="seed",
    kind="seed",
    label=_("Seed"),
    minimum=0,
    maximum=MAX_SEED,
    help=_("The same seed and prompt draw the same picture. Empty: a new one each time."),
)
_FORMAT = Parameter(
    name="output_format",
    kind="choice",
    label=_("File format"),
    default="jpeg",
    choices=("jpeg", "png"),
)
_FORMAT_WEBP = Parameter(
    name="output_format",
    kind="choice",
    label=_("File format"),
    default="png",
    choices=("jpeg", "png", "webp"),
)
_CHECKER = Parameter(
    name="enable_safety_checker", kind="boolean", label=_("Safety checker"), default=True
)
_ACCELERATION = Parameter(
    name="acceleration",
    kind="choice",
    label=_("Acceleration"),
    default="regular",
    choices=("none", "regular", "high"),
    help=_("Higher is quicker and a little coarser."),
)
_ENHANCE = Parameter(
    name="enhance_prompt", kind="boolean", label=_("Let the model enrich the prompt"), default=False
)
_EXPANSION = Parameter(
    name="enable_prompt_expansion",
    kind="boolean",
    label=_("Let the model enrich the prompt"),
    default=False,
)
_STRENGTH = Parameter(
    name="strength",
    kind="number",
    label=_("Strength"),
    default=0.95,
    minimum=0.01,
    maximum=1,
    step=0.01,
    advanced=False,
    help=_("Low keeps the reference picture, high follows the prompt."),
)


def _steps(default: int, *, minimum: int = 1, maximum: int = 50) -> Parameter:
    return Parameter(
        name="num_inference_steps",
        kind="integer",
        label=_("Steps"),
        default=default,
        minimum=minimum,
        maximum=maximum,
        help=_("More steps are slower and finer."),
    )


def _guidance(default: float = 3.5, *, minimum: float = 1) -> Parameter:
    return Parameter(
        name="guidance_scale",
        kind="number",
        label=_("Guidance"),
        default=default,
        minimum=minimum,
        maximum=20,
        step=0.1,
        help=_("How closely the picture follows the prompt."),
    )


def _tolerance(*choices: str) -> Parameter:
    return Parameter(
        name="safety_tolerance",
        kind="choice",
        label=_("Safety tolerance"),
        default="2",
        choices=choices,
        help=_("1 is the strictest."),
    )


RATIOS = ("21:9", "16:9", "4:3", "3:2", "1:1", "2:3", "3:4", "9:16", "9:21")

#: fal's image_size for each ratio: its own presets where it has one, else a size of at most
#: 2**20 pixels, which is billed as one megapixel.
IMAGE_SIZES: Mapping[str, Any] = {
    "21:9": {"width": 1536, "height": 640},
    "16:9": "landscape_16_9",
    "4:3": "landscape_4_3",
    "3:2": {"width": 1248, "height": 832},
    "1:1": "square_hd",
    "2:3": {"width": 832, "height": 1248},
    "3:4": "portrait_4_3",
    "9:16": "portrait_16_9",
    "9:21": {"width": 640, "height": 1536},
}


def _ratio(default: str | None, *, as_image_size: bool = False) -> Parameter:
    return Parameter(
        name="aspect_ratio",
        kind="choice",
        label=_("Shape"),
        default=default,
        choices=RATIOS,
        wire_name="image_size" if as_image_size else "",
        wire_values=IMAGE_SIZES if as_image_size else {},
        advanced=False,
        help="" if default else _("Empty: as the reference picture."),
    )


_SIZE = _ratio("1:1", as_image_size=True)
_FLUX1 = (_SEED, _FORMAT, _CHECKER, _ACCELERATION)
_KONTEXT = (_COUNT, _guidance(), _SEED, _tolerance("1", "2", "3", "4", "5", "6"), _FORMAT, _ENHANCE)
#: fal names no limit for Kontext's experimental multi endpoints; more than four is not useful.
_MULTI_LIMIT = 4
_FLUX2_LIMIT = 4


def _kontext(base: str, *, price: int, multi_price: int) -> tuple[Endpoint, ...]:
    """Kontext needs a picture at its base address; without one, and with several, the
    request goes to a sibling."""
    return (
        Endpoint(
            id=f"{base}/text-to-image",
            task_type="text_to_image",
            credits=price,
            parameters=(_ratio("1:1"), *_KONTEXT),
        ),
        Endpoint(
            id=base,
            task_type="image_to_image",
            credits=price,
            image_param="image_url",
            min_images=1,
            max_images=1,
            parameters=(_ratio(None), *_KONTEXT),
        ),
        Endpoint(
            id=f"{base}/multi",
            task_type="multi_image",
            credits=multi_price,
            image_param="image_urls",
            # One is enough when this address is asked for by name; by number it gets two up.
            min_images=1,
            max_images=_MULTI_LIMIT,
            parameters=(_ratio(None), *_KONTEXT),
        ),
    )


def _redux(endpoint_id: str, *parameters: Parameter, price: int) -> Endpoint:
    return Endpoint(
        id=endpoint_id,
        task_type="redux",
        credits=price,
        image_param="image_url",
        min_images=1,
        max_images=1,
        has_prompt=False,
        parameters=(_SIZE, _COUNT, *parameters, *_FLUX1),
    )


# ---------------------------------------------------------------- the entries
MODELS: tuple[Model, ...] = (
    Model(
        id="fal-ai/flux-1/schnell",
        own_name="FLUX.1 schnell",
        summary=_("Quick drafts in a second or two"),
        picture="schnell",
        endpoints=(
            Endpoint(
                id="fal-ai/flux-1/schnell",
                task_type="text_to_image",
                credits=5,
                parameters=(_SIZE, _COUNT, _steps(4, maximum=12), _guidance(), *_FLUX1),
            ),
        ),
    ),
    Model(
        id="fal-ai/flux-1/dev",
        own_name="FLUX.1 dev",
        summary=_("Careful pictures, from words or from a picture"),
        picture="dev",
        endpoints=(
            Endpoint(
                id="fal-ai/flux-1/dev",
                task_type="text_to_image",
                credits=10,
                parameters=(_SIZE, _COUNT, _steps(28), _guidance(), *_FLUX1),
            ),
            Endpoint(
                id="fal-ai/flux-1/dev/image-to-image",
                task_type="image_to_image",
                credits=10,
                image_param="image_url",
                min_images=1,
                max_images=1,
                parameters=(_STRENGTH, _COUNT, _steps(40, minimum=10), _guidance(), *_FLUX1),
            ),
        ),
    ),
    Model(
        id="fal-ai/flux-pro/kontext",
        own_name="FLUX.1 Kontext pro",
        summary=_("Edits a picture as you tell it, or draws a new one"),
        picture="kontext",
        endpoints=_kontext("fal-ai/flux-pro/kontext", price=25, multi_price=30),
    ),
    Model(
        id="fal-ai/flux-pro/kontext/max",
        own_name="FLUX.1 Kontext max",
        summary=_("Kontext at its best: prompts, lettering, several pictures into one"),
        picture="kontext-max",
        endpoints=_kontext("fal-ai/flux-pro/kontext/max", price=35, multi_price=35),
    ),
    Model(
        id="fal-ai/flux-1/dev/redux",
        own_name="FLUX.1 dev Redux",
        summary=_("Variations of a picture, without a prompt"),
        picture="redux",
        endpoints=(_redux("fal-ai/flux-1/dev/redux", _steps(28), _guidance(), price=10),),
    ),
    Model(
        id="fal-ai/flux-1/schnell/redux",
        own_name="FLUX.1 schnell Redux",
        summary=_("Quick variations of a picture, without a prompt"),
        picture="redux-schnell",
        endpoints=(_redux("fal-ai/flux-1/schnell/redux", _steps(4, maximum=12), price=5),),
    ),
    Model(
        id="fal-ai/flux-2-pro",
        own_name="FLUX.2 pro",
        summary=_("The newest generation: one polished picture at a time"),
        picture="flux2-pro",
        endpoints=(
            Endpoint(
                id="fal-ai/flux-2-pro",
                task_type="text_to_image",
                credits=20,
                parameters=(
                    _SIZE,
                    _SEED,
                    _tolerance("1", "2", "3", "4", "5"),
                    _FORMAT,
                    _CHECKER,
                ),
            ),
            Endpoint(
                id="fal-ai/flux-2-pro/edit",
                task_type="image_to_image",
                credits=25,
                image_param="image_urls",
                min_images=1,
                max_images=_FLUX2_LIMIT,
                parameters=(
                    _ratio(None, as_image_size=True),
                    _SEED,
                    _tolerance("1", "2", "3", "4", "5"),
                    _FORMAT,
                    _CHECKER,
                ),
            ),
        ),
    ),
    Model(
        id="fal-ai/flux-2",
        own_name="FLUX.2 dev",
        summary=_("The newest open model, from words or up to four pictures"),
        picture="flux2",
        endpoints=(
            Endpoint(
                id="fal-ai/flux-2",
                task_type="text_to_image",
                credits=10,
                parameters=(
                    _SIZE,
                    _COUNT,
                    _steps(28),
                    _guidance(2.5, minimum=0),
                    _SEED,
                    _FORMAT_WEBP,
                    _CHECKER,
                    _ACCELERATION,
                    _EXPANSION,
                ),
            ),
            Endpoint(
                id="fal-ai/flux-2/edit",
                task_type="image_to_image",
                credits=15,
                image_param="image_urls",
                min_images=1,
                max_images=_FLUX2_LIMIT,
                parameters=(
                    _ratio(None, as_image_size=True),
                    _COUNT,
                    _steps(28),
                    _guidance(2.5, minimum=0),
                    _SEED,
                    _FORMAT_WEBP,
                    _CHECKER,
                    _ACCELERATION,
                    _EXPANSION,
                ),
            ),
        ),
    ),
    Model(
        id="fal-ai/flux-pro/v1.1-ultra",
        own_name="FLUX1.1 pro ultra",
        summary=_("Four megapixels, photographic"),
        picture="ultra",
        endpoints=(
            Endpoint(
                id="fal-ai/flux-pro/v1.1-ultra",
                task_type="text_to_image",
                credits=30,
                image_param="image_url",
                min_images=0,
                max_images=1,
                parameters=(
                    _ratio("16:9"),
                    _COUNT,
                    Parameter(
                        name="raw", kind="boolean", label=_("Less processed look"), default=False
                    ),
                    Parameter(
                        name="image_prompt_strength",
                        kind="number",
                        label=_("Weight of the reference picture"),
                        default=0.1,
                        minimum=0,
                        maximum=1,
                        step=0.01,
                    ),
                    _SEED,
                    _tolerance("1", "2", "3", "4", "5", "6"),
                    _FORMAT,
                    _ENHANCE,
                ),
            ),
        ),
    ),
)

DEFAULT_MODEL = "fal-ai/flux-1/dev"


def _index() -> Mapping[str, Model]:
    """All names the API accepts: the models, and each endpoint that is no model itself as a
    model of its own that always goes to that address."""
    index = {model.id: model for model in MODELS}
    for model in MODELS:
        for endpoint in model.endpoints:
            index.setdefault(
                endpoint.id,
                Model(
                    id=endpoint.id,
                    own_name=f"{model.own_name} ({endpoint.id.rsplit('/', 1)[-1]})",
                    summary=model.summary,
                    endpoints=(endpoint,),
                    picture=model.picture,
                ),
            )
    return index


_MODELS_BY_ID = _index()
_ENDPOINTS_BY_ID = {e.id: e for model in MODELS for e in model.endpoints}


def find_model(model_id: object) -> Model | None:
    """Return the model of that name, also for names that fix the endpoint, or None."""
    return _MODELS_BY_ID.get(model_id) if isinstance(model_id, str) else None


def family(model_id: object) -> Model | None:
    """Return the model the picker shows for an id, also for ids that fix one endpoint."""
    model = find_model(model_id)
    if model is None or any(model.id == each.id for each in MODELS):
        return model
    return next(each for each in MODELS if model.endpoints[0] in each.endpoints)


def find_endpoint(endpoint_id: str) -> Endpoint | None:
    return _ENDPOINTS_BY_ID.get(endpoint_id)


def listed_prices() -> dict[str, int]:
    """Return the credits of one picture by endpoint, as a new site has them."""
    return {endpoint.id: endpoint.credits for endpoint in _ENDPOINTS_BY_ID.values()}


def all_model_ids() -> tuple[str, ...]:
    return tuple(_MODELS_BY_ID)
