"""Files the sandbox serves: painted pictures and what clients upload.

A picture is known by its recipe and painted when first needed; painted bytes are kept up
to a budget and painted again after that, to the same bytes. Names carry 128 random bits:
like the vendor's they are public to whoever knows them and to nobody else.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass

from generation.sandbox import painter

CONTENT_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
BUDGET_BYTES = 128 * 2**20
MAX_UPLOADS = 200


@dataclass(frozen=True)
class StoredFile:
    """``recipe`` is None for an upload, ``request_id`` is the job a picture belongs to."""

    name: str
    content_type: str
    recipe: painter.Recipe | None = None
    request_id: str | None = None


class FileStore:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[str, StoredFile] = {}
        self._painted: OrderedDict[str, bytes] = OrderedDict()
        self._painted_bytes = 0
        self._uploads: OrderedDict[str, bytes] = OrderedDict()

    def add_picture(self, recipe: painter.Recipe, *, request_id: str) -> StoredFile:
        file = StoredFile(
            name=f"{secrets.token_urlsafe(16)}.{recipe.format}",
            content_type=CONTENT_TYPES[recipe.format],
            recipe=recipe,
            request_id=request_id,
        )
        with self._lock:
            self._files[file.name] = file
        return file

    def reserve_upload(self, *, file_name: str, content_type: str) -> StoredFile:
        """Return a name to upload to; until then a download is a 404."""
        suffix = "".join(ch for ch in file_name.rpartition(".")[2] if ch.isalnum())[:5] or "bin"
        file = StoredFile(f"{secrets.token_urlsafe(16)}.{suffix}", content_type)
        with self._lock:
            self._files[file.name] = file
        return file

    def put_upload(self, name: str, data: bytes) -> bool:
        with self._lock:
            file = self._files.get(name)
            if file is None or file.recipe is not None:
                return False
            self._uploads[name] = data
            while len(self._uploads) > MAX_UPLOADS:
                oldest, _ = self._uploads.popitem(last=False)
                self._files.pop(oldest, None)
            return True

    def find(self, name: str) -> StoredFile | None:
        with self._lock:
            return self._files.get(name)

    def read(self, file: StoredFile) -> bytes | None:
        """Return the bytes, painting them if need be; None for an upload never made."""
        with self._lock:
            if file.recipe is None:
                return self._uploads.get(file.name)
            data = self._painted.get(file.name)
            if data is not None:
                self._painted.move_to_end(file.name)
                return data
        data = painter.paint(file.recipe)
        with self._lock:
            if file.name in self._files and file.name not in self._painted:
                self._painted[file.name] = data
                self._painted_bytes += len(data)
                while self._painted_bytes > BUDGET_BYTES and len(self._painted) > 1:
                    self._painted_bytes -= len(self._painted.popitem(last=False)[1])
        return data

    def drop_painted(self) -> None:
        """Give the memory of painted pictures back; they are painted again when asked for."""
        with self._lock:
            self._painted.clear()
            self._painted_bytes = 0

    def forget(self, names: list[str]) -> None:
        with self._lock:
            for name in names:
                self._files.pop(name, None)
                self._painted_bytes -= len(self._painted.pop(name, b""))
