"""Programs that run in a process group of their own, and can be killed in every way."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[3]
PROC = Path("/proc")
PATIENCE_SECS = 60.0

Found = TypeVar("Found")


def wait_for(
    look: Callable[[], Found],
    *,
    what: str = "",
    patience: float = PATIENCE_SECS,
    pause: float = 0.05,
) -> Found:
    """Look again and again until there is something to see. Raises AssertionError."""
    end = time.monotonic() + patience
    while not (found := look()):
        assert time.monotonic() < end, f"waited in vain for {what or look}"
        time.sleep(pause)
    return found


def manage(env: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a management command to its end, however it ends."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class Program:
    """A running program and all its helpers. `pid` is the number of its group too."""

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str], log: Path, fds: Sequence[int] = ()
    ) -> None:
        self.log = log
        with log.open("a") as file:
            self._process = subprocess.Popen(
                argv,
                env=dict(env),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                pass_fds=tuple(fds),
                start_new_session=True,
            )
        self.pid = self._process.pid

    def is_running(self) -> bool:
        return self._process.poll() is None

    def members(self) -> list[int]:
        """Return the living processes of the group."""
        return members(self.pid)

    def helpers(self) -> list[int]:
        """Return the children of the program itself."""
        return children(self.pid)

    def talking_to(self, port: int) -> int:
        """Return the member with an open connection to that local port, waiting for one."""
        return wait_for(
            lambda: next((pid for pid in self.members() if port in peers(pid)), None),
            what=f"a connection to port {port}",
            pause=0.01,
        )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group."""
        os.killpg(self.pid, number)

    def terminate(self) -> None:
        """Ask the program itself to end, as `start` does."""
        self._process.terminate()

    def wait(self, patience: float = PATIENCE_SECS) -> int:
        return self._process.wait(patience)

    def kill(self) -> None:
        """Kill the whole group at once, and return when nothing of it lives."""
        if self.is_running() or self.members():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(PATIENCE_SECS)
        wait_for(lambda: not self.members(), what="the end of a killed group", pause=0.01)


# ---------------------------------------------------------------- looking at processes
def stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on: state, ppid, pgrp, …"""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["X", "0", "0"]


def pids() -> list[int]:
    return [int(path.name) for path in PROC.iterdir() if path.name.isdigit()]


def children(parent: int) -> list[int]:
    return [pid for pid in pids() if stat(pid)[1] == str(parent) and stat(pid)[0] not in "ZX"]


def command_line(pid: int) -> str:
    try:
        return (PROC / str(pid) / "cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def members(group: int) -> list[int]:
    """Return the living processes of a group; a zombie no longer lives."""
    return [pid for pid in pids() if stat(pid)[2] == str(group) and stat(pid)[0] not in "ZX"]


def peers(pid: int) -> set[int]:
    """Return the ports on this machine that a process has established connections to."""
    inodes = set()
    try:
        for entry in (PROC / str(pid) / "fd").iterdir():
            target = str(entry.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
        table = (PROC / str(pid) / "net" / "tcp").read_text().splitlines()[1:]
    except (FileNotFoundError, ProcessLookupError):
        return set()
    established = (line.split() for line in table)
    return {
        int(fields[2].rpartition(":")[2], 16)
        for fields in established
        if fields[3] == "01" and fields[9] in inodes
    }
