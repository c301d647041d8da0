"""What does it cost to follow N requests at fal, and how soon is it noticed that one is done?

Baseline: the official `fal-client` in both its forms, `AsyncClient.subscribe` under
`asyncio.gather` and `SyncClient.subscribe` in a thread each. It keeps nothing: what it follows
is lost with its process. Ours is the site as `manage.py start` runs it, on SQLite, with every
change of state and the credits written down and the pictures stored.

All of them speak to the same queue (`_fal_queue.py`), one after the other: it answers every
call after 30 ms, and each picture takes as long for one contestant as for the other. Detection
is the time from "done" at the queue to SUCCESS in our database, or to the result in the hands
of `fal-client`'s caller. The contestant has one core to itself, queue and meters another; only
with 5,000 requests ours has the whole machine, as it would have. There `fal-client` is left
out: already at 1,000 its asynchronous form notices late by many seconds what is done.

That form is measured twice, because it differs so much: with a client that has drawn one
picture before, like all other contestants, and `fresh`, with one that has not.

In one round every process of the cluster is killed (SIGKILL) while all requests are in flight,
and started again by `manage.py start`. A task that is missing afterwards, or one that was sent
twice, ends the benchmark.

CPU is counted from the moment the workers are told to the last SUCCESS, over all processes of
the site; `asking` is the part of those that ask the queue. The tasks themselves are created
before, by another process. The pictures are tiny, and most of them are stored after the last
SUCCESS: `stored` says how many were fetched before it. `seen` is when a reader of the database
could see SUCCESS, looking every 0.1 s, and holds `completed_at` to account.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks import _fal_queue
from benchmarks._fal_queue import Queue
from benchmarks._meter import Meter, Usage, family
from benchmarks.startup import ROOT, clean_environment, free_port, wait_for_answer


@dataclass(frozen=True, kw_only=True)
class Round:
    """So many requests at once, each done after so many seconds."""

    count: int
    shortest: float
    longest: float
    pinned: bool = True
    #: Seconds after the start when the workers are killed, None for not at all.
    killed_after: float | None = None


#: The forms of `fal-client`.
FORMS = ("async", "fresh", "sync")
QUICK = [Round(count=100, shortest=2, longest=4)]
SIDE_BY_SIDE = [
    Round(count=100, shortest=8, longest=12),
    Round(count=1000, shortest=8, longest=12),
]
OURS_ALONE = [
    Round(count=5000, shortest=8, longest=12, pinned=False),
    Round(count=1000, shortest=5, longest=60),
    Round(count=5000, shortest=5, longest=60, pinned=False),
    Round(count=1000, shortest=8, longest=12, killed_after=6),
]
QUICK_ALONE = [Round(count=100, shortest=4, longest=6, killed_after=2)]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one contestant did in one round. `detection` is sorted, in seconds."""

    name: str
    round: Round
    detection: list[float]
    #: For ours: until the database showed it, looked at every 0.1 s.
    visible: list[float]
    usage: Usage
    requests: dict[str, int]
    failures: list[str]
    peak_in_flight: int
    submits_per_task: int
    queue_late_secs: float

    def figures(self) -> dict[str, Any]:
        return {
            "contestant": self.name,
            "count": self.round.count,
            "job_secs": [self.round.shortest, self.round.longest],
            "pinned": self.round.pinned,
            "killed_after_secs": self.round.killed_after,
            "finished": len(self.detection),
            "failures": len(self.failures),
            "p50_secs": percentile(self.detection, 50),
            "p95_secs": percentile(self.detection, 95),
            "max_secs": percentile(self.detection, 100),
            "visible_p95_secs": percentile(self.visible, 95),
            **asdict(self.usage),
            "requests": self.requests,
            "peak_in_flight": self.peak_in_flight,
            "most_submits_of_a_task": self.submits_per_task,
            "queue_late_secs": self.queue_late_secs,
        }


def run(*, quick: bool) -> dict[str, Any]:
    if not Path("/proc/self/smaps_rollup").exists():
        raise SystemExit("This benchmark reads /proc, which only Linux has.")
    with on_cores(other_cores()):
        outcomes = [
            tell(measure(round_))
            for round_ in (QUICK if quick else SIDE_BY_SIDE)
            for measure in (measure_ours, *(partial(measure_fal_client, f) for f in FORMS))
        ]
        alone = QUICK_ALONE if quick else OURS_ALONE
        outcomes += [tell(measure_ours(round_)) for round_ in alone]
    print_table(outcomes)
    return {
        "ratios": ratios(outcomes),
        "rounds": [outcome.figures() for outcome in outcomes],
    }


