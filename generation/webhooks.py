"""`POST /hooks/fal/<task>/<token>`: the provider announces that a request has ended.

A call is an accelerator and nothing more: it makes the next look at its task happen now.
Polling stays the truth, so a call that is lost, late or doubled does no harm, and what it says
about the result is not even read. Only where the answer to a submit was lost is its request id
taken, without which nobody could look. Who may call:

- The token in the address belongs to the task (generation/webhook_address.py).
- The call is signed by a key the provider publishes: ED25519 over request id, user id,
  timestamp and the SHA-256 of the raw body, one per line.
- Its timestamp is within five minutes of our clock.

The public keys are kept for a day. After a signature that none of them made they are fetched
anew, at most once a minute: a new key of the provider is learnt soon, and nobody can make us
hammer it. Neither a body nor what it contains is ever logged.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
import threading
import time
from dataclasses import dataclass
from typing import Any

import certifi
import urllib3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http.request import UnreadablePostError
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, status
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from generation import channel, lifecycle, polling, webhook_address
from generation.models import FluxConfig, FluxTask

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 1024 * 1024
#: How far the clock of the provider may be from ours.
TOLERANCE_SECONDS = 300

# Without line ends, and without letters whose bytes could be read in two ways. A request id is
# as long as the one in the answer to a submit may be (generation/providers/fal.py).
_ID = re.compile(r"[ -~]{1,255}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_SIGNATURE = re.compile(r"[0-9a-fA-F]{128}")

#: How long fetched keys are good for; the provider asks for at most a day.
KEEP_SECONDS = 24 * 3600.0
#: Seconds between two fetches after a signature that no known key made, and after a failure.
REFETCH_SECONDS = 60.0
RETRY_SECONDS = 10.0
#: Seconds a call waits while another one fetches.
WAIT_SECONDS = 2.0
FETCH_TIMEOUT = urllib3.Timeout(connect=3.0, read=3.0)
#: Seconds for all keys, however slowly they drip.
FETCH_SECONDS = 5.0
MAX_JWKS_BYTES = 64 * 1024
#: Every key is tried with every signature.
MAX_KEYS = 16


# ---------------------------------------------------------------- refusals
class TooLarge(exceptions.APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"


class TryAgain(exceptions.APIException):
    """The provider repeats a call that was not answered with success."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "keys_unavailable"
    wait = REFETCH_SECONDS


class KeysUnavailable(Exception):
    """The provider's public keys are not known at the moment."""


# ---------------------------------------------------------------- the door
@method_decorator(never_cache, name="dispatch")
@extend_schema(exclude=True)
class FalWebhook(APIView):
    """Hear the provider out. Nobody is logged in here, and no session is touched."""

    http_method_names = ["post"]
    authentication_classes = []
    permission_classes = []
    throttle_classes = []
    renderer_classes = [JSONRenderer]

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:  # noqa: FBT001, FBT002
        # Whatever a caller accepts, it reads our status alone.
        return super().perform_content_negotiation(request, force=True)

    def post(self, request: Request, task_id: str, token: str) -> Response:
        """Answer 200 to what is true, also when it is no news: fal then stops repeating it.

        404 for an address that is not ours, 413, 400 and 403 for what nobody signed in this
        form, 503 while it cannot be told who signed.
        """
        if not webhook_address.is_valid(task_id=task_id, token=token):
            raise exceptions.NotFound
        config = channel.load_config()
        if not webhook_address.is_enabled(config=config):
            raise exceptions.NotFound
        call = _read_headers(request)
        body = _body_of(request)
        _check_signature(call, body, ring=key_ring(address=keys_address(config=config)))
        _check_request_id(call, body)
        if lifecycle.hear_of(task_id=task_id, request_id=call.request_id, now=timezone.now()):
            polling.kick_on_commit()
        elif not FluxTask.objects.filter(pk=task_id).exists():
            raise exceptions.NotFound
        return Response({"status": "ok"})


# ---------------------------------------------------------------- reading a call
@dataclass(frozen=True, kw_only=True)
class Call:
    """The signed headers of a call. `timestamp` is in seconds, in the provider's own digits."""

    request_id: str
    user_id: str
    timestamp: str
    signature: bytes

    def message(self, body: bytes) -> bytes:
        """Return what is signed. The raw body is hashed: another notation of the same JSON is
        another message."""
        digest = hashlib.sha256(body).hexdigest()
        return "\n".join([self.request_id, self.user_id, self.timestamp, digest]).encode("ascii")


def _body_of(request: Request) -> bytes:
    too_large = TooLarge(_("The request is too large."))
    try:
        # A smaller limit for the whole site counts as well.
        if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BODY_BYTES:
            raise too_large
        body: bytes = request.body
    except RequestDataTooBig:
        raise too_large from None
    except (UnreadablePostError, ValueError):
        raise _malformed() from None
    return body


def _read_headers(request: Request) -> Call:
    names = ("Request-Id", "User-Id", "Timestamp", "Signature")
    values = [request.headers.get(f"X-Fal-Webhook-{name}", "") for name in names]
    if not all(values):
        raise exceptions.PermissionDenied(_("The call is not signed."), "unsigned")
    request_id, user_id, timestamp, signature = values
    forms = (_ID, _ID, _TIMESTAMP, _SIGNATURE)
    if not all(form.fullmatch(value) for form, value in zip(forms, values, strict=True)):
        raise _malformed()
    return Call(
        request_id=request_id,
        user_id=user_id,
        timestamp=timestamp,
        signature=bytes.fromhex(signature),
    )


