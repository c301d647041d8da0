"""Webhooks: one POST per finished job, signed like the vendor's.

The signature is ED25519 over request id, user id, timestamp and the SHA-256 of the raw
body, one per line; the public key is served at ``/.well-known/jwks.json``. A fresh key is
made for every server. Receivers off this machine are refused, as inputs are.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import threading
import time
import urllib.parse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from generation.sandbox.answers import Answer
from generation.sandbox.inputs import is_loopback
from generation.sandbox.jobs import COMPLETED, Job

USER_ID = "sandbox-user"
TIMEOUT_SECS = 15.0
ATTEMPTS = 3
PAUSE_SECS = 1.0
LONGEST_PAUSE_SECS = 1.0


class Courier:
    """Waits for watched jobs to finish and delivers. ``result_of`` makes a job's result."""

    def __init__(
        self,
        *,
        get_job: Callable[[str], Job | None],
        result_of: Callable[[Job], Answer],
        seconds_to_next_event: Callable[[], float | None],
    ) -> None:
        self._get_job = get_job
        self._result_of = result_of
        self._seconds_to_next_event = seconds_to_next_event
        self._key = Ed25519PrivateKey.generate()
        self._watched: list[str] = []
        self._condition = threading.Condition()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._hands = ThreadPoolExecutor(max_workers=4, thread_name_prefix="sandbox-webhook")

    def jwks(self) -> dict[str, Any]:
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        x = base64.urlsafe_b64encode(public).rstrip(b"=").decode()
        return {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x}]}

    def watch(self, job: Job) -> None:
        with self._condition:
            self._watched.append(job.request_id)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sandbox-courier")
                self._thread.daemon = True
                self._thread.start()
            self._condition.notify()

    def nudge(self) -> None:
        """Look again now: a cancellation finished a job before its time."""
        with self._condition:
            self._condition.notify()

    def stop(self) -> None:
        self._stopping.set()
        self.nudge()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._hands.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        while not self._stopping.is_set():
            with self._condition:
                waiting = list(self._watched)
                left = []
                for request_id in waiting:
                    job = self._get_job(request_id)
                    if job is not None and job.status == COMPLETED:
                        self._hands.submit(self._deliver, job)
                    elif job is not None:
                        left.append(request_id)
                self._watched = left
                if self._stopping.is_set():
                    return
                self._condition.wait(self._pause() if left else None)

    def _pause(self) -> float:
        seconds = self._seconds_to_next_event()
        return LONGEST_PAUSE_SECS if seconds is None else min(seconds, LONGEST_PAUSE_SECS)

    def _deliver(self, job: Job) -> None:
        body = json.dumps(self._document(job)).encode()
        for attempt in range(ATTEMPTS):
            if attempt and self._stopping.wait(PAUSE_SECS * 2 ** (attempt - 1)):
                return
            if self._post(job, body):
                return

    def _document(self, job: Job) -> dict[str, Any]:
        answer = self._result_of(job)
        document: dict[str, Any] = {
            "request_id": job.request_id,
            "gateway_request_id": job.request_id,
            "status": "OK" if answer.status == 200 else "ERROR",
            "payload": json.loads(answer.body),
        }
        if answer.status != 200:
            document["error"] = f"Unexpected status code: {answer.status}"
        return document

    def _post(self, job: Job, body: bytes) -> bool:
        parts = urllib.parse.urlsplit(job.webhook or "")
        if parts.scheme != "http" or not is_loopback(parts.hostname or ""):
            return False
        target = parts.path or "/"
        if parts.query:
            target += f"?{parts.query}"
        try:
            connection = http.client.HTTPConnection(
                parts.hostname or "", parts.port, timeout=TIMEOUT_SECS
            )
            try:
                connection.request("POST", target, body, self._headers(job, body))
                return connection.getresponse().status < 300
            finally:
                connection.close()
        except (OSError, ValueError, http.client.HTTPException):
            return False

    def _headers(self, job: Job, body: bytes) -> dict[str, str]:
        timestamp = str(int(time.time()))
        lines = (job.request_id, USER_ID, timestamp, hashlib.sha256(body).hexdigest())
        return {
            "Content-Type": "application/json",
            "X-Fal-Webhook-Request-Id": job.request_id,
            "X-Fal-Webhook-User-Id": USER_ID,
            "X-Fal-Webhook-Timestamp": timestamp,
            "X-Fal-Webhook-Signature": self._key.sign("\n".join(lines).encode()).hex(),
        }
