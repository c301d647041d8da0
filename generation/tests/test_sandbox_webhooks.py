"""The sandbox's webhooks: what is delivered, how it is signed, how often it is tried."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from generation.sandbox import webhooks
from generation.sandbox.server import SandboxServer

AUTH = {"Authorization": "Key id:secret"}
DEV = "/fal-ai/flux-1/dev"


class Receiver(ThreadingHTTPServer):
    """Collects deliveries and answers them with the statuses it was given, then 200."""

    daemon_threads = True

    def __init__(self, statuses=()):
        super().__init__(("127.0.0.1", 0), _Hook)
        self.statuses = list(statuses)
        self.deliveries = []
        self.arrived = threading.Semaphore(0)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/hook?task=7"

    def wait(self, count=1):
        for _ in range(count):
            assert self.arrived.acquire(timeout=10), "no delivery"
        return self.deliveries[-1]

    def close(self):
        self.shutdown()
        self.server_close()
        self.thread.join()


class _Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.deliveries.append((self.path, self.headers, body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.arrived.release()

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with SandboxServer(generation_seconds=0.02, queue_seconds=0.0) as running:
        yield running


@pytest.fixture
def receiver():
    running = Receiver()
    yield running
    running.close()


def submit(server, url, prompt="x"):
    body = {"prompt": prompt, "image_size": "square"}
    address = server.url + DEV
    return requests.post(address, params={"fal_webhook": url}, json=body, headers=AUTH).json()


def test_a_finished_job_is_delivered_with_its_result(server, receiver):
    reply = submit(server, receiver.url)

    path, _, body = receiver.wait()
    document = json.loads(body)

    assert reply["gateway_request_id"] == reply["request_id"]
    assert path == "/hook?task=7"
    assert document == {
        "request_id": reply["request_id"],
        "gateway_request_id": reply["request_id"],
        "status": "OK",
        "payload": requests.get(reply["response_url"], headers=AUTH).json(),
    }


def test_a_refused_job_is_delivered_as_an_error(server, receiver):
    submit(server, receiver.url, "#fault:content_policy")

    document = json.loads(receiver.wait()[2])

    assert (document["status"], document["error"]) == ("ERROR", "Unexpected status code: 422")
    assert document["payload"]["detail"][0]["type"] == "content_policy_violation"


def test_the_signature_holds_for_the_raw_body_and_no_other(server, receiver):
    submit(server, receiver.url)
    _, headers, body = receiver.wait()

    x = requests.get(server.url + "/.well-known/jwks.json").json()["keys"][0]["x"]
    key = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "=="))
    signature = bytes.fromhex(headers["X-Fal-Webhook-Signature"])

    def message(raw):
        names = ("Request-Id", "User-Id", "Timestamp")
        lines = [headers[f"X-Fal-Webhook-{name}"] for name in names]
        return "\n".join([*lines, hashlib.sha256(raw).hexdigest()]).encode()

    key.verify(signature, message(body))
    with pytest.raises(InvalidSignature):
        key.verify(signature, message(body + b" "))


def test_a_failed_delivery_is_tried_again_but_not_for_ever(server, monkeypatch):
    monkeypatch.setattr(webhooks, "PAUSE_SECS", 0.01)
    stubborn = Receiver(statuses=[500] * 10)
    try:
        submit(server, stubborn.url)
        stubborn.wait(webhooks.ATTEMPTS)
        assert not stubborn.arrived.acquire(timeout=0.2)
        assert len(stubborn.deliveries) == webhooks.ATTEMPTS
        assert len({body for _, _, body in stubborn.deliveries}) == 1
    finally:
        stubborn.close()


def test_a_cancelled_job_is_delivered_at_once(receiver):
    with SandboxServer(generation_seconds=600) as slow:
        reply = submit(slow, receiver.url)

        requests.put(reply["cancel_url"], headers=AUTH)

        document = json.loads(receiver.wait()[2])
        assert document["payload"]["error_type"] == "client_cancelled"


def test_a_receiver_elsewhere_is_never_called(server):
    reply = submit(server, "http://192.0.2.1/hook")
    assert reply["status"] == "IN_QUEUE"
