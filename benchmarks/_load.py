"""Asks a server as fast as it answers, over connections that stay open.

`python -m benchmarks._load PORT PATH TOKEN SECONDS CONNECTIONS BODY` prints one line of JSON:
requests per second, the latencies' median, p99 and worst in seconds, and how many answers had
which status. One thread around `select`, and requests made of bytes beforehand: it costs a
fraction of what any Django view does.
"""

from __future__ import annotations

import json
import selectors
import socket
import statistics
import sys
import time
from collections import Counter

#: Answers before this are not counted: connections are opened, pages imported, caches filled.
WARM_UP_SECS = 2.0


def main() -> None:
    port, path, token, seconds, connections, body = sys.argv[1:]
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n\r\n"
    )
    print(
        json.dumps(
            load(
                int(port),
                request=(head + body).encode(),
                seconds=float(seconds),
                connections=int(connections),
            )
        )
    )


def load(port: int, *, request: bytes, seconds: float, connections: int) -> dict[str, object]:
    selector = selectors.DefaultSelector()
    sent_at: dict[socket.socket, float] = {}
    received: dict[socket.socket, bytes] = {}
    for _connection in range(connections):
        connection = socket.create_connection(("127.0.0.1", port), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ)
        received[connection] = b""
        sent_at[connection] = time.perf_counter()
        connection.sendall(request)
    begin = time.perf_counter() + WARM_UP_SECS
    end = begin + seconds
    latencies: list[float] = []
    statuses: Counter[str] = Counter()
    while (now := time.perf_counter()) < end:
        for key, _events in selector.select(timeout=end - now):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            answer = received[connection] + connection.recv(65536)
            if not is_complete(answer):
                received[connection] = answer
                continue
            now = time.perf_counter()
            if now >= begin:
                latencies.append(now - sent_at[connection])
                statuses[answer[9:12].decode()] += 1
            received[connection] = b""
            sent_at[connection] = now
            connection.sendall(request)
    for connection in received:
        connection.close()
    return {
        "rate": len(latencies) / seconds,
        "p50": statistics.median(latencies),
        "p99": statistics.quantiles(latencies, n=100)[98],
        "worst": max(latencies),
        "statuses": dict(statuses),
    }


def is_complete(answer: bytes) -> bool:
    if not answer:
        raise SystemExit("The server closed a connection.")
    head, blank, body = answer.partition(b"\r\n\r\n")
    if not blank:
        return False
    _before, _name, rest = head.lower().partition(b"\r\ncontent-length:")
    return len(body) >= int(rest.partition(b"\r\n")[0])


if __name__ == "__main__":
    main()
