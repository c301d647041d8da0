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
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from django.conf import settings
from django.db import Error, connection
from django.http.response import HttpResponseBase

from generation import polling, streams
from generation.keeper import Keeper, Kept
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


class Caller(Kept):
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
        super().__init__(channel, user_id=user_id)
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

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):
            # Closed with something unread, the connection would be torn off under the answer.
            self.channel.shutdown(socket.SHUT_WR)
            self.channel.recv(65536)
        super().hang_up()
        if self._packed is not None:
            self._packed.body.close()


def prepare(response: HttpResponseBase, packed: Packed) -> None:
    """Make a response's head that of an answer."""
    response.status_code = packed.status
    response.reason_phrase = packed.reason
    for name, value in {**packed.headers, "Content-Length": str(packed.size)}.items():
        response[name] = value


class Room(Keeper[Caller]):
    """Holds the callers of this process and answers them."""

    name = "v1"

    def __init__(self) -> None:
        super().__init__()
        # The room's own. Not shared with the processes we may be forked into.
        self._packers: ThreadPoolExecutor | None = None
        self._callers: set[Caller] = set()
        self._look_at = self._kick_at = 0.0

    # ------------------------------------------------------------ from any thread
    def has_place(self, *, user_id: int) -> bool:
        """Tell whether one more caller can wait."""
        most = streams.room(wanted=settings.OPENAI_WAITING)
        with self._lock:
            is_full = self.count >= most
            return not is_full and self._held.get(user_id, 0) < MAX_PER_MEMBER

    # ------------------------------------------------------------ one thread
    def _all(self) -> Collection[Caller]:
        return self._callers

    def close(self) -> None:
        """Hang up on all. Clients ask again, and find their task."""
        super().close()
        if self._packers is not None:
            self._packers.shutdown(wait=False, cancel_futures=True)
            self._packers = None

    def turn(self) -> None:
        """Take in who came, look if it is time, and serve who can be served."""
        selector = self._take_in()
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + (LOOK_SECS if self._look(now) else DATABASE_SECS)
        for caller in list(self._callers):
            if caller.packing is not None and caller.packing.done():
                self._begin(caller, caller.packing)
        is_packing = any(caller.packing is not None for caller in self._callers)
        rest = max(0.0, min(self._look_at - time.monotonic(), LOOK_SECS))
        for key, events in selector.select(PACKED_SECS if is_packing else rest):
            caller = key.data
            is_over = bool(events & selectors.EVENT_READ) and caller.is_gone()
            if is_over or (events & selectors.EVENT_WRITE and not caller.send()):
                self._drop(caller)

    def _receive(self, caller: Caller) -> None:
        self._callers.add(caller)

    def _drop(self, caller: Caller) -> None:
        self._let_go(caller)
        if caller.packing is not None:
            caller.packing.add_done_callback(_throw_away)
        self._callers.discard(caller)

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
        if self._packers is None:
            self._packers = ThreadPoolExecutor(PACKERS, thread_name_prefix="v1-packer")
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
