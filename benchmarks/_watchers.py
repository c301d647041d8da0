"""Pages that watch, without the pages: their connections, held by one process.

`python -m benchmarks._watchers PORT MODE` reads the members from a line of JSON, a list of
[task, session], and says `ready` once all of them watch. A line on standard input ends it; then
it prints when each member heard of a change: a list of [place of the member, time].

    stream  a stream each
    fetch   a stream each, and the card is fetched whenever it says so; heard is when it is there
    poll    each asks for its card every two seconds

One thread around `select`, and requests made of bytes beforehand.
"""

from __future__ import annotations

import heapq
import json
import re
import selectors
import socket
import sys
import time
from collections import deque
from typing import Any

from benchmarks._load import is_complete

POLL_SECS = 2.0
#: Connections that fetch cards. A browser keeps one or two for itself.
FETCHERS = 48


class Watchers:
    def __init__(self, port: int, mode: str, members: list[list[str]]) -> None:
        self.port = port
        self.mode = mode
        self.members = members
        self.selector = selectors.DefaultSelector()
        self.heard: list[tuple[int, float]] = []
        #: What the members have seen last: a mark or a state.
        self.seen: dict[int, str] = {}
        self.received: dict[Any, bytes] = {}
        self.idle: deque[socket.socket] = deque()
        self.waiting: deque[int] = deque()
        self.fetchers = 0
        self.due: list[tuple[float, int]] = []

    # ------------------------------------------------------------ connections
    def connect(self, kind: Any) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received[connection] = b""
        self.selector.register(connection, selectors.EVENT_READ, kind)
        return connection

    def request(self, path: str, place: int) -> bytes:
        task, session = self.members[place]
        return (
            f"GET /studio/{path}?id={task} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            f"Cookie: {session}\r\nHX-Request: true\r\n\r\n"
        ).encode()

    def begin(self) -> None:
        if self.mode == "poll":
            now = time.monotonic()
            step = POLL_SECS / len(self.members)
            self.due = [(now + place * step, place) for place in range(len(self.members))]
        else:
            for place in range(len(self.members)):
                self.connect(["stream", place]).sendall(self.request("events", place))
                self.turn(timeout=0)
        while len(self.seen) < len(self.members):
            self.turn(timeout=0.05)

    # ------------------------------------------------------------ one round
    def turn(self, *, timeout: float) -> bool:
        """Take in what came, ask what is due. False: standard input said to end."""
        now = time.monotonic()
        while self.due and self.due[0][0] <= now:
            moment, place = heapq.heappop(self.due)
            heapq.heappush(self.due, (moment + POLL_SECS, place))
            self.waiting.append(place)
        self.fetch()
        if self.due:
            timeout = min(timeout, max(0.0, self.due[0][0] - now))
        for key, _events in self.selector.select(timeout):
            if key.data == "end":
                return False
            self.take(key.fileobj, key.data)
        return True

    def fetch(self) -> None:
        while self.waiting:
            if self.idle:
                connection = self.idle.popleft()
            elif self.fetchers < FETCHERS:
                self.fetchers += 1
                connection = self.connect(["cards", 0])
            else:
                return
            place = self.waiting.popleft()
            self.selector.modify(connection, selectors.EVENT_READ, ["cards", place])
            connection.sendall(self.request("cards", place))

    def take(self, connection: Any, kind: list[Any]) -> None:
        chunk = connection.recv(65536)
        if not chunk:
            self.lose(connection, kind)
            return
        self.received[connection] += chunk
        if kind[0] == "stream":
            self.take_events(connection, kind[1])
        elif is_complete(self.received[connection]):
            self.take_card(connection, kind[1])

    def lose(self, connection: Any, kind: list[Any]) -> None:
        if kind[0] == "stream" or connection not in self.idle:
            raise SystemExit(f"The server closed a connection: {self.received[connection]!r}")
        self.fetchers -= 1
        self.idle.remove(connection)
        self.selector.unregister(connection)
        connection.close()

    def take_events(self, connection: Any, place: int) -> None:
        *events, rest = self.received[connection].split(b"\n\n")
        self.received[connection] = rest
        for event in events:
            # The first one has the head of the answer before it.
            content = event.rpartition(b"\r\n\r\n")[2]
            if not content.startswith(b"data:"):
                continue
            [news] = json.loads(content[5:]).values()
            if self.mode == "stream" or place not in self.seen:
                self.note(place, news["mark"])
            elif news["mark"] != self.seen[place]:
                self.waiting.append(place)

    def take_card(self, connection: Any, place: int) -> None:
        answer = self.received[connection].decode()
        if not answer.startswith("HTTP/1.1 200"):
            raise SystemExit(f"The server answered {answer[:40]!r}.")
        found = re.search(r'data-mark="(\w+)"', answer)
        self.received[connection] = b""
        self.idle.append(connection)
        self.note(place, found[1])

    def note(self, place: int, mark: str) -> None:
        if self.seen.get(place) != mark:
            self.seen[place] = mark
            self.heard.append((place, time.time()))


def main() -> None:
    port, mode = sys.argv[1:]
    watchers = Watchers(int(port), mode, json.loads(sys.stdin.readline()))
    watchers.begin()
    print("ready", flush=True)
    watchers.selector.register(sys.stdin, selectors.EVENT_READ, "end")
    while watchers.turn(timeout=1.0):
        pass
    print(json.dumps(watchers.heard), flush=True)


if __name__ == "__main__":
    main()
