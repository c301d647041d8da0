"""What every operation of the API has in common, described once for the OpenAPI schema.

A view names its own answers, and of its errors at most a `description`. From here come:

- the errors any operation may answer, and those that follow from a body or an id in the path;
- the one body all of them have, which `fluxsite.api.error_body` makes;
- the headers of answers, the two ways to sign in, and the group an operation stands in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from drf_spectacular.openapi import AutoSchema

TAGS = [
    {
        "name": "Drawing",
        "description": "Ask for pictures, follow a task, bring reference pictures.",
    },
    {"name": "Presets", "description": "A model and its settings under a name."},
    {"name": "History", "description": "Everything ever made, from all sources, newest first."},
    {"name": "Credits", "description": "What is left, where it went, and codes that bring more."},
]
#: The longest beginning that fits decides.
_TAG_OF = {
    "/api/flux/": "Drawing",
    "/api/flux/presets": "Presets",
    "/api/unified-history": "History",
    "/api/credits": "Credits",
}

#: Whatever has an address below /api/ is named by a slug.
_ID_PATTERN = "^[-a-zA-Z0-9_]+$"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


# ---------------------------------------------------------------- errors
@dataclass(frozen=True, kw_only=True)
class _Error:
    """An answer that many operations share; `example` is the code, the text and the fields."""

    name: str
    description: str
    code: str
    detail: str
    errors: Mapping[str, Any] | None = None
    headers: tuple[str, ...] = ()


ERRORS: Mapping[str, _Error] = {
    "400": _Error(
        name="BadRequest",
        description="The request cannot be understood or cannot run as it is. `errors` has the "
        "fields that are to blame, each with what is wrong. Nothing was changed.",
        code="invalid",
        detail="The request cannot run as it is.",
        errors={"num_images": ["Must be between 1 and 4."]},
    ),
    "401": _Error(
        name="Unauthorized",
        description="Nobody is signed in, or the token is not valid any more.",
        code="not_authenticated",
        detail="Authentication credentials were not provided.",
        headers=("WWW-Authenticate",),
    ),
    "402": _Error(
        name="PaymentRequired",
        description="The credits, or what is left of a budget, do not suffice. Nothing was "
        "reserved.",
        code="insufficient_credits",
        detail="This needs 20 credits and you have 5.",
    ),
    "403": _Error(
        name="Forbidden",
        description="Known, and not allowed: a session without its CSRF token, a token whose "
        "scopes do not reach so far, or something that is for staff.",
        code="permission_denied",
        detail="You do not have permission to perform this action.",
    ),
    "404": _Error(
        name="NotFound",
        description="There is no such thing, or it belongs to somebody else.",
        code="not_found",
        detail="Not found.",
    ),
    "409": _Error(
        name="Conflict",
        description="It cannot be done as things stand.",
        code="conflict",
        detail="The task has already ended.",
    ),
    "411": _Error(
        name="LengthRequired",
        description="The body came in chunks, without a length.",
        code="length_required",
        detail="Say how long the body is: send a Content-Length.",
    ),
    "413": _Error(
        name="TooLarge",
        description="The body is too large. It was not read.",
        code="too_large",
        detail="The request is too large.",
    ),
    "415": _Error(
        name="UnsupportedMediaType",
        description="The body is of a type that is not taken here.",
        code="unsupported_media_type",
        detail='Unsupported media type "text/plain" in request.',
    ),
    "429": _Error(
        name="TooManyRequests",
        description="Asked too often. `Retry-After` says when to try again, in seconds.",
        code="throttled",
        detail="Request was throttled. Expected available in 30 seconds.",
        headers=("Retry-After",),
    ),
    "503": _Error(
        name="Unavailable",
        description="`unavailable`: the database does not answer; `maintenance`: the site is "
        "being looked after. Nothing was changed; try again after `Retry-After` seconds.",
        code="unavailable",
        detail="The site is busy. Nothing was changed; try again in a moment.",
        headers=("Retry-After",),
    ),
}
#: Whatever is asked: a host that is not ours, no login, a throttle, a database that is away.
_ALWAYS = ("400", "401", "403", "429", "503")
_WITH_BODY = ("413", "415")
_WITH_ID = ("404",)

_SUCCESS = {"200": "As asked.", "201": "Made.", "202": "Accepted; it goes on.", "204": "Gone."}

_ERROR_SCHEMA = {
    "type": "object",
    "description": "What every error looks like.",
    "required": ["code", "detail", "request_id"],
    "additionalProperties": False,
    "properties": {
        "code": {"type": "string", "description": "For programs; does not change."},
        "detail": {"type": "string", "description": "For people, in the language asked for."},
        "errors": {
            "type": "object",
            "additionalProperties": True,
            "description": "Only where fields are to blame: what is wrong with each.",
        },
        "request_id": {
            "type": "string",
            "description": "As in X-Request-ID: name it to whoever looks after the site.",
        },
    },
}
_HEADERS = {
    "X-Request-ID": {
        "description": "The name of this request in the logs. Send your own, of 8 to 64 letters, "
        "digits, `.`, `_` or `-`, and it is kept.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{8,64}$"},
    },
    "Retry-After": {
        "description": "Seconds to wait before trying again.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {
        "description": "How to sign in.",
        "schema": {"type": "string"},
    },
}


def _header_refs(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-ID", *names)}


def _content(error: _Error) -> dict[str, Any]:
    example: dict[str, Any] = {"code": error.code, "detail": error.detail}
    if error.errors:
        example["errors"] = error.errors
    example["request_id"] = "5f2c9a7be1d04c38"
    return {
        "application/json": {
            "schema": {"$ref": "#/components/schemas/Error"},
            "example": example,
        }
    }


def _response(error: _Error, description: str = "") -> dict[str, Any]:
    return {
        "description": description or error.description,
        "headers": _header_refs(*error.headers),
        "content": _content(error),
    }


# ---------------------------------------------------------------- one operation
class Schema(AutoSchema):
    """Describes an operation by its view, and adds what it shares with all others."""

    def get_tags(self) -> list[str]:
        fitting = [start for start in _TAG_OF if self.path.startswith(start)]
        return [_TAG_OF[max(fitting, key=len)]] if fitting else ["Other"]

    def get_auth(self) -> list[dict[str, Any]]:
        if self.method in SAFE_METHODS:
            return [{"token": []}, {"session": []}]
        return [{"token": []}, {"session": [], "csrf": []}]

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        operation: dict[str, Any] | None = super().get_operation(*args, **kwargs)
        if operation is None:
            return None
        if not operation.get("summary"):
            # Views say in one sentence what they do; the rest, if any, is the description.
            first, _blank, rest = operation.get("description", "").partition("\n\n")
            operation["summary"] = first.rstrip(".")
            operation["description"] = rest or first
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path":
                parameter["schema"] = {"type": "string", "pattern": _ID_PATTERN}
        operation["responses"] = _answers(operation)
        return operation


def _answers(operation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answers of the view with those it shares, in order."""
    own = operation["responses"]
    shared = [*_ALWAYS]
    if "requestBody" in operation:
        shared += _WITH_BODY
    if any(parameter["in"] == "path" for parameter in operation.get("parameters", ())):
        shared += _WITH_ID
    answers = {}
    for code in sorted({*own, *shared}):
        answer = own.get(code, {})
        if code < "400":
            description = answer["description"] or _SUCCESS[code]
            answers[code] = {**answer, "description": description, "headers": _header_refs()}
        elif answer.get("description"):
            answers[code] = _response(ERRORS[code], answer["description"])
        else:
            answers[code] = {"$ref": f"#/components/responses/{ERRORS[code].name}"}
    return answers


# ---------------------------------------------------------------- the whole
def add_components(
    result: dict[str, Any],
    generator: Any,
    request: Any,
    public: bool,  # noqa: FBT001 - a hook of drf-spectacular
) -> dict[str, Any]:
    """Add the parts that operations refer to (a POSTPROCESSING_HOOK)."""
    result["tags"] = TAGS
    components = result.setdefault("components", {})
    components.setdefault("schemas", {})["Error"] = _ERROR_SCHEMA
    components["headers"] = _HEADERS
    components["responses"] = {error.name: _response(error) for error in ERRORS.values()}
    components["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "`Authorization: Bearer fx_…`, a token made on the page `/tokens`.",
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.SESSION_COOKIE_NAME,
            "description": "The cookie of a browser that is signed in.",
        },
        "csrf": {
            "type": "apiKey",
            "in": "header",
            "name": "X-CSRFToken",
            "description": f"With a session, for all but reading: the value of the cookie "
            f"`{settings.CSRF_COOKIE_NAME}`. Requests with a token need none.",
        },
    }
    return result
