"""What every hour brought, counted once and summed ever after.

    tasks         by model and outcome: SUCCESS, CANCELLED or an error code (generation/errors.py)
    seconds       successes by model and bucket of their generation time, see BOUNDS
    milliseconds  their generation times together, by model
    credits       charged on delivery, by model
    pictures      by state: delivered, stored, retried (not stored at first), lost
    votes         by vote; reports, by reason
    bytes         what all pictures took in the storage, as last counted in that hour
    counted       1: the hour was counted

An hour has what ended in it. It is counted again while it is young, as pictures are stored a
little later, and again in the following nights. Counting may be cut off, repeated, and done by
several machines at once: a figure only grows, so that all of them come to the same end, what
happened stays, and Prometheus sees counters that never fall. (A task that failed and was
delivered late thus counts as both, each in its hour.) Votes and bytes alone can fall.

After KEEP_HOURS the hours of a day are folded into one row for the day.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, models, transaction
from django.db.models import Case, Count, Max, Min, Q, Sum, Value, When
from django.utils import timezone

from fluxsite.models import HourlyFigure
from generation.models import FluxTask, StorageUse, TaskImage
from history.models import Feedback

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
#: Upper bounds, in seconds, of the buckets of generation times: each about 1.4 times the one
#: before, so that a percentile read from them is off by a sixth at most. Beyond is "inf".
BOUNDS = (0.5, 0.7, 1, 1.4, 2, 2.8, 4, 5.6, 8, 11, 16, 22, 32, 45, 64, 90, 128, 180, 256, 360, 512)
BEYOND = "inf"
#: What is taken from the past of a site that begins to count.
BACK = timedelta(days=31)
#: How far back hours are kept: a little more than the longest period that shows parts of a day.
KEEP_HOURS = timedelta(days=8)
#: Counted again every minute, and every night.
YOUNG = timedelta(hours=2)
NIGHTLY = timedelta(days=3)
#: Seconds a run may take; the next one goes on where it ended.
RUN_SECONDS = 20.0
FOLD_DAYS = 40
#: Of these a day has the highest, not the sum.
LEVELS = frozenset({"bytes", "counted"})
#: These are as they were counted last, even if that is less.
FALLING = frozenset({"votes", "bytes"})


@dataclass(frozen=True, order=True, kw_only=True)
class Figure:
    name: str
    model: str = ""
    key: str = ""
    value: int


def begin_of_hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


# ---------------------------------------------------------------- counting
def roll_up(*, now: datetime | None = None, young: timedelta = YOUNG) -> int:
    """Count the hours that are young or were never counted. Returns their number."""
    now = now or timezone.now()
    this_hour = begin_of_hour(now)
    hour = min(_first_uncounted(now), this_hour - young)
    end = time.monotonic() + RUN_SECONDS
    counted = 0
    while hour <= this_hour and (time.monotonic() < end or not counted):
        count_hour(hour, is_current=hour == this_hour)
        hour, counted = hour + HOUR, counted + 1
    return counted


def _first_uncounted(now: datetime) -> datetime:
    """Return the hour after the last one counted, folded or not; of a site that has none, the
    first one in which anything ended."""
    counted = HourlyFigure.objects.filter(name="counted").order_by("-begins_at")
    for begins_at, hours in counted.values_list("begins_at", "hours")[:1]:
        return max(begin_of_hour(begins_at + hours * HOUR), begin_of_hour(now - BACK))
    ended = FluxTask.objects.filter(completed_at__gte=now - BACK)
    first: datetime | None = ended.aggregate(first=Min("completed_at"))["first"]
    return begin_of_hour(first or now)


def count_hour(hour: datetime, *, is_current: bool = False) -> None:
    """Count one hour, from the indexes of what happened in it. Five queries, and two writes."""
    figures = [*_tasks(hour), *_seconds(hour), *_pictures(hour), *_feedback(hour)]
    if is_current:
        figures.append(Figure(name="bytes", value=storage_bytes()))
    _write(hour, [*figures, Figure(name="counted", value=1)])


def storage_bytes() -> int:
    """Return what all pictures take in the storage, as counted in the night."""
    return int(StorageUse.objects.aggregate(total=Sum("byte_size"))["total"] or 0)


def _ended(hour: datetime) -> models.QuerySet[FluxTask]:
    """Return what ended here in that hour; what was brought over from elsewhere did not.

    Nothing asks for a status beside it: without statistics SQLite would sooner collect all tasks
    of a status than those of an hour.
    """
    within = FluxTask.objects.filter(completed_at__gte=hour, completed_at__lt=hour + HOUR)
    return within.filter(origin="").order_by()


def _tasks(hour: datetime) -> Iterator[Figure]:
    rows = _ended(hour).values_list("model", "status", "error_code")
    sums = rows.annotate(n=Count("pk"), charged=Sum("cost_charged"), took=Sum("generation_time"))
    for model, status, code, number, charged, took in sums:
        is_failure = status == FluxTask.Status.FAILED
        yield Figure(
            name="tasks",
            model=model,
            key=(code or "internal") if is_failure else status,
            value=number,
        )
        if status == FluxTask.Status.SUCCESS:
            yield Figure(name="credits", model=model, value=charged)
            yield Figure(name="milliseconds", model=model, value=round(1000 * (took or 0)))


def _seconds(hour: datetime) -> Iterator[Figure]:
    bucket = Case(
        *(When(generation_time__lte=bound, then=Value(f"{bound:g}")) for bound in BOUNDS),
        default=Value(BEYOND),
        output_field=models.CharField(),
    )
    timed = _ended(hour).filter(generation_time__isnull=False).annotate(bucket=bucket)
    rows = timed.values_list("status", "model", "bucket").annotate(n=Count("pk"))
    for status, model, key, number in rows:
        if status == FluxTask.Status.SUCCESS:
            yield Figure(name="seconds", model=model, key=key, value=number)


def _pictures(hour: datetime) -> Iterator[Figure]:
    tasks = _ended(hour).values("pk")
    images = TaskImage.objects.filter(source=TaskImage.Source.FLUX, task_id__in=tasks)
    counted = images.aggregate(
        delivered=Count("pk"),
        stored=Count("pk", filter=Q(stored_at__isnull=False)),
        retried=Count("pk", filter=Q(store_attempts__gt=0)),
        lost=Count("pk", filter=Q(lost_at__isnull=False)),
    )
    for key, number in counted.items():
        yield Figure(name="pictures", key=key, value=number)


def _feedback(hour: datetime) -> Iterator[Figure]:
    said = Feedback.objects.filter(updated_at__gte=hour, updated_at__lt=hour + HOUR).order_by()
    counted = said.aggregate(
        **{vote: Count("pk", filter=Q(vote=vote)) for vote in Feedback.Vote.values}
    )
    for vote, number in counted.items():
        yield Figure(name="votes", key=vote, value=number)
    reported = said.exclude(reason="").filter(reported_at__gte=hour)
    for reason, number in reported.values_list("reason").annotate(n=Count("pk")):
        yield Figure(name="reports", key=reason, value=number)


# ---------------------------------------------------------------- writing
_UPSERT = """
    INSERT INTO hourly_figures (begins_at, hours, name, model, key, value) VALUES {}
    ON CONFLICT (begins_at, hours, name, model, key) DO UPDATE SET value = excluded.value {}
