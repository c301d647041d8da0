"""What does a page of the history cost a member with half a million entries among ten million?

Two databases of each kind, of one and of ten million tasks (`_history_rows.py`), are filled and
asked in turn. First the statements behind each page, as our code sends them, by the bare
driver:

    *_growth: the large one to the small one; `page_10000` is also compared with page 1
    *_to_bare: to the same rows in one table with an index for that very page
    search_*_ms: finding by words and reading what was found, of the member with most

Then whole pages, from the gunicorn that `manage.py start` runs, over one connection with a
session: to the least page a member can get (`to_hello`), and the same page on the view of the
specification (`spec_to_ours`), which collects and sorts everything the member ever made.

Filling takes most of an hour. With `BENCH_KEEP=DIRECTORY` what was filled stays, in that directory and
in databases named `fluxsite_bench_kept_*`, and is asked again by the next run that names it.

`--quick` has a tenth of the rows. The specification's view is then less slow, and a member with
a few thousand entries has no page 10,000: the last one is taken.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import _databases
from benchmarks._databases import Database
from benchmarks._load import load
from benchmarks.startup import ROOT, clean_environment, free_port, started, wait_for_answer
from benchmarks.submit import SERVER
from fluxsite.sqlite import PRAGMAS

SPEC = (
    "SELECT * FROM spec_history WHERE user_id = {user}"
    " AND (NULL IS NULL OR source = NULL) ORDER BY created_at DESC LIMIT 24 OFFSET 0"
)


def run(*, quick: bool) -> dict[str, Any]:
    sizes = (100_000, 1_000_000) if quick else (1_000_000, 10_000_000)
    rounds, seconds = (30, 1.0) if quick else (200, 5.0)
    ratios: dict[str, float] = {}
    figures: dict[str, Any] = {}
    keep = Path(os.environ["BENCH_KEEP"]) if "BENCH_KEEP" in os.environ else None
    labels = [f"_{rows}" for rows in sizes]
    small_ones, large_ones = (_databases.made(label, keep=keep) for label in labels)
    with small_ones as small, large_ones as large:
        pairs = list(zip(small, large, strict=True))
        with ThreadPoolExecutor(len(pairs)) as pool:
            filled = list(pool.map(lambda pair: [*map(fill, pair, sizes)], pairs))
        for pair, histories in zip(pairs, filled, strict=True):
            name = pair[0].name
            by_sql = ask_databases(pair, histories, rounds=rounds)
            by_http = ask_sites(pair, histories, seconds=seconds)
            figures[name] = {"sql_ms": by_sql, "http_ms": by_http}
            tell(name, figures[name])
            ratios |= {
                f"{name}_{what}": ratio for what, ratio in ratios_of(by_sql, by_http).items()
            }
    return {"ratios": ratios, "figures": figures, "rows": sizes}


def fill(database: Database, rows: int) -> dict[str, Any]:
    """Fill a database, unless it was kept, and return how it is asked."""
    filled = database.directory / "filled"
    if not filled.exists():
        begun = time.monotonic()
        rows_of(database, str(rows))
        seconds = time.monotonic() - begun
        print(f"{database.name}: {rows} tasks in {seconds:.0f} s", flush=True)
        filled.touch()
    return json.loads(rows_of(database))


def rows_of(database: Database, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks._history_rows", *arguments],
        cwd=ROOT,
        env=clean_environment() | database.environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


# ---------------------------------------------------------------- statements
Ask = Callable[[list[Any]], None]


def ask_databases(
    pair: tuple[Database, Database], histories: list[dict[str, Any]], *, rounds: int
) -> dict[str, float]:
    """Return the median milliseconds of each set of statements, taken in turns."""
    with contextlib.ExitStack() as stack:
        asks = [stack.enter_context(driver(database)) for database in pair]
        contestants: dict[str, tuple[Ask, list[Any]]] = {}
        for size, ask, history in zip(("small", "large"), asks, histories, strict=True):
            for name, statements in {**history["pages"], **history["searches"]}.items():
                contestants[f"{size}_{name}"] = (ask, statements)
            for name in history["bare"]:
                contestants[f"{size}_bare_{name}"] = (ask, history["bare"][name])
        taken: dict[str, list[float]] = {name: [] for name in contestants}
        # One round more, that fills the caches.
        for number in range(rounds + 1):
            for name, (ask, statements) in contestants.items():
                begun = time.perf_counter()
                ask(statements)
                if number:
                    taken[name].append(1000 * (time.perf_counter() - begun))
        medians = {name: statistics.median(times) for name, times in taken.items()}
        [(_sql, [user, *_more])] = histories[1]["bare"]["first"]
        medians["large_spec"] = median_of(3, asks[1], [(SPEC.format(user=user), [])])
    return medians


def median_of(times: int, ask: Ask, statements: list[Any]) -> float:
    taken = []
    for _time in range(times):
        begun = time.perf_counter()
        ask(statements)
        taken.append(1000 * (time.perf_counter() - begun))
    return statistics.median(taken)


@contextlib.contextmanager
def driver(database: Database) -> Any:
    """Connect as Django does, and return what executes statements and fetches all rows."""
    connection: Any
    if isinstance(database, _databases.Postgres):
        connection = psycopg.connect(
            database.url,
            cursor_factory=psycopg.ClientCursor,
            prepare_threshold=None,
            autocommit=True,
        )
    else:
        connection = sqlite3.connect(database.directory / "fluxsite.sqlite3", isolation_level=None)
        connection.executescript(PRAGMAS)

    def ask(statements: list[Any]) -> None:
        for sql, params in statements:
            text = sql.replace("%s", "?") if database.name == "sqlite" else sql
            connection.execute(text, params).fetchall()

    with contextlib.closing(connection):
        yield ask


# ---------------------------------------------------------------- pages
def ask_sites(
    pair: tuple[Database, Database], histories: list[dict[str, Any]], *, seconds: float
) -> dict[str, float]:
    """Return the median milliseconds of whole pages."""
    times: dict[str, float] = {}
    for size, database, history in zip(("small", "large"), pair, histories, strict=True):
        with site(database, {}) as port:
            for name, path in {
                "hello": "/hello",
                "page": "/history",
                "page_10000": f"/history?cursor={history['deep_cursor']}",
            }.items():
                times[f"{size}_{name}"] = ask_page(port, path, history["session"], seconds)
    with site(pair[1], {"HISTORY_TABLE": "spec_history"}) as port:
        session = histories[1]["session"]
        times["large_spec_page"] = ask_page(port, "/history", session, 30 * seconds)
    return times


@contextlib.contextmanager
def site(database: Database, more: dict[str, str]) -> Any:
    port = free_port()
    env = database.environment | {"DJANGO_SETTINGS_MODULE": "benchmarks._history_site"} | more
    with started([*SERVER, "--bind", f"127.0.0.1:{port}"], ROOT, env) as process:
        wait_for_answer(f"http://127.0.0.1:{port}/healthz", process)
        yield port


def ask_page(port: int, path: str, session: str, seconds: float) -> float:
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {session}\r\n\r\n"
    outcome: dict[str, Any] = load(port, request=request.encode(), seconds=seconds, connections=1)
    if set(outcome["statuses"]) != {"200"}:
        raise SystemExit(f"{path} answered {outcome['statuses']}.")
    return 1000 * outcome["p50"]


# ---------------------------------------------------------------- what came out
def ratios_of(by_sql: dict[str, float], by_http: dict[str, float]) -> dict[str, float]:
    ratios = {
        "page_growth": by_http["large_page"] / by_http["small_page"],
        "page_10000_to_page_1": by_http["large_page_10000"] / by_http["large_page"],
        "page_to_hello": by_http["large_page"] / by_http["large_hello"],
        "spec_to_ours": by_http["large_spec_page"] / by_http["large_page"],
        "sql_spec_to_ours": by_sql["large_spec"] / by_sql["large_first"],
        "sql_page_10000_to_page_1": by_sql["large_page_10000"] / by_sql["large_first"],
    }
    for name in [each.removeprefix("large_bare_") for each in by_sql if "large_bare_" in each]:
        ratios[f"sql_{name}_growth"] = by_sql[f"large_{name}"] / by_sql[f"small_{name}"]
        ratios[f"sql_{name}_to_bare"] = by_sql[f"large_{name}"] / by_sql[f"large_bare_{name}"]
    for name in ("common", "rare", "none", "two_han", "several"):
        ratios[f"search_{name}_ms"] = by_sql[f"large_{name}"]
    return ratios


def tell(database: str, figures: dict[str, dict[str, float]]) -> None:
    for kind, times in figures.items():
        for name, milliseconds in times.items():
            print(f"{database:10}  {kind:7}  {name:24} {milliseconds:9.3f} ms")
