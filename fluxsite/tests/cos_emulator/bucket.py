"""What a bucket holds: objects, and uploads in parts. Knows no HTTP beyond header names."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fluxsite.tests.cos_emulator.errors import Refusal

MAX_KEY_BYTES = 850
#: Above this a checksum in pure Python would take longer than all the rest.
MAX_CRC_BYTES = 4096
#: Headers of a PUT that come back with the object, beside `x-cos-meta-…`.
KEPT_HEADERS = (
    *("content-type", "cache-control", "content-disposition", "content-encoding"),
    *("content-language", "expires", "x-cos-storage-class", "x-cos-server-side-encryption"),
)


@dataclass(frozen=True)
class StoredObject:
    body: bytes
    headers: dict[str, str]
    etag: str
    modified: datetime

    @property
    def crc64(self) -> str | None:
        return str(crc64(self.body)) if len(self.body) <= MAX_CRC_BYTES else None


@dataclass
class Upload:
    key: str
    headers: dict[str, str]
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    objects: list[tuple[str, StoredObject]]
    prefixes: list[str]
    next_marker: str


class Bucket:
    """Safe to use from every request thread. With a `directory` it outlives the process."""

    def __init__(self, *, min_part_bytes: int, directory: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, StoredObject] = {}
        self.uploads: dict[str, Upload] = {}
        self.min_part_bytes = min_part_bytes
        self._directory = directory
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            self._load(directory)

    # -- objects -----------------------------------------------------------------------

    def snapshot(self) -> dict[str, StoredObject]:
        with self._lock:
            return dict(self._objects)

    def get(self, key: str) -> StoredObject:
        with self._lock:
            if key not in self._objects:
                raise Refusal("NoSuchKey")
            return self._objects[key]

    def put(
        self,
        key: str,
        body: bytes,
        headers: dict[str, str],
        *,
        etag: str | None = None,
        forbid_overwrite: bool = False,
    ) -> StoredObject:
        if len(key.encode(errors="surrogateescape")) > MAX_KEY_BYTES:
            raise Refusal("KeyTooLong")
        made = StoredObject(
            body=body,
            headers={"content-type": "application/octet-stream", **headers},
            etag=etag or f'"{hashlib.md5(body).hexdigest()}"',
            modified=datetime.now(UTC),
        )
        with self._lock:
            if forbid_overwrite and key in self._objects:
                raise Refusal("FileAlreadyExists")
            self._objects[key] = made
            self._write(key, made)
        return made

    def delete(self, key: str) -> None:
        with self._lock:
            if self._objects.pop(key, None) and self._directory is not None:
                self._path(key).unlink()

    def list(self, *, prefix: str, delimiter: str, marker: str, limit: int) -> Page:
        objects: list[tuple[str, StoredObject]] = []
        prefixes: list[str] = []
        last = ""
        held = self.snapshot()
        for key in sorted(held, key=str.encode):
            if not key.startswith(prefix) or key.encode() <= marker.encode():
                continue
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            common = f"{prefix}{head}{delimiter}" if found else ""
            if common and common in (*prefixes[-1:], marker):
                continue
            if len(objects) + len(prefixes) == limit:
                return Page(objects, prefixes, next_marker=last)
            if common:
                prefixes.append(common)
            else:
                objects.append((key, held[key]))
            last = common or key
        return Page(objects, prefixes, next_marker="")

    # -- uploads in parts --------------------------------------------------------------

    def begin(self, key: str, headers: dict[str, str]) -> str:
        upload_id = uuid.uuid4().hex
        with self._lock:
            self.uploads[upload_id] = Upload(key, headers)
        return upload_id

    def upload(self, upload_id: str, key: str) -> Upload:
        with self._lock:
            upload = self.uploads.get(upload_id)
            if upload is None or upload.key != key:
                raise Refusal("NoSuchUpload")
            return upload

    def complete(self, upload_id: str, key: str, parts: list[tuple[int, str]]) -> StoredObject:
        upload = self.upload(upload_id, key)
        bodies = []
        for number, etag in parts:
            body = upload.parts.get(number)
            if body is None or etag.strip('"') != hashlib.md5(body).hexdigest():
                raise Refusal("InvalidPart")
            bodies.append(body)
        if any(len(body) < self.min_part_bytes for body in bodies[:-1]):
            raise Refusal("EntityTooSmall")
        digests = b"".join(hashlib.md5(body).digest() for body in bodies)
        etag = f'"{hashlib.md5(digests).hexdigest()}-{len(bodies)}"'
        made = self.put(key, b"".join(bodies), upload.headers, etag=etag)
        self.abort(upload_id, key)
        return made

    def abort(self, upload_id: str, key: str) -> None:
        self.upload(upload_id, key)
        with self._lock:
            del self.uploads[upload_id]

    # -- on disk -----------------------------------------------------------------------

    def _path(self, key: str) -> Path:
        assert self._directory is not None
        return self._directory / f"{hashlib.sha256(key.encode()).hexdigest()}.json"

    def _write(self, key: str, made: StoredObject) -> None:
        if self._directory is not None:
            document = {
                "key": key,
                "body": base64.b64encode(made.body).decode(),
                "headers": made.headers,
                "etag": made.etag,
                "modified": made.modified.isoformat(),
            }
            self._path(key).write_text(json.dumps(document))

    def _load(self, directory: Path) -> None:
        for path in directory.glob("*.json"):
            document = json.loads(path.read_text())
            self._objects[document["key"]] = StoredObject(
                body=base64.b64decode(document["body"]),
                headers=document["headers"],
                etag=document["etag"],
                modified=datetime.fromisoformat(document["modified"]),
            )


def _table() -> list[int]:
    """The table of CRC-64/ECMA-182, reflected, as COS computes it."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0xC96C5795D7870F42 if value & 1 else 0)  # noqa: PLW2901
        table.append(value)
    return table


_TABLE = _table()


def crc64(body: bytes) -> int:
    checksum = 0xFFFFFFFFFFFFFFFF
    for byte in body:
        checksum = _TABLE[(checksum ^ byte) & 0xFF] ^ (checksum >> 8)
    return checksum ^ 0xFFFFFFFFFFFFFFFF
