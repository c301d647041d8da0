"""The three tables of tasks as sources of the unified history (history/sources.py)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar

from django.apps.registry import Apps
from django.db.models import QuerySet, TextField, Value
from django.db.models.functions import Coalesce, NullIf
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop

from generation import catalogue
from generation.models import FluxTask, JimengTask, MidjourneyTask, TaskImage
from history.sources import Details, Parameter, Picture, Source, as_columns


class TaskSource(Source):
    """What the sources have in common: the columns of ImageTask, and pictures of one table."""

    model: ClassVar[str]

    def tasks(self, registry: Apps) -> QuerySet[Any, Any]:
        table: QuerySet[Any, Any] = QuerySet(registry.get_model("generation", self.model))
        # Missing addresses are empty texts in these tables.
        nothing = Value("", TextField())
        image_url = Coalesce(NullIf("cloud_image_url", nothing), NullIf("image_url", nothing))
        return as_columns(table, source=self.name, image_url=image_url)

    def pictures(self, ids: Collection[str]) -> Mapping[str, list[Picture]]:
        pictures = defaultdict(list)
        for image in TaskImage.objects.of_tasks(source=self.name, ids=ids):
            pictures[image.task_id].append(
                Picture(
                    id=image.pk,
                    url=image.url,
                    width=image.width,
                    height=image.height,
                    is_nsfw=image.is_nsfw,
                    stored=image.stored_at is not None,
                    lost=image.lost_at is not None,
                )
            )
        return pictures


class FluxSource(TaskSource):
    name = TaskImage.Source.FLUX.value
    label = TaskImage.Source.FLUX.label
    model = "FluxTask"

    def model_name(self, model: str) -> str:
        known = catalogue.find_model(model)
        return known.name if known else model

    def details(self, entry_id: str) -> Details:
        task = FluxTask.objects.get(pk=entry_id)
        endpoint = catalogue.find_endpoint(task.endpoint)
        labels = {p.name: p.label for p in endpoint.parameters} if endpoint else {}
        asked: dict[str, Any] = dict(task.parameters)
        # The seed that was drawn with, also when it was left to the provider.
        asked["seed"] = task.result_seed or asked.get("seed")
        # In the catalogue's order: PostgreSQL keeps none for JSON.
        order = [*labels, *sorted(asked.keys() - labels.keys())]
        return Details(
            parameters=_given((name, labels.get(name, name), asked.get(name)) for name in order),
            seconds=task.generation_time,
        )


class MidjourneySource(TaskSource):
    name = TaskImage.Source.MIDJOURNEY.value
    label = TaskImage.Source.MIDJOURNEY.label
    model = "MidjourneyTask"

    def model_name(self, model: str) -> str:
        return "Midjourney" if model in ("", "midjourney") else model

    def details(self, entry_id: str) -> Details:
        task = MidjourneyTask.objects.get(pk=entry_id)
        return Details(
            parameters=_given(
                [
                    ("action", gettext_noop("Action"), task.action),
                    ("mode", gettext_noop("Speed"), task.mode),
                    ("prompt_en", gettext_noop("Prompt in English"), task.prompt_en),
                    ("final_prompt", gettext_noop("Final prompt"), _final_prompt(task)),
                ]
            ),
            seconds=_seconds(task.start_time or task.submit_time, task.finish_time),
        )


class JimengSource(TaskSource):
    name = TaskImage.Source.JIMENG.value
    label = gettext_lazy("Jimeng 即梦")
    model = "JimengTask"

    def details(self, entry_id: str) -> Details:
        task = JimengTask.objects.get(pk=entry_id)
        return Details(
            parameters=_given(
                [
                    ("size", gettext_noop("Size"), task.size),
                    ("guidance_scale", gettext_noop("Guidance"), task.guidance_scale),
                    ("seed", gettext_noop("Seed"), task.seed),
                    ("watermark", gettext_noop("Watermark"), task.watermark),
                ]
            ),
            seconds=_seconds(task.start_time or task.submit_time, task.finish_time),
        )


def _given(parameters: Iterable[tuple[str, str, Any]]) -> tuple[Parameter, ...]:
    """Return the parameters that have a value, labelled in the reader's language."""
    return tuple(
        Parameter(name=name, label=_(label), value=value)
        for name, label, value in parameters
        if value is not None and value != ""
    )


def _final_prompt(task: MidjourneyTask) -> str:
    properties = task.properties
    # JSON from elsewhere may hold anything.
    final = properties.get("finalPrompt") if isinstance(properties, dict) else ""
    return final if isinstance(final, str) else ""


def _seconds(start: datetime | None, finish: datetime | None) -> float | None:
    if start is None or finish is None or finish < start:
        return None
    return (finish - start).total_seconds()
