"""The figures of the dashboard, for one period: read from the hourly sums, never from tasks."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.utils import timezone

from fluxsite.operations import hours
from generation import errors

SUCCESS, CANCELLED = "SUCCESS", "CANCELLED"
#: Periods by the word in the address: days, and hours of one step of the charts.
PERIODS = {"24h": (1, 1), "7d": (7, 6), "30d": (30, 24)}
DEFAULT = "24h"
#: The figures that tell of tasks that ended.
ENDS = frozenset({"tasks", "seconds", "credits"})


# ---------------------------------------------------------------- periods
@dataclass(frozen=True, kw_only=True)
class Period:
    """A span of time and the steps its charts have. A day begins at midnight of the site's time
    zone, and today is the last one."""

    name: str
    begins: Sequence[datetime]

    @property
    def since(self) -> datetime:
        return self.begins[0]

    def step_of(self, moment: datetime) -> int:
        """Return the number of the step that a moment falls into."""
        return bisect_right(self.begins, moment) - 1


def period(name: str, *, now: datetime) -> Period:
    """Return the period of that name that ends now; of a name nobody knows, the default."""
    name = name if name in PERIODS else DEFAULT
    days, step = PERIODS[name]
    local = timezone.localtime(now)
    if days == 1:
        this_hour = local.replace(minute=0, second=0, microsecond=0)
        begins = [this_hour - timedelta(hours=back) for back in range(23, -1, -1)]
    else:
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        # By the clock on the wall: a day may have 23 or 25 hours.
        begins = [
            (midnight - timedelta(days=back)).replace(hour=hour)
            for back in range(days - 1, -1, -1)
            for hour in range(0, 24, step)
        ]
    return Period(name=name, begins=[begin for begin in begins if begin <= now])


# ---------------------------------------------------------------- figures
def percentile(buckets: Mapping[str, int], share: float) -> float | None:
    """Return the seconds within which that share was drawn, read from counts by bucket; infinity
    beyond the last bound, None without any."""
    total = sum(buckets.values())
    if not total:
        return None
    below, lower = 0, 0.0
    for bound in hours.BOUNDS:
        inside = buckets.get(f"{bound:g}", 0)
        if inside and below + inside >= share * total:
            return lower + (bound - lower) * (share * total - below) / inside
        below, lower = below + inside, bound
    return float("inf")


@dataclass(kw_only=True)
class Ends:
    """How tasks ended, what they cost and how long they took."""

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    credits: int = 0

    @property
    def done(self) -> int:
        return self.outcomes[SUCCESS]

    @property
    def cancelled(self) -> int:
        return self.outcomes[CANCELLED]

    @property
    def failures(self) -> dict[str, int]:
        """Failures by error code, the most frequent first."""
        return {
            code: number
            for code, number in self.outcomes.most_common()
            if number and code not in (SUCCESS, CANCELLED)
        }

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    @property
    def decided(self) -> int:
        """Tasks that were not cancelled: those that a rate is a share of."""
        return self.done + self.failed

    @property
    def total(self) -> int:
        return sum(self.outcomes.values())

    @property
    def success_rate(self) -> float | None:
        return share(self.done, self.decided)

    def failed_by(self, codes: Iterable[str]) -> int:
        return sum(self.outcomes[code] for code in codes)

    def add(self, name: str, key: str, value: int) -> None:
        """Add one of the figures of ENDS."""
        if name == "tasks":
            self.outcomes[key] += value
        elif name == "seconds":
            self.seconds[key] += value
        elif name == "credits":
            self.credits += value


def share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


@dataclass(kw_only=True)
class Statistics:
    """What a period brought: altogether, by model, and by step of its charts."""

    period: Period
    all: Ends
    models: dict[str, Ends]
    steps: list[Ends]
    #: What the storage held at the end of a step, None where nobody counted.
    storage: list[int | None]
    pictures: Mapping[str, int]
    votes: Mapping[str, int]
    reports: int

    @property
    def provider_failures(self) -> int:
        return self.all.failed_by(errors.codes_of("provider"))

    @property
    def timeouts(self) -> int:
        return self.all.failed_by(errors.codes_of("time"))

    @property
    def satisfaction(self) -> float | None:
        likes = self.votes.get("like", 0)
        return share(likes, likes + self.votes.get("dislike", 0))


def read(*, period: Period) -> Statistics:
    """Read what a period brought. One query."""
    everything = Ends()
    models: dict[str, Ends] = {}
    steps = [Ends() for _begin in period.begins]
    others: dict[str, Counter[str]] = {"pictures": Counter(), "votes": Counter()}
    reports = 0
    sums, storage = _by_step(period)
    for (step, name, model, key), value in sums.items():
        if name in ENDS:
            for ends in (everything, steps[step], models.setdefault(model, Ends())):
                ends.add(name, key, value)
        elif name in others:
            others[name][key] += value
        elif name == "reports":
            reports += value
    return Statistics(
        period=period,
        all=everything,
        models=dict(sorted(models.items(), key=lambda each: -each[1].total)),
        steps=steps,
        storage=storage,
        pictures=others["pictures"],
        votes=others["votes"],
        reports=reports,
    )


_Sums = dict[tuple[int, str, str, str], int]


def _by_step(period: Period) -> tuple[_Sums, list[int | None]]:
    """Return the figures of each step, and what the storage held: from tens of thousands of rows,
    so as little as possible is done with each."""
    sums: _Sums = defaultdict(int)
    storage: list[int | None] = [None] * len(period.begins)
    last: datetime | None = None
    step = 0
    for begins_at, name, model, key, value in hours.since(period.since):
        if begins_at is not last:
            last, step = begins_at, period.step_of(begins_at)
        if name == "bytes":
            # In the order of time: the last count of a step is the one that stays.
            storage[step] = value
        else:
            sums[step, name, model, key] += value
    return sums, storage
