"""What does it cost to keep pages up to date, and how soon do they know?

A thousand pages watch, each of a member with a task that changes every five seconds, written as
the workers write it by another process. The site is the gunicorn that `manage.py start` runs;
the connections of the pages are held by one process (`_watchers.py`).

    stream  each page has a stream, and is told of every change
    fetch   the same, and each change is one of those for which a page fetches its card: what
            a page does for some three of the changes of a task, the others are words it is told
    poll    the baseline: each page asks for its card every two seconds, as pages did before

CPU is that of all processes of the web server, in percent of one core; that of PostgreSQL is not
in it. A thousand pages that fetch or poll are more than the server can bear on this machine, so
fewer do, and the figures are scaled to a thousand. The latency is from the commit to the page.
Memory is what the processes grew by for each stream; the kernel's buffers are not in it.

`page_p95` is the time of an ordinary page, the studio, with 300 streams open whose tasks change,
to the time with none, in turns. No workers run. `--quick` has a fifth of the pages and scales.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import resource
import statistics
import subprocess
import time
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import _databases
from benchmarks._databases import Database
from benchmarks._meter import Meter, family, memory_kb
from benchmarks.polling import hear, helper, percentile, say
from benchmarks.startup import ROOT, clean_environment, free_port, started, wait_for_answer
from benchmarks.submit import PROVIDER, SERVER

PAGES = 1000
#: As many as ask for their cards on two cores that others use too.
ASKING = 60
#: What the default start has to bear.
BESIDE = 300
PAGE_SECS = 8.0
SETTINGS = {"DJANGO_SETTINGS_MODULE": "fluxsite.settings"}
#: A page that has not heard of a change by then never will.
PATIENCE_SECS = 4.0
#: A page may know before the writer gets round to looking at the clock.
EARLY_SECS = 0.5


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One way, measured. `latencies` in seconds, `cpu` in percent of a core for all pages."""

    mode: str
    pages: int
    cpu: float
    latencies: list[float]
    lost: int
    kb_per_page: float
    open_ms: float

    @property
    def scaled_cpu(self) -> float:
        return self.cpu * PAGES / self.pages

    def figures(self) -> dict[str, Any]:
        shown = {name: value for name, value in asdict(self).items() if name != "latencies"}
        return shown | {
            "cpu_of_1000": self.scaled_cpu,
            "p50_secs": percentile(sorted(self.latencies), 50),
            "p95_secs": percentile(sorted(self.latencies), 95),
            "changes": len(self.latencies) + self.lost,
        }


