"""How many pictures can be ordered per second, and how long does an order take at worst?

Baseline: a bare Django view that runs the same statements raw (`_bare.py`), those of a real
request, recorded just before: Django's own database backend, next to no middleware, no check
of anything. On SQLite it is measured on our backend too (`in_turns`, docs/adr/0007), because
its own spends much of its time waiting. All are served by the same gunicorn, as
`manage.py start` runs it, and asked over 16 connections that stay open. No workers run. Each
round begins with an empty table of tasks.

`rate` is ours to the baseline's, of requests per second; `p99_to_p50` is within ours.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import _databases
from benchmarks._databases import Database
from benchmarks._submitter import PATH
from benchmarks.startup import ROOT, clean_environment, free_port, started, wait_for_answer

CONNECTIONS = 16
BODY = json.dumps(
    {
        "model": "fal-ai/flux-1/dev",
        "prompt": "a lighthouse at dusk, oil on canvas",
        "num_images": 1,
        "aspect_ratio": "16:9",
    }
)
#: A key, so that orders are taken without a sandbox; nothing is ever sent there. Orders are
#: counted, as they are by default, against a limit that nobody reaches.
PROVIDER = {
    "FAL_KEY": "a:b",
    "FAL_BASE_URL": "http://127.0.0.1:9",
    "TASKS_PER_MINUTE": "1000000",
}
SERVER = [
    *(sys.executable, "-m", "gunicorn", "django.core.wsgi:get_wsgi_application()"),
    *("--worker-class", "gthread", "--preload", "--no-control-socket"),
    *("--workers", "2", "--threads", "8", "--timeout", "60", "--keep-alive", "15"),
    *("--log-level", "warning"),
]
SETTINGS = {
    "bare": "benchmarks._bare",
    "in_turns": "benchmarks._bare_in_turns",
    "ours": "fluxsite.settings",
}


def run(*, quick: bool) -> dict[str, Any]:
    rounds, seconds = (1, 1.0) if quick else (5, 4.0)
    ratios: dict[str, float] = {}
    figures: dict[str, Any] = {}
    with _databases.made() as databases, tempfile.TemporaryDirectory() as directory:
        for database in databases:
            statements = Path(directory) / database.name
            token = prepare(database, statements)
            names = [name for name in SETTINGS if database.name == "sqlite" or name != "in_turns"]
            taken: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
            for _round in range(rounds):
                for name, outcomes in taken.items():
                    with database.copied() as copy:
                        outcomes.append(measure(name, copy, statements, token, seconds))
            medians = {name: summary(outcomes) for name, outcomes in taken.items()}
            tell(database.name, medians)
            rate = {name: median["rate"] for name, median in medians.items()}
            ratios[f"rate_{database.name}"] = rate["ours"] / rate["bare"]
            if "in_turns" in rate:
                ratios[f"rate_{database.name}_to_in_turns"] = rate["ours"] / rate["in_turns"]
            ratios[f"p99_to_p50_{database.name}"] = statistics.median(
                outcome["p99"] / outcome["p50"] for outcome in taken["ours"]
            )
            figures[database.name] = medians
    return {"ratios": ratios, "figures": figures}


def prepare(database: Database, statements: Path) -> str:
    """Make the member and the recording; return the token."""
    made = subprocess.run(
        [sys.executable, "-m", "benchmarks._submitter", str(statements), BODY],
        cwd=ROOT,
        env=clean_environment() | database.environment | PROVIDER,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return made.stdout.strip()


def measure(
    name: str, database: Database, statements: Path, token: str, seconds: float
) -> dict[str, Any]:
    port = free_port()
    env = database.environment | PROVIDER
    env |= {"DJANGO_SETTINGS_MODULE": SETTINGS[name], "STATEMENTS": str(statements)}
    with started([*SERVER, "--bind", f"127.0.0.1:{port}"], ROOT, env) as process:
        wait_for_answer(f"http://127.0.0.1:{port}/healthz", process)
        loaded = subprocess.run(
            [
                *(sys.executable, "-m", "benchmarks._load", str(port), PATH, token),
                *(str(seconds), str(CONNECTIONS), BODY),
            ],
            cwd=ROOT,
            env=clean_environment(),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    outcome = json.loads(loaded.stdout)
    if set(outcome["statuses"]) != {"202"}:
        raise SystemExit(f"{name} on {database.name} answered {outcome['statuses']}.")
    return outcome


def median_of(outcomes: list[dict[str, Any]], name: str) -> float:
    return statistics.median(outcome[name] for outcome in outcomes)


def summary(outcomes: list[dict[str, Any]]) -> dict[str, float]:
    """Return the medians: requests per second, and milliseconds."""
    return {"rate": median_of(outcomes, "rate")} | {
        f"{name}_ms": 1000 * median_of(outcomes, name) for name in ("p50", "p99", "worst")
    }


def tell(database: str, medians: dict[str, dict[str, float]]) -> None:
    for name, figures in medians.items():
        print(
            f"{database:10}  {name:8}: {figures['rate']:6.0f} requests/s, answered in"
            f" {figures['p50_ms']:.1f} ms (median), {figures['p99_ms']:.1f} ms (99 %),"
            f" {figures['worst_ms']:.1f} ms (worst)"
        )
