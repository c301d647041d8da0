"""The turn to write: one thread at a time, over all processes that use a database.

Inside a process a lock decides, between processes a lock on a file beside the database. The
kernel lets go of the latter when its holder dies, however it dies.

The gate guards nothing: SQLite's own write lock does. Whoever does not know the gate, or finds
another file in its place, is less polite and does no harm.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time

#: Seconds between two looks at a file that another process has locked. A blocking call would
#: need a thread of its own to be given up in time, and measured no better.
SHORTEST_PAUSE = 0.0001
LONGEST_PAUSE = 0.002


class Gate:
    def __init__(self, database: str) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._file = _open(f"{database}-gate", like=database)

    def enter(self, *, timeout: float) -> None:
        """Wait for our turn, at most `timeout` seconds. Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        if not self._lock.acquire(timeout=timeout):
            raise TimeoutError
        try:
            self._lock_file(deadline)
        except BaseException:
            self._lock.release()
            raise

    def _lock_file(self, deadline: float) -> None:
        pause = SHORTEST_PAUSE
        while not self._try_lock_file():
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(pause)
            pause = min(1.2 * pause, LONGEST_PAUSE)

    def _try_lock_file(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def leave(self) -> None:
        """End our turn. A turn taken before a fork belongs to the parent: nothing happens."""
        if self._process == os.getpid():
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._lock.release()

    def close(self) -> None:
        os.close(self._file)


def _open(path: str, *, like: str) -> int:
    """Open the file, making it as accessible as the database. Returns its descriptor."""
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, os.O_RDONLY)
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o600)
    with contextlib.suppress(FileNotFoundError):  # SQLite has not made its file yet.
        database = os.stat(like)  # noqa: PTH116 - names are text here
        os.fchmod(descriptor, database.st_mode & 0o666)
        if os.geteuid() == 0:
            # Root helps out; the site that runs as somebody else must be able to go on.
            os.fchown(descriptor, database.st_uid, database.st_gid)
    return descriptor


# ---------------------------------------------------------------- one gate per process and file
_gates: dict[str, Gate] = {}
_making = threading.Lock()


def gate_of(database: str) -> Gate:
    """Return the gate of a database file. Raises OSError."""
    gate = _gates.get(database)
    if gate is None:
        with _making:
            gate = _gates.get(database)
            if gate is None:
                gate = _gates[database] = Gate(database)
    return gate


def _forget() -> None:
    """Begin anew in a forked child. Its copies of the descriptors share the parent's locks, and
    would hold them for as long as the child lives if the parent were killed."""
    global _making  # noqa: PLW0603
    _making = threading.Lock()
    for gate in _gates.values():
        gate.close()
    _gates.clear()


os.register_at_fork(after_in_child=_forget)
