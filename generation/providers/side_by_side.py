"""Many questions to one server side by side, by one thread, over connections that are kept.

A thread for each question, or a library on top, would spend several times as much as asking
does. So what is said is put together once, and of each answer is read what has come, whenever
some has: a slow one holds up nobody, and none may take longer than `ANSWER_SECONDS`.

Only for what may be asked again: an answer that was lost cannot be told from a question that
never arrived.
"""

from __future__ import annotations

import http.client
import io
import select
import selectors
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

#: Seconds for a whole answer. Nothing new is asked when so many are over for all together.
ANSWER_SECONDS = 20.0
MAX_ANSWER_BYTES = 4 * 1024 * 1024
#: Connections in use at the same time; who has been answered asks the next question.
MAX_LINES = 64
#: Connections kept while nobody asks anything.
MAX_KEPT = 256

Line = http.client.HTTPConnection


class NotSent(Exception):
    """The request provably never reached the server."""


class NoAnswer(Exception):
    """The request may have arrived; its answer did not."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`headers` by their names in small letters."""

    status: int
    headers: Mapping[str, str]
    content: bytes


# ---------------------------------------------------------------- connections
class Lines:
    """Connections kept open between calls, for whichever thread asks next."""

    def __init__(self) -> None:
        # Appending and popping are atomic.
        self._free: list[Line] = []

    def take(self) -> Line | None:
        """Return the one that was used last. One that the server has closed is not returned."""
        while True:
            try:
                line = self._free.pop()
            except IndexError:
                return None
            if line.sock is not None and not _has_something_to_say(line):
                return line
            line.close()

    def give_back(self, line: Line) -> None:
        """Keep a connection on which every question has been answered."""
        if line.sock is not None and len(self._free) < MAX_KEPT:
            self._free.append(line)
        else:
            line.close()

    def close(self) -> None:
        while self._free:
            self._free.pop().close()

    def __del__(self) -> None:
        self.close()


def _has_something_to_say(line: Line) -> bool:
    """Tell whether something came though nothing was asked: mostly that the server hung up."""
    poll = select.poll()
    poll.register(line.sock, select.POLLIN)
    return bool(poll.poll(0))


# ---------------------------------------------------------------- answers
@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    status: int
    headers: Mapping[str, str]
    #: Where in what was received the content begins, and its length, None if it was not told.
    content_at: int
    length: int | None


@dataclass(slots=True, eq=False)
class _Exchange:
    """A question that was asked, and what has come of its answer."""

    key: int
    line: Line
    deadline: float
    received: bytearray = field(default_factory=bytearray)
    #: Whether the server has ended the connection.
    ended: bool = False
    head: _Head | None = None

    def hear(self) -> Answer | None:
        """Return the answer once all of it has come. Raises NoAnswer."""
        try:
            while True:
                piece = self.line.sock.recv(64 * 1024)
                self.received += piece
                if len(self.received) > MAX_ANSWER_BYTES:
                    raise NoAnswer("TooLong")
                self.ended = not piece
                answer = self._answer()
                if answer is not None:
                    return answer
                if self.ended:
                    raise NoAnswer("IncompleteRead")
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except (OSError, ValueError, http.client.HTTPException) as error:
            # The text of these exceptions may name addresses.
            raise NoAnswer(type(error).__name__) from error

    def _answer(self) -> Answer | None:
        self.head = head = self.head or _head_of(self.received)
        if head is None:
            return None
        if head.length is None:
            return _read_by_library(self.received, ended=self.ended)
        end = head.content_at + head.length
        if len(self.received) < end:
            return None
        content = bytes(self.received[head.content_at : end])
        return Answer(status=head.status, headers=head.headers, content=content)

    def leaves_line_usable(self) -> bool:
        """Tell whether the next question may be asked on the same connection."""
        head = self.head
        if head is None or self.ended or not self.received.startswith(b"HTTP/1.1"):
            return False
        surplus = head.length is not None and len(self.received) > head.content_at + head.length
        return not surplus and head.headers.get("connection", "").lower() != "close"


