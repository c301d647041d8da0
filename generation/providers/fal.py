"""The client of fal's queue (https://docs.fal.ai/model-apis/model-endpoints/queue).

What it promises:

- It builds every address itself, from the configured base, and never calls the host a reply
  names: relays answer with fal's own host, and a forged one would receive the key.
- After the submit, addresses carry owner/app only: a sub-path there is a 405 at fal.
- It never repeats a POST. fal knows no idempotency key, so a second copy is a second bill.
- Every call has time limits and reads a bounded number of bytes.
- Callers see the types of `base`, never HTTP.

It stands on http.client, and on `side_by_side` for the thousand polls a second there are to
make. A connection is made before anything is said on it, so that what never left can be told
from what may have arrived. Proxies and .netrc are not looked up: no stray credentials.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import certifi

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
    Throttled,
    Trial,
    Unavailable,
)
from generation.providers.side_by_side import (
    MAX_ANSWER_BYTES,
    Answer,
    Line,
    Lines,
    NoAnswer,
    NotSent,
    SideBySide,
)

#: Seconds to connect, and seconds between two bytes.
CONNECT_SECONDS = 5.0
READ_SECONDS = 20.0
#: A submit may carry megabytes of pictures, and fal may take its time to store them.
SUBMIT_SECONDS = 60.0
#: Seconds for a whole reply, however slowly it drips.
TOTAL_SECONDS = 30.0
#: Seconds for a trial, all of it: somebody waits for its page.
TRIAL_SECONDS = 12.0
#: A request that cannot exist, of an app that does. To ask how it stands is free, and answered
#: 404 to those whose key is right.
_TRIAL_PATH = "/fal-ai/flux-1/requests/00000000-0000-0000-0000-000000000000/status"
MAX_REPLY_BYTES = MAX_ANSWER_BYTES
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
    """By their names in small letters."""
    body: Any
    """The decoded JSON, or None when it was none."""

    @property
    def object(self) -> dict[str, Any]:
        return self.body if isinstance(self.body, dict) else {}


class FalClient:
    """Speaks to one account. May be shared by threads."""

    def __init__(self, connection: Connection) -> None:
        self._base_url = connection.base_url.rstrip("/")
        self._headers = {
            "Authorization": f"{connection.auth_scheme} {connection.api_key}",
            "Accept": "application/json",
            "User-Agent": "fluxsite",
        }
        self._tls = ssl.create_default_context(cafile=certifi.where())
        self._lines = Lines()

    def close(self) -> None:
        """Close the connections kept open between calls; the next call makes new ones."""
        self._lines.close()

    # ------------------------------------------------------------ the contract
    def submit(
        self, *, endpoint: str, payload: Mapping[str, Any], webhook_url: str = ""
    ) -> Submitted:
        path = f"/{endpoint}"
        if webhook_url:
            path += f"?fal_webhook={quote(webhook_url, safe='')}"
        # A connection of its own: on a kept one that the server has just closed, a request
        # that never left looks the same as one whose answer was lost.
        try:
            line = self._connect()
            try:
                reply = self._call(line, "POST", path, seconds=SUBMIT_SECONDS, payload=payload)
            finally:
                line.close()
        except NotSent as error:
            raise Unavailable("provider_unavailable", str(error)) from error
        except NoAnswer as error:
            raise OutcomeUnknown("submit_unknown", str(error)) from error
        return self._read_submitted(reply)

    def poll(self, *, endpoint: str, request_id: str) -> Progress:
        return _read_progress(self._get(_status_path(endpoint, request_id)))

    def look_each(
        self, requests: Sequence[tuple[str, str]]
    ) -> Iterator[tuple[int, Progress | Result | ProviderFailure]]:
        try:
            before, after = self._around_addresses()
        except NotSent as error:
            failure = Unavailable("provider_unavailable", str(error))
            yield from ((place, failure) for place in range(len(requests)))
            return
        asking = SideBySide(self._lines, connect=self._connect, tail=after)
        for place, (endpoint, request_id) in enumerate(requests):
            asking.ask(place, before + _status_path(endpoint, request_id))
        ready: set[int] = set()
        for place, answer in asking.answers():
            outcome: Progress | Result | ProviderFailure
            try:
                if isinstance(answer, Exception):
                    raise Unavailable("provider_unavailable", str(answer))
                if place in ready:
                    outcome = _read_result_of_request(_reply(answer))
                else:
                    outcome = _read_progress(_reply(answer))
                    if outcome.state == "completed":
                        ready.add(place)
                        asking.ask_next(place, before + _request_path(*requests[place]))
                        continue
            except ProviderFailure as error:
                outcome = error
            yield place, outcome

    def result(self, *, endpoint: str, request_id: str) -> Result:
        return _read_result_of_request(self._get(_request_path(endpoint, request_id)))

    def cancel(self, *, endpoint: str, request_id: str) -> None:
        path = f"{_request_path(endpoint, request_id)}/cancel"
        try:
            reply = self._ask("PUT", path)
        except (NotSent, NoAnswer) as error:
            raise Unavailable("provider_unavailable", str(error)) from error
        # 400 ALREADY_COMPLETED and 404 are answers too: the next poll tells the rest.
        if reply.status in (401, 402, 403):
            raise _operator_needed(reply)
        if reply.status == 429 or reply.status >= 500:
            raise Unavailable("provider_unavailable", _quote(reply))

    def try_out(self, *, seconds: float = TRIAL_SECONDS) -> Trial:
        """Tell whether the vendor is there and takes the key, within `seconds`, for nothing."""
        try:
            line = self._connect()
        except NotSent as error:
            return Trial(verdict="unreachable", detail=str(error))
        # Nothing else bounds the time in which headers may drip.
        end = threading.Timer(seconds, _hang_up, [line.sock])
        end.daemon = True
        end.start()
        try:
            return _read_trial(self._call(line, "GET", _TRIAL_PATH, seconds=seconds))
        except (NotSent, NoAnswer) as error:
            spoke = isinstance(error.__cause__, http.client.HTTPException)
            is_silent = isinstance(error.__cause__, OSError) or not spoke
            verdict: Any = "unreachable" if is_silent else "stranger"
            return Trial(verdict=verdict, detail=str(error))
        finally:
            end.cancel()
            line.close()

    # ------------------------------------------------------------ transport
    def _get(self, path: str) -> _Reply:
        try:
            return self._ask("GET", path)
        except (NotSent, NoAnswer) as error:
            raise Unavailable("provider_unavailable", str(error)) from error

    def _ask(self, method: str, path: str) -> _Reply:
        """Make a call that may be repeated, on a kept connection if there is one."""
        line = self._lines.take()
        if line is not None:
            try:
                return self._ask_on(line, method, path)
            except NoAnswer as error:
                if isinstance(error.__cause__, TimeoutError):
                    raise
                # The server may have closed it just now; a new one tells.
        return self._ask_on(self._connect(), method, path)

    def _ask_on(self, line: Line, method: str, path: str) -> _Reply:
        reply = self._call(line, method, path)
        self._lines.give_back(line)
        return reply

    def _around_addresses(self) -> tuple[str, bytes]:
        """Return what comes before and after the path of a question. Raises NotSent."""
        try:
            parts = urlsplit(self._base_url)
            host = parts.hostname or ""
            host = f"[{host}]" if ":" in host else host.encode("idna").decode()
            if parts.port is not None:
                host += f":{parts.port}"
            headers = {"Host": host, "Accept-Encoding": "identity", **self._headers}
            if not all(value.isprintable() for value in headers.values()):
                raise NotSent("ValueError")
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            return parts.path, f" HTTP/1.1\r\n{lines}\r\n".encode("latin-1")
        except ValueError as error:
            # An address or a key with letters that no request can carry.
            raise NotSent(_describe(error)) from error

    def _connect(self) -> Line:
        """Return a new connection, made. Raises NotSent."""
        try:
            parts = urlsplit(self._base_url)
            line: Line
            if parts.scheme == "https":
                line = http.client.HTTPSConnection(
                    parts.hostname or "", parts.port, timeout=CONNECT_SECONDS, context=self._tls
                )
            elif parts.scheme == "http":
                line = http.client.HTTPConnection(
                    parts.hostname or "", parts.port, timeout=CONNECT_SECONDS
                )
            else:
                raise NotSent("The base URL has no scheme.")
            line.connect()
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise NotSent(_describe(error)) from error
        return line

    def _call(
        self,
        line: Line,
        method: str,
        path: str,
        *,
        seconds: float = READ_SECONDS,
        payload: Mapping[str, Any] | None = None,
    ) -> _Reply:
        """Make one call and read its reply. Raises NotSent or NoAnswer.

        `seconds` may pass between two bytes. After a failure the connection is closed.
        """
        self._say(line, method, path, seconds=seconds, payload=payload)
        return self._hear(line)

    def _say(
        self,
        line: Line,
        method: str,
        path: str,
        *,
        seconds: float = READ_SECONDS,
        payload: Mapping[str, Any] | None = None,
    ) -> None:
        # Encoded here, so that what cannot be sent fails before anything is.
        body = None if payload is None else json.dumps(payload, allow_nan=False).encode()
        headers = self._headers
        if body is not None:
            headers = {**headers, "Content-Type": "application/json"}
        line.sock.settimeout(seconds)
        try:
            line.request(method, urlsplit(self._base_url).path + path, body, headers)
        except ValueError as error:
            # An address or a key with letters that no request can carry.
            line.close()
            raise NotSent(_describe(error)) from error
        except (OSError, http.client.HTTPException) as error:
            line.close()
            raise NoAnswer(_describe(error)) from error

    def _hear(self, line: Line) -> _Reply:
        try:
            with line.getresponse() as response:
                content = _read_bounded(response)
        except (OSError, ValueError, http.client.HTTPException) as error:
            line.close()
            raise NoAnswer(_describe(error)) from error
        headers = {name.lower(): value for name, value in response.headers.items()}
        return _Reply(status=response.status, headers=headers, body=_decode(content))

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
        if reply.status in (401, 402, 403):
            raise _operator_needed(reply)
        if reply.status == 429:
            raise _throttled(reply)
        if reply.status in (404, 405):
            raise Refused("unknown_model", _quote(reply))
        if 400 <= reply.status < 500:
            raise _refusal(reply)
        # Neither a redirect nor a 5xx proves that the request was not taken.
        raise OutcomeUnknown("submit_unknown", _quote(reply))


# ---------------------------------------------------------------- transport helpers
def _describe(error: Exception) -> str:
    # The text of these exceptions may name addresses.
    return type(error).__name__


def _hang_up(sock: socket.socket) -> None:
    # Unlike a close, this wakes the thread that reads.
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _read_bounded(response: http.client.HTTPResponse) -> bytes:
    deadline = time.monotonic() + TOTAL_SECONDS
    content = b""
    while chunk := response.read1(64 * 1024):
        content += chunk
        if len(content) > MAX_REPLY_BYTES or time.monotonic() > deadline:
            msg = "The reply is too long or too slow."
            raise http.client.HTTPException(msg)
    if response.length:
        raise http.client.IncompleteRead(content, response.length)
    return content


def _reply(answer: Answer) -> _Reply:
    return _Reply(status=answer.status, headers=answer.headers, body=_decode(answer.content))


def _decode(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _status_path(endpoint: str, request_id: str) -> str:
    return f"{_request_path(endpoint, request_id)}/status"


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
    if reply.status in (401, 402, 403):
        raise _operator_needed(reply)
    if _is_not_found(reply):
        raise RequestNotFound("request_lost", _quote(reply))
    spoken_by_gateway = reply.status in (502, 503, 504) and not reply.object
    if reply.status == 429:
        raise _throttled(reply)
    if spoken_by_gateway or 300 <= reply.status < 400:
        raise Unavailable("provider_unavailable", _quote(reply), retry_after=_retry_after(reply))


def _is_not_found(reply: _Reply) -> bool:
    return reply.status == 404 and (
        reply.object.get("status") == "NOT_FOUND"
        or reply.object.get("detail") == "Request not found"
    )


def _read_trial(reply: _Reply) -> Trial:
    verdict: Any = "stranger"
    if _is_not_found(reply):
        verdict = "accepted"
    elif reply.status in (401, 402, 403):
        locked = _operator_needed(reply).code == "account_locked"
        verdict = "account_locked" if locked else "key_refused"
    elif reply.status == 429 or reply.status >= 500:
        verdict = "busy"
    return Trial(verdict=verdict, detail=_quote(reply))


def _read_progress(reply: _Reply) -> Progress:
    _raise_for_lookup(reply)
    states = {"IN_QUEUE": "queued", "IN_PROGRESS": "running", "COMPLETED": "completed"}
    state = states.get(str(reply.object.get("status")))
    if reply.status not in (200, 202) or state is None:
        raise Unavailable("provider_unavailable", f"Unexpected status: {_quote(reply)}")
    return Progress(
        state=state,  # type: ignore[arg-type]
        queue_position=_position(reply.object.get("queue_position")),
    )


def _read_result_of_request(reply: _Reply) -> Result:
    if reply.status == 200 and reply.body is not None:
        return _read_result(reply)
    if reply.status == 200:
        raise Unavailable("provider_unavailable", "The result is not JSON.")
    _raise_for_lookup(reply)
    if reply.status == 400 and "in progress" in str(reply.object.get("detail")):
        raise Unavailable("provider_unavailable", "The result is not there yet.")
    raise _refusal(reply)


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
    locked = reply.status == 402 or "locked" in _quote(reply).lower()
    return OperatorNeeded("account_locked" if locked else "provider_refused_key", _quote(reply))


def _throttled(reply: _Reply) -> ProviderFailure:
    return Throttled("provider_unavailable", _quote(reply), retry_after=_retry_after(reply))


def _retry_after(reply: _Reply) -> float | None:
    value = reply.headers.get("retry-after", "")
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
