"""Who may come in: the `q-sign` signature, as header or in the query string.

Written from the vendor's description and on purpose not with `fluxsite.cos.signing`, which is
what it has to judge.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from email.message import Message
from urllib.parse import quote

from fluxsite.tests.cos_emulator.errors import Refusal

MEMBERS = (
    *("q-sign-algorithm", "q-ak", "q-sign-time", "q-key-time"),
    *("q-header-list", "q-url-param-list", "q-signature"),
)


def verify(
    *,
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Message,
    secret_id: str,
    secret_key: str,
    token: str,
    now: float,
) -> None:
    """Raise Refusal unless the request is signed with these credentials. `path` is decoded."""
    signature = _read(query, headers)
    if signature["q-sign-algorithm"] != "sha1":
        raise Refusal("InvalidArgument")
    if signature["q-ak"] != secret_id:
        raise Refusal("InvalidAccessKeyId")
    if token and token not in (
        headers.get("x-cos-security-token"),
        query.get("x-cos-security-token"),
    ):
        raise Refusal("InvalidAccessKeyId")
    for period in (signature["q-sign-time"], signature["q-key-time"]):
        start, _, end = period.partition(";")
        if not (start.isdecimal() and end.isdecimal()):
            raise Refusal("InvalidArgument")
        if not int(start) <= now <= int(end):
            raise Refusal("RequestTimeTooSkewed")
    parameters = _chosen(query, signature["q-url-param-list"])
    key = _hmac(secret_key, signature["q-key-time"])
    for given in _readings_of_host(headers):
        lines = _chosen(given, signature["q-header-list"])
        request = f"{method.lower()}\n{path}\n{parameters}\n{lines}\n"
        digest = hashlib.sha1(request.encode(errors="surrogateescape")).hexdigest()
        expected = _hmac(key, f"sha1\n{signature['q-sign-time']}\n{digest}\n")
        if hmac.compare_digest(expected, signature["q-signature"]):
            return
    raise Refusal("SignatureDoesNotMatch")


def _read(query: Mapping[str, str], headers: Message) -> dict[str, str]:
    if "Authorization" in headers:
        pairs = [pair.partition("=") for pair in headers["Authorization"].split("&")]
        found = {name: value for name, _, value in pairs}
    else:
        found = {name: query[name] for name in MEMBERS if name in query}
    if set(found) != set(MEMBERS):
        raise Refusal("AccessDenied")
    return found


def _readings_of_host(headers: Message) -> list[dict[str, str]]:
    """Return the headers twice: some SDKs sign the host with its port, some without."""
    # The server reads headers as Latin-1, whatever they are.
    given = {
        name: value.encode("latin-1").decode(errors="surrogateescape")
        for name, value in headers.items()
    }
    host = headers.get("Host", "")
    without = {name: value for name, value in given.items() if name.lower() != "host"}
    return [given, {**without, "Host": host.rpartition(":")[0] or host}]


def _chosen(members: Mapping[str, str], names: str) -> str:
    """Return the signed members as COS writes them; one that is missing was not sent."""
    present = {_encoded(name).lower(): _encoded(value) for name, value in members.items()}
    wanted = [name for name in names.split(";") if name]
    if wanted != sorted(wanted) or not set(wanted) <= set(present):
        raise Refusal("SignatureDoesNotMatch")
    return "&".join(f"{name}={present[name]}" for name in wanted)


def _encoded(text: str) -> str:
    return quote(text, safe="-_.~", errors="surrogateescape")


def _hmac(key: str, text: str) -> str:
    return hmac.new(key.encode(), text.encode(), hashlib.sha1).hexdigest()