def ratios(outcomes: list[Outcome]) -> dict[str, float]:
    """Return our CPU, all of it, to that of each form of `fal-client`, by number of requests."""
    cpu = {(o.name, o.round): o.usage.cpu_secs for o in outcomes}
    return {
        f"cpu_{form}_{round_.count}": cpu["ours", round_] / secs
        for (name, round_), secs in cpu.items()
        for form in FORMS
        if name == f"fal-client {form}" and ("ours", round_) in cpu
    }


# ---------------------------------------------------------------- contestants
def measure_ours(round_: Round) -> Outcome:
    with (
        _fal_queue.running(shortest=round_.shortest, longest=round_.longest) as queue,
        tempfile.TemporaryDirectory() as directory,
    ):
        env = clean_environment() | {
            "DATA_DIR": directory,
            "PORT": str(free_port()),
            "FAL_KEY": "a:b",
            "FAL_BASE_URL": queue.url,
        }
        start = [sys.executable, "manage.py", "start"]
        with contestant(start, round_, env) as site:
            wait_for_answer(f"http://127.0.0.1:{env['PORT']}/healthz", site)
            with helper("benchmarks._members", str(round_.count), env=env) as members:
                hear(members, "ready")
                before = queue.figures()["requests"]
                say(members)
                hear(members, "created")
                port = urlsplit(queue.url).port or 0
                meter = Meter(site.pid, port=port, askers=queue.askers)
                with meter.running() as usage:
                    say(members)
                    if round_.killed_after is not None:
                        time.sleep(round_.killed_after)
                        kill_cluster(site.pid)
                    tasks = json.loads(members.stdout.readline())
            return survived(judge("ours", round_, queue, before, tasks, usage))


def kill_cluster(start: int) -> None:
    """Kill every process of the workers below `manage.py start`, all at once."""
    for pid in family(start):
        if b"qcluster" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)


def survived(outcome: Outcome) -> Outcome:
    """Return the outcome unless something was lost, or sent twice."""
    lost = outcome.round.count - len(outcome.detection)
    if lost or outcome.submits_per_task > 1:
        raise SystemExit(
            f"{lost} tasks lost ({set(outcome.failures)}), "
            f"submits of a task: {outcome.submits_per_task}"
        )
    return outcome


def measure_fal_client(form: str, round_: Round) -> Outcome:
    with _fal_queue.running(shortest=round_.shortest, longest=round_.longest) as queue:
        command = [sys.executable, "-m", "benchmarks._fal_client", form, queue.url]
        with contestant([*command, str(round_.count)], round_, clean_environment()) as client:
            hear(client, "ready")
            before = queue.figures()["requests"]
            with Meter(client.pid).running() as usage:
                say(client)
                answer = json.loads(client.stdout.readline())
            say(client)
        tasks = {
            prompt: {"status": "SUCCESS", "completed_at": moment}
            for prompt, moment in answer["got"].items()
        }
        tasks |= {
            f"failed {number}": {"status": error} for number, error in enumerate(answer["failed"])
        }
        return judge(f"fal-client {form}", round_, queue, before, tasks, usage)


def judge(
    name: str,
    round_: Round,
    queue: Queue,
    before: dict[str, int],
    tasks: dict[str, dict[str, Any]],
    usage: Usage,
) -> Outcome:
    """Hold what a contestant says against what the queue knows."""
    figures = queue.figures()
    jobs = figures["jobs"]
    done_at = {job["prompt"]: job["done_at"] for job in jobs}
    finished = {prompt: task for prompt, task in tasks.items() if task["status"] == "SUCCESS"}
    return Outcome(
        name=name,
        round=round_,
        detection=sorted(task["completed_at"] - done_at[p] for p, task in finished.items()),
        visible=sorted(
            task["seen_at"] - done_at[p] for p, task in finished.items() if task.get("seen_at")
        ),
        usage=usage,
        requests={
            kind: number - before.get(kind, 0) for kind, number in figures["requests"].items()
        },
        failures=[
            f"{task['status']} {task.get('error_code', '')}"
            for task in tasks.values()
            if task["status"] != "SUCCESS"
        ],
        peak_in_flight=most_at_once(jobs),
        submits_per_task=max(Counter(job["prompt"] for job in jobs).values(), default=0),
        queue_late_secs=figures["late_secs"],
    )


