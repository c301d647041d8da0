"""From a body in OpenAI's words to an order in ours.

What OpenAI's clients send and nothing here needs (`quality`, `style`, `background`, `user` …) is
passed over, as OpenAI itself passes over much of it. What a model here takes can be said by its
own name beside OpenAI's: `seed`, `guidance_scale`, `aspect_ratio` …
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_noop as _

from generation import catalogue

#: What our own parameters are called in OpenAI's words.
OWN_NAMES = {"n": "num_images"}
_SIZE = re.compile(r"([1-9]\d{1,4})x([1-9]\d{1,4})", re.ASCII)
#: OpenAI sends PNG where nothing is said, and its clients take what comes for that.
USUAL_FORMAT = "png"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A body, read as far as that goes without knowing the model. `model` "" is whichever fits."""

    model: str
    prompt: Any
    as_url: bool
    streams: bool
    rest: Mapping[str, Any]


def read(body: Mapping[str, Any]) -> Asked:
    """Read what is said about the answer. Raises catalogue.InvalidRequest."""
    rest = dict(body)
    model = rest.pop("model", None) or ""
    prompt = rest.pop("prompt", None)
    form = rest.pop("response_format", None) or "b64_json"
    streams = rest.pop("stream", None)
    if not isinstance(model, str):
        raise _invalid("model", "invalid", _("The name of a model is text."))
    if form not in ("b64_json", "url"):
        raise _invalid("response_format", "invalid_choice", _("Choose b64_json or url."))
    if rest.get("mask") is not None:
        raise _invalid(
            "mask",
            "unsupported",
            _("Masks are not supported: say in the prompt what to change and what to keep."),
        )
    if streams in (None, "", False, "false"):
        does_stream = False
    elif streams in (True, "true"):
        does_stream = True
    else:
        raise _invalid("stream", "invalid", _("Must be true or false."))
    return Asked(
        model=model.strip(),
        prompt=prompt,
        as_url=form == "url",
        streams=does_stream,
        rest=rest,
    )


def parameters_for(endpoint: catalogue.Endpoint, rest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of an endpoint that a body names, not checked yet. Raises
    catalogue.InvalidRequest for a size that is none, or more pictures than one at a time."""
    named = {OWN_NAMES.get(name, name): value for name, value in rest.items()}
    found = {name: named[name] for name in endpoint.by_name if named.get(name) is not None}
    ratio = endpoint.by_name.get("aspect_ratio")
    if ratio is not None and "aspect_ratio" not in found:
        shape = _ratio(rest.get("size"), ratio.choices)
        if shape:
            found["aspect_ratio"] = shape
    form = endpoint.by_name.get("output_format")
    if form is not None and "output_format" not in found and USUAL_FORMAT in form.choices:
        found["output_format"] = USUAL_FORMAT
    if "num_images" not in endpoint.by_name and named.get("num_images") not in (None, "", 1, "1"):
        raise _invalid("n", "out_of_range", _("This model draws one picture at a time."))
    return found


def _ratio(size: Any, choices: Sequence[str]) -> str:
    """Return the ratio that comes nearest to a size in pixels, "" where the model decides."""
    if size in (None, "", "auto"):
        return ""
    found = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if found is None:
        message = _("A size is like 1024x1024, or auto.")
        raise _invalid("size", "invalid", message)
    wanted = math.log(int(found[1]) / int(found[2]))

    def distance(choice: str) -> float:
        width, height = choice.split(":")
        return abs(math.log(int(width) / int(height)) - wanted)

    return min(choices, key=distance)


def _invalid(field: str, code: str, message: str) -> catalogue.InvalidRequest:
    return catalogue.InvalidRequest([catalogue.Problem(field=field, code=code, message=message)])
