"""``python -m generation.sandbox --port 8090``: the sandbox as a process of its own."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType

from generation.sandbox.server import SandboxServer

DEFAULT_PORT = 8090
DEFAULT_GENERATION_SECONDS = 3.0
DEFAULT_QUEUE_SECONDS = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options; shared with the management command."""
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--generation-seconds", type=float, default=DEFAULT_GENERATION_SECONDS)
    parser.add_argument("--queue-seconds", type=float, default=DEFAULT_QUEUE_SECONDS)
    parser.add_argument("--concurrency", type=int, default=None)


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    generation_seconds: float = DEFAULT_GENERATION_SECONDS,
    queue_seconds: float = DEFAULT_QUEUE_SECONDS,
    concurrency: int | None = None,
    say: Callable[[str], object],
) -> None:
    """Serve until SIGTERM or SIGINT, then return. Call from the main thread."""
    server = SandboxServer(
        host=host,
        port=port,
        generation_seconds=generation_seconds,
        queue_seconds=queue_seconds,
        concurrency=concurrency,
    )

    def finish(signum: int, frame: FrameType | None) -> None:
        # shutdown() waits for the loop this very thread runs, hence the other thread.
        threading.Thread(target=server.shut, daemon=True).start()

    server.bind()
    before = {number: signal.signal(number, finish) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        say(f"Sandbox for fal's queue API: {server.url}")
        server.serve_forever()
    finally:
        server.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="generation.sandbox", description=__doc__)
    add_arguments(parser)
    chosen = parser.parse_args(argv)
    serve(
        host=chosen.host,
        port=chosen.port,
        generation_seconds=chosen.generation_seconds,
        queue_seconds=chosen.queue_seconds,
        concurrency=chosen.concurrency,
        say=_say,
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
