"""Keeping a handful of programs running, and leaving none of them behind.

`manage.py start` says which programs make up a site; this module knows nothing of them. It
promises four things:

1. A program that ends is started again, at first after 0.2 s and then ever later, up to 10 s.
2. Every program leads a process group of its own, and the group lives and dies as one: what
   a killed leader leaves behind (django-q2 leaves its workers) is killed before the restart.
3. SIGINT, SIGTERM or SIGHUP stops all of them: the leader is asked first, because it knows
   best in which order its helpers should go; after 2 s the helpers are asked themselves; after
   8 s everything is killed. A second signal kills at once.
4. If we ourselves are killed, nothing survives us. A small forked process, the reaper, holds
   the read end of a pipe whose only writer is us: the kernel closes it however we die, and
   the reaper then ends every group it was told of.

One thread, one loop: it sleeps until a signal arrives (a child's death is one) or something
is due. POSIX only. docs/adr/0001-processes.md tells why this is not supervisord or honcho.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)

FIRST_DELAY_SECS = 0.2
LONGEST_DELAY_SECS = 10.0
SETTLED_AFTER_SECS = 30.0
#: How long a leader has to stop its helpers itself, and how long all of them have.
LEADER_GRACE_SECS = 2.0
GRACE_SECS = 8.0
REAPER_GRACE_SECS = 2.0

_PR_SET_CHILD_SUBREAPER = 36


@dataclass
class Program:
    """Something to keep running for as long as it is wanted."""

    name: str
    argv: Sequence[str]
    wanted: bool = True
    #: Open files it inherits under the same numbers, such as a listening socket.
    inherited: Sequence[int] = ()


@dataclass
class Chore:
    """Something the supervisor does now and then, in its own thread: keep it short."""

    every_secs: float
    do: Callable[[], None]
    due_at: float = field(default=0.0)


class Child:
    """One program and the process group that runs it at the moment, if any."""

    def __init__(self, program: Program, *, env: Mapping[str, str], cwd: str) -> None:
        self.program = program
        self.env = env
        self.cwd = cwd
        #: The process group, which bears the number of its leader; None when nothing runs.
        self.group: int | None = None
        self._leader: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._start_at = 0.0
        self._delay = FIRST_DELAY_SECS
        self._stopping_since: float | None = None
        self._helpers_asked = False

    def age_secs(self, now: float) -> float:
        return now - self._started_at if self.group else 0.0

    def idle(self) -> bool:
        return self.group is None and not self.program.wanted

    def tick(self, now: float, *, announce: Callable[[], None]) -> None:
        """Bring the process nearer to what is wanted."""
        if self.group is None:
            if self.program.wanted and now >= self._start_at:
                self._start(now, announce)
            return
        status = self._reap()
        if self._stopping_since is not None:
            self._finish_stopping(now)
        elif status is not None:
            self._bury(now, status)
        elif not self.program.wanted:
            self.stop(now)

    def stop(self, now: float) -> None:
        """Ask the leader to end. Asking its helpers too would wedge a django-q2 cluster: they
        die at once, and one of them holds the lock its leader needs in order to stop."""
        if self.group is not None and self._stopping_since is None:
            self._stopping_since = now
            self._helpers_asked = False
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.group, signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _start(self, now: float, announce: Callable[[], None]) -> None:
        self._leader = subprocess.Popen(  # noqa: S603 - the command is ours
            self.program.argv,
            stdin=subprocess.DEVNULL,
            # Standard output belongs to the banner; what programs say goes to standard error.
            stdout=sys.stderr.fileno(),
            stderr=sys.stderr.fileno(),
            env=self.env,
            cwd=self.cwd,
            pass_fds=tuple(self.program.inherited),
            # Away from the terminal: Ctrl-C reaches us alone, and we decide who stops when.
            start_new_session=True,
            # The child tells the reaper of itself before it becomes the program, so there is
            # no moment at which it runs and nobody but us knows. We have a single thread.
            preexec_fn=announce,  # noqa: PLW1509
        )
        self.group = self._leader.pid
        self._started_at = now

    def _signal(self, number: signal.Signals) -> None:
        if self.group is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.group, number)

    def _reap(self) -> int | None:
        """Collect the dead of our group; return the leader's status once it is among them."""
        assert self.group is not None and self._leader is not None  # noqa: S101, PT018
        while True:
            try:
                pid, status = os.waitpid(-self.group, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == self.group:
                # Popen must learn of it, or it would wait for a number since given away.
                self._leader.returncode = os.waitstatus_to_exitcode(status)
        return self._leader.returncode

    def _finish_stopping(self, now: float) -> None:
        elapsed = now - (self._stopping_since or now)
        if not _exists(self.group or 0):
            self._forget(now)
        elif elapsed >= GRACE_SECS:
            self._signal(signal.SIGKILL)
        elif elapsed >= LEADER_GRACE_SECS and not self._helpers_asked:
            self._helpers_asked = True
            self._signal(signal.SIGTERM)

    def _bury(self, now: float, status: int) -> None:
        """Kill what the dead leader left, and say when to start again."""
        self._signal(signal.SIGKILL)
        # SIGKILL is not instant; two clusters at once would be harmless, but not tidy.
        patience = time.monotonic() + 1
        while _exists(self.group or 0) and time.monotonic() < patience:
            time.sleep(0.01)
            self._reap()
        if now - self._started_at >= SETTLED_AFTER_SECS:
            self._delay = FIRST_DELAY_SECS
        reason = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        logger.warning("%s %s; starting it again in %.1f s", self.program.name, reason, self._delay)
        delay, self._delay = self._delay, min(self._delay * 2, LONGEST_DELAY_SECS)
        self._forget(now)
        self._start_at = now + delay

    def _forget(self, now: float) -> None:
        self.group = self._leader = self._stopping_since = None
        self._start_at = now


class Reaper:
    """The process that ends our children should we be killed before we can.

    It shares whatever lock file we hold, so the next start waits until it has finished.
    """

    def __init__(self, *, lock: int | None = None) -> None:
        self._lock = lock
        self._fork(groups=())

    def announce(self) -> None:
        """Make the calling process's group known. Runs in a child that is about to exec."""
        os.write(self._pipe, b"+%d\n" % os.getpid())

    def forget(self, group: int) -> None:
        """Leave that group alone from now on: its number may come to belong to others."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._pipe, b"-%d\n" % group)

    def revive(self, groups: Iterable[int]) -> None:
        """Fork a new reaper if somebody killed ours."""
        if os.waitpid(self._pid, os.WNOHANG)[0]:
            os.close(self._pipe)
            self._fork(groups=groups)

    def dismiss(self) -> None:
        os.close(self._pipe)
        os.waitpid(self._pid, 0)

    def _fork(self, groups: Iterable[int]) -> None:
        read_end, self._pipe = os.pipe()
        self._pid = os.fork()
        if self._pid:
            os.close(read_end)
            return
        try:
            _become_reaper(read_end, keep=self._lock, groups=set(groups))
        finally:
            os._exit(0)


def _become_reaper(pipe: int, *, keep: int | None, groups: set[int]) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
    # Holding the site's port, our terminal or a copy of our end of the pipe would defeat us.
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    kept = sorted({pipe} if keep is None else {pipe, keep})
    for below, above in itertools.pairwise([2, *kept, 4096]):
        os.closerange(below + 1, above)

    with os.fdopen(pipe) as lines:
        for line in lines:
            (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for leader in groups:
        with contextlib.suppress(ProcessLookupError):
            os.kill(leader, signal.SIGTERM)
    patience = time.monotonic() + REAPER_GRACE_SECS
    while any(_exists(group) for group in groups) and time.monotonic() < patience:
        time.sleep(0.05)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def _exists(group: int) -> bool:
    """Tell whether the process group has members."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        # macOS answers "not permitted" for a group of which only zombies are left.
        return False
    return True


class Supervisor:
    """Runs programs and chores until told to stop."""

    def __init__(
        self,
        programs: Iterable[Program],
        *,
        env: Mapping[str, str],
        cwd: str,
        lock: int | None = None,
    ) -> None:
        self._children = {p.name: Child(p, env=env, cwd=cwd) for p in programs}
        self._chores: list[Chore] = []
        self._stopping = False
        self._lock = lock

    def every(self, secs: float, do: Callable[[], None]) -> None:
        """Call `do` now and then while we run; it can call `drop` to be left alone."""
        self._chores.append(Chore(every_secs=secs, do=do))

    def drop(self, do: Callable[[], None]) -> None:
        self._chores = [chore for chore in self._chores if chore.do != do]

    def want(self, name: str, *, wanted: bool) -> None:
        """Say whether a program shall run; the loop starts or stops it."""
        self._children[name].program.wanted = wanted

    def age_secs(self, name: str) -> float:
        """Seconds since the program was last started, 0 while it is not running."""
        return self._children[name].age_secs(time.monotonic())

    def restart(self, name: str) -> None:
        """Kill the program and all its helpers; the loop starts it again."""
        self._children[name].kill()

    def run(self) -> None:
        """Keep everything going until a signal says stop, then stop everything."""
        _adopt_orphans()
        reaper = Reaper(lock=self._lock)
        try:
            with self._woken_by_signals() as wake:
                while not self._stopping:
                    self._tick(reaper)
                    self._run_chores()
                    _sleep(wake, 1.0 if self._settled() else 0.2)
                for child in self._children.values():
                    child.program.wanted = False
                    child.stop(time.monotonic())
                while any(child.group for child in self._children.values()):
                    self._tick(reaper)
                    _sleep(wake, 0.1)
        except BaseException:
            for child in self._children.values():
                child.kill()
            raise
        finally:
            reaper.dismiss()

    def _tick(self, reaper: Reaper) -> None:
        reaper.revive([child.group for child in self._children.values() if child.group])
        for child in self._children.values():
            before = child.group
            child.tick(time.monotonic(), announce=reaper.announce)
            if before and child.group is None:
                reaper.forget(before)

    def _settled(self) -> bool:
        return all(child.group or child.idle() for child in self._children.values())

    def _run_chores(self) -> None:
        for chore in list(self._chores):
            if time.monotonic() >= chore.due_at and not self._stopping:
                chore.do()
                chore.due_at = time.monotonic() + chore.every_secs

    @contextlib.contextmanager
    def _woken_by_signals(self) -> Iterator[int]:
        """Turn signals into readable bytes, and the stopping ones into a request to stop."""
        wake, ring = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(ring, False)
        previous = {signal.SIGCHLD: signal.signal(signal.SIGCHLD, lambda *_: None)}
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup asks us to outlive the terminal.
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            previous[number] = signal.signal(number, self._stop)
        before = signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
        try:
            yield wake
        finally:
            signal.set_wakeup_fd(before)
            for number, handler in previous.items():
                signal.signal(number, handler)
            os.close(wake)
            os.close(ring)

    def _stop(self, _number: int, _frame: object) -> None:
        if self._stopping:
            for child in self._children.values():
                child.kill()
        self._stopping = True


def _sleep(wake: int, secs: float) -> None:
    """Wait for a signal, at most this long."""
    if select.select([wake], [], [], secs)[0]:
        with contextlib.suppress(BlockingIOError):
            os.read(wake, 4096)


def _adopt_orphans() -> None:
    """Become the parent of our children's orphans, so that we can collect them (Linux).

    Elsewhere init does it. Some containers have no init that does, and a group in which a
    zombie stays for ever would look alive for ever.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
