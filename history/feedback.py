"""What members think of entries: votes, reports, and how satisfied they are on the whole."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Q
from django.utils import timezone

from history import sources
from history.marks import Name
from history.models import Feedback


@dataclass(frozen=True, kw_only=True)
class Satisfaction:
    """Votes given or changed in a span of time, and reports that wait for staff in all."""

    likes: int
    dislikes: int
    reports_open: int


def of_entry(*, user: Any, name: Name) -> Feedback | None:
    """Return what a member said of an entry."""
    return Feedback.objects.filter(user=user, source=name.source, entry_id=name.id).first()


def is_own(*, user: Any, name: Name) -> bool:
    source = sources.load().get(name.source)
    return source is not None and bool(source.owned(user=user, ids=[name.id]))


def vote(*, user: Any, name: Name, value: str) -> None:
    """Note a member's vote; "" takes it back."""
    _note(user, name, vote=Feedback.Vote(value) if value else "")


def report(*, user: Any, name: Name, reason: str, text: str = "") -> None:
    """Note a member's report, which takes the place of an earlier one and is open again."""
    _note(
        user,
        name,
        reason=Feedback.Reason(reason),
        text=text[: Feedback.MAX_TEXT],
        reported_at=timezone.now(),
        resolved_at=None,
        resolved_by=None,
    )


def _note(user: Any, name: Name, **values: Any) -> None:
    """Write one row for each member and entry, in one statement: two clicks make one row."""
    values["updated_at"] = timezone.now()
    Feedback.objects.bulk_create(
        [Feedback(user=user, source=name.source, entry_id=name.id, **values)],
        update_conflicts=True,
        unique_fields=["user", "source", "entry_id"],
        update_fields=list(values),
    )


def resolve(reports: Any, *, by: Any) -> int:
    """Close the open reports among these rows. Returns their number."""
    return int(
        reports.exclude(reason="")
        .filter(resolved_at=None)
        .update(resolved_at=timezone.now(), resolved_by=by)
    )


def open_reports() -> int:
    """Count the reports that wait for staff, from an index. One query."""
    return Feedback.objects.exclude(reason="").filter(resolved_at=None).count()


def satisfaction(*, since: datetime) -> Satisfaction:
    """Count votes since a moment, and all reports that are open. One query."""
    recent = Q(updated_at__gte=since)
    counted = Feedback.objects.aggregate(
        likes=Count("pk", filter=recent & Q(vote=Feedback.Vote.LIKE)),
        dislikes=Count("pk", filter=recent & Q(vote=Feedback.Vote.DISLIKE)),
        reports_open=Count("pk", filter=~Q(reason="") & Q(resolved_at=None)),
    )
    return Satisfaction(**counted)
