"""The client of fal's queue (https://docs.fal.ai/model-apis/model-endpoints/queue).

What it promises:

- It builds every address itself, from the configured base, and never calls the host a reply
  names: relays answer with fal's own host, and a forged one would receive the key.
- After the submit, addresses carry owner/app only: a sub-path there is a 405 at fal.
- It never repeats a POST. fal knows no idempotency key, so a second copy is a second bill.
- Every call has time limits and reads a bounded number of bytes.
- Callers see the types of `base`, never HTTP.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests
import urllib3

from generation.providers.base import (
    Cancelled,
    OperatorNeeded,
    OutcomeUnknown,
    PictureLink,
    Progress,
    ProviderFailure,
    Refused,
    RequestNotFound,
    Result,
    Submitted,
    Unavailable,
)

#: Seconds to connect, and seconds between two bytes.
TIMEOUT = (5.0, 20.0)
#: A submit may carry megabytes of pictures, and fal may take its time to store them.
SUBMIT_TIMEOUT = (5.0, 60.0)
#: Seconds for a whole reply, however slowly it drips.
TOTAL_SECONDS = 30.0
MAX_REPLY_BYTES = 4 * 1024 * 1024
MAX_URL_LENGTH = 4000
#: A Retry-After beyond this many seconds is a mistake or an attack.
MAX_RETRY_AFTER = 300.0

#: What fal's 422 types mean for the member; any other type reads as `invalid_input`.
_REFUSALS = {
    "content_policy_violation": "content_policy",
    "no_media_generated": "no_media_generated",
    "file_download_error": "input_image_unreachable",
    "image_load_error": "bad_input_image",
    "image_too_small": "bad_input_image",
    "image_too_large": "bad_input_image",
    "file_too_large": "bad_input_image",
    "unsupported_image_format": "bad_input_image",
    "face_detection_error": "bad_input_image",
}


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Where and as whom to call. `auth_scheme` is `Key` at fal, `Bearer` at relays."""

    base_url: str
    api_key: str
    auth_scheme: str = "Key"

    def __repr__(self) -> str:
        return f"Connection({self.base_url!r})"


@dataclass(frozen=True, kw_only=True)
class _Reply:
    status: int
    headers: Mapping[str, str]
    body: Any
    """The decoded JSON, or None when it was none."""

    @property
    def object(self) -> dict[str, Any]:
        return self.body if isinstance(self.body, dict) else {}


