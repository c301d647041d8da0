"""DiskStorage: files below one directory, each of them whole or not there.

Django writes a file under its final name, so a process killed in the middle, or a disk that
is full, leaves half a picture that looks like one. Here a file is written without a name, made
to last, and given its name in one step. Whatever is found under a name is whole.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage
from django.utils._os import safe_makedirs
from django.utils.deconstruct import deconstructible

#: Below the storage: where drafts lie that need a name.
TEMPORARY = ".tmp"
PROC = Path("/proc/self/fd")
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
        with _Draft(target.parent, self._make_drafts) as draft:
            self._fill(draft.descriptor, content)
            while not self._publish(draft, target):
                target = Path(self.path(self.get_available_name(name)))
            _sync(target.parent)
        self._ensure_location_group_id(target)  # type: ignore[attr-defined]
        return target.relative_to(self.location).as_posix()

    def _fill(self, descriptor: int, content: File[Any]) -> None:
        """Write what a power cut does not undo."""
        source = _real_file(content)
        if source is None or not _copy_in_kernel(source, descriptor):
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.ftruncate(descriptor, 0)
            with os.fdopen(descriptor, "wb", closefd=False) as file:
                for chunk in content.chunks():
                    file.write(chunk.encode() if isinstance(chunk, str) else chunk)
        if self.file_permissions_mode is not None:
            os.fchmod(descriptor, self.file_permissions_mode)
        os.fsync(descriptor)

    def _publish(self, draft: _Draft, target: Path) -> bool:
        """Give the draft its name. Return False if that is taken, and may not be taken over."""
        overwrite: bool = self._allow_overwrite  # type: ignore[attr-defined]
        if not (overwrite and draft.path):
            try:
                # Unlike a rename, a link never replaces what another saver put there.
                draft.link(target)
            except FileExistsError:
                if not overwrite:
                    return False
            else:
                return True
        draft.replace(target)
        return True

    def _make_drafts(self) -> Path:
        self._make_directory(self._drafts)
        return self._drafts

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
        drafts = f"{self.location}{os.sep}{TEMPORARY}"
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


# ---------------------------------------------------------------- drafts
class _Draft:
    """A file that has no name yet, so that it goes away with the process that writes it.

    Some file systems, such as those of networks, have no nameless files. There, `path` is its
    name in the directory for drafts, and a killed process leaves it behind.
    """

    def __init__(self, directory: Path, make_drafts: Callable[[], Path]) -> None:
        self._make_drafts = make_drafts
        self.path: Path | None = None
        try:
            if not PROC.is_dir():
                raise NotImplementedError
            self.descriptor = os.open(directory, os.O_TMPFILE | os.O_WRONLY, 0o600)
        except (AttributeError, NotImplementedError, OSError):
            self.descriptor, path = tempfile.mkstemp(dir=make_drafts())
            self.path = Path(path)

    def link(self, target: Path) -> None:
        """Give it a name. Raises FileExistsError."""
        if self.path is not None:
            target.hardlink_to(self.path)
            return
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            # Relative to a directory, because only then Python follows the link in /proc.
            source = PROC / str(self.descriptor)
            os.link(source, target.name, dst_dir_fd=directory, follow_symlinks=True)
        finally:
            os.close(directory)

    def replace(self, target: Path) -> None:
        """Give it a name that another file may have, in one step."""
        if self.path is None:
            path = self._make_drafts() / secrets.token_hex(8)
            self.link(path)
            self.path = path
        self.path.replace(target)

    def __enter__(self) -> _Draft:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
