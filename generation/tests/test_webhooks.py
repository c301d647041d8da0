"""Webhooks: who is heard, what a call does, and everything a call cannot do."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings as site_settings
from django.db import connection
from django.test import Client
from django.utils import timezone
from django_q.models import OrmQ

from credits import ledger
from credits.models import LedgerEntry
from generation import channel, lifecycle, polling, webhook_address, webhooks
from generation.models import FluxConfig, FluxTask, TaskImage
from generation.providers.base import OutcomeUnknown, Submitted
from generation.tests.factories import FluxTaskFactory
from generation.tests.test_admin import CONFIG, form
from generation.tests.test_lifecycle import place

HOUR = timedelta(hours=1)
#: Stands for the document that is right.
GOOD_KEYS = b"the good keys"


# ---------------------------------------------------------------- somebody who signs
class Signer:
    """A key pair, and calls made with it."""

    def __init__(self):
        self.key = Ed25519PrivateKey.generate()

    def published(self, *, padded=False):
        public = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        x = base64.urlsafe_b64encode(public).decode()
        return {"kty": "OKP", "crv": "Ed25519", "x": x if padded else x.rstrip("=")}

    def headers(self, body, *, request_id, age=0, user_id="user"):
        timestamp = str(int(time.time()) - age)
        digest = hashlib.sha256(body).hexdigest()
        message = "\n".join([request_id, user_id, timestamp, digest]).encode()
        return {
            "X-Fal-Webhook-Request-Id": request_id,
            "X-Fal-Webhook-User-Id": user_id,
            "X-Fal-Webhook-Timestamp": timestamp,
            "X-Fal-Webhook-Signature": self.key.sign(message).hex(),
        }


class Publisher(ThreadingHTTPServer):
    """Serves a document as JWKS and counts who asks. `answer` replaces it: (status, bytes)."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Jwks)
        self.document = {"keys": []}
        self.answer = None
        self.location = ""
        self.pause = 0.0
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Event()
        self.count = 0
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/jwks.json"

    def close(self):
        self.gate.set()
        self.shutdown()
        self.server_close()
        self.thread.join()


