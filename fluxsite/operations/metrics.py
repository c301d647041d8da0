"""Figures for Prometheus, read from the database whenever somebody scrapes.

Nothing is counted in this process: there are several, on several machines, and a worker may
have lived for an hour only. So whichever process answers, the figures are the same. What is
unfinished is counted now; what has ended is summed from what every hour brought
(operations/hours.py), which is counted once a minute.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.utils import timezone
from prometheus_client.core import (
    CollectorRegistry,
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from fluxsite.models import Incident
from fluxsite.operations import hours, incidents, probes
from generation import workload
from generation.models import FluxTask
from history import feedback

Totals = Mapping[str, Mapping[tuple[str, str], int]]


def exposition(*, accept: str) -> tuple[bytes, str]:
    """Return the figures as text and its content type, in the dialect that `accept` prefers."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Site(_read(now=timezone.now())))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


@dataclass(frozen=True, kw_only=True)
class _Figures:
    load: workload.Workload
    totals: Totals
    storage_bytes: int
    reports_open: int
    storage: probes.Check
    incidents: list[Incident]


def _read(*, now: datetime) -> _Figures:
    """Read everything. Nine queries."""
    return _Figures(
        load=workload.measure(now=now),
        totals=hours.totals(),
        storage_bytes=hours.storage_bytes(),
        reports_open=feedback.open_reports(),
        storage=probes.check_storage(),
        incidents=incidents.open_incidents(),
    )


class _Site(Collector):
    def __init__(self, figures: _Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        figures = self._figures
        yield _gauge("build_info", "The version that runs.", [((settings.VERSION,), 1)], "version")
        yield from _now(figures)
        yield from _tasks_ended(figures.totals)
        yield from _pictures(figures)


def _gauge(
    name: str, text: str, samples: Iterable[tuple[tuple[str, ...], float]], *labels: str
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"fluxsite_{name}", text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


# ---------------------------------------------------------------- now
def _now(figures: _Figures) -> Iterator[Metric]:
    load = figures.load

    def one(name: str, text: str, value: float) -> GaugeMetricFamily:
        return _gauge(name, text, [((), value)])

    def age(moment: datetime | None) -> float:
        return max(0.0, (load.now - moment).total_seconds()) if moment else 0.0

    checks = [probes.check_workers(load), probes.check_queue(load), figures.storage]
    yield _gauge(
        "check_ok",
        "1 while what /readyz checks is well.",
        [((check.name,), check.is_well) for check in checks],
        "check",
    )
    states: dict[tuple[str, ...], int] = {(each.value,): 0 for each in FluxTask.UNFINISHED}
    for (status, _sent), number in load.tasks.items():
        states[(status,)] += number
    yield _gauge("tasks_unfinished", "Tasks that have not ended.", states.items(), "status")
    yield one("tasks_waiting", "Tasks that wait here to be sent.", load.waiting)
    yield one(
        "tasks_submission_unknown",
        "Tasks of which nobody knows yet whether the provider has them.",
        load.unknown,
    )
    yield one(
        "oldest_waiting_seconds",
        "How long the oldest task has waited here.",
        age(load.oldest_waiting_at),
    )
    yield one(
        "oldest_due_seconds",
        "How long the oldest due task has been due.",
        age(min(load.oldest_due_at.values(), default=None)),
    )
    if load.workers_seen_at:
        yield one(
            "workers_silent_seconds",
            "Seconds since a worker showed itself.",
            age(load.workers_seen_at),
        )
    yield one("channel_open", "1 while new tasks are accepted.", load.channel.is_open)
    yield one("breaker_open", "1 while the provider refuses the account.", load.channel.is_refused)
    yield one("pictures_to_store", "Pictures that wait to be copied here.", load.pictures_to_store)
    yield one("pictures_failing", "Of these, tried before without success.", load.pictures_failing)
    yield one(
        "storage_bytes", "Taken by all pictures, as counted in the night.", figures.storage_bytes
    )
    is_open = {(kind,): 0 for kind in Incident.Kind.values}
    is_open |= {(incident.kind,): 1 for incident in figures.incidents}
    yield _gauge("incident_open", "1 while staff are told of it by mail.", is_open.items(), "kind")
    yield one("reports_open", "Reports of members that wait for staff.", figures.reports_open)


# ---------------------------------------------------------------- ever since
def _tasks_ended(totals: Totals) -> Iterator[Metric]:
    ended = CounterMetricFamily(
        "fluxsite_tasks_ended",
        "Tasks by how they ended: SUCCESS, CANCELLED or an error code.",
        labels=("model", "outcome"),
    )
    for (model, outcome), number in sorted(totals.get("tasks", {}).items()):
        ended.add_metric((model, outcome), number)
    yield ended
    charged = CounterMetricFamily(
        "fluxsite_credits_charged", "Credits charged on delivery.", labels=("model",)
    )
    for (model, _key), number in sorted(totals.get("credits", {}).items()):
        charged.add_metric((model,), number)
    yield charged
    yield _generation_seconds(totals)


def _generation_seconds(totals: Totals) -> HistogramMetricFamily:
    family = HistogramMetricFamily(
        "fluxsite_generation_seconds",
        "Seconds from sending a task to its result.",
        labels=("model",),
    )
    by_model: dict[str, dict[str, int]] = {}
    for (model, key), number in totals.get("seconds", {}).items():
        by_model.setdefault(model, {})[key] = number
    for model, counts in sorted(by_model.items()):
        buckets, below = [], 0
        for bound in (*(f"{bound:g}" for bound in hours.BOUNDS), hours.BEYOND):
            below += counts.get(bound, 0)
            buckets.append(("+Inf" if bound == hours.BEYOND else bound, float(below)))
        took = totals.get("milliseconds", {}).get((model, ""), 0) / 1000
        family.add_metric((model,), buckets, took)
    return family


def _pictures(figures: _Figures) -> Iterator[Metric]:
    family = CounterMetricFamily(
        "fluxsite_pictures",
        "Pictures by what became of them: delivered, stored, retried, lost.",
        labels=("state",),
    )
    for (_model, state), number in sorted(figures.totals.get("pictures", {}).items()):
        family.add_metric((state,), number)
    yield family
