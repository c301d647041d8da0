"""Errors as OpenAI's clients read them, and whether they shall try again.

    {"error": {"message": "…", "type": "invalid_request_error", "param": "size", "code": "…"}}

openai 3.54.0 and openai-node 6.49 send a request again, twice, after 408, 409, 429 and 5xx, unless
`x-should-retry: false` tells them otherwise. They are told so wherever it would not help.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: What OpenAI calls it, where its clients look for that.
_CODES = {
    "authentication_failed": "invalid_api_key",
    "not_authenticated": "invalid_api_key",
    "insufficient_credits": "insufficient_quota",
    "unknown_model": "model_not_found",
    "content_policy": "content_policy_violation",
}
#: Our names of what they call otherwise.
_FIELDS = {
    "num_images": "n",
    "image_url": "image",
    "image_urls": "image",
    "file": "image",
    "non_field_errors": None,
}
_TYPES = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    429: "rate_limit_error",
}
#: Statuses, and codes of others, after which the same request fails again, or pays again.
_FINAL_STATUSES = (402, 409, 502, 504)
_FINAL_CODES = ("off", "not_configured", "key_unreadable", "maintenance", "too_many_waiting")
_LONGEST_REASON = 200


def body(*, status: int, code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """Return the body of an error. `code` and `param` are ours, or OpenAI's."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {
        "error": {
            "message": message.encode(errors="replace").decode(),
            "type": kind,
            "param": _FIELDS.get(param, param) if param else None,
            "code": _CODES.get(code, code),
        }
    }


def body_of(common: Mapping[str, Any], *, status: int) -> dict[str, Any]:
    """Return the body of an error that came in the shape of the rest of our API."""
    fields: Mapping[str, Any] = common.get("errors") or {}
    param = next(iter(fields), None)
    message = str(common["detail"])
    if param is not None:
        texts = fields[param]
        message = str(texts[0] if isinstance(texts, list) and texts else texts)
    return body(status=status, code=str(common["code"]), message=message, param=param)


def headers(*, status: int, code: str) -> dict[str, str]:
    """Return what an error's head says to clients, beside `Retry-After`."""
    is_final = status in _FINAL_STATUSES or code in _FINAL_CODES
    return {"x-should-retry": "false"} if is_final else {}


def reason(message: str) -> str:
    """Return a message as the reason phrase of a status line, the only words that Open WebUI
    shows; "" where it cannot travel there."""
    words = " ".join(message.split())
    is_plain = words.isascii() and words.isprintable()
    return words[:_LONGEST_REASON] if is_plain else ""
