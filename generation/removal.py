"""What is left of a task that its member removed for ever: a row without prompt and pictures.

The row stays, because the ledger and the statistics refer to it and an import must not bring
it back; its prompt, everything else that was said or shown, and its files go (docs/adr/0012).
A picture from which another task was made stays until that task goes as well.

First the rows, in one transaction; then the files, outside of it. Whoever is killed in between
leaves files that belong to no row, and those are found every night (generation/housekeeping.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction
from django.db.models import CharField, JSONField, QuerySet, TextField

from generation import storage
from generation.models import FluxTask, ImageTask, JimengTask, MidjourneyTask, TaskImage, TaskInput
from history import search
from history.sources import REMOVED_AT

logger = logging.getLogger(__name__)

#: What a task says or shows. All else, such as model, status, cost and times, is kept.
_TELLING: dict[type[ImageTask], tuple[str, ...]] = {
    FluxTask: (
        *("prompt", "image_url", "cloud_image_url", "parameters", "seed", "result_seed"),
        *("input_image_url", "uploaded_image_url", "error_message"),
    ),
    MidjourneyTask: (
        *("prompt", "image_url", "cloud_image_url", "prompt_en", "description"),
        *("buttons", "properties", "fail_reason"),
    ),
    JimengTask: (
        *("prompt", "image_url", "cloud_image_url", "input_image", "seed"),
        *("properties", "fail_reason"),
    ),
}


def remove(tasks: QuerySet[Any, Any], *, task_id: str, source: str) -> bool:
    """Remove the task with that id, if it is among `tasks`: those that may be removed."""
    document = _as_found(tasks.model, task_id, source)
    try:
        with transaction.atomic():
            # Conditional: whoever restores it at the same moment gets it whole, or not at all.
            if not tasks.filter(pk=task_id).update(trashed_at=REMOVED_AT, **_blanks(tasks.model)):
                return False
            if document:
                search.forget(document)
            files = _remove_pictures(source, task_id)
    except IntegrityError:
        # Somebody has just begun to draw from one of its pictures; another night, then.
        logger.info("history: %s:%s is in use and was not removed", source, task_id)
        return False
    for name in files:
        try:
            default_storage.delete(name)
        except OSError as error:
            logger.warning("history: %s is left for the search for orphans: %s", name, error)
    return True


def _as_found(model: type[ImageTask], task_id: str, source: str) -> search.Document | None:
    """Return what a task is found by. It does not change until the task is blanked."""
    columns = ("user_id", "model", "prompt", "created_at")
    row = QuerySet(model).filter(pk=task_id).values(*columns).first()
    return search.Document(source=source, id=task_id, **row) if row else None


def _blanks(model: type[ImageTask]) -> dict[str, Any]:
    blanks: dict[str, Any] = {}
    for name in _TELLING[model]:
        field = model._meta.get_field(name)
        if isinstance(field, JSONField):
            blanks[name] = field.get_default()
        elif isinstance(field, (CharField, TextField)):
            blanks[name] = ""
    return blanks


def _remove_pictures(source: str, task_id: str) -> list[str]:
    """Remove the rows of the task's pictures, and of those it alone still needed.

    Returns the names of their files.
    """
    unwanted = list(TaskImage.objects.of_tasks(source=source, ids=[task_id]))
    if source == TaskImage.Source.FLUX:
        inputs = TaskInput.objects.filter(task=task_id)
        references = [item.image for item in inputs.select_related("image") if item.image]
        inputs.delete()
        unwanted += _of_removed_tasks(references)
    needed = set(
        TaskInput.objects.filter(image__in=unwanted).values_list("image", flat=True).distinct()
    )
    gone = [image for image in unwanted if image.pk not in needed]
    TaskImage.objects.filter(pk__in=[image.pk for image in gone]).delete()
    return [name for image in gone for name in _files(image)]


def _of_removed_tasks(images: Sequence[TaskImage]) -> Iterable[TaskImage]:
    """Return those of the pictures whose own tasks have been removed before."""
    models = {"flux": FluxTask, "midjourney": MidjourneyTask, "jimeng": JimengTask}
    for image in images:
        tasks: QuerySet[Any, Any] = QuerySet(models[image.source])
        if tasks.filter(pk=image.task_id, trashed_at=REMOVED_AT).exists():
            yield image


def _files(image: TaskImage) -> list[str]:
    if not image.storage_key:
        return []
    thumbnails = [image.thumbnail_key(width) for width in storage.THUMBNAIL_WIDTHS]
    return [image.storage_key, *thumbnails]
