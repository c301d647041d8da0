"""Callers wait for their pictures and hold no thread.

OpenAI's clients ask and wait: the answer to the request is the picture, which takes seconds or
minutes. The view makes the task and gives the connection to the room of its process
(generation/streams.py), whose one thread asks the database about all tasks together, and sends
each caller their answer when it is there. Pictures are read and put into answers by a few
threads beside it, because a storage may be slow. While nobody waits there are neither threads nor
queries. Whoever hangs up loses nothing: the task goes on, and is in the history.

Where a connection cannot be taken over (another server than gunicorn), the request's own thread
waits, of a few of them at a time.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from django.conf import settings
from django.db import Error, connection, connections
from django.http.response import HttpResponseBase

from generation import polling, streams
from generation.openai_api import answers
from generation.openai_api.answers import Ended, Packed, Wanted

logger = logging.getLogger(__name__)

LOOK_SECS = 0.4
#: While answers are being packed it is asked so often whether one is ready.
PACKED_SECS = 0.02
#: Who waits keeps the sweep going.
KICK_SECS = 2.0
#: Seconds to wait when the database does not answer.
DATABASE_SECS = 2.0
#: Who has not taken the whole answer by then is given up.
SEND_SECS = 300.0
#: One member's callers: a gateway speaks for many with one token.
MAX_PER_MEMBER = 100
#: Threads that read pictures and pack answers.
PACKERS = 2
#: Requests that may wait in their own threads, far fewer than there are threads.
MAX_IN_THREADS = 2
_PIECE = 256 * 1024


class Caller:
    """One who waits. Everything but the making of it happens in the room's thread."""

    def __init__(
        self,
        channel: socket.socket,
        *,
        user_id: int,
        task_id: str,
        wanted: Wanted,
        response: HttpResponseBase,
    ) -> None:
        self.channel = channel
        self.user_id = user_id
        self.task_id = task_id
        self.wanted = wanted
        self.response = response
        self.until = time.monotonic() + wanted.seconds
        self.packing: Future[Packed] | None = None
        self._packed: Packed | None = None
        self._unsent = memoryview(b"")

    @property
    def is_answered(self) -> bool:
        """Whether its answer is on the way."""
        return self._packed is not None

    def begin(self, packed: Packed) -> None:
        """Answer from now on."""
        self._packed = packed
        self.until = time.monotonic() + SEND_SECS
        prepare(self.response, packed)
        self._unsent = memoryview(streams.head(self.response))

    def send(self) -> bool:
        """Send what the system takes now. False: that was all, or the caller is gone."""
        assert self._packed is not None  # noqa: S101 - `begin` was called
        if not self._unsent:
            self._unsent = memoryview(self._packed.body.read(_PIECE))
        if not self._unsent:
            return False
        try:
            self._unsent = self._unsent[self.channel.send(self._unsent) :]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def is_gone(self) -> bool:
        """Take in what the client sent; it has nothing more to say."""
        try:
            return not self.channel.recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):
            # Closed with something unread, the connection would be torn off under the answer.
            self.channel.shutdown(socket.SHUT_WR)
            self.channel.recv(65536)
        self.channel.close()
        if self._packed is not None:
            self._packed.body.close()


def prepare(response: HttpResponseBase, packed: Packed) -> None:
    """Make a response's head that of an answer."""
    response.status_code = packed.status
    response.reason_phrase = packed.reason
    for name, value in {**packed.headers, "Content-Length": str(packed.size)}.items():
        response[name] = value