def _head_of(received: bytearray) -> _Head | None:
    """Return the head of an answer, None while more of it is to come. Raises HTTPException."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = received[:end].decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _colon, value = line.partition(":")
        headers.setdefault(name.lower(), value.strip())
    version, _blank, status = first.partition(" ")
    if version not in ("HTTP/1.1", "HTTP/1.0") or not 200 <= _number(status[:3]) < 600:
        raise http.client.BadStatusLine(first[:100])
    length = None
    if "content-length" in headers and "transfer-encoding" not in headers:
        length = _number(headers["content-length"])
    return _Head(status=int(status[:3]), headers=headers, content_at=end + 4, length=length)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise http.client.HTTPException(text[:100])
    return int(text)


def _read_by_library(received: bytearray, *, ended: bool) -> Answer | None:
    """Return an answer whose head does not tell its length: it comes in chunks, or ends with
    the connection. Raises HTTPException."""
    if not (ended or received.endswith(b"\r\n\r\n")):
        return None
    # It wants a socket only to read from.
    said = _Said(received)
    with http.client.HTTPResponse(said) as response:  # type: ignore[arg-type]
        response.begin()
        if not (ended or response.chunked):
            return None
        try:
            content = response.read()
        except http.client.IncompleteRead:
            if ended:
                raise
            return None
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(status=response.status, headers=headers, content=content)


class _Said:
    def __init__(self, received: bytearray) -> None:
        self._received = bytes(received)

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._received)


# ---------------------------------------------------------------- questions
class SideBySide:
    """Questions under way. `connect` returns a new connection, made, or raises NotSent; `tail`
    is what follows the address in every question."""

    def __init__(self, lines: Lines, *, connect: Callable[[], Line], tail: bytes) -> None:
        self._lines = lines
        self._connect = connect
        self._tail = tail
        self._waiting: deque[tuple[int, str]] = deque()
        # In the order of their deadlines.
        self._asked: dict[int, _Exchange] = {}
        self._selector = selectors.PollSelector()
        self._most = MAX_LINES
        self._end = time.monotonic() + ANSWER_SECONDS

    def ask(self, key: int, address: str) -> None:
        self._waiting.append((key, address))

    def ask_next(self, key: int, address: str) -> None:
        self._waiting.appendleft((key, address))

    def answers(self) -> Iterator[tuple[int, Answer | NotSent | NoAnswer]]:
        """Yield each answer with the key of its question, as they come. More may be asked
        meanwhile."""
        try:
            while self._waiting or self._asked:
                yield from self._say_what_fits()
                yield from self._hear()
        finally:
            for exchange in self._asked.values():
                exchange.line.close()
            self._selector.close()

    # ------------------------------------------------------------ asking
    def _say_what_fits(self) -> Iterator[tuple[int, NotSent | NoAnswer]]:
        if time.monotonic() >= self._end:
            yield from self._answer_all_waiting(NotSent("TimeoutError"))
        while self._waiting and len(self._asked) < self._most:
            try:
                line = self._line()
            except NotSent as error:
                # The others would meet the same, and each might take its time to fail. With
                # some connections it only means that these must do.
                self._most = len(self._asked)
                if not self._asked:
                    yield from self._answer_all_waiting(error)
                return
            if line is None:
                return
            key, address = self._waiting.popleft()
            try:
                self._say(line, key, address)
            except (NotSent, NoAnswer) as error:
                line.close()
                yield key, error

    def _line(self) -> Line | None:
        """Return a connection, None if it is better to wait for one in use. Raises NotSent."""
        line = self._lines.take()
        if line is None and not (self._asked and self._selector.select(0)):
            line = self._connect()
        return line

    def _say(self, line: Line, key: int, address: str) -> None:
        if not (address.isascii() and address.isprintable()) or " " in address:
            raise NotSent("InvalidURL")
        try:
            if line.sock.gettimeout() != 0:
                line.sock.settimeout(0)
            line.sock.sendall(b"GET " + address.encode() + self._tail)
        except OSError as error:
            raise NoAnswer(type(error).__name__) from error
        exchange = _Exchange(key, line, time.monotonic() + ANSWER_SECONDS)
        self._asked[key] = exchange
        self._selector.register(line.sock, selectors.EVENT_READ, exchange)

    def _answer_all_waiting(self, error: NotSent) -> Iterator[tuple[int, NotSent]]:
        while self._waiting:
            yield self._waiting.popleft()[0], error

    # ------------------------------------------------------------ hearing
    def _hear(self) -> Iterator[tuple[int, Answer | NoAnswer]]:
        if not self._asked:
            return
        oldest = next(iter(self._asked.values()))
        for ready, _events in self._selector.select(max(0.0, oldest.deadline - time.monotonic())):
            exchange: _Exchange = ready.data
            try:
                answer = exchange.hear()
            except NoAnswer as error:
                yield self._end_of(exchange, keep=False), error
            else:
                if answer is not None:
                    yield self._end_of(exchange, keep=exchange.leaves_line_usable()), answer
        if oldest.key in self._asked and time.monotonic() >= oldest.deadline:
            yield self._end_of(oldest, keep=False), NoAnswer("TimeoutError")

    def _end_of(self, exchange: _Exchange, *, keep: bool) -> int:
        del self._asked[exchange.key]
        self._selector.unregister(exchange.line.sock)
        if keep:
            self._lines.give_back(exchange.line)
        else:
            exchange.line.close()
        return exchange.key
