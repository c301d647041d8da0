"""DiskStorage: files below one directory, each of them whole or not there.

Django writes a file under its final name, so a process killed in the middle, or a disk that
is full, leaves half a picture that looks like one. Here it is written beside, below `.tmp`,
made to last, and then moved to its name in one step. Whatever is found under a name is whole.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage
from django.utils._os import safe_makedirs
from django.utils.deconstruct import deconstructible

TEMPORARY = ".tmp"
#: What a kernel answers that cannot copy between these two files by itself.
CANNOT_COPY = {
    *(errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSOCK),
    *(errno.EPERM, errno.EBADF, errno.ETXTBSY),
}


@deconstructible(path="fluxsite.disk.DiskStorage")
class DiskStorage(FileSystemStorage):
    """Django's FileSystemStorage, with its options, that saves in one step."""

    @property
    def _drafts(self) -> Path:
        return Path(self.location, TEMPORARY)

    # ------------------------------------------------------------ writing
    def _save(self, name: str, content: File[Any]) -> str:
        target = Path(self.path(name))
        self._make_directory(target.parent)
        draft = self._write(content)
        try:
            while not self._publish(draft, target):
                target = Path(self.path(self.get_available_name(name)))
        finally:
            draft.unlink(missing_ok=True)
        self._ensure_location_group_id(target)
        return target.relative_to(self.location).as_posix()

    def _write(self, content: File[Any]) -> Path:
        """Write a draft that a power cut does not undo."""
        self._make_directory(self._drafts)
        descriptor, path = tempfile.mkstemp(dir=self._drafts)
        draft = Path(path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                source = _real_file(content)
                if source is None or not _copy_in_kernel(source, descriptor):
                    file.seek(0)
                    file.truncate()
                    for chunk in content.chunks():
                        file.write(chunk.encode() if isinstance(chunk, str) else chunk)
                    file.flush()
                if self.file_permissions_mode is not None:
                    os.fchmod(descriptor, self.file_permissions_mode)
                os.fsync(descriptor)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        return draft

    def _publish(self, draft: Path, target: Path) -> bool:
        """Give the draft its name. Return False if that is taken, and may not be taken over."""
        if self._allow_overwrite:
            draft.replace(target)
        else:
            try:
                # Unlike a rename, a link never replaces what another saver put there.
                target.hardlink_to(draft)
            except FileExistsError:
                return False
        # The name is to last as well.
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return True

    def _make_directory(self, directory: Path) -> None:
        mode = self.directory_permissions_mode
        try:
            safe_makedirs(directory, 0o777 if mode is None else mode, exist_ok=True)
        except FileExistsError as error:
            msg = f"{directory} exists and is not a directory."
            raise FileExistsError(errno.EEXIST, msg) from error

    def remove_stale_temporaries(self, older_than: timedelta) -> int:
        """Remove the drafts of processes that were killed; return how many there were."""
        removed = 0
        before = time.time() - older_than.total_seconds()
        for draft in self._drafts.glob("*"):
            # It may have become a picture while we looked.
            with contextlib.suppress(FileNotFoundError):
                if draft.stat().st_mtime < before:
                    draft.unlink()
                    removed += 1
        return removed

    # ------------------------------------------------------------ finding
    def path(self, name: str) -> str:
        """Return the path of a file. Raises SuspiciousFileOperation for one outside."""
        path: str = super().path(name)
        drafts = str(self._drafts)
        if path == drafts or path.startswith(drafts + os.sep):
            msg = f"{str(name)!r} is a place for drafts."
            raise SuspiciousFileOperation(msg)
        return path

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        directories, files = super().listdir(path)
        if self.path(path) == self.location:
            directories = [each for each in directories if each != TEMPORARY]
        return directories, files

    def walk(self, prefix: str = "") -> Iterator[tuple[str, int, datetime]]:
        """Yield name, size in bytes and time of change (UTC) of every file.

        Of those whose name begins with `prefix`, in no particular order. What comes or goes
        meanwhile may or may not be among them.
        """
        pending = [""]
        while pending:
            inside = pending.pop()
            for entry in self._entries(inside):
                name = f"{inside}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    below = f"{name}/"
                    wanted = below.startswith(prefix) or prefix.startswith(below)
                    if wanted and name != TEMPORARY:
                        pending.append(below)
                elif name.startswith(prefix) and entry.is_file(follow_symlinks=False):
                    with contextlib.suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        yield name, status.st_size, datetime.fromtimestamp(status.st_mtime, tz=UTC)

    def _entries(self, inside: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(Path(self.location, inside)) as entries:
                return list(entries)
        except FileNotFoundError:
            return []


# ---------------------------------------------------------------- copying without reading
def _real_file(content: File[Any]) -> int | None:
    """Return the descriptor of the file whose very bytes `content` is, or None.

    A descriptor alone says nothing: that of an unpacking file is of the packed one.
    """
    inner: Any = content
    while not isinstance(inner, io.IOBase) and hasattr(inner, "file"):
        inner = inner.file
    if isinstance(inner, io.BufferedRandom):
        inner.flush()
    raw = inner.raw if isinstance(inner, (io.BufferedReader, io.BufferedRandom)) else inner
    if not isinstance(raw, io.FileIO) or not raw.readable():
        return None
    return raw.fileno() if stat.S_ISREG(os.fstat(raw.fileno()).st_mode) else None


def _copy_in_kernel(source: int, target: int) -> bool:
    """Copy a whole file. Return False if the kernel cannot; raises OSError if it failed."""
    size = os.fstat(source).st_size
    for copy in (_copy_range, _send_file):
        try:
            if size and copy(source, target, size):
                return True
        except OSError as error:
            if error.errno not in CANNOT_COPY:
                raise
    # An empty one may be of those that the kernel makes up as they are read.
    return False


def _copy_range(source: int, target: int, size: int) -> bool:
    done = 0
    while hasattr(os, "copy_file_range") and done < size:
        moved = os.copy_file_range(source, target, size - done, done, done)
        if not moved:
            return False
        done += moved
    return done == size


def _send_file(source: int, target: int, size: int) -> bool:
    os.lseek(target, 0, os.SEEK_SET)
    done = 0
    while hasattr(os, "sendfile") and done < size:
        moved = os.sendfile(target, source, done, size - done)
        if not moved:
            return False
        done += moved
    return done == size
