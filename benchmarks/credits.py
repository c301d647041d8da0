"""How fast do 50 threads in two processes reserve credits of one account, and how long does
one of them wait at worst?

Baselines on SQLite, both with Django's own backend and BEGIN IMMEDIATE: `plain`, the same
bookkeeping as one writes it at first, by the ORM and without budgets; and `stock`, our ledger,
which tells what the gate alone is worth (docs/adr/0007). On PostgreSQL: `pgbench` with as many
connections, a transaction of one UPDATE of a hot row and one INSERT, on tables of its own
without any constraint.

There are fewer credits than attempts. A round in which anything is oversold, fails, or leaves a
ledger that does not add up ends the benchmark.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import _databases
from benchmarks._databases import Database, Postgres
from benchmarks._reservers import MEMBER
from benchmarks.startup import ROOT, clean_environment

PROCESSES, THREADS = 2, 25
STOCK = "benchmarks._stock"
#: Settings and way of each contestant, see _reservers.py.
WAYS = {
    "ours": ("fluxsite.settings", "ledger"),
    "stock": (STOCK, "ledger"),
    "plain": (STOCK, "plain"),
}
HOT_ROW_TABLES = """
    CREATE TABLE account (id integer PRIMARY KEY, balance bigint NOT NULL);
    INSERT INTO account VALUES (1, 1000000000);
    CREATE TABLE entry (id bigserial PRIMARY KEY, account integer, amount integer, at timestamptz);
"""
HOT_ROW = """
BEGIN;
UPDATE account SET balance = balance - 1 WHERE id = 1 AND balance >= 1;
INSERT INTO entry (account, amount, at) VALUES (1, -1, now());
COMMIT;
"""


def run(*, quick: bool) -> dict[str, Any]:
    rounds, attempts = (1, 12) if quick else (5, 60)
    ratios: dict[str, float] = {}
    figures: dict[str, Any] = {}
    with _databases.made() as databases:
        for database in databases:
            names = list(WAYS) if database.name == "sqlite" else ["ours", "pgbench"]
            prepare(database, balance=PROCESSES * THREADS * attempts * 2 // 3)
            taken: dict[str, list[dict[str, float]]] = {name: [] for name in names}
            for _round in range(rounds):
                for name, outcomes in taken.items():
                    with database.copied() as copy:
                        outcomes.append(measure(name, copy, attempts))
            medians = {name: summary(outcomes) for name, outcomes in taken.items() if outcomes[0]}
            tell(database.name, medians)
            ratios |= ratios_of(database.name, medians)
            figures[database.name] = medians
    return {"ratios": ratios, "figures": figures}


def ratios_of(database: str, medians: dict[str, dict[str, float]]) -> dict[str, float]:
    ours = medians["ours"]
    ratios: dict[str, float] = {}
    for name, theirs in medians.items():
        if name != "ours":
            ratios[f"rate_{database}_to_{name}"] = ours["rate"] / theirs["rate"]
        if name in WAYS and name != "ours":
            ratios[f"worst_wait_{database}_to_{name}"] = ours["worst_ms"] / theirs["worst_ms"]
    return ratios


def prepare(database: Database, *, balance: int) -> None:
    _databases.manage(
        database,
        "shell",
        "--command",
        f"""
from django.contrib.auth.models import User
from credits import ledger
user = User.objects.create_user({MEMBER!r})
start = ledger.account_for(user=user).credits_balance
ledger.adjust(user=user, amount={balance} - start, reference="bench", reason="", actor="")
""",
    )


def measure(name: str, database: Database, attempts: int) -> dict[str, float]:
    if name == "pgbench":
        assert isinstance(database, Postgres)
        return measure_pgbench(database, seconds=max(1, attempts // 15))
    settings, way = WAYS[name]
    outcomes = race(database, settings, way, attempts)
    check(database, outcomes, name)
    waits = sorted(secs for outcome in outcomes for secs in outcome["waits"])
    begun = min(outcome["begun"] for outcome in outcomes)
    ended = max(outcome["ended"] for outcome in outcomes)
    return {
        "rate": len(waits) / (ended - begun),
        "p50_ms": 1000 * statistics.median(waits),
        "p99_ms": 1000 * statistics.quantiles(waits, n=100)[98],
        "worst_ms": 1000 * waits[-1],
    }


def race(database: Database, settings: str, way: str, attempts: int) -> list[dict[str, Any]]:
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "benchmarks._reservers", way),
                *(str(number), str(THREADS), str(attempts)),
            ],
            cwd=ROOT,
            env=clean_environment() | database.environment | {"DJANGO_SETTINGS_MODULE": settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return [json.loads(process.communicate()[0]) for process in processes]


def check(database: Database, outcomes: list[dict[str, Any]], name: str) -> None:
    errors = [error for outcome in outcomes for error in outcome["errors"]]
    granted = sum(outcome["granted"] for outcome in outcomes)
    refused = sum(outcome["refused"] for outcome in outcomes)
    if errors or granted != 2 * refused:
        raise SystemExit(f"{name}: {granted} granted, {refused} refused, errors: {errors[:3]}")
    _databases.manage(database, "check_ledger")


def measure_pgbench(database: Postgres, *, seconds: int) -> dict[str, float]:
    pgbench = shutil.which("pgbench")
    if pgbench is None:
        print("There is no pgbench here: on PostgreSQL nothing is compared.")
        return {}
    with psycopg.connect(database.url) as connection:
        connection.execute(HOT_ROW_TABLES)
    clients = str(PROCESSES * THREADS)
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "hot-row.sql"
        script.write_text(HOT_ROW)
        output = subprocess.run(
            [
                *(pgbench, "--no-vacuum", "--file", str(script), "--client", clients),
                *("--jobs", str(PROCESSES), "--time", str(seconds), database.url),
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    rate = re.search(r"^tps = ([\d.]+)", output, re.MULTILINE)
    assert rate is not None, output
    return {"rate": float(rate[1])}


def summary(outcomes: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(o[name] for o in outcomes) for name in outcomes[0]}


def tell(database: str, medians: dict[str, dict[str, float]]) -> None:
    for name, figures in medians.items():
        waits = "".join(
            f", {what} {figures[key]:.0f} ms"
            for what, key in [("median", "p50_ms"), ("99 %", "p99_ms"), ("worst", "worst_ms")]
            if key in figures
        )
        print(f"{database:10}  {name:7}: {figures['rate']:5.0f}/s{waits}")
