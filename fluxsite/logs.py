"""What the log looks like: a line for people or an object for programs, and no secret in either.

Prompts and secrets are not logged in the first place. What is taken out here is what others
say: PostgreSQL quotes the row that it refuses, addresses are signed, a library names the key it
was given.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django.conf import settings

from fluxsite import request_ids

HIDDEN = "•••"
#: Settings whose values never appear. Of DATABASES the password.
SECRETS = (
    *("SECRET_KEY", "SECRET_KEY_FALLBACKS", "FIELD_ENCRYPTION_KEYS", "FAL_KEY"),
    *("COS_SECRET_ID", "COS_SECRET_KEY", "COS_TOKEN"),
    *("EMAIL_HOST_PASSWORD", "METRICS_TOKEN", "SENTRY_DSN", "OIDC_CLIENT_SECRET"),
)
#: A secret shorter than this would take ordinary words with it.
MIN_LENGTH = 6

_NEXT_PART = r"\n(?:CONTEXT|HINT):|\n\n(?:The above exception|During handling)|\Z"
_PARAMETERS = "q-signature|q-ak|x-cos-security-token|signature|sig|token|key|secret|password|prompt|q|code|state"
_PATTERNS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        # What PostgreSQL tells of the values that it refused, up to the next part of the error.
        (rf"(?s)\b(DETAIL|LINE \d+):.*?(?={_NEXT_PART})", rf"\1: {HIDDEN}"),
        (r"\b(Bearer|Basic) [\w.~+/=-]{6,}", rf"\1 {HIDDEN}"),
        (r"(?i)\b(authorization\W{1,4}(?:[a-z]+ )?+)[^\s\"',;}]{6,}", rf"\1{HIDDEN}"),
        # Keys of fal, and our own tokens.
        (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}:[0-9a-zA-Z]{16,}", HIDDEN),
        (r"\bfx_[\w-]{20,}", HIDDEN),
        # Addresses: signatures, passwords, words that were searched for, and what lets you in.
        (rf"(?i)([?&](?:{_PARAMETERS})=)[^&\s\"'<>)]+", rf"\1{HIDDEN}"),
        (r"(/hooks/fal/[^/\s]+/|/password/reset/[^/\s]+/)[^\s/?\"']+", rf"\1{HIDDEN}"),
        (r"(\w://)[^\s/@\"']+@", rf"\1{HIDDEN}@"),
    ]
]


def redacted(text: str) -> str:
    """Return a text without what nobody may read in a log."""
    for secret in _secrets():
        text = text.replace(secret, HIDDEN)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


@lru_cache(maxsize=1)
def _secrets() -> tuple[str, ...]:
    """Return the secrets of this site, the longest first: one may be part of another."""
    return tuple(sorted(set(_values()), key=len, reverse=True))


def _values() -> Iterator[str]:
    for name in SECRETS:
        value = getattr(settings, name, "")
        for each in value if isinstance(value, list) else [value]:
            if len(each) >= MIN_LENGTH:
                yield each
    for database in settings.DATABASES.values():
        if len(password := str(database.get("PASSWORD") or "")) >= MIN_LENGTH:
            yield password


# ---------------------------------------------------------------- formats
class RequestIdFilter(logging.Filter):
    """Give every log record the name of the request it belongs to, `-` outside of one."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_ids.current()
        return True


class Line(logging.Formatter):
    """A line for people; what led to an error follows in lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        name = getattr(record, "request_id", request_ids.current())
        # Whoever can put a line end into a message could write lines of his own.
        message = redacted(record.getMessage()).replace("\r", "\\r").replace("\n", "\\n")
        line = f"{self.formatTime(record)} {record.levelname} {record.name} [{name}] {message}"
        if record.exc_info:
            line += f"\n{redacted(self.formatException(record.exc_info))}"
        return line


class Json(logging.Formatter):
    """An object on a line, for programs that collect logs."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redacted(record.getMessage()),
            "request_id": getattr(record, "request_id", request_ids.current()),
            "process": record.process,
        }
        if record.exc_info:
            entry["exception"] = redacted(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False)
