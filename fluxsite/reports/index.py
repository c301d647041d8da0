"""The reports there are, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _

from fluxsite.reports import history, ledger, usage
from fluxsite.reports.base import Report

_TASKS = (
    *("generation.view_fluxtask", "generation.view_midjourneytask"),
    "generation.view_jimengtask",
)
_LEDGER = ("credits.view_ledgerentry",)

REPORTS: Mapping[str, Report] = {
    each.name: each
    for each in (
        Report(
            name="history",
            label=_("History: every task, with its prompt and settings"),
            columns=history.COLUMNS,
            permissions=_TASKS,
            pages=history.pages,
        ),
        Report(
            name="ledger",
            label=_("Ledger: every movement of credits"),
            columns=ledger.COLUMNS,
            permissions=_LEDGER,
            pages=ledger.pages,
        ),
        Report(
            name="usage",
            label=_("Usage by month, member and model"),
            columns=usage.BY_MEMBER,
            permissions=(*_TASKS, *_LEDGER),
            pages=usage.by_member,
        ),
        Report(
            name="usage_by_group",
            label=_("Usage by month, group and model"),
            columns=usage.BY_GROUP,
            permissions=(*_TASKS, *_LEDGER),
            pages=usage.by_group,
        ),
    )
}


def open_to(user: Any) -> list[Report]:
    """Return the reports that somebody of staff may have."""
    return [
        report
        for report in REPORTS.values()
        if user.has_perms(report.permissions)
        and (settings.CREDITS_ENABLED or report.name != "ledger")
    ]