class FalClient:
    """Speaks to one account. May be shared by threads: each gets connections of its own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._local = threading.local()

    # ------------------------------------------------------------ the contract
    def submit(self, *, endpoint: str, payload: Mapping[str, Any]) -> Submitted:
        # A connection of its own: on a kept one that the server has just closed, a request
        # that never left looks the same as one whose answer was lost.
        with self._new_session() as session:
            try:
                reply = self._call(
                    session, "POST", f"/{endpoint}", timeout=SUBMIT_TIMEOUT, payload=payload
                )
            except _NotSent as error:
                raise Unavailable("provider_unavailable", str(error)) from error
            except _NoAnswer as error:
                raise OutcomeUnknown("submit_unknown", str(error)) from error
        return self._read_submitted(reply)

    def poll(self, *, endpoint: str, request_id: str) -> Progress:
        reply = self._get(f"{_request_path(endpoint, request_id)}/status")
        _raise_for_lookup(reply)
        states = {"IN_QUEUE": "queued", "IN_PROGRESS": "running", "COMPLETED": "completed"}
        state = states.get(str(reply.object.get("status")))
        if reply.status not in (200, 202) or state is None:
            raise Unavailable("provider_unavailable", f"Unexpected status: {_quote(reply)}")
        return Progress(
            state=state,  # type: ignore[arg-type]
            queue_position=_position(reply.object.get("queue_position")),
        )

    def result(self, *, endpoint: str, request_id: str) -> Result:
        reply = self._get(_request_path(endpoint, request_id))
        if reply.status == 200 and reply.body is not None:
            return _read_result(reply)
        if reply.status == 200:
            raise Unavailable("provider_unavailable", "The result is not JSON.")
        _raise_for_lookup(reply)
        if reply.status == 400 and "in progress" in str(reply.object.get("detail")):
            raise Unavailable("provider_unavailable", "The result is not there yet.")
        raise _refusal(reply)

    def cancel(self, *, endpoint: str, request_id: str) -> None:
        path = f"{_request_path(endpoint, request_id)}/cancel"
        try:
            reply = self._call(self._session(), "PUT", path)
        except (_NotSent, _NoAnswer) as error:
            raise Unavailable("provider_unavailable", str(error)) from error
        # 400 ALREADY_COMPLETED and 404 are answers too: the next poll tells the rest.
        if reply.status in (401, 403):
            raise _operator_needed(reply)
        if reply.status == 429 or reply.status >= 500:
            raise Unavailable("provider_unavailable", _quote(reply))

    # ------------------------------------------------------------ transport
    def _get(self, path: str) -> _Reply:
        try:
            return self._call(self._session(), "GET", path)
        except (_NotSent, _NoAnswer) as error:
            raise Unavailable("provider_unavailable", str(error)) from error

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = self._new_session()
        session: requests.Session = self._local.session
        return session

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        # No proxy or .netrc lookup: a third of the cost of a poll, and no stray credentials.
        session.trust_env = False
        key = self._connection.api_key
        session.headers["Authorization"] = f"{self._connection.auth_scheme} {key}"
        session.headers["Accept"] = "application/json"
        return session

    def _call(
        self,
        session: requests.Session,
        method: str,
        path: str,
        *,
        timeout: tuple[float, float] = TIMEOUT,
        payload: Mapping[str, Any] | None = None,
    ) -> _Reply:
        """Make one call and read its reply. Raises _NotSent or _NoAnswer."""
        url = self._connection.base_url.rstrip("/") + path
        # Encoded here, so that what cannot be sent fails before anything is.
        data = None if payload is None else json.dumps(payload, allow_nan=False).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        try:
            with session.request(
                method,
                url,
                data=data,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                content = _read_bounded(response)
                return _Reply(
                    status=response.status_code,
                    headers=response.headers,
                    body=_decode(content),
                )
        except requests.RequestException as error:
            if _never_left(error):
                raise _NotSent(_describe(error)) from error
            raise _NoAnswer(_describe(error)) from error
        except urllib3.exceptions.HTTPError as error:
            raise _NoAnswer(type(error).__name__) from error
        except UnicodeError as error:
            # A key with letters no header can carry.
            raise _NotSent(_describe(error)) from error

    def _read_submitted(self, reply: _Reply) -> Submitted:
        request_id = reply.object.get("request_id")
        if reply.status in (200, 201, 202):
            if (
                isinstance(request_id, str)
                and 0 < len(request_id) <= 255
                and request_id.isprintable()
            ):
                return Submitted(
                    request_id=request_id,
                    queue_position=_position(reply.object.get("queue_position")),
                )
            raise OutcomeUnknown("submit_unknown", f"No request id in {_quote(reply)}")
        if reply.status in (401, 403):
            raise _operator_needed(reply)
        if reply.status == 429:
            raise Unavailable(
                "provider_unavailable", _quote(reply), retry_after=_retry_after(reply)
            )
        if reply.status in (404, 405):
            raise Refused("unknown_model", _quote(reply))
        if 400 <= reply.status < 500:
            raise _refusal(reply)
        # Neither a redirect nor a 5xx proves that the request was not taken.
        raise OutcomeUnknown("submit_unknown", _quote(reply))


# ---------------------------------------------------------------- transport helpers
class _NotSent(Exception):
    """The request provably never reached the server."""


class _NoAnswer(Exception):
    """The request may have arrived; its answer did not."""


def _never_left(error: requests.RequestException) -> bool:
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.SSLError):
        return True
    if isinstance(error, ValueError):
        return True  # An address or a header that cannot be; requests says so before it connects.
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, urllib3.exceptions.NewConnectionError)


def _describe(error: Exception) -> str:
    # The text of these exceptions names addresses and, for proxies, credentials.
    return type(error).__name__


def _read_bounded(response: requests.Response) -> bytes:
    deadline = time.monotonic() + TOTAL_SECONDS
    chunks, size = [], 0
    for chunk in response.iter_content(64 * 1024):
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_REPLY_BYTES or time.monotonic() > deadline:
            msg = "The reply is too long or too slow."
            raise requests.exceptions.ContentDecodingError(msg)
    return b"".join(chunks)


def _decode(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _request_path(endpoint: str, request_id: str) -> str:
    """Return the path of a request: owner and app only, plus one part for namespaces."""
    parts = endpoint.split("/")
    length = 3 if parts[0] in ("workflows", "comfy") else 2
    return "/" + "/".join([*parts[:length], "requests", quote(request_id, safe="")])


# ---------------------------------------------------------------- reading replies
def _quote(reply: _Reply) -> str:
    """Return what the vendor said, for staff, without the `input` that echoes the prompt."""
    detail = reply.object.get("detail")
    if isinstance(detail, list):
        detail = "; ".join(
            f"{'.'.join(str(part) for part in _as_list(item.get('loc')))}: "
            f"{item.get('msg')} ({item.get('type')})"
            for item in detail
            if isinstance(item, dict)
        )
    elif not isinstance(detail, str):
        detail = str(reply.object.get("status") or "")
    error_type = reply.object.get("error_type")
    return _storable(
        " ".join(part for part in (f"HTTP {reply.status}", str(error_type or ""), detail) if part)
    )


def _storable(text: str) -> str:
    """Return text every database takes: no NUL and no half of a surrogate pair."""
    return text.replace("\x00", "").encode(errors="replace").decode()


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _raise_for_lookup(reply: _Reply) -> None:
    """Raise for what a status or result call may say about itself, not about the request."""
    if reply.status in (401, 403):
        raise _operator_needed(reply)
    if reply.status == 404 and (
        reply.object.get("status") == "NOT_FOUND"
        or reply.object.get("detail") == "Request not found"
    ):
        raise RequestNotFound("request_lost", _quote(reply))
    spoken_by_gateway = reply.status in (502, 503, 504) and not reply.object
    if reply.status == 429 or spoken_by_gateway or 300 <= reply.status < 400:
        raise Unavailable("provider_unavailable", _quote(reply), retry_after=_retry_after(reply))


def _refusal(reply: _Reply) -> ProviderFailure:
    """Return what an unhappy result means: it is final, whatever its number."""
    if reply.status == 499:
        return Cancelled("cancelled", _quote(reply))
    if reply.status == 404:
        return Refused("unknown_model", _quote(reply))
    if reply.status >= 500 or not reply.object:
        return Refused("provider_error", _quote(reply))
    detail = reply.object.get("detail")
    types = [item.get("type") for item in _as_list(detail) if isinstance(item, dict)]
    for kind in types:
        if kind in _REFUSALS:
            return Refused(_REFUSALS[str(kind)], _quote(reply))
    if reply.object.get("error_type") == "downstream_service_error":
        return Refused("provider_error", _quote(reply))
    return Refused("invalid_input", _quote(reply))


def _operator_needed(reply: _Reply) -> ProviderFailure:
    # fal answers 403 for an empty balance: that is money, not the key.
    locked = "locked" in _quote(reply).lower()
    return OperatorNeeded("account_locked" if locked else "provider_refused_key", _quote(reply))


def _retry_after(reply: _Reply) -> float | None:
    value = reply.headers.get("Retry-After", "")
    return min(float(value), MAX_RETRY_AFTER) if value.isascii() and value.isdigit() else None


def _position(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 2**31 else None


def _pixels(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 < value <= 100_000 else None


def _read_result(reply: _Reply) -> Result:
    images = reply.object.get("images")
    flags = _as_list(reply.object.get("has_nsfw_concepts"))
    pictures = []
    for index, image in enumerate(images if isinstance(images, list) else []):
        url = image.get("url") if isinstance(image, dict) else None
        if not isinstance(url, str) or not url.startswith(("https://", "http://")):
            continue
        if url != _storable(url) or len(url) > MAX_URL_LENGTH:
            continue
        pictures.append(
            PictureLink(
                url=url,
                width=_pixels(image.get("width")),
                height=_pixels(image.get("height")),
                content_type=_storable(str(image.get("content_type") or ""))[:30],
                is_nsfw=index < len(flags) and flags[index] is True,
            )
        )
    if not pictures:
        raise Refused("no_media_generated", f"No picture in {_quote(reply)}")
    seed = reply.object.get("seed")
    is_seed = isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 10**20
    return Result(
        pictures=tuple(pictures),
        seed=str(seed) if is_seed else "",
        billable_units=reply.headers.get("x-fal-billable-units", "")[:32],
    )