def _check_signature(call: Call, body: bytes, *, ring: KeyRing) -> None:
    # Checked first: who repeats an old call must not make us fetch keys.
    if abs(time.time() - int(call.timestamp)) > TOLERANCE_SECONDS:
        raise exceptions.PermissionDenied(_("The call is too old or too new."), "stale")
    try:
        signed = ring.verify(signature=call.signature, message=call.message(body))
    except KeysUnavailable:
        raise TryAgain(_("The signature cannot be checked at the moment.")) from None
    if not signed:
        raise exceptions.PermissionDenied(_("The signature is wrong."), "bad_signature")


def _check_request_id(call: Call, body: bytes) -> None:
    """Refuse a call whose body speaks of another request. Nothing else of it is read."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return
    named = document.get("request_id", call.request_id) if isinstance(document, dict) else None
    if named not in (None, call.request_id):
        raise _malformed()


def _malformed() -> exceptions.APIException:
    return exceptions.ParseError(_("The call is malformed."), "malformed")


# ---------------------------------------------------------------- keys
class KeyRing:
    """The public keys served at one address. May be shared by threads: one of them fetches."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._keys: tuple[Ed25519PublicKey, ...] = ()
        self._fetched_at = self._tried_at = float("-inf")
        self._fetching = threading.Lock()

    def verify(self, *, signature: bytes, message: bytes) -> bool:
        """Tell whether one of the keys made the signature.

        Raises KeysUnavailable when that cannot be told now.
        """
        known = self._known()
        if _is_signed(known, signature, message):
            return True
        newer = self._newer_than(known)
        return newer is not known and _is_signed(newer, signature, message)

    def _known(self) -> tuple[Ed25519PublicKey, ...]:
        # In this order: keys that are exchanged in between are taken for older than they are.
        fetched_at, keys = self._fetched_at, self._keys
        return keys if time.monotonic() - fetched_at < KEEP_SECONDS else ()

    def _newer_than(self, known: tuple[Ed25519PublicKey, ...]) -> tuple[Ed25519PublicKey, ...]:
        """Return keys fetched after `known`, or `known` when it is too soon to ask again."""
        if not self._fetching.acquire(timeout=WAIT_SECONDS):
            raise KeysUnavailable
        try:
            current = self._known()
            if current is not known:
                return current  # Another call has fetched them meanwhile.
            since = time.monotonic() - self._tried_at
            last_failed = self._tried_at > self._fetched_at
            if since < (RETRY_SECONDS if last_failed else REFETCH_SECONDS):
                if last_failed:
                    raise KeysUnavailable
                return known
            self._tried_at = time.monotonic()
            keys = fetch_keys(address=self._address)
            self._keys, self._fetched_at = keys, self._tried_at
            return keys
        finally:
            self._fetching.release()


def _is_signed(keys: tuple[Ed25519PublicKey, ...], signature: bytes, message: bytes) -> bool:
    for key in keys:
        try:
            key.verify(signature, message)
        except InvalidSignature:
            continue
        return True
    return False


def keys_address(*, config: FluxConfig) -> str:
    """Return where the keys are published that calls are signed with."""
    if settings.SANDBOX_URL and not config.api_key:
        return f"{settings.SANDBOX_URL}/.well-known/jwks.json"
    address: str = settings.FAL_JWKS_URL
    return address


_rings: dict[str, KeyRing] = {}
_rings_lock = threading.Lock()


def key_ring(*, address: str) -> KeyRing:
    """Return the keys of an address: one ring per process, as only one is in use at a time."""
    with _rings_lock:
        if address not in _rings:
            _rings.clear()
            _rings[address] = KeyRing(address)
        return _rings[address]


def fetch_keys(*, address: str) -> tuple[Ed25519PublicKey, ...]:
    """Fetch the published keys, at least one. Raises KeysUnavailable."""
    try:
        keys = read_keys(json.loads(_fetch(address)))
    except (urllib3.exceptions.HTTPError, ValueError, RecursionError) as error:
        logger.warning("the webhook keys could not be fetched: %s", type(error).__name__)
        raise KeysUnavailable from error
    if not keys:
        logger.warning("no webhook keys are published")
        raise KeysUnavailable
    return keys


def _fetch(address: str) -> bytes:
    deadline = time.monotonic() + FETCH_SECONDS
    # No proxies, no .netrc, no redirects: keys come from the address that was set, or not.
    with urllib3.PoolManager(num_pools=1, maxsize=1, ca_certs=certifi.where()) as pool:
        response = pool.request(
            "GET",
            address,
            headers={"Accept": "application/json"},
            timeout=FETCH_TIMEOUT,
            redirect=False,
            retries=False,
            preload_content=False,
            decode_content=False,
        )
        content = b""
        try:
            while chunk := response.read1(MAX_JWKS_BYTES):
                content += chunk
                if len(content) > MAX_JWKS_BYTES or time.monotonic() > deadline:
                    msg = "The keys are too long or too slow."
                    raise urllib3.exceptions.ProtocolError(msg)
        finally:
            response.close()
    if response.status != 200:
        msg = f"HTTP {response.status}"
        raise urllib3.exceptions.ProtocolError(msg)
    return content


def read_keys(document: Any) -> tuple[Ed25519PublicKey, ...]:
    """Return the ED25519 keys in a JWKS document; whatever else is in it is passed over."""
    entries = document.get("keys") if isinstance(document, dict) else None
    keys = (_read_key(entry) for entry in (entries if isinstance(entries, list) else [])[:MAX_KEYS])
    return tuple(key for key in keys if key is not None)


def _read_key(entry: Any) -> Ed25519PublicKey | None:
    x = entry.get("x") if isinstance(entry, dict) else None
    if not isinstance(x, str):
        return None
    try:
        # Published without padding, which the decoder insists on.
        return Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "=" * (-len(x) % 4)))
    except ValueError:
        return None
