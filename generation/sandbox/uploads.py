"""Uploads as the official clients make them.

The vendor spreads these over two hosts; here both are this server: ``/storage/…`` is its
REST host, ``/files/upload`` its CDN.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.message import Message

from generation.sandbox import answers
from generation.sandbox.answers import Answer
from generation.sandbox.files import FileStore


class Uploads:
    def __init__(self, files: FileStore, base_url: str) -> None:
        self._files = files
        self._base_url = base_url

    def answer(self, method: str, path: str, raw_body: bytes, headers: Message) -> Answer:
        path = path.rstrip("/")
        if method == "PUT" and path.startswith("/files/"):
            return self._put(path.removeprefix("/files/"), raw_body)
        if method != "POST":
            return answers.not_allowed("POST")
        if "Authorization" not in headers:
            return answers.refusal(401, answers.NO_CREDENTIALS)
        if path == "/storage/auth/token":
            return self._token()
        if path == "/storage/upload/initiate":
            return self._initiate(raw_body)
        if path == "/files/upload":
            return self._upload(raw_body, headers)
        return answers.refusal(404, "Not Found")

    def _token(self) -> Answer:
        expires_at = datetime.now(UTC) + timedelta(hours=1)
        return answers.as_json(
            200,
            {
                "token": "sandbox-upload",
                "token_type": "Bearer",
                "base_url": self._base_url,
                "expires_at": expires_at.isoformat(),
            },
        )

    def _initiate(self, raw_body: bytes) -> Answer:
        try:
            wanted = json.loads(raw_body)
            file = self._files.reserve_upload(
                file_name=wanted["file_name"], content_type=wanted["content_type"]
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return answers.refusal(422, "file_name and content_type are required")
        address = f"{self._base_url}/files/{file.name}"
        return answers.as_json(200, {"file_url": address, "upload_url": address})

    def _upload(self, raw_body: bytes, headers: Message) -> Answer:
        file = self._files.reserve_upload(
            file_name=headers.get("X-Fal-File-Name", "upload.bin"),
            content_type=headers.get("Content-Type", "application/octet-stream"),
        )
        self._files.put_upload(file.name, raw_body)
        return answers.as_json(200, {"access_url": f"{self._base_url}/files/{file.name}"})

    def _put(self, name: str, raw_body: bytes) -> Answer:
        if not self._files.put_upload(name, raw_body):
            return answers.refusal(404, "File not found")
        return Answer(200)
