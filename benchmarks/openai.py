"""Do pages stay quick while callers of OpenAI's images API wait, and how many are served?

Fifty callers ask `POST /v1/images/generations` with one token, wait for the picture, and ask anew.
The site is what `manage.py start` runs, two processes of eight threads and the workers; the
provider is `_fal_queue.py`, which takes two to four seconds for a picture and next to nothing of
the processor. There is room for all callers at the provider.

Baseline: the same pages in the same site before the callers come. `page_p95` is the time of
another member's studio page beside them to that. `rate` is answers with a picture per second, of
the fifty at most some 16 that the provider's time allows.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from benchmarks import _databases, _fal_queue
from benchmarks._databases import Database
from benchmarks._meter import Meter
from benchmarks.live import p95_of_page, page_secs
from benchmarks.polling import percentile
from benchmarks.startup import ROOT, clean_environment, free_port, started, wait_for_answer

CALLERS = 50
BODY = json.dumps({"model": "fal-ai/flux-1/schnell", "prompt": "a lighthouse at dusk"})
#: The callers' token, and the session of somebody else.
PREPARE = """
from django.contrib.auth.models import User
from benchmarks._history_rows import make_session
from credits import ledger
from fluxsite.models import ApiToken
from generation import channel
from generation.models import FluxConfig
channel.apply_environment()
FluxConfig.objects.update(max_concurrent_tasks=100)
caller, reader = (User.objects.create(username=name) for name in ("caller", "reader"))
ledger.grant(user=caller, amount=1_000_000, reference="bench", reason="", actor="")
print(ApiToken.objects.issue(user=caller, name="bench")[1], make_session(reader))
"""


def run(*, quick: bool) -> dict[str, Any]:
    ratios: dict[str, float] = {}
    figures: dict[str, Any] = {}
    with _databases.made() as databases:
        for database in databases:
            found = measure(database, rounds=1 if quick else 3)
            ratios[f"{database.name}_page_p95"] = found["page_p95_beside"] / found["page_p95"]
            figures[database.name] = found
            print(f"{database.name}: {found}", flush=True)
    return {"ratios": ratios, "figures": figures}


def measure(database: Database, *, rounds: int) -> dict[str, float]:
    with _fal_queue.running(shortest=2, longest=4) as queue:
        env = database.environment | {
            "FAL_KEY": "a:b",
            "FAL_BASE_URL": queue.url,
            "TASKS_PER_MINUTE": "0",
            "PORT": str(free_port()),
        }
        token, session = prepare(env)
        port = int(env["PORT"])
        with started([sys.executable, "manage.py", "start"], ROOT, env) as site:
            wait_for_answer(f"http://127.0.0.1:{port}/healthz", site)
            for _time in range(20):  # Both processes have drawn a page.
                page_secs(port, session)
            alone = [p95_of_page(port, session) for _round in range(rounds)]
            with calling(port, token) as answered, Meter(site.pid).running() as usage:
                beside = [p95_of_page(port, session) for _round in range(rounds)]
    waits = sorted(answered)
    return {
        "page_p95": statistics.median(alone),
        "page_p95_beside": statistics.median(beside),
        "rate": len(waits) / usage.wall_secs,
        "wait_p50": percentile(waits, 50) or 0.0,
        "cores": usage.cpu_secs / usage.wall_secs,
    }


def prepare(env: dict[str, str]) -> list[str]:
    made = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v0", "-c", PREPARE],
        cwd=ROOT,
        env=clean_environment() | env,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return made.stdout.split()


@contextlib.contextmanager
def calling(port: int, token: str) -> Iterator[list[float]]:
    """Have fifty ask again and again. Yields the seconds of each answer; those that are waited
    for at the end are not counted."""
    answered: list[float] = []
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            seconds = picture_secs(port, token)
            if not stop.is_set():
                answered.append(seconds)

    callers = [threading.Thread(target=call) for _caller in range(CALLERS)]
    for caller in callers:
        caller.start()
    try:
        time.sleep(5)  # All of them wait, and some have been answered.
        answered.clear()
        yield answered
    finally:
        stop.set()
        for caller in callers:
            caller.join()


def picture_secs(port: int, token: str) -> float:
    head = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    begun = time.perf_counter()
    connection.request("POST", "/v1/images/generations", BODY, head)
    response = connection.getresponse()
    answer = response.read()
    taken = time.perf_counter() - begun
    connection.close()
    if response.status != 200 or b"b64_json" not in answer:
        raise SystemExit(f"/v1 answered {response.status}.")
    return taken
