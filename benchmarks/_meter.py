"""What a family of processes costs: CPU, memory and threads, from /proc. Linux only."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SEC = os.sysconf("SC_CLK_TCK")
EVERY_SECS = 0.25
PROC = Path("/proc")


@dataclass
class Usage:
    """What a family used while it was measured. Memory is PSS: shared pages count once."""

    cpu_secs: float = 0.0
    peak_mb: float = 0.0
    threads: int = 0
    wall_secs: float = 0.0
    #: Of the processes that asked the queue: their CPU, and the most memory and threads of one.
    asking_cpu_secs: float = 0.0
    asking_peak_mb: float = 0.0
    asking_threads: int = 0


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    #: CPU of its own, and with that of its children which have ended and been waited for.
    own_ticks: int
    all_ticks: int
    threads: int


class Meter:
    """Looks at a process and all its descendants every `EVERY_SECS`, once.

    `askers` tells which client ports have asked port `port` since the last call; so the CPU of
    those who ask is known apart, whichever process does it at the moment.
    """

    def __init__(
        self, root: int, *, port: int = 0, askers: Callable[[], Iterable[int]] | None = None
    ) -> None:
        self.usage = Usage()
        self._root = root
        self._port = port
        self._askers = askers
        self._owners: dict[int, int] = {}
        self._before: dict[int, Process] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @contextlib.contextmanager
    def running(self) -> Iterator[Usage]:
        """Measure while the block runs; the root must outlive it."""
        begun = time.monotonic()
        self._before = family(self._root)
        ticks = total_ticks(self._before)
        self._thread.start()
        try:
            yield self.usage
        finally:
            self._stopped.set()
            self._thread.join()
            self.usage.cpu_secs = (total_ticks(family(self._root)) - ticks) / TICKS_PER_SEC
            self.usage.wall_secs = time.monotonic() - begun

    def _watch(self) -> None:
        while not self._stopped.wait(EVERY_SECS):
            processes = family(self._root)
            self._look(processes)
            if self._askers is not None:
                self._charge_askers(processes)
            self._before = processes

    def _look(self, processes: dict[int, Process]) -> None:
        usage = self.usage
        usage.threads = max(usage.threads, sum(p.threads for p in processes.values()))
        usage.peak_mb = max(usage.peak_mb, sum(map(memory_kb, processes)) / 1024)

    def _charge_askers(self, processes: dict[int, Process]) -> None:
        ports = set(self._askers())
        if not ports <= self._owners.keys():
            self._owners |= owners_of(self._port, among=processes)
        pids = {self._owners[port] for port in ports if port in self._owners}
        for pid in pids & processes.keys() & self._before.keys():
            used = processes[pid].own_ticks - self._before[pid].own_ticks
            self.usage.asking_cpu_secs += used / TICKS_PER_SEC
            self.usage.asking_peak_mb = max(self.usage.asking_peak_mb, memory_kb(pid) / 1024)
            self.usage.asking_threads = max(self.usage.asking_threads, processes[pid].threads)


def family(root: int) -> dict[int, Process]:
    """Return a process and all its descendants, by their ids."""
    everybody = {}
    for entry in os.listdir(PROC):  # noqa: PTH208 - several times quicker than iterdir
        if entry.isdigit() and (process := read(int(entry))):
            everybody[process.pid] = process
    children: dict[int, list[int]] = {}
    for process in everybody.values():
        children.setdefault(process.parent, []).append(process.pid)
    found, waiting = {}, [root]
    while waiting:
        pid = waiting.pop()
        if pid in everybody:
            found[pid] = everybody[pid]
            waiting += children.get(pid, [])
    return found


def read(pid: int) -> Process | None:
    try:
        content = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The name before it may hold anything, blanks and brackets too.
    fields = content.rpartition(")")[2].split()
    own = int(fields[11]) + int(fields[12])
    return Process(
        pid=pid,
        parent=int(fields[1]),
        own_ticks=own,
        all_ticks=own + int(fields[13]) + int(fields[14]),
        threads=int(fields[17]),
    )


def total_ticks(processes: dict[int, Process]) -> int:
    return sum(process.all_ticks for process in processes.values())


def memory_kb(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def owners_of(port: int, *, among: Iterable[int]) -> dict[int, int]:
    """Return which of these processes holds which local port of a connection to `port`."""
    remote = f":{port:04X}"
    inodes = {}
    for line in (PROC / "net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[2].endswith(remote):
            inodes[f"socket:[{fields[9]}]"] = int(fields[1].rpartition(":")[2], 16)
    owners = {}
    for pid in among:
        with contextlib.suppress(OSError):
            directory = PROC / str(pid) / "fd"
            for name in os.listdir(directory):  # noqa: PTH208
                with contextlib.suppress(OSError):
                    target = os.readlink(directory / name)  # noqa: PTH115
                    if target in inodes:
                        owners[inodes[target]] = pid
    return owners