"""
_GROWING = "WHERE excluded.value > hourly_figures.value"


def _write(begins_at: datetime, figures: list[Figure], *, hours: int = 1) -> None:
    moment = connection.ops.adapt_datetimefield_value(begins_at)
    for condition, is_falling in ((_GROWING, False), ("", True)):
        # In one order, so that two writers on PostgreSQL never wait for each other.
        chosen = sorted(f for f in figures if (f.name in FALLING) == is_falling)
        # Zeros are worth a row only where they take something back.
        rows = [f for f in chosen if f.value or is_falling]
        if not rows:
            continue
        values = [(moment, hours, f.name, f.model, f.key, f.value) for f in rows]
        places = ", ".join(["(%s, %s, %s, %s, %s, %s)"] * len(values))
        with connection.cursor() as cursor:
            cursor.execute(
                _UPSERT.format(places, condition), [each for row in values for each in row]
            )


# ---------------------------------------------------------------- every night
def nightly(*, now: datetime | None = None) -> None:
    """Count the last days again, and fold old ones."""
    now = now or timezone.now()
    roll_up(now=now, young=NIGHTLY)
    fold(now=now)


def fold(*, now: datetime) -> int:
    """Fold the hours of old days, of the site's time zone, into a row a day. Returns the number
    of days.

    The row is written before its hours go, in one transaction, and only of days that have been
    counted to their end: nobody counts such an hour any more, and two who fold the same day
    write the same.
    """
    end = min(now - KEEP_HOURS, _first_uncounted(now))
    days = 0
    while days < FOLD_DAYS:
        hourly = HourlyFigure.objects.filter(hours=1, begins_at__lt=end)
        first: datetime | None = hourly.aggregate(first=Min("begins_at"))["first"]
        if first is None:
            break
        day = timezone.localtime(first).replace(hour=0, minute=0, second=0, microsecond=0)
        # By the clock on the wall: it may be 23 or 25 hours later.
        next_day = day + DAY
        if next_day > end:
            break
        _fold_day(day.astimezone(UTC), next_day.astimezone(UTC))
        days += 1
    return days


@transaction.atomic
def _fold_day(day: datetime, next_day: datetime) -> None:
    hours = HourlyFigure.objects.filter(hours=1, begins_at__gte=day, begins_at__lt=next_day)
    sums = hours.order_by().values_list("name", "model", "key")
    figures = [
        Figure(name=name, model=model, key=key, value=top if name in LEVELS else total)
        for name, model, key, total, top in sums.annotate(a=Sum("value"), b=Max("value"))
    ]
    _write(day, figures, hours=round((next_day - day) / HOUR))
    hours.delete()


def totals() -> dict[str, dict[tuple[str, str], int]]:
    """Return the sums of all figures that can be summed, since the beginning: by name, then by
    model and key. One query."""
    found: dict[str, dict[tuple[str, str], int]] = {}
    rows = HourlyFigure.objects.exclude(name__in=LEVELS).order_by()
    sums = rows.values_list("name", "model", "key").annotate(total=Sum("value"))
    for name, model, key, value in sums:
        found.setdefault(name, {})[model, key] = int(value)
    return found


def since(moment: datetime) -> Iterator[tuple[datetime, str, str, str, int]]:
    """Yield every figure since a moment: the beginning of its hour or day, name, model, key and
    value, in the order of time. One query.

    In SQL: a month is some ten thousand rows, of which the ORM would take the times apart one by
    one.
    """
    begin = connection.ops.adapt_datetimefield_value(moment)
    times: dict[Any, datetime] = {}
    with connection.cursor() as cursor:
        cursor.execute(_SINCE, [begin])
        for at, name, model, key, value in cursor.fetchall():
            if at not in times:
                # SQLite has texts, and knows no time zones.
                parsed = datetime.fromisoformat(at) if isinstance(at, str) else at
                times[at] = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
            yield times[at], name, model, key, value


_SINCE = """
    SELECT begins_at, name, model, key, value FROM hourly_figures
    WHERE begins_at >= %s ORDER BY begins_at
"""
