"""How long from `manage.py start` to the first 200?

Baseline: what `django-admin startproject` makes, with a view that says hello, started as one
would by hand: `manage.py migrate`, then gunicorn with the same kind and number of workers.
Both are set up before the clock starts, so this is the second start, the one of every day.
Ours also takes its locks and starts the workers and the sandbox meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

HELLO_URLS = """
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("healthz", lambda request: HttpResponse("hello"))]
"""
HELLO_START = """
"$0" manage.py migrate -v0 && exec "$0" -m gunicorn hello.wsgi --bind 127.0.0.1:$PORT \\
    --worker-class gthread --workers 2 --threads 8 --log-level warning --no-control-socket
"""


def run(*, quick: bool) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as directory:
        bare, data_dir = Path(directory) / "bare", Path(directory) / "data"
        bare.mkdir()
        make_hello(bare)
        ways = {
            "bare": (["sh", "-c", HELLO_START, sys.executable], bare, {}),
            "ours": (
                [sys.executable, "manage.py", "start"],
                ROOT,
                {"DATA_DIR": str(data_dir), "WEB_WORKERS": "2", "WEB_THREADS": "8"},
            ),
        }
        seconds: dict[str, list[float]] = {"bare": [], "ours": []}
        for way in ways.values():
            time_to_answer(*way)
        for _round in range(1 if quick else 3):
            for name, way in ways.items():
                seconds[name].append(time_to_answer(*way))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in medians.items():
        print(f"{name}: {value:.2f} s from start to the first answer")
    return {"start_to_first_200": medians["ours"] / medians["bare"]}


def make_hello(directory: Path) -> None:
    command = [sys.executable, "-m", "django", "startproject", "hello", str(directory)]
    subprocess.run(command, env=clean_environment(), check=True)
    (directory / "hello/urls.py").write_text(HELLO_URLS)


def time_to_answer(command: list[str], cwd: Path, env: dict[str, str]) -> float:
    port = free_port()
    begun = time.perf_counter()
    with started(command, cwd, {**env, "PORT": str(port)}) as process:
        wait_for_answer(f"http://127.0.0.1:{port}/healthz", process)
        return time.perf_counter() - begun


@contextlib.contextmanager
def started(command: list[str], cwd: Path, env: dict[str, str]) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=clean_environment() | env,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def wait_for_answer(url: str, process: subprocess.Popen) -> None:
    while process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=10) as response:
            if response.status == 200:
                return
        time.sleep(0.01)
    raise SystemExit(f"{process.args} ended before it answered")


def clean_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