def most_at_once(jobs: list[dict[str, Any]]) -> int:
    """Return how many jobs the queue had accepted and not yet done, at most."""
    events = sorted([(j["accepted_at"], 1) for j in jobs] + [(j["done_at"], -1) for j in jobs])
    at_once = most = 0
    for _moment, change in events:
        at_once += change
        most = max(most, at_once)
    return most


def percentile(values: list[float], percent: float) -> float | None:
    if len(values) < 2:
        return values[0] if values else None
    if percent == 100:
        return values[-1]
    return statistics.quantiles(values, n=100, method="inclusive")[round(percent) - 1]


# ---------------------------------------------------------------- processes
@contextlib.contextmanager
def contestant(
    command: list[str], round_: Round, env: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """Run a contestant on its own core, or on all of them."""
    cores = contestants_cores() if round_.pinned else ALL_CORES
    with on_cores(cores):
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


@contextlib.contextmanager
def helper(module: str, *arguments: str, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def say(process: subprocess.Popen[str]) -> None:
    process.stdin.write("\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str], word: str) -> None:
    heard = process.stdout.readline().strip()
    if heard != word:
        raise SystemExit(f"{process.args} said {heard!r} instead of {word!r}")


ALL_CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def contestants_cores() -> set[int]:
    return {min(ALL_CORES)} if ALL_CORES else set()


def other_cores() -> set[int]:
    return ALL_CORES - contestants_cores() or ALL_CORES


@contextlib.contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """Keep to these cores, as will whatever is started meanwhile."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


# ---------------------------------------------------------------- telling
COLUMNS: dict[str, Callable[[Outcome], str]] = {
    "contestant": lambda o: o.name,
    "N": lambda o: str(o.round.count),
    "job s": lambda o: f"{o.round.shortest:g}-{o.round.longest:g}",
    "killed": lambda o: "yes" if o.round.killed_after is not None else "-",
    "done": lambda o: str(len(o.detection)),
    "at once": lambda o: str(o.peak_in_flight),
    "p50 s": lambda o: shown(percentile(o.detection, 50)),
    "p95 s": lambda o: shown(percentile(o.detection, 95)),
    "max s": lambda o: shown(percentile(o.detection, 100)),
    "seen p95 s": lambda o: shown(percentile(o.visible, 95)),
    "CPU s": lambda o: shown(o.usage.cpu_secs),
    "asking": lambda o: shown(o.usage.asking_cpu_secs or None),
    "wall s": lambda o: shown(o.usage.wall_secs),
    "MB": lambda o: f"{o.usage.peak_mb:.0f}",
    "asking MB": lambda o: f"{o.usage.asking_peak_mb:.0f}",
    "threads": lambda o: str(o.usage.threads),
    "asking thr": lambda o: str(o.usage.asking_threads or "-"),
    "polls": lambda o: str(o.requests.get("status", 0)),
    "requests": lambda o: str(sum(o.requests.values())),
    "stored": lambda o: str(o.requests.get("picture", "-")),
    "queue late s": lambda o: shown(o.queue_late_secs),
}


def shown(secs: float | None) -> str:
    return "-" if secs is None else f"{secs:.2f}"


def tell(outcome: Outcome) -> Outcome:
    """Say at once how a contestant did; the table comes at the end."""
    p95 = shown(percentile(outcome.detection, 95))
    cpu = shown(outcome.usage.cpu_secs)
    print(f"{outcome.name}, {outcome.round.count} requests: p95 {p95} s, CPU {cpu} s", flush=True)
    for failure in sorted(set(outcome.failures)):
        print(f"  failed: {outcome.failures.count(failure)} × {failure}", flush=True)
    return outcome


def print_table(outcomes: list[Outcome]) -> None:
    rows = [list(COLUMNS), *([show(o) for show in COLUMNS.values()] for o in outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    print()
    for row in rows:
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join([first.strip().ljust(widths[0]), *rest]))
    print()
