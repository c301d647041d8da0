"""What the ledger's references to FLUX tasks stand for (credits/subjects.py)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _

from credits.subjects import Subject
from generation.models import FluxTask, TaskImage

#: Of a prompt, as much as a line of the ledger may want.
MAX_TITLE = 200


def flux_tasks(*, user: Any, ids: Collection[str]) -> Mapping[str, Subject]:
    """Describe a member's own tasks that are not in the trash. Two queries."""
    tasks = FluxTask.objects.for_user(user).filter(pk__in=ids)
    images: defaultdict[str, list[TaskImage]] = defaultdict(list)
    for image in TaskImage.objects.of_tasks(source=TaskImage.Source.FLUX, ids=ids):
        images[image.task_id].append(image)
    return {
        task.pk: _describe(task, images[task.pk])
        for task in tasks.only("prompt", "model", "status")
    }


def _describe(task: FluxTask, images: list[TaskImage]) -> Subject:
    first = next((image for image in images if image.stored_at), None)
    model = task.display_model
    return Subject(
        title=task.prompt[:MAX_TITLE] or _("Variation without a prompt"),
        label=model.name if model else task.model,
        url=_address(task),
        pictures=len(images),
        thumb_url=first.thumbnail_url(320) if first else "",
        is_veiled=bool(first and first.is_nsfw),
    )


def _address(task: FluxTask) -> str:
    """Return where the task is shown: in the history when it has pictures, else its card, which
    says how it stands or why it failed."""
    if task.status == FluxTask.Status.SUCCESS:
        return reverse("history:entry", args=[TaskImage.Source.FLUX, task.pk])
    return f"{reverse('generation:studio')}?task={task.pk}#task-{task.pk}"
