"""A stand-in for fal's queue that costs next to nothing, for measuring those who ask it.

The sandbox of this project is no measuring instrument: it has a thread per connection and
paints its pictures, and would itself be the bottleneck. This one is a single loop with a
protocol written by hand, answers every question after `DELAY_SECS`, and knows of each job when
it was done. Jobs wait a second in the queue, run, and end after a random time that depends on
the seed and the prompt alone, so that all contestants get the same ones.

It says little, but what it says has the shape of fal's own replies. `running` starts it in a
process of its own; it ends with whoever started it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import random
import resource
import subprocess
import sys
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from PIL import Image

DELAY_SECS = 0.03
QUEUED_SECS = 1.0
#: A job with this prompt is done almost at once and is left out of all figures.
WARM_UP = "warm-up"
WARM_UP_SECS = 0.2


# ---------------------------------------------------------------- for the benchmark
@dataclass(frozen=True, kw_only=True)
class Queue:
    """A running queue."""

    url: str
    pid: int

    def figures(self) -> dict[str, Any]:
        """Return `jobs` (prompt, accepted_at, done_at as time.time()), `requests` by kind,
        `late_secs`: by how much its own answers were late at worst, and `mean_late_secs`."""
        return self._get("/figures")

    def askers(self) -> set[int]:
        """Return the client ports that asked about anything but pictures since the last call."""
        return set(self._get("/askers"))

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            return json.load(response)


@contextlib.contextmanager
def running(*, shortest: float, longest: float, seed: int = 1) -> Iterator[Queue]:
    """Run a queue whose jobs take between `shortest` and `longest` seconds."""
    command = [
        *(sys.executable, "-m", "benchmarks._fal_queue"),
        *("--shortest", str(shortest), "--longest", str(longest), "--seed", str(seed)),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Queue(url=process.stdout.readline().strip(), pid=process.pid)
        finally:
            process.stdin.close()


# ---------------------------------------------------------------- the queue itself
@dataclass
class Job:
    prompt: str
    accepted_at: float
    done_at: float


class State:
    def __init__(self, *, shortest: float, longest: float, seed: int) -> None:
        self.range = shortest, longest
        self.seed = seed
        self.base = ""
        self.jobs: dict[str, Job] = {}
        self.requests: Counter[str] = Counter()
        self.askers: set[int] = set()
        self.late_secs = self.late_sum = 0.0
        picture = io.BytesIO()
        Image.new("RGB", (64, 64), "teal").save(picture, "JPEG")
        self.picture = picture.getvalue()

    def submit(self, body: bytes) -> bytes:
        now = time.time()
        prompt = json.loads(body)["prompt"]
        seconds = random.Random(f"{self.seed} {prompt}").uniform(*self.range)
        if prompt == WARM_UP:
            seconds = WARM_UP_SECS
        request_id = str(uuid.uuid4())
        self.jobs[request_id] = Job(prompt, now, now + seconds)
        return _reply(200, self._status("IN_QUEUE", request_id, b'"queue_position":0'))

    def status(self, request_id: str) -> bytes:
        job = self.jobs.get(request_id)
        now = time.time()
        if job is None:
            return _reply(404, b'{"status":"NOT_FOUND"}')
        if now >= job.done_at:
            return _reply(200, self._status("COMPLETED", request_id, b'"metrics":{}'))
        if now < job.accepted_at + QUEUED_SECS:
            return _reply(202, self._status("IN_QUEUE", request_id, b'"queue_position":0'))
        return _reply(202, self._status("IN_PROGRESS", request_id, b'"metrics":{}'))

    def result(self, request_id: str) -> bytes:
        job = self.jobs.get(request_id)
        if job is None:
            return _reply(404, b'{"detail":"Request not found"}')
        if time.time() < job.done_at:
            return _reply(400, b'{"detail":"Request is still in progress"}')
        image = {
            "url": f"{self.base}/picture.jpg",
            "width": 64,
            "height": 64,
            "content_type": "image/jpeg",
        }
        answer = {
            "images": [image],
            "timings": {},
            "seed": 17454220438242315174,
            "has_nsfw_concepts": [False],
            "prompt": job.prompt,
        }
        return _reply(200, json.dumps(answer).encode(), b"x-fal-billable-units: 1\r\n")

    def cancel(self, request_id: str) -> bytes:
        job = self.jobs.get(request_id)
        if job is None:
            return _reply(404, b'{"status":"NOT_FOUND"}')
        if time.time() >= job.done_at:
            return _reply(400, b'{"status":"ALREADY_COMPLETED"}')
        return _reply(202, b'{"status":"CANCELLATION_REQUESTED"}')

    def figures(self) -> bytes:
        jobs = [vars(job) for job in self.jobs.values() if job.prompt != WARM_UP]
        answers = max(1, sum(self.requests.values()))
        return json.dumps(
            {
                "jobs": jobs,
                "requests": self.requests,
                "late_secs": self.late_secs,
                "mean_late_secs": self.late_sum / answers,
            }
        ).encode()

    def take_askers(self) -> bytes:
        askers, self.askers = self.askers, set()
        return json.dumps(sorted(askers)).encode()

    def _status(self, status: str, request_id: str, more: bytes) -> bytes:
        url = f"{self.base}/fal-ai/flux-1/requests/{request_id}"
        return (
            f'{{"status":"{status}","request_id":"{request_id}","logs":null,'
            f'"response_url":"{url}","status_url":"{url}/status","cancel_url":"{url}/cancel",'
        ).encode() + (more + b"}")


class Connection(asyncio.Protocol):
    def __init__(self, state: State) -> None:
        self.state = state
        self.loop = asyncio.get_running_loop()
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.port = transport.get_extra_info("peername")[1]

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = self.received[:end]
            length = 0 if head.startswith(b"GET ") else _content_length(head)
            if len(self.received) < end + 4 + length:
                return
            body = self.received[end + 4 : end + 4 + length]
            self.received = self.received[end + 4 + length :]
            self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        method, target, _rest = head.split(b" ", 2)
        path = target.partition(b"?")[0].decode()
        if path == "/figures":
            self.send(_reply(200, self.state.figures()))
            return
        if path == "/askers":
            self.send(_reply(200, self.state.take_askers()))
            return
        kind, content = self.reply_to(method, path, body)
        self.state.requests[kind] += 1
        if kind != "picture":
            self.state.askers.add(self.port)
        due = self.loop.time() + DELAY_SECS
        self.loop.call_at(due, self.send_late, due, content)

    def reply_to(self, method: bytes, path: str, body: bytes) -> tuple[str, bytes]:
        if path.endswith("/status"):
            return "status", self.state.status(path.split("/")[-2])
        if method == b"POST":
            return "submit", self.state.submit(body)
        if path == "/picture.jpg":
            return "picture", _reply(200, self.state.picture, kind=b"image/jpeg")
        if method == b"PUT":
            return "cancel", self.state.cancel(path.split("/")[-2])
        return "result", self.state.result(path.rpartition("/")[2])

    def send_late(self, due: float, content: bytes) -> None:
        late = self.loop.time() - due
        self.state.late_sum += late
        self.state.late_secs = max(self.state.late_secs, late)
        self.send(content)

    def send(self, content: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(content)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _colon, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _reply(
    status: int, body: bytes, headers: bytes = b"", *, kind: bytes = b"application/json"
) -> bytes:
    return b"HTTP/1.1 %d OK\r\nContent-Type: %s\r\n%sContent-Length: %d\r\n\r\n%s" % (
        *(status, kind, headers),
        *(len(body), body),
    )


async def serve(state: State) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(Connection, state), "127.0.0.1", 0, backlog=4096)
    state.base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    print(state.base, flush=True)
    orphaned = asyncio.Event()
    loop.add_reader(0, lambda: os.read(0, 1) or orphaned.set())
    await orphaned.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shortest", type=float, required=True)
    parser.add_argument("--longest", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(State(**vars(options))))


if __name__ == "__main__":
    main()
