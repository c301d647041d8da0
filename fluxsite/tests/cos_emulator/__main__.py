"""`python -m fluxsite.tests.cos_emulator --port 8091`: a bucket for several processes."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from fluxsite.tests.cos_emulator.server import CosEmulator


def main() -> None:
    parser = argparse.ArgumentParser(prog="cos_emulator", description=__doc__)
    parser.add_argument("--port", type=int, default=8091)
    parser.add_argument("--directory", type=Path, help="keep the objects there")
    parser.add_argument("--force-download", action="store_true")
    chosen = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with CosEmulator(
        chosen.port, directory=chosen.directory, force_download=chosen.force_download
    ) as cos:
        lines = [f"A stand-in for Tencent COS: {cos.url}"]
        lines += [f"  {name}={value}" for name, value in cos.environment().items() if value]
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
        ended.wait()


if __name__ == "__main__":
    main()
