"""Reading the environment: every variable Fluxsite knows passes through here.

Each reader notes the variable's name, so that a test can hold the table in
docs/configuration.md against what the code really reads. A variable can also be given
as NAME_FILE, the path of a file that holds the value (Docker and systemd secrets).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import environ
from django.core.exceptions import ImproperlyConfigured

_source = environ.FileAwareEnv()

#: Names of all variables that have been asked for, in order of first use.
declared: list[str] = []


def _raw(name: str) -> str | None:
    if name not in declared:
        declared.append(name)
    try:
        value = _source.str(name, default="")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{name}_FILE must be the path of a file that can be read: {error}"
        raise ImproperlyConfigured(msg) from error
    # A newline at the end of a secret file is not part of the secret.
    return value.strip() or None


def text(name: str, default: str = "") -> str:
    return _raw(name) or default


def flag(name: str, *, default: bool) -> bool:
    """Read a boolean. Anything but 1/0, true/false, yes/no, on/off is refused."""
    value = _raw(name)
    if value is None:
        return default
    if value.lower() in {"1", "true", "yes", "on"}:
        return True
    if value.lower() in {"0", "false", "no", "off"}:
        return False
    msg = f"{name} must be 1 or 0, not {value!r}."
    raise ImproperlyConfigured(msg)


def integer(name: str, default: int, *, minimum: int = 0) -> int:
    value = _raw(name)
    if value is None:
        return default
    if not re.fullmatch(r"-?\d+", value, re.ASCII) or int(value) < minimum:
        msg = f"{name} must be a whole number of at least {minimum}, not {value!r}."
        raise ImproperlyConfigured(msg)
    return int(value)


def choice(name: str, default: str, *, among: Sequence[str]) -> str:
    """Read one of a few words."""
    value = text(name, default).lower()
    if value not in among:
        msg = f"{name} must be one of {', '.join(among)}, not {value!r}."
        raise ImproperlyConfigured(msg)
    return value


def matching(name: str, pattern: str, *, like: str, default: str = "", secret: bool = False) -> str:
    """Read a text of a certain form; `like` is an example of it. A secret is not repeated."""
    value = text(name, default)
    if value and not re.fullmatch(pattern, value, re.ASCII):
        msg = f"{name} must be like {like}{'' if secret else f', not {value!r}'}."
        raise ImproperlyConfigured(msg)
    return value


def time_zone(name: str, default: str) -> str:
    """Read the name of a time zone."""
    value = text(name, default)
    try:
        ZoneInfo(value)
    except (ValueError, OSError, ZoneInfoNotFoundError) as error:
        msg = f"{name} must be the name of a time zone, such as Asia/Shanghai, not {value!r}."
        raise ImproperlyConfigured(msg) from error
    return value


def words(name: str, default: str = "", *, pattern: str = "", like: str = "") -> list[str]:
    """Read a list separated by commas or blanks. `pattern` is the form of each, `like` an example."""
    found = text(name, default).replace(",", " ").split()
    for word in found:
        if pattern and not re.fullmatch(pattern, word):
            msg = f"{name} must be like {like}, not {word!r}."
            raise ImproperlyConfigured(msg)
    return found


def path(name: str, default: Path) -> Path:
    value = _raw(name)
    return Path(value).expanduser().resolve() if value else default


def address(name: str) -> str:
    """Read where a daemon listens: `host:port`, `[::1]:port` or `unix:/path`; "" for nowhere."""
    value = _raw(name) or ""
    place = re.fullmatch(
        r"unix:/[^\n]+|(?:[\w.-]+|\[[\da-f:.]+\]):(?P<port>\d{1,5})", value, re.ASCII
    )
    if value and (place is None or int(place["port"] or 1) not in range(1, 65536)):
        msg = f"{name} must be like 127.0.0.1:3310 or unix:/run/daemon.ctl, not {value!r}."
        raise ImproperlyConfigured(msg)
    return value


def database(name: str) -> dict[str, Any] | None:
    """Read a database address such as postgres://user:password@host:5432/name."""
    value = _raw(name)
    if not value:
        return None
    # Repeated nowhere: it has a password in it.
    msg = (
        f"{name} must be like postgres://user:password@host:5432/name or sqlite:////path/to/file; "
        "letters such as @ and / in the password are written %40 and %2F."
    )
    if not value.startswith(("postgres://", "postgresql://", "sqlite://")):
        raise ImproperlyConfigured(msg)
    try:
        found: dict[str, Any] = _source.db_url(name)
    except ValueError:
        raise ImproperlyConfigured(msg) from None
    return found


def email(name: str) -> dict[str, Any]:
    """Read a mail server's address such as smtp+tls://user:password@host:587; {} for none."""
    if not _raw(name):
        return {}
    try:
        return dict(_source.email_url(name))
    except (KeyError, ValueError, ImproperlyConfigured) as error:
        msg = f"{name} must be like smtp+tls://user:password@host:587."
        raise ImproperlyConfigured(msg) from error