class _Jwks(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.count += 1
        self.server.asked.set()
        self.server.gate.wait(10)
        good = (200, json.dumps(self.server.document).encode())
        status, content = self.server.answer or good
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.end_headers()
        step = 1 if self.server.pause else max(len(content), 1)
        try:
            for start in range(0, len(content), step):
                self.wfile.write(content[start : start + step])
                time.sleep(self.server.pause)
        except OSError:
            pass  # The reader has had enough.

    def log_message(self, *args):
        pass


@pytest.fixture
def publisher():
    running = Publisher()
    yield running
    running.close()


@pytest.fixture
def signer(publisher, settings):
    """The provider: its key is published, and webhooks are switched on."""
    signer = Signer()
    publisher.document = {"keys": [signer.published()]}
    settings.FAL_JWKS_URL = publisher.url
    return signer


@pytest.fixture(autouse=True)
def without_keys(settings):
    """No keys are known yet, and nothing that is exported on this machine counts."""
    settings.PUBLIC_URL = ""
    webhooks._rings.clear()


@pytest.fixture
def enabled(db, settings):
    settings.PUBLIC_URL = "https://studio.example.org"
    return enable()


def enable():
    config = channel.load_config()
    config.webhook_enabled = True
    config.save()
    return config


@pytest.fixture
def task(alice):
    """A task at the provider that nobody would look at for an hour."""
    return FluxTaskFactory(
        user=alice, at_provider=True, request_id="request-1", next_action_at=later()
    )


def later():
    return timezone.now() + HOUR


def path_of(task_id):
    config = FluxConfig(webhook_enabled=True)
    origin = site_settings.PUBLIC_URL
    return webhook_address.address_for(config=config, task_id=task_id).removeprefix(origin)


def body_of(request_id="request-1", **more):
    document = {"request_id": request_id, "gateway_request_id": "other", "status": "OK", **more}
    return json.dumps(document).encode()


def call(client, signer, task, *, body=None, path=None, age=0, about="request-1", **headers):
    """Call as the provider does about a request; `headers` replace what was signed, None takes
    one away."""
    body = body_of(about) if body is None else body
    signed = signer.headers(body, request_id=about, age=age)
    for name, value in headers.items():
        signed[f"X-Fal-Webhook-{name.replace('_', '-').title()}"] = value
    return client.post(
        path or path_of(task.pk),
        data=body,
        content_type="application/json",
        headers={name: value for name, value in signed.items() if value is not None},
    )


def state_of(task):
    return FluxTask.objects.filter(pk=task.pk).values().get()


def refusal(answer):
    return answer.status_code, answer.json()["code"]


def eventually(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


# ---------------------------------------------------------------- what a call does
@pytest.mark.usefixtures("enabled")
def test_a_signed_call_makes_the_next_look_happen_now(
    client, signer, task, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        answer = call(client, signer, task)

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    task.refresh_from_db()
    assert task.next_action_at == task.webhook_at
    assert task.webhook_at <= timezone.now()
    assert task.status == "IN_QUEUE"
    assert OrmQ.objects.count() == 1


@pytest.mark.usefixtures("enabled")
def test_a_call_replayed_five_times_has_one_effect(client, signer, task):
    call(client, signer, task)
    FluxTask.objects.update(next_action_at=later())
    after_the_first = state_of(task)

    answers = [call(client, signer, task) for _time in range(5)]

    assert {answer.status_code for answer in answers} == {200}
    assert state_of(task) == after_the_first
    assert OrmQ.objects.count() == 0


@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize("end", ["succeeded", "failed"])
def test_a_call_about_a_finished_task_changes_nothing(client, signer, alice, end):
    task = FluxTaskFactory(user=alice, **{end: True}, request_id="request-1", submission="ACCEPTED")
    before = state_of(task)

    answer = call(client, signer, task)

    assert answer.status_code == 200
    assert state_of(task) == before


@pytest.mark.usefixtures("enabled")
def test_a_call_about_another_request_changes_nothing(client, signer, task):
    before = state_of(task)

    answer = call(client, signer, task, about="request-2")

    assert answer.status_code == 200
    assert state_of(task) == before


@pytest.mark.usefixtures("enabled")
def test_a_task_that_was_given_up_is_noted_as_having_a_late_result(client, signer, alice, task):
    lost = FluxTaskFactory(user=alice, submission="UNKNOWN", submitted_at=timezone.now())
    lifecycle.fail(task=task, code="timeout", now=timezone.now())
    lifecycle.fail_submission(task=lost, code="submit_unknown", now=timezone.now())

    assert call(client, signer, task).status_code == 200
    assert call(client, signer, lost, about="request-2").status_code == 200

    for given_up, code, request_id in (
        (task, "timeout", "request-1"),
        (lost, "submit_unknown", "request-2"),
    ):
        given_up.refresh_from_db()
        assert (given_up.status, given_up.error_code) == ("FAILED", code)
        assert (given_up.submission, given_up.request_id) == ("ACCEPTED", request_id)
        assert given_up.late_result_at is not None
        assert given_up.next_action_at is None
        assert lifecycle.is_recoverable(task=given_up, now=timezone.now())


@pytest.mark.usefixtures("enabled")
def test_what_a_call_says_about_the_result_is_not_read(client, signer, task):
    pictures = {"images": [{"url": "https://evil.example/picture.png"}], "seed": 1}
    body = body_of(status="ERROR", error="boom", payload=pictures)

    assert call(client, signer, task, body=body).status_code == 200

    task.refresh_from_db()
    assert (task.status, task.image_url, task.error_message) == ("IN_QUEUE", "", "")
    assert TaskImage.objects.count() == 0


@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize(
    "body", [b"", b"thank you", b"[1, 2]", b'"text"', b"[" * 100_000, b"\xff\xfe", b"{}"]
)
def test_a_signed_body_of_any_form_is_a_call(client, signer, task, body):
    assert call(client, signer, task, body=body).status_code == 200
    assert state_of(task)["webhook_at"] is not None


# ---------------------------------------------------------------- who is not heard
@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize("age", [301 + 5, -301 - 5, 86_400, 1_000_000_000])
def test_a_call_from_another_time_is_refused(client, signer, publisher, task, age):
    before = state_of(task)

    answer = call(client, signer, task, age=age)

    assert refusal(answer) == (403, "stale")
    assert state_of(task) == before
    assert publisher.count == 0


@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize("age", [290, -290])
def test_a_clock_that_is_a_little_off_does_no_harm(client, signer, task, age):
    assert call(client, signer, task, age=age).status_code == 200


@pytest.mark.usefixtures("enabled", "signer")
def test_a_signature_by_another_key_is_refused(client, task):
    before = state_of(task)

    answer = call(client, Signer(), task)

    assert refusal(answer) == (403, "bad_signature")
    assert state_of(task) == before


@pytest.mark.usefixtures("enabled")
def test_an_altered_body_is_refused_also_when_it_means_the_same(client, signer, task):
    body = body_of()
    signed = signer.headers(body, request_id="request-1")

    for other in (body + b" ", body.replace(b"OK", b"KO"), b""):
        answer = client.post(path_of(task.pk), other, "application/json", headers=signed)
        assert refusal(answer) == (403, "bad_signature")

    assert state_of(task)["webhook_at"] is None


@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize(
    "altered",
    [
        {"request_id": "request-2"},
        {"user_id": "other"},
        {"timestamp": None},
        {"signature": "0" * 128},
    ],
    ids=lambda altered: next(iter(altered)),
)
def test_every_signed_header_is_covered_by_the_signature(client, signer, task, altered):
    if "timestamp" in altered:
        # Not when tests are collected: a minute later that would be the right one.
        altered = {"timestamp": str(int(time.time()) + 60)}

    answer = call(client, signer, task, body=b"{}", **altered)

    assert refusal(answer) == (403, "bad_signature")


@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize("name", ["request_id", "user_id", "timestamp", "signature"])
def test_a_call_without_one_of_the_headers_is_not_signed(client, signer, publisher, task, name):
    assert refusal(call(client, signer, task, **{name: None})) == (403, "unsigned")
    assert refusal(call(client, signer, task, **{name: ""})) == (403, "unsigned")
    assert publisher.count == 0


@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize(
    "garbage",
    [
        {"signature": "z" * 128},
        {"signature": "ab" * 63},
        {"signature": "ab" * 5000},
        {"signature": "é" * 128},
        {"signature": f"{'ab' * 64}\n"},
        {"request_id": "x" * 10_000},
        {"request_id": "réquest"},
        {"request_id": "a\tb"},
        {"user_id": "x" * 256},
        {"user_id": "\x00"},
        {"timestamp": "now"},
        {"timestamp": "1.7e9"},
        {"timestamp": "-1"},
        {"timestamp": "+1795000000"},
        {"timestamp": "9" * 10_000},
        {"timestamp": "¹²³"},
    ],
    ids=lambda garbage: ascii(f"{garbage}"[:40]),
)
def test_malformed_headers_are_refused_before_any_key_is_fetched(
    client, signer, publisher, task, garbage
):
    answer = call(client, signer, task, **garbage)

    assert refusal(answer) == (400, "malformed")
    assert set(answer.json()) == {"code", "detail", "request_id"}
    assert state_of(task)["webhook_at"] is None
    assert publisher.count == 0


@pytest.mark.usefixtures("enabled")
def test_a_body_that_speaks_of_another_request_is_refused(client, signer, task):
    for other in ("request-2", 7, ["request-1"]):
        answer = call(client, signer, task, body=body_of(other))
        assert refusal(answer) == (400, "malformed")

    assert state_of(task)["webhook_at"] is None


@pytest.mark.usefixtures("enabled")
def test_a_body_beyond_the_limit_is_refused(client, signer, task, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * webhooks.MAX_BODY_BYTES
    largest = b" " * (webhooks.MAX_BODY_BYTES - 2) + b"{}"
    assert refusal(call(client, signer, task, body=largest + b" ")) == (413, "too_large")
    assert call(client, signer, task, body=largest).status_code == 200

    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    assert refusal(call(client, signer, task)) == (413, "too_large")


@pytest.mark.usefixtures("enabled")
def test_a_wrong_token_is_not_found_and_costs_no_query(
    client, signer, publisher, task, django_assert_num_queries
):
    other = FluxTaskFactory(user=task.user)
    prefix, _slash, token = path_of(task.pk).rpartition("/")
    wrong = [
        f"{prefix}/{token[:-1]}{'0' if token[-1] != '0' else '1'}",
        f"{prefix}/{token[:-1]}",
        f"{prefix}/{token.upper()}",
        f"{prefix}/{'0' * 10_000}",
        f"{path_of(other.pk).rpartition('/')[0]}/{token}",
    ]

    with django_assert_num_queries(0):
        answers = [call(client, signer, task, path=path) for path in wrong]

    assert {refusal(answer) for answer in answers} == {(404, "not_found")}
    assert publisher.count == 0


@pytest.mark.usefixtures("enabled")
def test_an_unknown_task_is_not_found(client, signer, task):
    path = path_of(task.pk)
    task.delete()

    assert refusal(call(client, signer, task, path=path)) == (404, "not_found")


@pytest.mark.usefixtures("enabled")
def test_an_address_outlives_a_change_of_the_secret_key_if_the_old_one_is_kept(
    client, signer, task, settings
):
    path = path_of(task.pk)
    old, settings.SECRET_KEY = settings.SECRET_KEY, "a new secret for tests"
    assert call(client, signer, task, path=path).status_code == 404

    settings.SECRET_KEY_FALLBACKS = [old]

    assert call(client, signer, task, path=path).status_code == 200
    assert path_of(task.pk) != path


@pytest.mark.usefixtures("enabled")
def test_the_door_asks_for_no_session_and_lets_no_cache_answer(signer, task):
    answer = call(Client(enforce_csrf_checks=True), signer, task)

    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    assert answer.cookies == {}


@pytest.mark.usefixtures("enabled")
def test_what_a_caller_likes_to_read_does_not_matter(client, signer, task):
    body = body_of()
    headers = {**signer.headers(body, request_id="request-1"), "Accept": "image/png"}

    answer = client.post(f"{path_of(task.pk)}?format=xml", body, "application/xml", headers=headers)

    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")


@pytest.mark.usefixtures("enabled", "signer")
@pytest.mark.parametrize("method", ["get", "put", "delete", "options"])
def test_other_methods_are_refused(client, task, method):
    assert getattr(client, method)(path_of(task.pk)).status_code == 405


@pytest.mark.usefixtures("enabled")
def test_neither_prompt_nor_body_gets_into_the_log(client, signer, task, caplog, publisher):
    caplog.set_level(logging.DEBUG)
    body = body_of(payload={"prompt": "a secret of the heart", "seed": 271828})

    call(client, signer, task, body=body)
    call(client, Signer(), task, body=body)
    call(client, signer, task, body=body, signature="secret-of-the-heart")
    publisher.answer = (500, b"secret of the heart")
    webhooks._rings.clear()
    assert call(client, signer, task, body=body).status_code == 503

    assert "webhook keys could not be fetched" in caplog.text
    for secret in ("of the heart", "of-the-heart", "271828", signer.published()["x"]):
        assert secret not in caplog.text


# ---------------------------------------------------------------- keys
@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize("padded", [False, True])
def test_keys_are_read_with_and_without_padding(client, signer, publisher, task, padded):
    key = signer.published(padded=padded)
    publisher.document = {"keys": [key]}

    assert key["x"].endswith("=") == padded
    assert call(client, signer, task).status_code == 200


@pytest.mark.usefixtures("enabled")
def test_every_published_key_is_tried_and_garbage_between_them_passed_over(
    client, signer, publisher, task
):
    garbage = [{}, {"x": 7}, {"x": "AAAA"}, {"x": "é"}, None, "key", {"kty": "RSA", "n": "1"}]
    publisher.document = {"keys": [*garbage, Signer().published(), signer.published()]}

    assert call(client, signer, task).status_code == 200


@pytest.mark.usefixtures("enabled")
def test_keys_are_fetched_once_for_many_calls(client, signer, publisher, alice):
    tasks = FluxTaskFactory.create_batch(3, user=alice, at_provider=True)

    for task in tasks:
        assert call(client, signer, task, about=task.request_id).status_code == 200

    assert publisher.count == 1


@pytest.mark.usefixtures("enabled")
def test_wrong_signatures_do_not_make_us_hammer_the_provider(client, signer, publisher, task):
    stranger = Signer()

    answers = [call(client, stranger, task) for _time in range(5)]

    assert {refusal(answer) for answer in answers} == {(403, "bad_signature")}
    assert publisher.count == 1
    assert call(client, signer, task).status_code == 200


@pytest.mark.usefixtures("enabled")
def test_a_new_key_is_learnt_with_the_first_call_it_signs(
    client, signer, publisher, task, monkeypatch
):
    assert call(client, signer, task).status_code == 200
    new = Signer()
    publisher.document = {"keys": [new.published()]}

    assert refusal(call(client, new, task)) == (403, "bad_signature")  # Asked a moment ago.
    monkeypatch.setattr(webhooks, "REFETCH_SECONDS", 0.0)

    assert call(client, new, task).status_code == 200
    assert publisher.count == 2
    assert refusal(call(client, signer, task)) == (403, "bad_signature")


@pytest.mark.usefixtures("enabled")
def test_keys_are_not_believed_for_ever(client, signer, publisher, task, monkeypatch):
    assert call(client, signer, task).status_code == 200
    publisher.answer = (500, b"")
    assert call(client, signer, task).status_code == 200

    monkeypatch.setattr(webhooks, "KEEP_SECONDS", 0.0)
    monkeypatch.setattr(webhooks, "REFETCH_SECONDS", 0.0)

    assert refusal(call(client, signer, task)) == (503, "keys_unavailable")


@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize(
    "answer",
    [
        (500, GOOD_KEYS),
        (404, GOOD_KEYS),
        (200, b"<html>"),
        (200, b"\xff"),
        (200, b"[" * 60_000),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"keys": {}}'),
        (200, b'{"keys": []}'),
        (200, b'{"keys": [{"x": "AAAA"}]}'),
    ],
    ids=lambda answer: f"{answer[0]} {answer[1][:30]!r}",
)
def test_without_keys_the_provider_is_asked_to_call_again(client, signer, publisher, task, answer):
    status, content = answer
    if content is GOOD_KEYS:
        content = json.dumps(publisher.document).encode()
    publisher.answer = (status, content)

    for _time in range(3):
        reply = call(client, signer, task)
        assert refusal(reply) == (503, "keys_unavailable")
        assert reply["Retry-After"] == "60"

    assert publisher.count == 1
    assert state_of(task)["webhook_at"] is None


@pytest.mark.usefixtures("enabled")
def test_keys_that_nobody_serves_are_asked_for_again_later(
    client, signer, publisher, task, settings, monkeypatch
):
    settings.FAL_JWKS_URL = "http://127.0.0.1:1/jwks.json"
    assert call(client, signer, task).status_code == 503
    settings.FAL_JWKS_URL = publisher.url
    publisher.answer = (503, b"")
    assert call(client, signer, task).status_code == 503
    publisher.answer = None
    assert call(client, signer, task).status_code == 503  # Too soon to ask again.

    monkeypatch.setattr(webhooks, "RETRY_SECONDS", 0.0)

    assert call(client, signer, task).status_code == 200


@pytest.mark.usefixtures("enabled")
def test_a_redirect_to_keys_is_not_followed(client, signer, publisher, task):
    elsewhere = Publisher()
    try:
        elsewhere.document = publisher.document
        good = json.dumps(publisher.document).encode()
        publisher.answer, publisher.location = (302, good), elsewhere.url

        assert call(client, signer, task).status_code == 503
        assert elsewhere.count == 0
    finally:
        elsewhere.close()


def test_keys_that_are_too_long_or_too_slow_are_given_up(signer, publisher, monkeypatch):
    padding = " " * webhooks.MAX_JWKS_BYTES
    publisher.answer = (200, json.dumps({"keys": [signer.published()], "p": padding}).encode())
    with pytest.raises(webhooks.KeysUnavailable):
        webhooks.fetch_keys(address=publisher.url)

    publisher.answer, publisher.pause = None, 0.02
    monkeypatch.setattr(webhooks, "FETCH_SECONDS", 0.2)
    with pytest.raises(webhooks.KeysUnavailable):
        webhooks.fetch_keys(address=publisher.url)


@pytest.mark.parametrize("status", [200, 500])
def test_calls_that_come_at_once_fetch_once(signer, publisher, status):
    publisher.gate.clear()
    publisher.answer = None if status == 200 else (status, b"")
    ring = webhooks.key_ring(address=publisher.url)
    message, told = b"a message", []

    def verify():
        try:
            told.append(ring.verify(signature=signer.key.sign(message), message=message))
        except webhooks.KeysUnavailable:
            told.append("unavailable")

    threads = [threading.Thread(target=verify) for _n in range(6)]
    for thread in threads:
        thread.start()
    assert publisher.asked.wait(10)
    publisher.gate.set()
    for thread in threads:
        thread.join()

    assert told == [True if status == 200 else "unavailable"] * 6
    assert publisher.count == 1


def test_a_call_does_not_wait_for_ever_for_the_one_that_fetches(signer, publisher, monkeypatch):
    monkeypatch.setattr(webhooks, "WAIT_SECONDS", 0.05)
    publisher.gate.clear()
    ring = webhooks.key_ring(address=publisher.url)
    first = threading.Thread(
        target=ring.verify, kwargs={"signature": signer.key.sign(b"m"), "message": b"m"}
    )
    first.start()
    assert publisher.asked.wait(10)

    with pytest.raises(webhooks.KeysUnavailable):
        ring.verify(signature=signer.key.sign(b"m"), message=b"m")

    publisher.gate.set()
    first.join()
    assert ring.verify(signature=signer.key.sign(b"m"), message=b"m")


def test_the_keys_are_fals_or_the_sandboxs_while_that_draws(db, settings):
    settings.FAL_JWKS_URL = "https://relay.example/keys"
    config = channel.load_config()
    assert webhooks.keys_address(config=config) == "https://relay.example/keys"

    settings.SANDBOX_URL = "http://127.0.0.1:9"
    assert webhooks.keys_address(config=config) == "http://127.0.0.1:9/.well-known/jwks.json"

    config.set_api_key("a:b")
    assert webhooks.keys_address(config=config) == "https://relay.example/keys"


# ---------------------------------------------------------------- off by default
def test_webhooks_are_off_by_default(db, settings):
    settings.PUBLIC_URL = "https://studio.example.org"

    config = channel.load_config()

    assert not config.webhook_enabled
    assert webhook_address.address_for(config=config, task_id="a" * 32) == ""


def test_switched_on_without_an_address_they_are_off_all_the_same(db):
    assert webhook_address.address_for(config=enable(), task_id="a" * 32) == ""


def test_switched_off_no_address_is_handed_over(alice, work, drawing, settings):
    settings.PUBLIC_URL = "https://studio.example.org"
    place(alice)

    work()

    submits = [request for request in drawing.requests if request.stage == "submit"]
    assert [request.query for request in submits] == [{}]


def test_switched_off_nobody_is_heard(client, signer, task, settings):
    settings.PUBLIC_URL = "https://studio.example.org"
    path = path_of(task.pk)

    assert refusal(call(client, signer, task)) == (404, "not_found")

    enable()
    settings.PUBLIC_URL = ""
    assert refusal(call(client, signer, task, path=path)) == (404, "not_found")
    assert state_of(task)["webhook_at"] is None


# ---------------------------------------------------------------- settings and admin
@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("PUBLIC_URL", "https://studio.example.org", True),
        ("PUBLIC_URL", "https://studio.example.org/", True),
        ("PUBLIC_URL", "http://[::1]:8000", True),
        ("PUBLIC_URL", "studio.example.org", False),
        ("PUBLIC_URL", "https://studio.example.org/fluxsite", False),
        ("PUBLIC_URL", "https://studio.example.org?a=b", False),
        ("PUBLIC_URL", "https://user:password@studio.example.org", False),
        ("PUBLIC_URL", "ftp://studio.example.org", False),
        ("FAL_JWKS_URL", "https://relay.example/keys.json", True),
        ("FAL_JWKS_URL", "relay.example/keys.json", False),
        ("FAL_JWKS_URL", "file:///etc/passwd", False),
    ],
)
def test_a_malformed_address_is_refused_at_start(tmp_path, name, value, accepted):
    answer = subprocess.run(
        [sys.executable, "-c", f"from fluxsite import settings; print(settings.{name})"],
        env={**os.environ, "DATA_DIR": str(tmp_path), name: value},
        cwd=site_settings.BASE_DIR,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    if accepted:
        assert (answer.returncode, answer.stdout.strip()) == (0, value.rstrip("/"))
    else:
        assert answer.returncode != 0
        assert f"ImproperlyConfigured: {name} must be" in answer.stderr


def test_the_admin_page_does_not_switch_webhooks_on_without_an_address(client, staff, settings):
    client.force_login(staff)

    answer = client.post(CONFIG, form(webhook_enabled="on"))

    assert answer.status_code == 200
    assert "Set PUBLIC_URL first" in answer.content.decode()
    assert not channel.load_config().webhook_enabled

    settings.PUBLIC_URL = "https://studio.example.org"
    assert client.post(CONFIG, form(webhook_enabled="on")).status_code == 302
    assert channel.load_config().webhook_enabled
    assert client.post(CONFIG, form()).status_code == 302
    assert not channel.load_config().webhook_enabled


# ---------------------------------------------------------------- with the sandbox calling
@pytest.fixture
def called(live_server, drawing, settings):
    """A site the sandbox can call. Returns a function that sends a task, with its address."""
    settings.PUBLIC_URL = live_server.url
    config = enable()

    def send(task):
        assert lifecycle.begin_submission(task=task, now=timezone.now())
        return lifecycle.send(
            task=task,
            provider=channel.current().provider(),
            webhook_url=webhook_address.address_for(config=config, task_id=task.pk),
        )

    return send


def record(task, outcome, **more):
    """Write down what became of a submit, so that nobody looks for an hour by himself."""
    timeout = timedelta(seconds=300)
    lifecycle.record_submission(task=task, outcome=outcome, timeout=timeout, now=later(), **more)


def was_called(task):
    return lambda: FluxTask.objects.filter(pk=task.pk, webhook_at__isnull=False).exists()


def test_the_sandbox_calls_and_the_task_is_looked_at(called, drawing, work, alice):
    task = place(alice)

    record(task, called(task))
    eventually(was_called(task))

    task.refresh_from_db()
    assert task.next_action_at <= timezone.now()
    assert OrmQ.objects.count() == 1
    work()
    task.refresh_from_db()
    assert task.status == "SUCCESS"
    assert task.request_id == next(iter(drawing.jobs))


def test_a_call_ahead_of_the_submits_answer_claims_the_task(called, drawing, work, alice):
    drawing.add_fault(kind="hold", on="submit")
    task = place(alice)
    told = []
    sender = threading.Thread(target=lambda: told.append(in_thread(called, task)))
    sender.start()
    eventually(was_called(task))

    claimed = state_of(task)
    assert (claimed["submission"], claimed["status"]) == ("ACCEPTED", "IN_QUEUE")
    assert claimed["request_id"] == next(iter(drawing.jobs))

    drawing.release()
    sender.join()
    assert isinstance(told[0], Submitted)
    record(task, told[0])
    assert state_of(task) == claimed
    drawing.clear_faults()
    work()
    task.refresh_from_db()
    assert task.status == "SUCCESS"
    assert booked(task) == ["RESERVE", "SETTLE"]


def test_a_call_makes_good_for_an_answer_that_was_lost(called, drawing, work, alice):
    drawing.add_fault(kind="drop_after_accept", on="submit", times=1)
    task = place(alice)

    outcome = called(task)
    assert isinstance(outcome, OutcomeUnknown)
    record(task, outcome, awaits_webhook=True)
    eventually(was_called(task))
    work()

    task.refresh_from_db()
    assert (task.status, task.request_id) == ("SUCCESS", next(iter(drawing.jobs)))
    assert len(drawing.jobs) == 1


def test_calls_and_polls_at_once_settle_once(called, drawing, work, alice, settings):
    settings.CREDITS_ENABLED = True
    task = place(alice, num_images=2)
    outcome = called(task)
    record(task, outcome)
    eventually(lambda: drawing.jobs[outcome.request_id].status == "COMPLETED")
    eventually(was_called(task))
    # As if the call had not come yet: several now come at the very moment of several looks.
    FluxTask.objects.update(webhook_at=None, next_action_at=later())
    task.refresh_from_db()
    signed = drawing.courier()._headers(drawing.jobs[outcome.request_id], b"{}")
    address = webhook_address.address_for(config=channel.load_config(), task_id=task.pk)
    provider = channel.current().provider()
    start, statuses = threading.Barrier(6), []

    def call_in():
        start.wait()
        statuses.append(requests.post(address, data=b"{}", headers=signed, timeout=30).status_code)

    def look():
        start.wait()
        seen = lifecycle.look(task=task, provider=provider, cancel=False)
        in_thread(lambda: lifecycle.record_look(task=task, look=seen, now=timezone.now()))

    threads = [threading.Thread(target=work) for work in (call_in, look) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    work()

    task.refresh_from_db()
    assert statuses == [200] * 3
    assert (task.status, task.cost_charged) == ("SUCCESS", 10)
    assert booked(task) == ["RESERVE", "SETTLE"]
    assert TaskImage.objects.count() == 2
    assert ledger.account_for(user=alice).total_used == 10


def test_a_sweep_hands_the_address_over_and_waits_for_a_call_when_the_answer_is_lost(
    called, drawing, work, alice
):
    drawing.add_fault(kind="drop_after_accept", on="submit", times=1)
    task = place(alice)

    polling.sweep(window=20, idle=0)

    submits = [request for request in drawing.requests if request.stage == "submit"]
    address = webhook_address.address_for(config=channel.load_config(), task_id=task.pk)
    assert [request.query for request in submits] == [{"fal_webhook": address}]
    eventually(was_called(task))
    work()
    task.refresh_from_db()
    assert (task.status, task.error_code) == ("SUCCESS", "")


def in_thread(work, *arguments):
    """Run something that queries, and leave no connection of this thread behind."""
    try:
        return work(*arguments)
    finally:
        connection.close()


def booked(task):
    entries = LedgerEntry.objects.filter(reference=f"flux:{task.pk}").order_by("created_at", "id")
    return [entry.kind for entry in entries]
