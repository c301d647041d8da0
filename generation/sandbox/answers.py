"""HTTP answers as values, and the vendor's wording of its refusals.

The wordings matter: clients in the field tell a locked account from a wrong key, and
nginx's 502 from a model's, by nothing else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from generation.sandbox.faults import FaultRule

NGINX_502 = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    b"<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n"
    b"</body>\r\n</html>\r\n"
)
NO_CREDENTIALS = "Cannot access application. Authentication is required to access this application."
_DETAILS = {
    401: "No user found for Key ID and Secret",
    403: (
        "User is locked. Reason: Exhausted balance. "
        "Top up your balance at fal.ai/dashboard/billing."
    ),
    404: "Application not found",
    429: "Too many requests. Please retry later.",
    500: "Internal Server Error",
    503: "Service temporarily unavailable",
    504: "Gateway timeout",
}


@dataclass
class Answer:
    """One HTTP answer. Content-Length is added by the server."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def as_json(status: int, document: Any, **headers: str) -> Answer:
    """Return a JSON answer; header names are given with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps(document, separators=(",", ":")).encode()
    return Answer(status, body, {"Content-Type": "application/json", **named})


def refusal(status: int, detail: Any, error_type: str | None = None) -> Answer:
    """Return ``{"detail": …}``, with the error type in body and header when there is one."""
    document = {"detail": detail}
    if error_type is None:
        return as_json(status, document)
    return as_json(status, {**document, "error_type": error_type}, X_Fal_Error_Type=error_type)


def not_allowed(allow: str) -> Answer:
    return Answer(405, b"", {"Allow": allow})


def of_status_fault(rule: FaultRule, request_id: str) -> Answer:
    """Return what a ``status_NNN`` rule puts in place of the real answer."""
    status = int(rule.kind.removeprefix("status_"))
    given = rule.get("body", None)
    if isinstance(given, str):
        answer = Answer(status, given.encode(), {"Content-Type": "text/html"})
    elif given is not None:
        answer = as_json(status, given)
    elif status == 502:
        answer = Answer(502, NGINX_502, {"Content-Type": "text/html"})
    else:
        answer = refusal(status, _DETAILS.get(status, f"Status {status}"))
    if rule.get("request_id", status != 502):
        answer.headers["x-fal-request-id"] = request_id
    if status == 429 or "retry_after" in rule.parameters:
        answer.headers["Retry-After"] = str(rule.get("retry_after", 1))
    answer.headers.update(rule.get("headers", {}))
    return answer
