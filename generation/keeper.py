"""One thread that keeps the connections its process has taken over (generation/streams.py).

Pages that watch (generation/live.py) and callers that wait for pictures (generation/openai_api)
are kept so. While there are none, there is no thread either.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Generic, TypeVar

from django.db import connections

logger = logging.getLogger(__name__)


class Kept:
    """A connection that is kept, and whose it is. All but the making of it happens in the
    keeper's thread."""

    def __init__(self, channel: socket.socket, *, user_id: int) -> None:
        self.channel = channel
        self.user_id = user_id

    def is_gone(self) -> bool:
        """Take in what the client sent; it has nothing more to say."""
        try:
            return not self.channel.recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def hang_up(self) -> None:
        self.channel.close()


K = TypeVar("K", bound=Kept)


class Keeper(ABC, Generic[K]):
    #: What the thread and its lines in the log are called.
    name: str

    def __init__(self) -> None:
        self._lock = threading.RLock()
        # Guarded by the lock: how many each member has, those not taken in yet.
        self._held: dict[int, int] = {}
        self._arrivals: list[K] = []
        #: Runs while anything is kept.
        self.thread: threading.Thread | None = None
        self._stopped = False
        # The keeper's own. A selector is not shared with the processes we may be forked into.
        self._selector: selectors.BaseSelector | None = None

    # ------------------------------------------------------------ from any thread
    @property
    def count(self) -> int:
        """How many are kept, those included that are not taken in yet."""
        with self._lock:
            return sum(self._held.values())

    def add(self, kept: K) -> None:
        """Keep a connection, until it is let go."""
        self.expect(kept)
        with self._lock:
            is_running = self.thread is not None and self.thread.is_alive()
            if not is_running and not self._stopped:
                self.thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                self.thread.start()

    def expect(self, kept: K) -> None:
        """Take a connection in at the next turn, whoever makes it."""
        with self._lock:
            self._held[kept.user_id] = self._held.get(kept.user_id, 0) + 1
            self._arrivals.append(kept)

    def stop(self) -> None:
        """Let all go, for good."""
        self._stopped = True
        if (thread := self.thread) is not None:
            thread.join(timeout=5)

    # ------------------------------------------------------------ one thread
    @abstractmethod
    def turn(self) -> None:
        """Take in who came, look once, do what there is to do."""

    @abstractmethod
    def _all(self) -> Collection[K]:
        """Return those that were taken in."""

    @abstractmethod
    def _receive(self, kept: K) -> None:
        """Begin to serve one that was just taken in."""

    @abstractmethod
    def _drop(self, kept: K) -> None:
        """Serve one no more, and let it go."""

    def _rest(self) -> None:
        """Wait for the next turn, where a turn does not wait itself."""

    def _run(self) -> None:
        try:
            while not self._may_end():
                self.turn()
                self._rest()
        except Exception:
            logger.exception("%s: the thread broke; it starts anew with the next one", self.name)
            with self._lock:
                self.close()
                self.thread = None
        finally:
            connections.close_all()

    def _may_end(self) -> bool:
        with self._lock:
            if not self._stopped and (self._all() or self._arrivals):
                return False
            self.close()
            self.thread = None
            return True

    def close(self) -> None:
        """Let all go. They come back, or ask in another way."""
        self._take_in()
        for kept in list(self._all()):
            self._drop(kept)
        if self._selector is not None:
            self._selector.close()
            self._selector = None

    def _take_in(self) -> selectors.BaseSelector:
        with self._lock:
            arrivals, self._arrivals = self._arrivals, []
        if self._selector is None:
            self._selector = selectors.DefaultSelector()
        for kept in arrivals:
            self._selector.register(kept.channel, selectors.EVENT_READ, kept)
            self._receive(kept)
        return self._selector

    def _let_go(self, kept: K) -> None:
        if self._selector is not None:
            self._selector.unregister(kept.channel)
        kept.hang_up()
        with self._lock:
            self._held[kept.user_id] -= 1
            if not self._held[kept.user_id]:
                del self._held[kept.user_id]
