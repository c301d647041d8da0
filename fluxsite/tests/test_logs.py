"""The log: under whose name, in which shape, and what is never in it."""

from __future__ import annotations

import gzip
import importlib
import json
import logging
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from django.conf import settings as site
from django.db import DatabaseError, connection, transaction
from django_q.models import OrmQ
from django_q.tasks import async_task

from fluxsite import logs, request_ids
from fluxsite.gunicorn_logs import Logger
from fluxsite.tests.test_start_site import PROC, running, wait_for
from generation.models import FluxTask, TaskImage
from generation.tests.factories import FluxTaskFactory

FAL_KEY = "0a1b2c3d-0a1b-2c3d-4e5f-0a1b2c3d4e5f:0123456789abcdef0123456789abcdef"
REQUEST = "request-of-alice"
PROMPT = "a prompt that is nobody's business"


@pytest.fixture
def written(caplog):
    """Return what has been logged so far, as it would be written, in either format."""
    caplog.set_level(logging.DEBUG)
    caplog.handler.addFilter(logs.RequestIdFilter())

    def lines():
        formats = [logs.Line(), logs.Json()]
        return [each.format(record) for record in caplog.records for each in formats]

    return lines


def record(message, *arguments, error=None):
    found = logging.makeLogRecord(
        {"name": "generation.polling", "levelname": "ERROR", "msg": message, "args": arguments}
    )
    found.exc_info = (type(error), error, error.__traceback__) if error else None
    logs.RequestIdFilter().filter(found)
    return found


def names_of(lines, text):
    """Return the request ids of the JSON lines in which a text appears."""
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    return {entry["request_id"] for entry in entries if text in entry["message"]}


# ---------------------------------------------------------------- shape
def test_a_line_of_json_has_everything_a_program_needs():
    with request_ids.named(REQUEST):
        entry = json.loads(logs.Json().format(record("task %s: 失败", "t1")))

    assert entry.pop("time").endswith("+00:00")
    assert isinstance(entry.pop("process"), int)
    assert entry == {
        "level": "ERROR",
        "logger": "generation.polling",
        "message": "task t1: 失败",
        "request_id": REQUEST,
    }


def test_an_error_is_on_the_same_line_of_json():
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        text = logs.Json().format(record("it broke", error=error))

    assert "\n" not in text
    assert "ValueError: two\nlines" in json.loads(text)["exception"]


def test_nobody_writes_a_line_of_his_own():
    text = logs.Line().format(record("unknown path %s", "/x\n2026-01-01 ERROR forged\r!"))

    assert "\n" not in text
    assert "\\n2026-01-01 ERROR forged\\r!" in text


@pytest.mark.skipif(not PROC.is_dir(), reason="looks at processes through /proc")
def test_a_site_logs_json_from_all_of_its_programs(tmp_path):
    with running(tmp_path, LOG_FORMAT="json", LOG_LEVEL="INFO") as started:
        started.manage("shell", "--no-imports", "-c", "import logging; logging.error('hello')")
        worker = started.leader("qcluster")
        subprocess.run(["kill", "-9", str(worker)], check=True)
        web = started.leader("gunicorn")
        subprocess.run(["kill", "-TTIN", str(web)], check=True)
        wait_for(lambda: "workers was killed" in started.err.read_text())

    lines = started.err.read_text().splitlines()
    assert lines
    assert [line for line in lines if not line.startswith("{")] == []
    assert {json.loads(line)["level"] for line in lines} <= {"INFO", "WARNING", "ERROR"}


def test_the_web_servers_own_lines_have_the_same_shape(monkeypatch, capsys):
    from gunicorn.config import Config

    logger = Logger(Config())
    handler = logger.error_log.handlers[0]

    text = handler.formatter.format(record("Worker exiting"))

    assert isinstance(handler.formatter, logs.Line)
    assert text.endswith("ERROR generation.polling [-] Worker exiting")


