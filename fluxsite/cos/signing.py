"""The signature of COS, `q-sign-algorithm=sha1`, for addresses that browsers open.

The SDK can sign addresses too, but its signature differs every second, so that no browser
would find yesterday's picture in its cache, and it leaves temporary credentials' token out.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import quote


def encoded(text: str) -> str:
    return quote(text, safe="-_.~")


def sign(
    *,
    method: str,
    path: str,
    parameters: Mapping[str, str],
    headers: Mapping[str, str],
    secret_id: str,
    secret_key: str,
    start: int,
    end: int,
) -> dict[str, str]:
    """Return the seven `q-…` members that prove a request, good from `start` to `end`.

    `path` begins with a slash and is not percent-encoded; the times are seconds since 1970.
    Put them into the query string, or joined by `&` into the Authorization header.
    """
    period = f"{start};{end}"
    names, query = _canonical(parameters)
    header_names, header_lines = _canonical(headers)
    request = f"{method.lower()}\n{path}\n{query}\n{header_lines}\n"
    digest = hashlib.sha1(request.encode(), usedforsecurity=False).hexdigest()
    sign_key = _hmac(secret_key, period)
    return {
        "q-sign-algorithm": "sha1",
        "q-ak": secret_id,
        "q-sign-time": period,
        "q-key-time": period,
        "q-header-list": header_names,
        "q-url-param-list": names,
        "q-signature": _hmac(sign_key, f"sha1\n{period}\n{digest}\n"),
    }


def _canonical(members: Mapping[str, str]) -> tuple[str, str]:
    pairs = sorted((encoded(name).lower(), encoded(value)) for name, value in members.items())
    return ";".join(name for name, _ in pairs), "&".join(f"{n}={v}" for n, v in pairs)


def _hmac(key: str, text: str) -> str:
    return hmac.new(key.encode(), text.encode(), hashlib.sha1).hexdigest()
