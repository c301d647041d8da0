"""The bytes themselves: objects opened as files, and content on its way to COS."""

from __future__ import annotations

import contextlib
import hashlib
import io
import tempfile
from collections.abc import Mapping
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from django.core.files.base import File
from requests.structures import CaseInsensitiveDict
from storages.utils import ReadBytesWrapper

from fluxsite.cos.errors import CosError

if TYPE_CHECKING:
    from fluxsite.cos.storage import COSStorage

CHUNK_BYTES = 64 * 1024


class COSFile(File):  # type: ignore[type-arg]
    """An object opened to read, or to write anew; it is written when it is closed.

    Opening to read asks for the object at once, so that a missing one is noticed, and takes its
    bytes with the first look into them: whole, checked, to memory or a temporary file.
    """

    def __init__(self, storage: COSStorage, name: str, mode: str) -> None:
        self.name = name
        self.mode = mode
        self._storage = storage
        self._spool: IO[bytes] | None = None
        self._closed = False
        self._headers: Mapping[str, str] = {}
        self._stream: Any = None
        if mode == "rb":
            self._headers, self._stream = storage.download(name)

    @property
    def file(self) -> IO[bytes]:  # type: ignore[override]
        if self._closed:
            msg = "I/O operation on a closed file."
            raise ValueError(msg)
        if self._spool is None:
            with contextlib.ExitStack() as on_error:
                spool = on_error.enter_context(_spool(self._storage.max_memory_size))
                if self.mode == "rb":
                    self._download(spool)
                on_error.pop_all()
            self._spool = spool
        return self._spool

    def _download(self, spool: IO[bytes]) -> None:
        for left in reversed(range(self._storage.retries + 1)):
            if self._stream is None:
                self._headers, self._stream = self._storage.download(str(self.name))
            try:
                self._copy(spool)
            except CosError:
                if not left:
                    raise
            else:
                return

    def _copy(self, spool: IO[bytes]) -> None:
        from fluxsite.cos.client import translated

        name = str(self.name)
        digest = hashlib.md5(usedforsecurity=False)
        spool.seek(0)
        spool.truncate()
        try:
            with translated("read", name):
                while chunk := self._stream.read(CHUNK_BYTES):
                    digest.update(chunk)
                    spool.write(chunk)
            if spool.tell() != self.size:
                msg = f"COS sent {spool.tell()} of {self.size} bytes of {name!r}."
                raise CosError(msg)
            check_sum(self._headers, digest.hexdigest(), name)
        finally:
            self._drop_stream()
        spool.seek(0)

    def _drop_stream(self) -> None:
        if self._stream is not None:
            # Unless it was read to its end, its connection is of no more use.
            self._stream.close()
            self._stream.release_conn()
            self._stream = None

    @property
    def size(self) -> int:
        if self.mode == "rb":
            return int(self._headers["Content-Length"])
        position = self.file.tell()
        size = self.file.seek(0, io.SEEK_END)
        self.file.seek(position)
        return size

    @property
    def closed(self) -> bool:
        return self._closed

    def readable(self) -> bool:
        return not self._closed and self.mode == "rb"

    def writable(self) -> bool:
        return not self._closed and self.mode == "wb"

    def seekable(self) -> bool:
        return not self._closed

    def read(self, size: int = -1) -> bytes:
        if self.mode != "rb":
            msg = "not readable"
            raise io.UnsupportedOperation(msg)
        return self.file.read(size)

    def write(self, content: Any) -> int:
        if self.mode != "wb":
            msg = "not writable"
            raise io.UnsupportedOperation(msg)
        return self.file.write(content)

    def close(self) -> None:
        """Store what was written. Raises OSError."""
        try:
            if not self._closed and self.mode == "wb":
                with Body(self.file, max_memory_size=self._storage.max_memory_size) as body:
                    self._storage.put(str(self.name), body, overwrite=True)
        finally:
            self._discard()

    def _discard(self) -> None:
        self._closed = True
        self._drop_stream()
        if self._spool is not None:
            self._spool.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Half of what somebody meant to write replaces nothing.
        if kind is None:
            self.close()
        else:
            self._discard()


class Body(File):  # type: ignore[type-arg]
    """What is to be stored, as bytes that can be sent twice, with their MD5 in hex."""

    def __init__(self, content: Any, *, max_memory_size: int) -> None:
        self._max_memory_size = max_memory_size
        with contextlib.ExitStack() as on_error:
            self._spool = on_error.enter_context(_spool(max_memory_size))
            self.md5 = self._take(content)
            on_error.pop_all()
        super().__init__(self._spool, getattr(content, "name", None))

    def _take(self, content: Any) -> str:
        digest = hashlib.md5(usedforsecurity=False)
        # Text would be cut: COS is told the number of letters, and stores as many bytes.
        reader = ReadBytesWrapper(content)
        with contextlib.suppress(AttributeError, io.UnsupportedOperation):
            content.seek(0)
        while chunk := reader.read(CHUNK_BYTES):
            digest.update(chunk)
            self._spool.write(chunk)
        return digest.hexdigest()

    def payload(self) -> bytes | IO[bytes]:
        """Return the bytes; from a real file, which the SDK can measure, if they are many.

        Never an empty file, which would travel without a length.
        """
        large = self._spool.seek(0, io.SEEK_END) > self._max_memory_size
        self._spool.seek(0)
        return self._spool if large else self._spool.read()


def _spool(max_memory_size: int) -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=max_memory_size)


def described(headers: CaseInsensitiveDict[Any], name: str) -> CaseInsensitiveDict[Any]:
    """Return the headers. Raises CosError if they are not those of an object.

    Something between us and COS may answer as well, with a page of its own.
    """
    missing = [each for each in ("ETag", "Content-Length") if each not in headers]
    if missing:
        msg = f"The answer for {name!r} has no {missing[0]}: it is not from COS."
        raise CosError(msg)
    return headers


def check_sum(headers: Mapping[str, str], md5: str, name: str) -> None:
    """Raise CosError unless COS speaks of the very bytes whose MD5 this is."""
    tag = headers.get("ETag", "").strip('"').lower()
    request_id = headers.get("x-cos-request-id", "")
    # What is encrypted, or came in parts, has a tag of another kind.
    encrypted = any(each.lower().startswith("x-cos-server-side-encryption") for each in headers)
    if tag == md5 or (tag and (encrypted or "-" in tag)):
        return
    trouble = "another checksum" if tag else "no checksum"
    msg = f"COS answered with {trouble} for {name!r} (x-cos-request-id {request_id or 'unknown'})"
    raise CosError(msg, request_id=request_id)
