"""What pictures were made with, as they carry it on their way out (history/embedding.py)."""

from __future__ import annotations

from typing import Any

from django.apps import apps

from history import sources
from history.embedding import MadeWith
from history.entries import Entry
from history.sources import PREFIX, Details, Picture


def of_entry(entry: Entry, details: Details | None, picture: Picture) -> MadeWith:
    """Return what one of an entry's pictures was made with."""
    return MadeWith(
        source=entry.source,
        id=entry.id,
        model=entry.model,
        model_name=entry.model_name,
        prompt=entry.prompt,
        created_at=entry.created_at,
        parameters=_values(details),
        width=picture.width,
        height=picture.height,
    )


def of_picture(image: Any) -> MadeWith | None:
    """Return what a picture was made with, also one in the trash. Two queries.

    `image` names its task by `source` and `task_id`. None: there is no such task any more.
    """
    source = sources.load().get(image.source)
    row = source.tasks(apps).filter(pk=image.task_id).first() if source else None
    if source is None or row is None:
        return None
    return MadeWith(
        source=image.source,
        id=image.task_id,
        model=row[f"{PREFIX}model"],
        model_name=source.model_name(row[f"{PREFIX}model"]),
        prompt=row[f"{PREFIX}prompt"],
        created_at=row[f"{PREFIX}created_at"],
        parameters=_values(source.details_of([image.task_id]).get(image.task_id)),
        width=image.width,
        height=image.height,
    )


def _values(details: Details | None) -> dict[str, Any]:
    return {each.name: each.value for each in details.parameters} if details else {}
