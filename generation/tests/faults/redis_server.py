"""A Redis of a test's own, which it may empty and kill."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generation.tests.faults.processes import wait_for

IS_THERE = shutil.which("redis-server") is not None


@dataclass
class Server:
    """A Redis of our own. `client` is a connection to it."""

    url: str
    client: Any
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def running(directory: Path) -> Iterator[Server]:
    """Start one that keeps nothing, on a port of its own."""
    from redis import ConnectionError as NotThere
    from redis import Redis

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    process = subprocess.Popen(
        [*command, "--dir", str(directory)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    client = Redis(port=port)

    def answers() -> bool:
        try:
            return bool(client.ping())
        except NotThere:
            return False

    wait_for(answers, what="Redis")
    server = Server(f"redis://127.0.0.1:{port}/0", client, process)
    yield server
    server.kill()
    client.close()
