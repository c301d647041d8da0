"""All tasks of the unified history that are not in the trash, newest first, whatever became of
them: from the same view and by the same sources as the pages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib.auth import get_user_model

from fluxsite import paging
from fluxsite.reports.base import Asked, Pages, Row
from history import entries, sources
from history import rows as view
from history.models import HistoryTask
from history.sources import Details

#: Rows fetched at a time.
PAGE = 1000

COLUMNS = (
    *("created_at", "member", "source", "id", "model", "model_name", "prompt", "status"),
    *("pictures", "seed", "parameters", "seconds", "image_url", "is_favourite"),
)


def pages(asked: Asked) -> Pages:
    tasks = view.Rows(HistoryTask)
    if asked.member is not None:
        tasks = tasks.where("user_id = %s", asked.member.pk)
    if asked.since is not None:
        tasks = tasks.where("created_at >= %s", asked.since)
    if asked.until is not None:
        tasks = tasks.before(asked.until)
    cursor: paging.Cursor | None = None
    while True:
        page = tasks.page(paging.Asked(limit=PAGE, cursor=cursor))
        yield _rows(page.rows)
        if not page.next_cursor:
            return
        cursor = paging.Cursor.decode(page.next_cursor)


def _rows(found: Sequence[view.Row]) -> list[Row]:
    composed = entries.compose(found)
    names = usernames({each.user_id for each in composed})
    details = _details(composed)
    return [_row(each, names, details.get((each.source, each.id))) for each in composed]


def _row(entry: entries.Entry, names: Mapping[int, str], details: Details | None) -> Row:
    parameters = {each.name: each.value for each in details.parameters} if details else {}
    seed = parameters.pop("seed", "")
    return (
        *(entry.created_at, names.get(entry.user_id, ""), entry.source, entry.id, entry.model),
        *(entry.model_name, entry.prompt, entry.status, entry.count, str(seed), parameters),
        *(details.seconds if details else None, entry.image_url, entry.is_favourite),
    )


def _details(composed: Sequence[entries.Entry]) -> Mapping[tuple[str, str], Details]:
    ids: defaultdict[str, list[str]] = defaultdict(list)
    for entry in composed:
        ids[entry.source].append(entry.id)
    known = sources.load()
    return {
        (name, entry_id): details
        for name, wanted in ids.items()
        for entry_id, details in known[name].details_of(wanted).items()
    }


def usernames(ids: set[int]) -> Mapping[int, str]:
    users: Any = get_user_model()
    named = users.objects.filter(pk__in=ids)
    return dict(named.values_list("pk", users.USERNAME_FIELD)) if ids else {}
