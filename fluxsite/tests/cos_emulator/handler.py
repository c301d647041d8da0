"""One HTTP connection to the emulator: reads requests, does what they ask, spoils answers."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from email.utils import format_datetime, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from fluxsite.tests.cos_emulator import documents, errors, signatures
from fluxsite.tests.cos_emulator.bucket import KEPT_HEADERS, StoredObject
from fluxsite.tests.cos_emulator.errors import Refusal
from fluxsite.tests.cos_emulator.faults import Fault

if TYPE_CHECKING:
    from fluxsite.tests.cos_emulator.server import CosEmulator

IDLE_SECS = 60.0
CONTROLS = "/_emulator/"


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class LoggedRequest:
    """`key` is decoded and has no leading slash; no credential is kept, in either place.

    `answered` is the HTTP status sent, None when the connection was cut instead. `signed` says
    where the signature was: in the "header", the "query", or nowhere.
    """

    method: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    signed: str
    answered: int | None = None

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


class Unanswered(Exception):
    """The connection is to be cut without an answer."""


class CosHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "tencent-cos"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024
    timeout = IDLE_SECS

    @property
    def cos(self) -> CosEmulator:
        return cast("CosEmulator", self.server.cos)  # type: ignore[attr-defined]

    def version_string(self) -> str:
        return self.server_version

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Stay quiet: the request log is the record."""

    def do_GET(self) -> None:
        try:
            self._serve()
        except Unanswered:
            self._reset()

    do_HEAD = do_GET  # noqa: N815
    do_POST = do_GET  # noqa: N815
    do_PUT = do_GET  # noqa: N815
    do_DELETE = do_GET  # noqa: N815
    do_OPTIONS = do_GET  # noqa: N815

    # -- one request -------------------------------------------------------------------

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        self.key = unquote(parts.path, errors="surrogateescape").removeprefix("/")
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.body = self._read_body()
        self.request_name = base64.b64encode(os.urandom(24)).decode()
        if parts.path.startswith(CONTROLS):
            self._send(self._control(parts.path.removeprefix(CONTROLS)))
            return
        entry = self._logged()
        self.cos.log(entry)
        fault = self.cos.faults.strike(self.command, self.key)
        answer = self._instead(fault)
        if answer is None:
            answer = self._spoiled(fault, self._work(fault))
        entry.answered = answer.status
        self._send(answer, fault)

    def _logged(self) -> LoggedRequest:
        signed = "query" if "q-signature" in self.query else ""
        secret = {"authorization", "x-cos-security-token"}
        return LoggedRequest(
            method=self.command,
            key=self.key,
            query={
                name: value
                for name, value in self.query.items()
                if name not in signatures.MEMBERS and name not in secret
            },
            headers={
                name.lower(): value
                for name, value in self.headers.items()
                if name.lower() not in secret
            },
            signed="header" if "Authorization" in self.headers else signed,
        )

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        length = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length)
        if len(body) < length:
            raise Unanswered
        return body

    def _work(self, fault: Fault | None) -> Answer:
        try:
            if self.command == "OPTIONS":
                return self._preflight()
            self._check_host()
            signatures.verify(
                method=self.command,
                path=f"/{self.key}",
                query=self.query,
                headers=self.headers,
                secret_id=self.cos.secret_id,
                secret_key=self.cos.secret_key,
                token=self.cos.token,
                now=self.cos.clock(),
            )
            if fault is not None and fault.kind == "lie" and self.command == "PUT":
                return Answer(200, headers={"ETag": f'"{hashlib.md5(self.body).hexdigest()}"'})
            return self._operation()()
        except Refusal as refusal:
            return self._refuse(refusal.status, refusal.code, refusal.message)

    def _check_host(self) -> None:
        """Refuse the name of another bucket; an address, or any other name, means ours."""
        host = self.headers.get("Host", "").partition(":")[0]
        match = re.fullmatch(r"(.+)\.cos\.([a-z-]+)\.myqcloud\.com", host)
        if match and match.groups() != (self.cos.bucket_name, self.cos.region):
            raise Refusal("NoSuchBucket")

    def _operation(self) -> Callable[[], Answer]:
        of_object: dict[tuple[str, str], Callable[[], Answer]] = {
            ("GET", ""): self._get,
            ("HEAD", ""): self._get,
            ("PUT", ""): self._put,
            ("DELETE", ""): self._delete,
            ("POST", "uploads"): self._begin,
            ("PUT", "uploadId"): self._put_part,
            ("POST", "uploadId"): self._complete,
            ("DELETE", "uploadId"): self._abort,
            ("GET", "uploadId"): self._list_parts,
        }
        of_bucket: dict[tuple[str, str], Callable[[], Answer]] = {
            ("GET", ""): self._list,
            ("HEAD", ""): Answer,
            ("GET", "uploads"): self._list_uploads,
            ("POST", "delete"): self._delete_many,
            ("DELETE", ""): self._delete_bucket,
        }
        special = next((n for n in ("uploads", "uploadId", "delete") if n in self.query), "")
        operation = (of_object if self.key else of_bucket).get((self.command, special))
        if operation is None:
            raise Refusal("MethodNotAllowed")
        return operation

    # -- objects -----------------------------------------------------------------------

    def _put(self) -> Answer:
        self._check_digest()
        if "x-cos-copy-source" in self.headers:
            return self._copy()
        made = self.cos.bucket.put(
            self.key,
            self.body,
            self._kept_headers(),
            forbid_overwrite=self.headers.get("x-cos-forbid-overwrite") == "true",
        )
        return Answer(200, headers=self._about(made))

    def _check_digest(self) -> None:
        given = self.headers.get("Content-MD5")
        if given is None:
            return
        try:
            digest = base64.b64decode(given, validate=True)
        except binascii.Error as error:
            raise Refusal("InvalidDigest") from error
        if len(digest) != 16:
            raise Refusal("InvalidDigest")
        if digest != hashlib.md5(self.body).digest():
            raise Refusal("BadDigest")

    def _copy(self) -> Answer:
        host, _, key = unquote(self.headers["x-cos-copy-source"]).partition("/")
        if not host.startswith((self.cos.bucket_name, "127.0.0.1")):
            raise Refusal("NoSuchBucket")
        source = self.cos.bucket.get(key)
        replaced = self.headers.get("x-cos-metadata-directive") == "Replaced"
        headers = self._kept_headers() if replaced else source.headers
        made = self.cos.bucket.put(self.key, source.body, headers)
        return Answer(200, documents.copied(made), {"Content-Type": "application/xml"})

    def _kept_headers(self) -> dict[str, str]:
        return {
            name.lower(): value
            for name, value in self.headers.items()
            if name.lower() in KEPT_HEADERS or name.lower().startswith("x-cos-meta-")
        }

    def _about(self, made: StoredObject) -> dict[str, str]:
        encrypted = made.headers.get("x-cos-server-side-encryption")
        return {
            "ETag": made.etag,
            **({"x-cos-hash-crc64ecma": made.crc64} if made.crc64 else {}),
            **({"x-cos-server-side-encryption": encrypted} if encrypted else {}),
        }

    def _get(self) -> Answer:
        held = self.cos.bucket.get(self.key)
        headers = {
            **{name.title(): v for name, v in held.headers.items() if not name.startswith("x-")},
            **{name: value for name, value in held.headers.items() if name.startswith("x-")},
            **self._about(held),
            "Last-Modified": format_datetime(held.modified, usegmt=True),
            "Accept-Ranges": "bytes",
        }
        if self.cos.force_download:
            headers |= {"Content-Disposition": "attachment", "x-cos-force-download": "true"}
        for name, value in self.query.items():
            if name.startswith("response-"):
                headers[name.removeprefix("response-").title()] = value
        if (status := self._precondition(held)) is not None:
            return Answer(status, headers={"ETag": held.etag})
        return self._ranged(Answer(200, held.body, headers))

    def _precondition(self, held: StoredObject) -> int | None:
        wanted = self.headers.get("If-Match")
        if wanted is not None and wanted.strip('"') != held.etag.strip('"'):
            raise Refusal("PreconditionFailed")
        known = self.headers.get("If-None-Match")
        if known is not None:
            return 304 if known.strip('"') == held.etag.strip('"') else None
        since = self.headers.get("If-Modified-Since")
        if since and held.modified.replace(microsecond=0) <= parsedate_to_datetime(since):
            return 304
        return None

    def _ranged(self, answer: Answer) -> Answer:
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if match is None or match.groups() == ("", ""):
            return answer
        size = len(answer.body)
        first = int(match[1]) if match[1] else max(0, size - int(match[2]))
        last = min(int(match[2]), size - 1) if match[1] and match[2] else size - 1
        if first > last:
            raise Refusal("InvalidRange")
        headers = {**answer.headers, "Content-Range": f"bytes {first}-{last}/{size}"}
        return Answer(206, answer.body[first : last + 1], headers)

    def _delete(self) -> Answer:
        self.cos.bucket.delete(self.key)
        return Answer(204)

    # -- the bucket --------------------------------------------------------------------

    def _list(self) -> Answer:
        limit = self.query.get("max-keys") or "1000"
        if not limit.isdecimal():
            raise Refusal("InvalidArgument")
        page = self.cos.bucket.list(
            prefix=self.query.get("prefix", ""),
            delimiter=self.query.get("delimiter", ""),
            marker=self.query.get("marker", ""),
            limit=min(int(limit), 1000),
        )
        return self._xml(
            documents.listing(
                bucket=self.cos.bucket_name, page=page, query=self.query, limit=int(limit)
            )
        )

    def _delete_many(self) -> Answer:
        if "Content-MD5" not in self.headers:
            raise Refusal("InvalidDigest")
        self._check_digest()
        keys, quiet = documents.read_deletion(self.body)
        if len(keys) > 1000:
            raise Refusal("MalformedXML")
        for key in keys:
            self.cos.bucket.delete(key)
        return self._xml(documents.deleted(keys=keys, quiet=quiet))

    def _delete_bucket(self) -> Answer:
        # A client that lost the name of its object must not get away with it.
        raise Refusal("BucketNotEmpty")

    def _list_uploads(self) -> Answer:
        running = self.cos.bucket.uploads
        return self._xml(documents.uploads(bucket=self.cos.bucket_name, running=running))

    # -- uploads in parts --------------------------------------------------------------

    def _begin(self) -> Answer:
        upload_id = self.cos.bucket.begin(self.key, self._kept_headers())
        return self._xml(
            documents.begun(bucket=self.cos.bucket_name, key=self.key, upload_id=upload_id)
        )

    def _put_part(self) -> Answer:
        self._check_digest()
        upload = self.cos.bucket.upload(self.query["uploadId"], self.key)
        number = self.query.get("partNumber", "")
        if not number.isdecimal() or not 1 <= int(number) <= 10_000:
            raise Refusal("InvalidArgument")
        upload.parts[int(number)] = self.body
        return Answer(200, headers={"ETag": f'"{hashlib.md5(self.body).hexdigest()}"'})

    def _complete(self) -> Answer:
        made = self.cos.bucket.complete(
            self.query["uploadId"], self.key, documents.read_completion(self.body)
        )
        return self._xml(
            documents.completed(
                bucket=self.cos.bucket_name,
                key=self.key,
                location=f"{self.headers.get('Host')}/{self.key}",
                made=made,
            )
        )

    def _abort(self) -> Answer:
        self.cos.bucket.abort(self.query["uploadId"], self.key)
        return Answer(204)

    def _list_parts(self) -> Answer:
        upload = self.cos.bucket.upload(self.query["uploadId"], self.key)
        return self._xml(
            documents.parts(
                bucket=self.cos.bucket_name, upload_id=self.query["uploadId"], upload=upload
            )
        )

    # -- browsers from other origins ---------------------------------------------------

    def _preflight(self) -> Answer:
        origin = self.headers.get("Origin", "")
        if origin not in self.cos.cors_origins:
            raise Refusal("AccessDenied")
        headers = {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Methods": "GET, HEAD, PUT",
            "Access-Control-Allow-Headers": self.headers.get("Access-Control-Request-Headers", ""),
            "Access-Control-Max-Age": "600",
        }
        return Answer(200, headers=headers)

    def _cors_headers(self) -> dict[str, str]:
        origin = self.headers.get("Origin", "")
        if origin not in self.cos.cors_origins or self.command == "OPTIONS":
            return {}
        return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": "ETag"}

    # -- faults ------------------------------------------------------------------------

    def _instead(self, fault: Fault | None) -> Answer | None:
        """Return the answer that replaces the work, or None to go on."""
        if fault is None:
            return None
        if fault.kind == "reset":
            raise Unanswered
        if fault.family == "status":
            usual = {403: "AccessDenied", 404: "NoSuchKey", 503: "ServiceUnavailable"}
            code = fault.parameters.get("code") or usual.get(fault.status, "InternalError")
            return self._refuse(fault.status, code, f"As ordered: {fault.status}.")
        if fault.family == "redirect":
            to = str(fault.parameters.get("to", f"http://elsewhere.invalid{self.path}"))
            code = "PermanentRedirect" if fault.status == 301 else "TemporaryRedirect"
            answer = self._refuse(fault.status, code, "Please send your request there.")
            return replace(answer, headers={**answer.headers, "Location": to})
        if fault.kind == "page":
            return Answer(200, b"<html>Please sign in.</html>", {"Content-Type": "text/html"})
        return None

    def _spoiled(self, fault: Fault | None, answer: Answer) -> Answer:
        if fault is None:
            return answer
        if fault.kind == "drop":
            raise Unanswered
        if fault.kind == "delay":
            self.cos.stopping.wait(float(fault.parameters.get("seconds", 0.2)))
        elif fault.kind == "corrupt" and answer.body:
            return replace(answer, body=bytes([answer.body[0] ^ 1]) + answer.body[1:])
        elif fault.kind == "wrong_etag":
            return replace(answer, headers={**answer.headers, "ETag": f'"{"0" * 32}"'})
        elif fault.kind == "no_etag":
            headers = {name: v for name, v in answer.headers.items() if name != "ETag"}
            return replace(answer, headers=headers)
        return answer

    def _refuse(self, status: int, code: str, message: str) -> Answer:
        document = errors.document(
            code=code,
            message=message,
            resource=f"{self.headers.get('Host', '')}/{self.key}",
            request_id=self.request_name,
        )
        return Answer(status, document, {"Content-Type": "application/xml"})

    def _xml(self, document: bytes) -> Answer:
        return Answer(200, document, {"Content-Type": "application/xml"})

    # -- writing -----------------------------------------------------------------------

    def _send(self, answer: Answer, fault: Fault | None = None) -> None:
        refused_head = self.command == "HEAD" and answer.status >= 300
        length = 0 if refused_head else len(answer.body)
        self.send_response(answer.status)
        headers = {"x-cos-request-id": self.request_name, **self._cors_headers(), **answer.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        if answer.status not in (204, 304):
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self._write(answer.body, fault)

    def _write(self, body: bytes, fault: Fault | None) -> None:
        if fault is not None and fault.kind == "truncated":
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.close_connection = True
        elif fault is not None and fault.kind == "slow":
            step = int(fault.parameters.get("bytes", 1024))
            for start in range(0, len(body), step):
                self.wfile.write(body[start : start + step])
                self.wfile.flush()
                self.cos.stopping.wait(float(fault.parameters.get("seconds", 0.05)))
        else:
            self.wfile.write(body)

    def _reset(self) -> None:
        """Cut the connection so that the caller sees a reset and not an orderly end."""
        self.close_connection = True
        no_linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
        # Closing the bare descriptor: the socket object would send an orderly FIN first.
        os.close(self.connection.detach())

    # -- controls ----------------------------------------------------------------------

    def _control(self, name: str) -> Answer:
        def as_json(document: Any) -> Answer:
            body = json.dumps(document).encode()
            return Answer(200, body, {"Content-Type": "application/json"})

        match self.command, name:
            case "GET", "requests":
                return as_json([each.as_json() for each in self.cos.requests])
            case "GET", "faults":
                return as_json([each.as_json() for each in self.cos.faults.rules()])
            case "GET", "objects":
                return as_json({key: len(body) for key, body in self.cos.objects().items()})
            case "POST", "faults":
                try:
                    return as_json(self.cos.add_fault(**json.loads(self.body)).as_json())
                except (TypeError, ValueError) as error:
                    return Answer(422, str(error).encode(), {"Content-Type": "text/plain"})
            case "DELETE", "requests":
                self.cos.forget_requests()
                return Answer(204)
            case "DELETE", "faults":
                self.cos.faults.clear()
                return Answer(204)
        return Answer(404)
