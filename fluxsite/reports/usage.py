"""Who used how much, by month: tasks asked for in it, and what became of them up to now.

A task counts in the month in which it was asked for, also when it was settled in the next one, and
also when it is in the trash or gone from it: what was paid stays paid. So the credits charged of
all months together are those the ledger has settled, less what was paid back for pictures that
were lost and what staff gave back. What was drawn elsewhere and brought over costs nothing here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db.models import (
    Case,
    Count,
    F,
    IntegerField,
    Min,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Coalesce

from fluxsite.reports.base import Asked, Pages, Row, months
from generation.models import FluxTask, JimengTask, MidjourneyTask, TaskImage

#: Members whose tasks are summed at a time.
PAGE = 200

FIGURES = ("tasks", "succeeded", "pictures", "credits_charged", "credits_refunded")
BY_MEMBER = ("month", "member", "groups", "source", "model", *FIGURES)
BY_GROUP = ("month", "group", "members", "source", "model", *FIGURES)

#: The tables of tasks, by the name of their source.
TABLES: Mapping[str, Any] = {
    TaskImage.Source.FLUX.value: FluxTask,
    TaskImage.Source.MIDJOURNEY.value: MidjourneyTask,
    TaskImage.Source.JIMENG.value: JimengTask,
}


# ---------------------------------------------------------------- by member
def by_member(asked: Asked) -> Pages:
    for month, within in months(asked, earliest=_earliest()):
        for members in _members(asked.member):
            rows = _of_members(month, within, members)
            if rows:
                yield rows


def _members(only: Any) -> Iterator[Mapping[int, str]]:
    """Yield the names of members by id, some at a time."""
    users: Any = get_user_model()
    if only is not None:
        yield {only.pk: only.get_username()}
        return
    last = 0
    while True:
        some = users.objects.filter(pk__gt=last).order_by("pk")
        names = dict(some.values_list("pk", users.USERNAME_FIELD)[:PAGE])
        if names:
            yield names
        if len(names) < PAGE:
            return
        last = max(names)


def _of_members(month: str, within: Asked, members: Mapping[int, str]) -> list[Row]:
    rows: list[tuple[int, Row]] = []
    for source, table in TABLES.items():
        tasks = table._base_manager.filter(user__in=list(members), **within.during())  # noqa: SLF001
        for user_id, model, *figures in _sums(tasks, source, by=("user_id", "model")):
            rows.append((user_id, (source, model, *figures)))
    if not rows:
        return []
    groups = _groups({user_id for user_id, _row in rows})
    rows.sort(key=lambda each: (each[0], each[1][:2]))
    return [(month, members[user], groups.get(user, ""), *row) for user, row in rows]


def _groups(members: Collection[int]) -> Mapping[int, str]:
    of_member: defaultdict[int, list[str]] = defaultdict(list)
    joined = Group.objects.filter(user__in=list(members)).order_by("name")
    for user_id, name in joined.values_list("user", "name"):
        of_member[user_id].append(name)
    return {user_id: "; ".join(names) for user_id, names in of_member.items()}


# ---------------------------------------------------------------- by group
def by_group(asked: Asked) -> Pages:
    """A member of two groups counts in both; those of none are one group without a name."""
    groups = [*Group.objects.order_by("name").values_list("pk", "name"), (None, "")]
    for month, within in months(asked, earliest=_earliest()):
        for group_id, name in groups:
            rows = list(_of_group(within, group_id))
            if rows:
                yield [(month, name, *row) for row in rows]


def _of_group(within: Asked, group_id: int | None) -> Iterator[Row]:
    members = get_user_model()._base_manager.filter(groups=group_id)  # noqa: SLF001
    if within.member is not None:
        members = members.filter(pk=within.member.pk)
    for source, table in TABLES.items():
        tasks = table._base_manager.filter(user__in=members.values("pk"), **within.during())  # noqa: SLF001
        for model, number, *figures in _sums(tasks, source, by=("model",), members=True):
            yield (number, source, model, *figures)


# ---------------------------------------------------------------- sums
def _sums(
    tasks: QuerySet[Any], source: str, *, by: Sequence[str], members: bool = False
) -> Iterator[tuple[Any, ...]]:
    """Return what `by` says, the number of members if wanted, and FIGURES."""
    pictures = (
        TaskImage.objects.filter(source=source, task_id=OuterRef("pk"))
        .order_by()
        .values("task_id")
        .annotate(number=Count("pk"))
        .values("number")
    )
    charged, refunded = _credits(tasks.model)
    figures: dict[str, Any] = {
        "number_of_tasks": Count("pk"),
        "succeeded": Count("pk", filter=Q(status="SUCCESS")),
        "number_of_pictures": Coalesce(Sum(Subquery(pictures, IntegerField())), 0),
        "charged": Coalesce(Sum(charged), 0),
        "refunded": Coalesce(Sum(refunded), 0),
    }
    if members:
        figures = {"members": Count("user", distinct=True), **figures}
    found = tasks.order_by().values(*by).annotate(**figures).order_by(*by)
    yield from found.values_list(*by, *figures)


def _credits(table: type[Any]) -> tuple[Any, Any]:
    """Return what a task was charged, and what came back of what was reserved for it."""
    nothing = Value(0)
    if table is not FluxTask:
        return nothing, nothing
    still_open = When(status__in=FluxTask.UNFINISHED, then=nothing)
    back = F("cost_reserved") - F("cost_charged")
    return F("cost_charged"), Case(still_open, default=back, output_field=IntegerField())


def _earliest() -> datetime | None:
    firsts = [
        table._base_manager.aggregate(first=Min("created_at"))["first"]  # noqa: SLF001
        for table in TABLES.values()
    ]
    return min((each for each in firsts if each is not None), default=None)