def test_a_format_nobody_knows_is_refused(tmp_path):
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=site.BASE_DIR,
        env={"PATH": "", "DATA_DIR": str(tmp_path), "LOG_FORMAT": "xml"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "LOG_FORMAT must be one of line, json, not 'xml'." in done.stderr


# ---------------------------------------------------------------- under whose name
def ask(client, prompt=PROMPT):
    answer = client.post(
        "/api/flux/text-to-image",
        {"prompt": prompt, "model": "fal-ai/flux-1/schnell"},
        content_type="application/json",
        headers={"X-Request-ID": REQUEST},
    )
    assert answer.status_code == 202
    return FluxTask.objects.get(pk=answer.json()["id"])


def test_a_task_keeps_the_name_of_its_request(client, alice, drawing):
    client.force_login(alice)

    assert ask(client).web_request_id == REQUEST


def test_a_task_that_no_request_asked_for_has_no_name(alice):
    assert FluxTaskFactory(user=alice).web_request_id is None
    assert request_ids.to_keep() is None


def test_what_a_worker_does_for_a_task_bears_its_requests_name(
    client, alice, drawing, work, written
):
    client.force_login(alice)
    drawing.add_fault(kind="drop_after_accept", on="submit")
    task = ask(client)

    work()

    assert FluxTask.objects.get(pk=task.pk).error_code == "submit_unknown"
    assert names_of(written(), "unknown outcome") == {REQUEST}


def test_what_a_worker_does_for_a_picture_bears_it_too(client, alice, drawing, work, written):
    client.force_login(alice)
    drawing.add_fault(kind="html_instead_of_image")
    ask(client)

    work()

    assert TaskImage.objects.get().stored_at is None
    assert names_of(written(), "not stored") == {REQUEST}


def test_a_message_to_the_workers_takes_the_name_along(db):
    with request_ids.named(REQUEST):
        async_task("fluxsite.tests.test_logs.record", "x")
    async_task("fluxsite.tests.test_logs.record", "y")
    messages = [message.task for message in OrmQ.objects.order_by("pk")]

    with request_ids.named("another"):
        names = []
        for message in messages:
            request_ids.take_over(sender="django_q", func=None, task=message)
            names.append(request_ids.current())

    assert names == [REQUEST, request_ids.NONE]


# ---------------------------------------------------------------- what is never in it
@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"refused with {FAL_KEY}!", "refused with •••!"),
        ("Authorization: Key abcdef0123456", "Authorization: Key •••"),
        ("{'authorization': 'Bearer abcdef0123456'}", "{'authorization': 'Bearer •••'}"),
        ("by fx_0123456789abcdefghijklmn", "by •••"),
        (
            "GET https://b.cos.ap.myqcloud.com/a.png?q-sign-time=1&q-signature=0a1b HTTP",
            "GET https://b.cos.ap.myqcloud.com/a.png?q-sign-time=1&q-signature=••• HTTP",
        ),
        ("Not Found: /hooks/fal/t1/s3cr3t", "Not Found: /hooks/fal/t1/•••"),
        ("Not Found: /password/reset/MQ/c4-0a1b", "Not Found: /password/reset/MQ/•••"),
        ("postgres://fluxsite:hunter22@db/x", "postgres://•••@db/x"),
        ("/history?q=%E7%8C%AB&page=2", "/history?q=•••&page=2"),
        (
            "null value\nDETAIL:  Failing row contains (1, a cat,\n\non a mat).",
            "null value\\nDETAIL: •••",
        ),
        ("duplicate key value violates a constraint", "duplicate key value violates a constraint"),
        ("basic things, and the bearer of news", "basic things, and the bearer of news"),
    ],
)
def test_secrets_are_taken_out_of_what_others_say(text, left):
    line = logs.Line().format(record(text))
    entry = json.loads(logs.Json().format(record(text)))

    assert line.partition("[-] ")[2] == left
    assert entry["message"] == left.replace("\\n", "\n")


