"""Tasks for tests. The models are asked for by name: the history imports no source."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from django.apps import apps

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)

_number = itertools.count(1)
_MODELS = {"flux": "FluxTask", "midjourney": "MidjourneyTask", "jimeng": "JimengTask"}
_FINISHED = {
    "flux": {
        "model": "fal-ai/flux-1/schnell",
        "endpoint": "fal-ai/flux-1/schnell",
        "task_type": "text_to_image",
        "submission": "ACCEPTED",
        "request_id": "r-1",
        "completed_at": NOON,
    },
    "midjourney": {"model": "midjourney"},
    "jimeng": {"model": "jimeng-4.0"},
}


def model(source: str) -> Any:
    return apps.get_model("generation", _MODELS[source])


def build(source: str, user: Any, *, minutes: float = 0, **fields: Any) -> Any:
    """Return an unsaved finished task, made `minutes` after noon."""
    number = next(_number)
    values = {
        "id": f"{source}-{number:06d}",
        "user": user,
        "status": "SUCCESS",
        "prompt": "a lighthouse",
        "image_url": f"https://cdn.example/{number}.png",
        "created_at": NOON + timedelta(minutes=minutes),
        **_FINISHED[source],
        **fields,
    }
    return model(source)(**values)


def task(source: str, user: Any, **fields: Any) -> Any:
    made = build(source, user, **fields)
    made.save(force_insert=True)
    return made


def picture(source: str, task: Any, position: int = 0, **fields: Any) -> Any:
    values = {
        "id": f"p{position}-{task.pk}",
        "user_id": task.user_id,
        "source": source,
        "task_id": task.pk,
        "position": position,
        "width": 1024,
        "height": 768,
        "storage_key": f"generated/{task.pk}/{position}.png",
        "stored_at": NOON,
        **fields,
    }
    return apps.get_model("generation", "TaskImage").objects.create(**values)
