"""What each endpoint accepts and how it complains.

The data sits in ``schemas.json``, written from the vendor's published schemas and kept
apart from the product's own catalogue on purpose: two independent accounts of the same
API can be compared, one account can only agree with itself.

Validation answers like the vendor's framework (pydantic 2 behind FastAPI): numbers in
strings are accepted, unknown fields are ignored without a word, and every problem is
listed with ``type``, ``loc``, ``msg`` and ``input``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

Problem = dict[str, Any]

# The framework's own bound for one side of a custom image_size.
LARGEST_SIDE_PX = 14142

_RATIO = re.compile(r"^(\d{1,4}):(\d{1,4})$")
_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})


@dataclass(frozen=True)
class Field:
    """One input member. ``type`` is string, strings, boolean, integer, number, choice,
    size (preset name or width and height) or ratio (any ``W:H``)."""

    name: str
    type: str
    required: bool = False
    default: Any = None
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Endpoint:
    """``kind`` is how the picture is made: text, repaint, variation, edit or collage."""

    id: str
    kind: str
    billing: Literal["megapixel", "image"]
    output: Literal["full", "lean"]
    megapixels: int
    fields: tuple[Field, ...]

    @property
    def app(self) -> str:
        return app_of(self.id)

    def field(self, name: str) -> Field | None:
        return next((field for field in self.fields if field.name == name), None)


def app_of(endpoint_id: str) -> str:
    """Return owner/app: everything after the submit is addressed by these two parts."""
    return "/".join(endpoint_id.split("/")[:2])


@cache
def _document() -> dict[str, Any]:
    text = Path(__file__).with_name("schemas.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


@cache
def endpoints() -> dict[str, Endpoint]:
    """Return every endpoint the sandbox knows, by id."""
    document = _document()
    found = {}
    for endpoint_id, entry in document["endpoints"].items():
        fields = tuple(
            _field(name, document["fields"][kind]) for name, kind in entry["input"].items()
        )
        found[endpoint_id] = Endpoint(
            id=endpoint_id,
            kind=entry["kind"],
            billing=entry["billing"],
            output=entry["output"],
            megapixels=entry.get("megapixels", 1),
            fields=fields,
        )
    return found


@cache
def apps() -> frozenset[str]:
    return frozenset(app_of(endpoint_id) for endpoint_id in endpoints())


def presets() -> dict[str, tuple[int, int]]:
    return {name: (width, height) for name, (width, height) in _document()["presets"].items()}


def _field(name: str, data: dict[str, Any]) -> Field:
    return Field(name=name, **{**data, "choices": tuple(data.get("choices", ()))})


def validate(endpoint: Endpoint, body: Any) -> tuple[dict[str, Any], list[Problem]]:
    """Return the arguments with defaults filled in, and the list of problems (empty when fine)."""
    if not isinstance(body, dict):
        message = "Input should be a valid dictionary or object to extract fields from"
        return {}, [_problem("model_attributes_type", ["body"], message, body)]
    arguments: dict[str, Any] = {}
    problems: list[Problem] = []
    for field in endpoint.fields:
        loc: list[str | int] = ["body", field.name]
        if field.name not in body:
            if field.required:
                problems.append(_problem("missing", loc, "Field required", body))
            arguments[field.name] = field.default
        elif body[field.name] is None and field.nullable:
            arguments[field.name] = None
        else:
            value, found = _check(field, body[field.name], loc)
            arguments[field.name] = value
            problems.extend(found)
    return arguments, problems


def _check(field: Field, value: Any, loc: list[str | int]) -> tuple[Any, list[Problem]]:
    if field.type == "string":
        return _string(value, loc)
    if field.type == "strings":
        return _strings(value, loc)
    if field.type == "boolean":
        return _boolean(value, loc)
    if field.type in ("integer", "number"):
        read = _integer if field.type == "integer" else _number
        number, problems = read(value, loc)
        return number, problems or _bounds(field, number, value, loc)
    if field.type == "size":
        return _size(field, value, loc)
    if field.type == "ratio":
        return _ratio(value, loc)
    return _choice(field, value, loc)


def _problem(kind: str, loc: list[str | int], message: str, value: Any, **context: Any) -> Problem:
    problem: Problem = {"type": kind, "loc": list(loc), "msg": message, "input": value}
    if context:
        problem["ctx"] = context
    return problem


def _string(value: Any, loc: list[str | int]) -> tuple[str, list[Problem]]:
    if isinstance(value, str):
        return value, []
    return "", [_problem("string_type", loc, "Input should be a valid string", value)]


def _strings(value: Any, loc: list[str | int]) -> tuple[list[str], list[Problem]]:
    # An empty list passes here: the real API takes it and fails later, if at all.
    if not isinstance(value, list):
        return [], [_problem("list_type", loc, "Input should be a valid list", value)]
    problems: list[Problem] = []
    for index, item in enumerate(value):
        problems.extend(_string(item, [*loc, index])[1])
    return value, problems


def _boolean(value: Any, loc: list[str | int]) -> tuple[bool, list[Problem]]:
    if isinstance(value, bool):
        return value, []
    message = "Input should be a valid boolean"
    if isinstance(value, (str, int, float)):
        word = str(int(value)) if value in (0, 1) else str(value).lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE, []
        message += ", unable to interpret input"
        return False, [_problem("bool_parsing", loc, message, value)]
    return False, [_problem("bool_type", loc, message, value)]


def _integer(value: Any, loc: list[str | int]) -> tuple[int, list[Problem]]:
    message = "Input should be a valid integer"
    if isinstance(value, int):
        return int(value), []
    if isinstance(value, float):
        if value.is_integer():
            return int(value), []
        message += ", got a number with a fractional part"
        return 0, [_problem("int_from_float", loc, message, value)]
    if isinstance(value, str):
        try:
            return int(value), []
        except ValueError:
            message += ", unable to parse string as an integer"
            return 0, [_problem("int_parsing", loc, message, value)]
    return 0, [_problem("int_type", loc, message, value)]


def _number(value: Any, loc: list[str | int]) -> tuple[float, list[Problem]]:
    message = "Input should be a valid number"
    if isinstance(value, (int, float)):
        return float(value), []
    if isinstance(value, str):
        try:
            return float(value), []
        except ValueError:
            message += ", unable to parse string as a number"
            return 0.0, [_problem("float_parsing", loc, message, value)]
    return 0.0, [_problem("float_type", loc, message, value)]


def _bounds(field: Field, number: float, value: Any, loc: list[str | int]) -> list[Problem]:
    if field.minimum is not None and not number >= field.minimum:
        message = f"Input should be greater than or equal to {field.minimum:g}"
        return [_problem("greater_than_equal", loc, message, value, ge=field.minimum)]
    if field.maximum is not None and not number <= field.maximum:
        message = f"Input should be less than or equal to {field.maximum:g}"
        return [_problem("less_than_equal", loc, message, value, le=field.maximum)]
    return []


def _choice(field: Field, value: Any, loc: list[str | int]) -> tuple[str, list[Problem]]:
    # A literal compares without conversion: safety_tolerance 2 is not "2".
    if isinstance(value, str) and value in field.choices:
        return value, []
    quoted = [f"'{choice}'" for choice in field.choices]
    expected = f"{', '.join(quoted[:-1])} or {quoted[-1]}"
    message = f"Input should be {expected}"
    return "", [_problem("literal_error", loc, message, value, expected=expected)]


def _ratio(value: Any, loc: list[str | int]) -> tuple[str, list[Problem]]:
    text, problems = _string(value, loc)
    if problems:
        return text, problems
    match = _RATIO.match(text)
    if match and all(int(part) > 0 for part in match.groups()):
        return text, []
    message = "Value error, aspect ratio should be W:H"
    return text, [_problem("value_error", loc, message, value)]


def _size(field: Field, value: Any, loc: list[str | int]) -> tuple[Any, list[Problem]]:
    if isinstance(value, str) and value in field.choices:
        return value, []
    # A union reports the complaint of every member, each under its own tag.
    literal_tag = f"literal[{','.join(repr(choice) for choice in field.choices)}]"
    _, not_a_preset = _choice(field, value, [*loc, literal_tag])
    if not isinstance(value, dict):
        message = "Input should be a valid dictionary or object to extract fields from"
        not_an_object = _problem("model_attributes_type", [*loc, "ImageSize"], message, value)
        return None, [not_an_object, *not_a_preset]
    sides: dict[str, int] = {}
    problems: list[Problem] = []
    for name in ("width", "height"):
        sides[name], found = _side(value.get(name, 512), [*loc, "ImageSize", name])
        problems.extend(found)
    return sides, [*problems, *not_a_preset] if problems else []


def _side(value: Any, loc: list[str | int]) -> tuple[int, list[Problem]]:
    side, problems = _integer(value, loc)
    if problems:
        return side, problems
    if side <= 0:
        return side, [_problem("greater_than", loc, "Input should be greater than 0", value, gt=0)]
    if side > LARGEST_SIDE_PX:
        message = f"Input should be less than or equal to {LARGEST_SIDE_PX}"
        return side, [_problem("less_than_equal", loc, message, value, le=LARGEST_SIDE_PX)]
    return side, []


def promised_size(
    endpoint: Endpoint, arguments: dict[str, Any], first_input: tuple[int, int] | None
) -> tuple[int, int]:
    """Return width and height of the picture these valid arguments ask for."""
    wanted = arguments.get("image_size")
    if isinstance(wanted, dict):
        return wanted["width"], wanted["height"]
    if isinstance(wanted, str) and wanted in presets():
        return presets()[wanted]
    ratio = arguments.get("aspect_ratio")
    if isinstance(ratio, str):
        across, down = (int(part) for part in ratio.split(":"))
        return _fit(across / down, endpoint.megapixels)
    if first_input is not None:
        return _fit(first_input[0] / first_input[1], endpoint.megapixels)
    return presets()["square_hd"]


def _fit(ratio: float, megapixels: int) -> tuple[int, int]:
    """Return sides of about that many megapixels in whole 16-pixel blocks, never above."""
    ratio = min(4.0, max(0.25, ratio))
    area = megapixels * 2**20
    width = max(16, int((area * ratio) ** 0.5 / 16 + 0.5) * 16)
    height = max(16, int(width / ratio / 16 + 0.5) * 16)
    while width * height > area:
        if width / height > ratio:
            width -= 16
        else:
            height -= 16
    return width, height


def billable_units(endpoint: Endpoint, sizes: list[tuple[int, int]]) -> int:
    """Return what the vendor would bill: megapixels rounded up per image, or images."""
    if endpoint.billing == "image":
        return len(sizes)
    return sum(-(-width * height // 2**20) for width, height in sizes)