def test_the_sites_own_secrets_are_taken_out_wherever_they_appear(settings):
    settings.METRICS_TOKEN = "metrics-t0ken"
    logs._secrets.cache_clear()
    try:
        text = f"{site.SECRET_KEY} {site.FIELD_ENCRYPTION_KEYS[0]} metrics-t0ken"
        assert logs.redacted(f"{text} remain") == "••• ••• ••• remain"
    finally:
        logs._secrets.cache_clear()


def test_a_row_that_the_database_refuses_stays_out(alice, written):
    task = FluxTaskFactory(user=alice, prompt=PROMPT)

    def refuse():
        with transaction.atomic():
            FluxTask.objects.filter(pk=task.pk).update(status="SUCCESS")

    with pytest.raises(DatabaseError) as caught:
        refuse()
    logging.getLogger("generation").error("broken: %s", caught.value, exc_info=caught.value)

    assert len(written()) >= 2
    assert [line for line in written() if PROMPT in line] == []
    if connection.vendor == "postgresql":
        assert PROMPT in str(caught.value)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "drop_after_accept", "on": "submit"},
        {"kind": "status_401", "on": "submit"},
        {"kind": "html_instead_of_image"},
    ],
    ids=lambda fault: fault["kind"],
)
def test_no_prompt_and_no_key_is_logged_whatever_goes_wrong(
    client, alice, drawing, work, written, fault, settings
):
    client.force_login(alice)
    drawing.add_fault(**fault)
    ask(client)

    work(window=2.0)

    lines = written()
    assert lines
    assert [line for line in lines if PROMPT in line or "sandbox:sandbox" in line] == []


# ---------------------------------------------------------------- Sentry
class Collector(BaseHTTPRequestHandler):
    """Takes what is sent to Sentry."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append((self.headers.get("Content-Encoding"), body))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_arguments):
        pass


def unpacked(encoding, body):
    if encoding == "br":
        return importlib.import_module("brotli").decompress(body).decode()
    return (gzip.decompress(body) if encoding == "gzip" else body).decode()


@pytest.fixture
def collector():
    server = HTTPServer(("127.0.0.1", 0), Collector)
    server.bodies = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_errors_are_reported_without_what_is_nobodys_business(collector, tmp_path):
    pytest.importorskip("sentry_sdk")
    code = f"""
import django, os
django.setup()
from django.conf import settings
from django.test import Client
from django.urls import path
from fluxsite import request_ids, urls
import sentry_sdk

def broken(request):
    prompt = {PROMPT!r}
    raise RuntimeError("refused {FAL_KEY} " + settings.SECRET_KEY)

urls.urlpatterns.append(path("broken", broken))
Client(raise_request_exception=False).post(
    "/broken?q=searched-words", {{"prompt": {PROMPT!r}}},
    headers={{"Authorization": "Bearer abcdef0123456", "X-Request-ID": "{REQUEST}"}},
)
sentry_sdk.flush(10)
"""
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=site.BASE_DIR,
        env={
            "PATH": "",
            "DATA_DIR": str(tmp_path),
            "SECRET_KEY": "the secret key of this very test",
            "DJANGO_SETTINGS_MODULE": "fluxsite.settings",
            "SENTRY_DSN": f"http://public@127.0.0.1:{collector.server_port}/1",
        },
        check=True,
        capture_output=True,
    )

    sent = "".join(unpacked(*each) for each in collector.bodies)
    assert "RuntimeError" in sent
    assert re.search(rf'"request_id":\s*"{REQUEST}"', sent)
    for secret in (PROMPT, FAL_KEY, "the secret key", "searched-words", "abcdef0123456"):
        assert secret not in sent


def test_a_site_without_the_package_says_what_to_install(tmp_path):
    (tmp_path / "sentry_sdk.py").write_text("raise ImportError")
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=site.BASE_DIR,
        env={
            "PATH": "",
            "PYTHONPATH": str(tmp_path),
            "DATA_DIR": str(tmp_path),
            "SENTRY_DSN": "http://public@127.0.0.1:9/1",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert "pip install -r requirements-sentry.txt" in done.stderr
