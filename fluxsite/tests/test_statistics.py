"""Periods, percentiles and charts: the arithmetic of the dashboard."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from statistics import quantiles

import pytest
from django.utils import timezone, translation

from fluxsite.models import HourlyFigure
from fluxsite.operations import charts, hours, statistics, wording
from fluxsite.operations.charts import Series

NOW = datetime(2026, 11, 20, 12, 34, tzinfo=UTC)
DEV, SCHNELL = "fal-ai/flux-1/dev", "fal-ai/flux-1/schnell"


def figure(name, value, *, at=NOW, model="", key="", hours_=1):
    HourlyFigure.objects.create(
        begins_at=hours.begin_of_hour(at),
        hours=hours_,
        name=name,
        model=model,
        key=key,
        value=value,
    )


def read(name="24h", now=NOW):
    return statistics.read(period=statistics.period(name, now=now))


# ---------------------------------------------------------------- periods
@pytest.mark.parametrize(
    ("name", "steps", "first"),
    [
        ("24h", 24, datetime(2026, 11, 19, 13, tzinfo=UTC)),
        ("7d", 27, datetime(2026, 11, 14, tzinfo=UTC)),
        ("30d", 30, datetime(2026, 10, 22, tzinfo=UTC)),
    ],
)
def test_a_period_ends_with_the_step_that_is_now(name, steps, first):
    period = statistics.period(name, now=NOW)

    assert (len(period.begins), period.since) == (steps, first)
    assert period.step_of(NOW) == steps - 1
    assert period.step_of(first) == 0


@pytest.mark.parametrize("name", ["", "1y", "24H", "7d\x00"])
def test_a_period_nobody_knows_is_a_day(name):
    assert statistics.period(name, now=NOW).name == "24h"


def test_days_are_those_of_the_sites_time_zone():
    with timezone.override("Asia/Shanghai"):
        period = statistics.period("30d", now=datetime(2026, 11, 20, 17, tzinfo=UTC))

    assert period.begins[-1] == datetime(2026, 11, 20, 16, tzinfo=UTC)


def test_a_day_of_twenty_five_hours_is_one_step():
    with timezone.override("Europe/Berlin"):
        period = statistics.period("7d", now=datetime(2026, 10, 27, 12, tzinfo=UTC))

    long_day = [begin for begin in period.begins if f"{begin:%m-%d}" == "10-25"]
    assert [f"{begin:%H %z}" for begin in long_day] == [
        "00 +0200",
        "06 +0100",
        "12 +0100",
        "18 +0100",
    ]


# ---------------------------------------------------------------- percentiles
def test_percentiles_read_from_buckets_are_near_the_true_ones():
    random = Random(3)
    times = sorted(random.lognormvariate(1.5, 0.6) for _each in range(5000))
    bounds = [f"{bound:g}" for bound in hours.BOUNDS]
    buckets = Counter(
        next(b for b, bound in zip(bounds, hours.BOUNDS, strict=True) if t <= bound) for t in times
    )
    true = quantiles(times, n=100)

    for share in (0.5, 0.95):
        assert statistics.percentile(buckets, share) == pytest.approx(
            true[round(share * 100) - 1], rel=0.1
        )


@pytest.mark.parametrize(
    ("buckets", "share", "seconds"),
    [
        ({}, 0.5, None),
        ({"1": 0}, 0.5, None),
        ({"0.5": 10}, 0.5, 0.25),
        ({"4": 1, "inf": 1}, 0.5, 4.0),
        ({"4": 1, "inf": 3}, 0.5, float("inf")),
    ],
)
def test_percentiles_at_the_edges(buckets, share, seconds):
    assert statistics.percentile(buckets, share) == seconds


# ---------------------------------------------------------------- figures
def test_rates_leave_cancelled_tasks_out(db):
    for key, number in {
        "SUCCESS": 90, "CANCELLED": 50, "timeout": 4, "stopped": 1, "provider_error": 3,
        "submit_unknown": 1, "content_policy": 1,
    }.items():  # fmt: skip
        figure("tasks", number, model=DEV, key=key)

    found = read()

    assert found.all.success_rate == 0.9
    assert (found.all.done, found.all.failed, found.all.cancelled) == (90, 10, 50)
    assert found.provider_failures == 4
    assert found.timeouts == 5
    assert list(found.all.failures)[:2] == ["timeout", "provider_error"]


def test_what_is_older_than_the_period_is_not_counted(db):
    figure("tasks", 5, model=DEV, key="SUCCESS", at=NOW - timedelta(hours=24))
    figure("tasks", 2, model=DEV, key="SUCCESS", at=NOW - timedelta(hours=23))
    figure("tasks", 1, model=SCHNELL, key="SUCCESS")

    found = read()

    assert {name: ends.done for name, ends in found.models.items()} == {DEV: 2, SCHNELL: 1}
    assert [step.done for step in found.steps] == [2, *[0] * 22, 1]
    assert read("7d").all.done == 8


def test_models_are_in_the_order_of_their_use(db):
    figure("tasks", 1, model=DEV, key="SUCCESS")
    figure("tasks", 4, model=SCHNELL, key="timeout")

    assert list(read().models) == [SCHNELL, DEV]


def test_the_storage_of_a_step_is_what_was_counted_last_in_it(db):
    day = datetime(2026, 11, 19, tzinfo=UTC)
    figure("bytes", 10, at=day + timedelta(hours=3))
    figure("bytes", 30, at=day + timedelta(hours=20))
    figure("bytes", 20, at=day + timedelta(hours=10))

    assert read("30d").storage[-2:] == [30, None]


def test_votes_and_pictures_and_reports(db):
    for key, number in {"like": 3, "dislike": 1}.items():
        figure("votes", number, key=key)
    figure("pictures", 7, key="delivered")
    figure("reports", 2, key="broken")
    figure("reports", 1, key="other")

    found = read()

    assert found.satisfaction == 0.75
    assert found.pictures == {"delivered": 7}
    assert found.reports == 3


def test_a_site_without_a_past_has_no_rates(db):
    found = read()

    assert (found.all.success_rate, found.satisfaction) == (None, None)


# ---------------------------------------------------------------- charts
def drawn(*values, look="done", draw=charts.bars):
    series = [Series(name="n", look=look, values=list(row)) for row in values]
    labels = [f"{number}" for number in range(len(values[0]))]
    return draw(name="c", title="t", labels=labels, series=series, write=wording.number)


def test_bars_stand_on_each_other():
    chart = drawn([5, 0], [3, 2])

    assert chart.scale == ["8", "4", "0"]
    assert [(rect.y, rect.height) for rect in chart.rects] == [
        ("37.5", "62.5"),
        ("0", "37.5"),
        ("75", "25"),
    ]
    assert chart.steps[1].told == "1: n 0, n 2"


def test_a_line_breaks_where_there_is_nothing_to_draw():
    chart = drawn([1.0, 2.0, None, 4.0], draw=charts.lines)

    assert [line.points for line in chart.lines] == ["0.5,75 1.5,50", "3.12,0 3.88,0"]
    assert chart.steps[2].cells == ["–"]


def test_nothing_to_draw_is_told():
    assert drawn([0, 0]).is_empty
    assert drawn([None, None], draw=charts.lines).is_empty


@pytest.mark.parametrize(
    ("highest", "top"), [(0, 2), (1, 2), (3, 4), (5, 6), (10, 10), (11, 20), (61, 80), (99, 100)]
)
def test_scales_end_at_round_numbers_with_round_halves(highest, top):
    assert charts.nice_top(highest) == top


def test_bytes_are_scaled_by_1024():
    assert wording.size(charts.nice_bytes(5.5 * 1024**3)).replace("\xa0", " ") == "6 GB"


# ---------------------------------------------------------------- words
@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "–"), (0.0, "0%"), (1.0, "100%"), (0.9999, "99.9%"), (0.00001, "0.1%"), (0.5, "50.0%")],
)
def test_what_is_nearly_all_is_not_all(value, words):
    assert wording.percent(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"), (0.25, "0.2 s"), (4.0, "4 s"), (45.2, "45 s"), (125, "2 min 5 s"),
        (180, "3 min"), (float("inf"), "over 8 min 32 s"),
    ],
)  # fmt: skip
def test_seconds_in_words(value, words):
    with translation.override("en"):
        assert wording.seconds(value) == words


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(seconds=-3), "0 s"),
        (timedelta(minutes=5), "5 min"),
        (timedelta(hours=3, minutes=7), "3 h 7 min"),
        (timedelta(days=4), "4 days"),
    ],
)
def test_ages_in_words(span, words):
    with translation.override("en"):
        assert wording.age(span) == words
