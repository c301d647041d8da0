"""`/admin/dashboard/`: how the site is, and what it did in a day, a week or a month.

What is unfinished is counted now, everything else read from the hourly sums: the page takes as
long with ten million tasks as with ten. docs/operations.md says where each figure comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from fluxsite.operations import charts, hours, incidents, probes, statistics, wording
from generation import catalogue, errors, workload
from generation.admin import NEXT_STEPS
from generation.models import FluxTask
from history import feedback

TASKS = "admin:generation_fluxtask_changelist"
_PERIODS = {
    "24h": gettext_lazy("24 hours"),
    "7d": gettext_lazy("7 days"),
    "30d": gettext_lazy("30 days"),
}
_CHECKS = {
    "workers": gettext_lazy("Workers"),
    "queue": gettext_lazy("Queue"),
    "storage": gettext_lazy("Storage"),
}
#: Stuck and unknown tasks that are listed; the admin lists them all.
MOST_TASKS = 10
#: A submit that has not been answered for so long deserves a look.
UNKNOWN_AFTER = timedelta(seconds=60)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One figure: what it is, how much, and what it is made of."""

    label: str
    value: str
    note: str = ""
    url: str = ""
    is_bad: bool = False


@require_safe
@never_cache
def dashboard(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    load = workload.measure(now=now)
    period = statistics.period(request.GET.get("period", ""), now=now)
    found = statistics.read(period=period)
    reports_open = feedback.open_reports()
    context = {
        **admin.site.each_context(request),
        "title": _("Dashboard"),
        "now": now,
        "periods": [(name, words, name == period.name) for name, words in _PERIODS.items()],
        "incidents": incidents.open_incidents(),
        "checks": [
            (_CHECKS[check.name], check)
            for check in (
                probes.check_workers(load),
                probes.check_queue(load),
                probes.check_storage(),
            )
        ],
        "tiles_now": _tiles_now(load, reports_open=reports_open),
        "tiles": _tiles(found),
        "charts": _charts(found),
        "models": _models(found),
        "failures": _failures(found),
        "tasks": _tasks_to_look_at(now),
        "uses_credits": settings.CREDITS_ENABLED,
    }
    return TemplateResponse(request, "operations/dashboard.html", context)


def _to_tasks(**filters: str) -> str:
    return f"{reverse(TASKS)}?{urlencode(filters)}"


# ---------------------------------------------------------------- tiles
def _tiles_now(load: workload.Workload, *, reports_open: int) -> list[Tile]:
    oldest, config = load.oldest_waiting_at, load.channel.config
    return [
        Tile(
            label=_("Waiting"),
            value=wording.number(load.waiting),
            note=(
                _("the oldest for %(time)s") % {"time": wording.age(load.now - oldest)}
                if oldest
                else _("nobody waits")
            ),
            url=_to_tasks(status__exact="PENDING", submission__exact="UNSENT"),
        ),
        Tile(
            label=_("At the provider"),
            value=wording.number(load.at_provider),
            note=_("of %(places)s places") % {"places": config.max_concurrent_tasks},
            url=_to_tasks(submission__exact="ACCEPTED", status__in="IN_QUEUE,IN_PROGRESS"),
        ),
        Tile(
            label=_("Fate unknown"),
            value=wording.number(load.unknown),
            note=_("sent, and not answered yet"),
            url=_to_tasks(status__exact="PENDING", submission__exact="UNKNOWN"),
        ),
        Tile(
            label=_("Pictures to store"),
            value=wording.number(load.pictures_to_store),
            note=_("%(number)s failed before") % {"number": wording.number(load.pictures_failing)},
            url=f"{reverse('admin:generation_taskimage_changelist')}?stored_at__isempty=1",
            is_bad=load.pictures_failing > 0,
        ),
        Tile(
            label=_("Storage used"),
            value=wording.size(hours.storage_bytes()),
            note=_("counted in the night"),
            url=reverse("admin:generation_storageuse_changelist"),
        ),
        Tile(
            label=_("Open reports"),
            value=wording.number(reports_open),
            note=_("complaints that wait for staff"),
            url=f"{reverse('admin:history_feedback_changelist')}?state=open",
            is_bad=reports_open > 0,
        ),
    ]


def _tiles(found: statistics.Statistics) -> list[Tile]:
    ends, pictures = found.all, found.pictures
    tiles = [
        _rate(_("Success rate"), ends.done, ends.decided, _("%(part)s of %(whole)s tasks")),
        Tile(
            label=_("Generation time"),
            value=wording.seconds(statistics.percentile(ends.seconds, 0.5)),
            note=_("half of them within; 95 of 100 within %(time)s")
            % {"time": wording.seconds(statistics.percentile(ends.seconds, 0.95))},
        ),
        _rate(
            _("Provider failures"),
            found.provider_failures,
            ends.decided,
            _("%(part)s of %(whole)s tasks"),
        ),
        _rate(_("Timeouts"), found.timeouts, ends.decided, _("%(part)s of %(whole)s tasks")),
        _rate(
            _("Storing failed"),
            pictures.get("retried", 0),
            pictures.get("delivered", 0),
            _("%(part)s of %(whole)s pictures at first; %(lost)s lost"),
            lost=wording.number(pictures.get("lost", 0)),
        ),
        _rate(
            _("Satisfaction"),
            found.votes.get("like", 0),
            sum(found.votes.values()),
            _("%(part)s of %(whole)s votes liked it"),
        ),
        Tile(
            label=_("Complaints"),
            value=wording.number(found.reports),
            note=_("reports by members"),
            url=reverse("admin:history_feedback_changelist"),
        ),
    ]
    if settings.CREDITS_ENABLED:
        tiles.insert(
            2,
            Tile(
                label=_("Credits spent"),
                value=wording.number(ends.credits),
                note=_("charged on delivery"),
                url=reverse("admin:credits_ledgerentry_changelist"),
            ),
        )
    return tiles


def _rate(label: str, part: int, whole: int, note: str, **more: str) -> Tile:
    parts = {"part": wording.number(part), "whole": wording.number(whole), **more}
    return Tile(
        label=label, value=wording.percent(statistics.share(part, whole)), note=note % parts
    )


# ---------------------------------------------------------------- charts
def _charts(found: statistics.Statistics) -> list[charts.Chart]:
    labels = [_label(begin, found.period.name) for begin in found.period.begins]
    drawn = [
        charts.bars(
            name="tasks",
            title=_("Tasks"),
            labels=labels,
            write=wording.number,
            series=[
                _counted(_("done"), "done", [step.done for step in found.steps]),
                _counted(_("failed"), "failed", [step.failed for step in found.steps]),
                _counted(_("cancelled"), "other", [step.cancelled for step in found.steps]),
            ],
        ),
        charts.lines(
            name="seconds",
            title=_("Generation time"),
            labels=labels,
            write=wording.seconds,
            series=[
                _timed(_("half of them within"), "first", found, 0.5),
                _timed(_("95 of 100 within"), "second", found, 0.95),
            ],
        ),
        charts.lines(
            name="storage",
            title=_("Storage used"),
            labels=labels,
            write=wording.size,
            nice=charts.nice_bytes,
            has_area=True,
            series=[_stored(found)],
        ),
    ]
    if settings.CREDITS_ENABLED:
        spent = _counted(_("charged"), "done", [step.credits for step in found.steps])
        drawn.insert(
            2,
            charts.bars(
                name="credits",
                title=_("Credits spent"),
                labels=labels,
                write=wording.number,
                series=[spent],
            ),
        )
    return drawn


def _label(begin: datetime, period: str) -> str:
    local = timezone.localtime(begin)
    if period == "24h":
        return f"{local:%H:%M}"
    day = date_format(local, "MONTH_DAY_FORMAT")
    return f"{day} {local:%H:%M}" if period == "7d" and local.hour else day


def _counted(name: str, look: str, values: Sequence[int]) -> charts.Series:
    return charts.Series(name=name, look=look, values=values, note=wording.number(sum(values)))


def _stored(found: statistics.Statistics) -> charts.Series:
    last = next((value for value in reversed(found.storage) if value is not None), 0)
    return charts.Series(
        name=_("all pictures"), look="first", values=found.storage, note=wording.size(last)
    )


def _timed(name: str, look: str, found: statistics.Statistics, share: float) -> charts.Series:
    return charts.Series(
        name=name,
        look=look,
        # Beyond the last bound nobody knows how far: drawn at that bound.
        values=[
            None
            if (at := statistics.percentile(step.seconds, share)) is None
            else min(at, hours.BOUNDS[-1])
            for step in found.steps
        ],
        note=wording.seconds(statistics.percentile(found.all.seconds, share)),
    )


# ---------------------------------------------------------------- tables
def _models(found: statistics.Statistics) -> list[dict[str, Any]]:
    rows = []
    for name, ends in found.models.items():
        model = catalogue.find_model(name)
        used = statistics.share(ends.total, found.all.total)
        rows.append(
            {
                "name": model.name if model else name,
                "url": _to_tasks(model=name),
                "tasks": wording.number(ends.total),
                "share": wording.percent(used),
                # A number of SVG, the same in every language.
                "bar": f"{100 * (used or 0):.2f}",
                "success": wording.percent(ends.success_rate),
                "p50": wording.seconds(statistics.percentile(ends.seconds, 0.5)),
                "p95": wording.seconds(statistics.percentile(ends.seconds, 0.95)),
                "credits": wording.number(ends.credits),
            }
        )
    return rows


def _failures(found: statistics.Statistics) -> list[dict[str, Any]]:
    since = found.period.since
    return [
        {
            "cause": _(errors.explain(code).cause),
            "code": code,
            "number": wording.number(number),
            "share": wording.percent(statistics.share(number, found.all.decided)),
            "next_step": NEXT_STEPS.get(code, ""),
            "url": _to_tasks(
                error_code=code, status__exact="FAILED", created_at__gte=since.isoformat()
            ),
        }
        for code, number in found.all.failures.items()
    ]


def _tasks_to_look_at(now: datetime) -> list[dict[str, Any]]:
    """Return unfinished tasks that nobody touches, or whose submit was not answered. One query."""
    stuck = Q(next_action_at__lt=now - workload.STUCK_AFTER)
    unknown = Q(submission=FluxTask.Submission.UNKNOWN, submitted_at__lt=now - UNKNOWN_AFTER)
    tasks = FluxTask.objects.at_provider().filter(stuck | unknown)
    return [
        {
            "task": task,
            "url": reverse("admin:generation_fluxtask_change", args=[task.pk]),
            "since": wording.age(now - (task.submitted_at or task.created_at)),
            "next_step": (
                _("Wait: it ends by itself within three minutes, and its credits go back.")
                if task.submission == FluxTask.Submission.UNKNOWN
                else _("No worker looks at it: see whether the workers run, and the log.")
            ),
        }
        for task in tasks.select_related("user").order_by("created_at")[:MOST_TASKS]
    ]