def run(*, quick: bool) -> dict[str, Any]:
    pages, seconds = (PAGES // 5, 10.0) if quick else (PAGES, 30.0)
    asking = min(ASKING, pages)
    open_files()
    ratios: dict[str, float] = {}
    figures: dict[str, Any] = {}
    with _databases.made() as databases:
        for database in databases:
            with site(database, pages) as members:
                outcomes = [
                    tell(database, measure(members, mode, count, seconds=seconds))
                    for mode, count in (("stream", pages), ("fetch", asking), ("poll", asking))
                ]
                beside = pages_beside(members, min(BESIDE, pages), rounds=1 if quick else 3)
            print(f"{database.name}: page {beside}", flush=True)
            figures[database.name] = {o.mode: o.figures() for o in outcomes} | {"page": beside}
            found = ratios_of(outcomes, beside)
            ratios |= {f"{database.name}_{what}": value for what, value in found.items()}
    return {"ratios": ratios, "figures": figures}


def ratios_of(outcomes: list[Outcome], beside: dict[str, float]) -> dict[str, float]:
    stream, fetch, poll = outcomes
    return {
        "cpu_percent": stream.scaled_cpu,
        "p95_secs": percentile(sorted(stream.latencies), 95),
        "cpu_to_poll": stream.scaled_cpu / poll.scaled_cpu,
        "cpu_with_fetching_to_poll": fetch.scaled_cpu / poll.scaled_cpu,
        "p95_to_poll": percentile(sorted(stream.latencies), 95)
        / percentile(sorted(poll.latencies), 95),
        "page_p95": beside["with_streams"] / beside["without"],
    }


def open_files() -> None:
    """Allow as many open files as `start` does; what is started here inherits it."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# ---------------------------------------------------------------- the site
@dataclass(frozen=True, kw_only=True)
class Members:
    """A site with members, and the process that writes changes to their tasks."""

    port: int
    server: subprocess.Popen[bytes]
    changes: subprocess.Popen[str]
    #: The task and the session of each.
    all: list[list[str]]

    def write(self, count: int, seconds: float) -> None:
        self.changes.stdin.write(f"{count} {seconds}\n")
        self.changes.stdin.flush()

    def written(self) -> list[list[float]]:
        return json.loads(self.changes.stdout.readline())


@contextlib.contextmanager
def site(database: Database, count: int) -> Iterator[Members]:
    port = free_port()
    env = database.environment | PROVIDER
    with (
        helper("benchmarks._changes", str(count), env=clean_environment() | env) as changes,
        started([*SERVER, "--bind", f"127.0.0.1:{port}"], ROOT, env | SETTINGS) as server,
    ):
        members = json.loads(changes.stdout.readline())
        wait_for_answer(f"http://127.0.0.1:{port}/healthz", server)
        for _time in range(20):  # Both processes have drawn a page.
            page_secs(port, members[0][1])
        yield Members(port=port, server=server, changes=changes, all=members)


@contextlib.contextmanager
def watching(members: Members, mode: str, count: int) -> Iterator[subprocess.Popen[str]]:
    arguments = (str(members.port), mode)
    with helper("benchmarks._watchers", *arguments, env=clean_environment()) as watchers:
        watchers.stdin.write(json.dumps(members.all[:count]) + "\n")
        watchers.stdin.flush()
        hear(watchers, "ready")
        yield watchers


def measure(members: Members, mode: str, count: int, *, seconds: float) -> Outcome:
    pid = members.server.pid
    before = memory(pid)
    opening = Meter(pid)
    with opening.running() as opened, contextlib.ExitStack() as stack:
        watchers = stack.enter_context(watching(members, mode, count))
        kept = stack.pop_all()
    with kept:
        grown = memory(pid) - before
        with Meter(pid).running() as usage:
            members.write(count, seconds)
            commits = members.written()
        time.sleep(PATIENCE_SECS)
        say(watchers)
        heard = json.loads(watchers.stdout.readline())
    latencies, lost = match(commits, heard)
    return Outcome(
        mode=mode,
        pages=count,
        cpu=100 * usage.cpu_secs / usage.wall_secs,
        latencies=latencies,
        lost=lost,
        kb_per_page=grown / count,
        open_ms=1000 * opened.cpu_secs / count,
    )


def memory(pid: int) -> float:
    return sum(map(memory_kb, family(pid)))


def match(commits: list[list[float]], heard: list[list[float]]) -> tuple[list[float], int]:
    """Return how long after each commit its member heard of it, and how many never did."""
    moments: dict[int, list[float]] = {}
    for place, moment in heard:
        moments.setdefault(int(place), []).append(moment)
    latencies, lost = [], 0
    for place, committed in commits:
        known = moments.get(int(place), [])
        # What was heard before is of the change before.
        after = bisect_left(known, committed - EARLY_SECS)
        if after < len(known) and known[after] - committed < PATIENCE_SECS:
            latencies.append(max(0.0, known[after] - committed))
        else:
            lost += 1
    return latencies, lost


# ---------------------------------------------------------------- ordinary pages
def pages_beside(members: Members, count: int, *, rounds: int) -> dict[str, float]:
    """Return the 95 % of the seconds of a page, without streams and beside `count` of them."""
    session = members.all[-1][1]
    p95: dict[str, list[float]] = {"without": [], "with_streams": []}
    for _round in range(rounds):
        p95["without"].append(p95_of_page(members.port, session))
        with watching(members, "stream", count):
            members.write(count, PAGE_SECS)
            p95["with_streams"].append(p95_of_page(members.port, session))
            members.written()
    return {name: statistics.median(values) for name, values in p95.items()}


def p95_of_page(port: int, session: str) -> float:
    end = time.monotonic() + PAGE_SECS
    taken = []
    while time.monotonic() < end:
        taken.append(page_secs(port, session))
        time.sleep(0.01)
    return percentile(sorted(taken), 95)


def page_secs(port: int, session: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    begun = time.perf_counter()
    connection.request("GET", "/", headers={"Cookie": session})
    response = connection.getresponse()
    response.read()
    taken = time.perf_counter() - begun
    connection.close()
    if response.status != 200:
        raise SystemExit(f"The studio answered {response.status}.")
    return taken


def tell(database: Database, outcome: Outcome) -> Outcome:
    figures = outcome.figures()
    print(
        f"{database.name}, {outcome.mode}, {outcome.pages} pages: {outcome.cpu:.1f} % of a core"
        f" ({outcome.scaled_cpu:.1f} for {PAGES}), p50 {figures['p50_secs']:.2f} s,"
        f" p95 {figures['p95_secs']:.2f} s, lost {outcome.lost} of {figures['changes']},"
        f" {outcome.kb_per_page:.1f} kB and {outcome.open_ms:.1f} ms to open each",
        flush=True,
    )
    return outcome
