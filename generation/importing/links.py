"""Addresses of pictures at other sites: which can be shown, and which are known to be dead.

Hosts of pictures sign their links and say in them for how long they are good. What has run
out by its own word need not be asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import SplitResult, parse_qsl, urlsplit

#: An address longer than this is a picture in disguise.
MAX_LENGTH = 8000
#: Hosts whose `ex` is the end of a link's life, as seconds since 1970 in hexadecimal.
_DISCORD = ("discordapp.com", "discordapp.net", "discord.com")


def usable(address: object) -> str:
    """Return an address a browser can show a picture from, or ""."""
    if not isinstance(address, str) or len(address) > MAX_LENGTH:
        return ""
    address = address.strip()
    parts = _split(address)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    if not address.isprintable() or set(" \"'<>\\") & set(address) or "@" in parts.netloc:
        return ""
    return address


def _split(address: str) -> SplitResult | None:
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return None
    return parts


# ---------------------------------------------------------------- how long they are good
def is_dead(address: str, *, now: datetime) -> bool:
    """Tell whether a link has run out by its own word."""
    end = expires_at(address)
    return end is not None and end <= now


def expires_at(address: str) -> datetime | None:
    """Return when a link runs out, None if it does not say."""
    parts = _split(address)
    if parts is None:
        return None
    asked = {name.lower(): value for name, value in parse_qsl(parts.query)}
    host = parts.hostname or ""
    try:
        if "ex" in asked and any(host == d or host.endswith(f".{d}") for d in _DISCORD):
            return datetime.fromtimestamp(int(asked["ex"], 16), UTC)
        if "x-expires" in asked:
            return datetime.fromtimestamp(int(asked["x-expires"]), UTC)
        for kind in ("x-tos", "x-amz"):
            if f"{kind}-date" in asked:
                begin = datetime.strptime(asked[f"{kind}-date"], "%Y%m%dT%H%M%S%z")
                return begin + timedelta(seconds=int(asked[f"{kind}-expires"]))
    except (ValueError, KeyError, OverflowError, OSError):
        return None
    return None


# ---------------------------------------------------------------- what pages may load
def origin_of(address: str) -> str:
    """Return scheme, host and port of an address as IMAGE_ORIGINS wants them."""
    parts = urlsplit(address)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    is_usual = parts.port in (None, 443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{host}" + ("" if is_usual else f":{parts.port}")


def uncovered(origins: Iterable[str], *, allowed: Sequence[str]) -> list[str]:
    """Return the origins that a content security policy does not let pages load from."""
    return [o for o in origins if not any(_covers(source, o) for source in allowed)]


def _covers(source: str, origin: str) -> bool:
    """Tell whether one expression of `img-src` covers an origin (CSP level 3, 6.7.2.8)."""
    scheme, _, rest = origin.partition("://")
    if source in ("*", f"{scheme}:"):
        return True
    wanted_scheme, has_scheme, wanted = source.partition("://")
    if not has_scheme:
        wanted_scheme, wanted = scheme, source
    wanted = wanted.partition("/")[0].lower()
    # A policy for http covers https as well, as browsers upgrade.
    if wanted_scheme.lower() not in (scheme, "http" if scheme == "https" else scheme):
        return False
    return rest.endswith(wanted[1:]) if wanted.startswith("*.") else rest == wanted