class Room:
    """Holds the callers of this process and answers them."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        # Guarded by the lock: how many callers each member has, those not taken in yet.
        self._held: dict[int, int] = {}
        self._arrivals: list[Caller] = []
        #: Runs while somebody waits.
        self.thread: threading.Thread | None = None
        self._stopped = False
        # The room's own. Neither is shared with the processes we may be forked into.
        self._selector: selectors.BaseSelector | None = None
        self._packers: ThreadPoolExecutor | None = None
        self._callers: set[Caller] = set()
        self._look_at = self._kick_at = 0.0

    # ------------------------------------------------------------ from any thread
    def has_place(self, *, user_id: int) -> bool:
        """Tell whether one more caller can wait."""
        most = streams.room(wanted=settings.OPENAI_WAITING)
        with self._lock:
            is_full = self.callers >= most
            return not is_full and self._held.get(user_id, 0) < MAX_PER_MEMBER

    def add(self, caller: Caller) -> None:
        """Take a caller over."""
        self.expect(caller)
        with self._lock:
            is_running = self.thread is not None and self.thread.is_alive()
            if not is_running and not self._stopped:
                self.thread = threading.Thread(target=self._run, name="v1", daemon=True)
                self.thread.start()

    def expect(self, caller: Caller) -> None:
        """Take a caller in at the next turn, whoever makes it."""
        with self._lock:
            self._held[caller.user_id] = self._held.get(caller.user_id, 0) + 1
            self._arrivals.append(caller)

    @property
    def callers(self) -> int:
        """How many wait, or are being answered."""
        with self._lock:
            return sum(self._held.values())

    def stop(self) -> None:
        """Hang up on all, for good."""
        self._stopped = True
        if (thread := self.thread) is not None:
            thread.join(timeout=5)

    # ------------------------------------------------------------ one thread
    def _run(self) -> None:
        try:
            while not self._may_rest():
                self.turn()
        except Exception:
            logger.exception("v1: the waiting room broke; it starts anew with the next caller")
            with self._lock:
                self.close()
                self.thread = None
        finally:
            connections.close_all()

    def _may_rest(self) -> bool:
        with self._lock:
            if not self._stopped and (self._callers or self._arrivals):
                return False
            self.close()
            self.thread = None
            return True

    def close(self) -> None:
        """Hang up on all. Clients ask again, and find their task."""
        self._take_in()
        for caller in list(self._callers):
            self._drop(caller)
        if self._selector is not None:
            self._selector.close()
            self._selector = None
        if self._packers is not None:
            self._packers.shutdown(wait=False, cancel_futures=True)
            self._packers = None

    def turn(self) -> None:
        """Take in who came, look if it is time, and serve who can be served."""
        self._take_in()
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + (LOOK_SECS if self._look(now) else DATABASE_SECS)
        for caller in list(self._callers):
            if caller.packing is not None and caller.packing.done():
                self._begin(caller, caller.packing)
        is_packing = any(caller.packing is not None for caller in self._callers)
        rest = max(0.0, min(self._look_at - time.monotonic(), LOOK_SECS))
        assert self._selector is not None  # noqa: S101 - made by `_take_in`
        for key, events in self._selector.select(PACKED_SECS if is_packing else rest):
            caller = key.data
            is_over = bool(events & selectors.EVENT_READ) and caller.is_gone()
            if is_over or (events & selectors.EVENT_WRITE and not caller.send()):
                self._drop(caller)

    def _take_in(self) -> None:
        with self._lock:
            arrivals, self._arrivals = self._arrivals, []
        if self._selector is None:
            self._selector = selectors.DefaultSelector()
            self._packers = ThreadPoolExecutor(PACKERS, thread_name_prefix="v1-packer")
        for caller in arrivals:
            self._selector.register(caller.channel, selectors.EVENT_READ, caller)
            self._callers.add(caller)

    def _drop(self, caller: Caller) -> None:
        if self._selector is not None:
            self._selector.unregister(caller.channel)
        caller.hang_up()
        if caller.packing is not None:
            caller.packing.add_done_callback(_throw_away)
        self._callers.discard(caller)
        with self._lock:
            self._held[caller.user_id] -= 1
            if not self._held[caller.user_id]:
                del self._held[caller.user_id]

    def _look(self, now: float) -> bool:
        """Have answers packed for whose task has ended, and for who has waited long enough.
        False: the database does not answer."""
        waiting = [each for each in self._callers if each.packing is None and not each.is_answered]
        found: dict[str, Ended] = {}
        is_well = True
        try:
            if waiting:
                found = answers.look({caller.task_id for caller in waiting})
            if waiting and now >= self._kick_at:
                self._kick_at = now + KICK_SECS
                polling.kick()
        except Error as error:
            logger.warning("v1: the database does not answer: %s", error)
            connection.close()
            is_well = False
        for caller in waiting:
            if (ended := found.get(caller.task_id)) is not None:
                self._pack(caller, partial(answers.pack, ended, caller.wanted))
            elif now >= caller.until:
                self._pack(caller, partial(answers.too_late, caller.task_id, caller.wanted))
        for caller in [each for each in self._callers if each.is_answered and now >= each.until]:
            self._drop(caller)
        return is_well

    def _pack(self, caller: Caller, work: Callable[[], Packed]) -> None:
        assert self._packers is not None  # noqa: S101 - made by `_take_in`
        caller.packing = self._packers.submit(work)

    def _begin(self, caller: Caller, packing: Future[Packed]) -> None:
        caller.packing = None
        try:
            caller.begin(packing.result())
        except Exception:
            logger.exception("v1: the answer about task %s cannot be made", caller.task_id)
            self._drop(caller)
            return
        assert self._selector is not None  # noqa: S101 - made by `_take_in`
        self._selector.modify(caller.channel, selectors.EVENT_READ | selectors.EVENT_WRITE, caller)


def _throw_away(packing: Future[Packed]) -> None:
    """Let go of an answer that nobody waits for any more."""
    if not packing.cancelled() and packing.exception() is None:
        packing.result().body.close()


#: The one of this process. Its thread starts with the first caller.
room = Room()
atexit.register(room.stop)


def hand_over(
    channel: socket.socket,
    *,
    response: HttpResponseBase,
    user_id: int,
    task_id: str,
    wanted: Wanted,
) -> Iterator[bytes]:
    """Give the connection of a request to the room, as soon as the web server wants the first
    bytes of the answer: then all middleware has seen it. Yields nothing."""
    ours = streams.take(channel)
    room.add(Caller(ours, user_id=user_id, task_id=task_id, wanted=wanted, response=response))
    yield from ()


# ---------------------------------------------------------------- in the request's own thread
_threads = threading.BoundedSemaphore(MAX_IN_THREADS)


@contextlib.contextmanager
def a_thread() -> Iterator[bool]:
    """Hold one of the threads that may wait. False: all of them do."""
    is_held = _threads.acquire(blocking=False)
    try:
        yield is_held
    finally:
        if is_held:
            _threads.release()


def wait_here(task_id: str, wanted: Wanted) -> Packed:
    """Return the answer about a task when it is there, or when its caller has waited enough."""
    until = time.monotonic() + wanted.seconds
    while True:
        ended = answers.look([task_id]).get(task_id)
        if ended is not None:
            return answers.pack(ended, wanted)
        if time.monotonic() >= until:
            return answers.too_late(task_id, wanted)
        polling.kick()
        time.sleep(LOOK_SECS)
