"""One HTTP connection: reads requests, finds who answers, writes what came back.

Faults that strike answers are applied here, around the real work, because most of them
concern the connection and not the queue.
"""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, cast

from generation.sandbox import answers, downloads, protocol
from generation.sandbox.answers import Answer
from generation.sandbox.control import Control
from generation.sandbox.faults import FaultRule
from generation.sandbox.jobs import COMPLETED, Job
from generation.sandbox.log import LoggedRequest, without_secrets
from generation.sandbox.protocol import Call
from generation.sandbox.uploads import Uploads

if TYPE_CHECKING:
    from generation.sandbox.server import SandboxServer

MAX_BODY_BYTES = 128 * 2**20
IDLE_SECS = 600.0
STREAM_STEP_SECS = 0.1
STREAM_PING_SECS = 15.0

_HOST = re.compile(r"^[\w.-]+(?::\d{1,5})?$|^\[[0-9a-fA-F:]+\](?::\d{1,5})?$")


class Unanswered(Exception):
    """The connection is to be cut without an answer."""


class SandboxHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "fluxsite-sandbox"
    sys_version = ""
    # Small answers must not wait for the acknowledgement of the ones before.
    disable_nagle_algorithm = True
    # Buffered, so that headers and body leave in one packet.
    wbufsize = 64 * 1024
    timeout = IDLE_SECS

    @property
    def sandbox(self) -> SandboxServer:
        return cast("SandboxServer", self.server.sandbox)  # type: ignore[attr-defined]

    def version_string(self) -> str:
        return self.server_version

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Stay quiet: the request log is the record."""

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_GET  # noqa: N815
    do_POST = do_GET  # noqa: N815
    do_PUT = do_GET  # noqa: N815
    do_DELETE = do_GET  # noqa: N815
    do_PATCH = do_GET  # noqa: N815

    def _serve(self) -> None:
        try:
            self._answer_request()
        except Unanswered:
            self._reset()

    def _answer_request(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(parts.path)
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        raw = self._read_body()
        if raw is None:
            return
        if path == "/" or path.startswith("/_sandbox/"):
            self._send(Control(self.sandbox).answer(self.command, path, raw))
            return
        document = protocol.read_body(raw)
        entry = LoggedRequest(
            method=self.command,
            path=path,
            query=query,
            headers=without_secrets(self.headers),
            body=document if isinstance(document, dict) else None,
            size=len(raw),
        )
        self.sandbox.log.add(entry)
        if path == "/.well-known/jwks.json":
            self._send(answers.as_json(200, self.sandbox.courier().jwks()), entry)
        elif path.startswith(("/storage/", "/files/")) and not self._is_download(path):
            entry.stage = "upload"
            uploads = Uploads(self.sandbox.files, self._base_url())
            self._send(uploads.answer(self.command, path, raw, self.headers), entry)
        elif path.startswith("/files/"):
            self._serve_file(entry)
        else:
            self._serve_queue(entry, raw)

    def _is_download(self, path: str) -> bool:
        return path.startswith("/files/") and self.command in ("GET", "HEAD")

    def _read_body(self) -> bytes | None:
        """Return the body; None when it was refused and the connection is to close."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal():
            self.close_connection = True
            self._send(answers.refusal(411, "Content-Length required"))
            return None
        if int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            self._send(answers.refusal(413, "Request body too large"))
            return None
        return self.rfile.read(int(length))

    def _base_url(self) -> str:
        """Return the origin the caller used, so that its next call finds the way back."""
        host = self.headers.get("Host", "")
        return f"http://{host}" if _HOST.match(host) else self.sandbox.url

    # -- the queue ---------------------------------------------------------------------

    def _serve_queue(self, entry: LoggedRequest, raw: bytes) -> None:
        call = protocol.read_path(entry.path)
        if call is None:
            self._send(answers.refusal(404, "Not Found"), entry)
            return
        entry.stage = call.stage
        job = self.sandbox.queue.find(call) if call.request_id else None
        prompt = job.prompt if job is not None else protocol.prompt_of(entry.body)
        rules = job.faults if job is not None else protocol.faults_in(prompt)
        rule = self.sandbox.fault_book.strike_answer(
            stage="status" if call.stage == "stream" else call.stage,
            path=entry.path,
            prompt=prompt,
            of_job=rules,
        )
        answer = self._instead(rule)
        if answer is None and call.stage == "stream" and job is not None and self._is_allowed(call):
            self._stream(job, entry)
            return
        if answer is None:
            answer = self._afterwards(rule, self._work(call, job, entry, raw))
        self._send(answer, entry)

    def _is_allowed(self, call: Call) -> bool:
        return self._is_authorized() and self.command == call.method and not call.misplaced

    def _is_authorized(self) -> bool:
        scheme, _, credential = self.headers.get("Authorization", "").partition(" ")
        return scheme in ("Key", "Bearer") and bool(credential.strip())

    def _work(self, call: Call, job: Job | None, entry: LoggedRequest, raw: bytes) -> Answer:
        if call.misplaced:
            return answers.not_allowed("POST")
        if self.command != call.method:
            return answers.not_allowed(call.method)
        if not self._is_authorized():
            return answers.refusal(401, answers.NO_CREDENTIALS)
        queue = self.sandbox.queue
        if call.stage == "submit":
            answer, created = queue.submit(
                call,
                path=entry.path,
                raw_body=raw,
                query=entry.query,
                base_url=self._base_url(),
            )
            if created is not None:
                entry.request_id = created.request_id
                if created.webhook:
                    self.sandbox.courier().watch(created)
            return answer
        if job is None:
            return protocol.not_found(call)
        if call.stage == "cancel":
            answer = queue.cancel(job)
            self.sandbox.nudge_courier()
            return answer
        if call.stage == "result":
            return queue.result(job)
        return queue.status(
            job, with_logs=protocol.wants_logs(entry.query), base_url=self._base_url()
        )

    def _stream(self, job: Job, entry: LoggedRequest) -> None:
        """Send server-sent events until the job is done: one per change, logs as deltas."""
        entry.answered = 200
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        with_logs = protocol.wants_logs(entry.query)
        told: tuple[Any, ...] = ()
        lines_told = 0
        last_sign = time.monotonic()
        while not self.sandbox.stopping.is_set():
            current = self.sandbox.job_store.get(job.request_id)
            if current is None:
                return
            document = self.sandbox.queue.status_document(
                current, with_logs=with_logs, base_url=self._base_url()
            )
            lines = document.get("logs") or []
            now_told = (document["status"], document.get("queue_position"), len(lines))
            if now_told != told:
                if lines:
                    document["logs"] = lines[lines_told:]
                self.wfile.write(b"data: " + json.dumps(document).encode() + b"\n\n")
                self.wfile.flush()
                told, lines_told, last_sign = now_told, len(lines), time.monotonic()
            if current.status == COMPLETED:
                return
            if time.monotonic() - last_sign > STREAM_PING_SECS:
                self.wfile.write(b": ping\n\n")
                self.wfile.flush()
                last_sign = time.monotonic()
            self.sandbox.stopping.wait(STREAM_STEP_SECS)

    # -- files -------------------------------------------------------------------------

    def _serve_file(self, entry: LoggedRequest) -> None:
        entry.stage = "file"
        files = self.sandbox.files
        file = files.find(entry.path.removeprefix("/files/"))
        job = None
        if file is not None and file.request_id is not None:
            job = self.sandbox.job_store.get(file.request_id)
        prompt = job.prompt if job is not None else ""
        of_job = job.faults if job is not None else []
        book = self.sandbox.fault_book
        rule = book.strike_answer(stage="file", path=entry.path, prompt=prompt, of_job=of_job)
        answer = self._instead(rule)
        if answer is not None:
            self._send(answer, entry)
            return
        spoiled = book.strike_file(path=entry.path, prompt=prompt, of_job=of_job)
        download = downloads.of(file, files, spoiled)
        if download.chunks is None:
            self._send(self._afterwards(rule, download.answer), entry)
            return
        entry.answered = download.answer.status
        self.close_connection = True
        self._send_head(download.answer, download.promised_bytes)
        for chunk in download.chunks:
            if self.sandbox.stopping.is_set():
                return
            self.wfile.write(chunk)
            if download.pause_secs:
                self.wfile.flush()
                self.sandbox.stopping.wait(download.pause_secs)

    # -- faults around an answer -------------------------------------------------------

    def _instead(self, rule: FaultRule | None) -> Answer | None:
        """Return the answer that replaces the work, or None to go on."""
        if rule is None:
            return None
        if rule.kind == "reset":
            raise Unanswered
        if rule.kind == "redirect":
            target = str(rule.get("to", "/_sandbox/elsewhere"))
            return Answer(int(rule.get("status", 307)), b"", {"Location": target})
        if rule.family_key == "status":
            return answers.of_status_fault(rule, request_id="sandbox-fault")
        return None

    def _afterwards(self, rule: FaultRule | None, answer: Answer) -> Answer:
        """Spoil the finished answer as the rule says."""
        if rule is None:
            return answer
        if rule.kind == "drop_after_accept":
            raise Unanswered
        if rule.kind == "delay":
            self.sandbox.stopping.wait(float(rule.get("seconds", 1)))
        elif rule.kind == "hold":
            self.sandbox.wait_for_release()
        elif rule.kind == "non_json":
            return Answer(200, b"Thank you, all is well.", {"Content-Type": "application/json"})
        elif rule.kind == "wrong_shape":
            return answers.as_json(200, rule.get("body", []))
        return answer

    # -- writing -----------------------------------------------------------------------

    def _send(self, answer: Answer, entry: LoggedRequest | None = None) -> None:
        if entry is not None:
            entry.answered = answer.status
        self._send_head(answer, len(answer.body))
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _send_head(self, answer: Answer, length: int | None) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        if length is not None and answer.status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _reset(self) -> None:
        """Cut the connection so that the caller sees a reset and not an orderly end."""
        self.close_connection = True
        no_linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
        # Closing the bare descriptor: the socket object would send an orderly FIN first.
        os.close(self.connection.detach())
