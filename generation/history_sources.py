"""The three tables of tasks as sources of the unified history (history/sources.py)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar

from django.apps.registry import Apps
from django.db import connections, router
from django.db.models import QuerySet, TextField, Value
from django.db.models.functions import Coalesce, NullIf
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop

from generation import catalogue, removal
from generation.models import FluxTask, ImageTask, JimengTask, MidjourneyTask, TaskImage
from history.sources import REMOVED_AT, Details, Parameter, Picture, Source, as_columns


def _images(source: str, ids: list[str]) -> list[tuple[Any, ...]]:
    """Fetch pictures as bare rows. Every page of the history asks each source, and Django
    takes five times as long to build the query as the database to answer it."""
    if not ids:
        return []
    places = ", ".join(["%s"] * len(ids))
    sql = (
        "SELECT id, task_id, provider_url, width, height, is_nsfw, storage_key, lost_at,"  # noqa: S608
        " stored_at"
        f" FROM task_images WHERE source = %s AND task_id IN ({places})"
        " ORDER BY task_id, position"
    )
    with connections[router.db_for_read(TaskImage)].cursor() as cursor:
        cursor.execute(sql, [source, *ids])
        return list(cursor.fetchall())


class TaskSource(Source):
    """What the sources have in common: the columns of ImageTask, and pictures of one table."""

    model: ClassVar[type[ImageTask]]
    #: What a task must be to be marked at all.
    markable: ClassVar[Mapping[str, Any]] = {}

    def tasks(self, registry: Apps) -> QuerySet[Any, Any]:
        model = registry.get_model("generation", self.model.__name__)
        table: QuerySet[Any, Any] = QuerySet(model)
        # Missing addresses are empty texts in these tables.
        nothing = Value("", TextField())
        image_url = Coalesce(NullIf("cloud_image_url", nothing), NullIf("image_url", nothing))
        return as_columns(table, source=self.name, image_url=image_url)

    def pictures(self, ids: Collection[str]) -> Mapping[str, list[Picture]]:
        pictures = defaultdict(list)
        rows = _images(self.name, list(ids))
        imported = self._imported({row[1] for row in rows if row[-1] is None})
        for pk, task_id, url, width, height, is_nsfw, key, lost_at, stored_at in rows:
            # What was brought over and has no copy here is shown from where it is.
            is_elsewhere = stored_at is None and task_id in imported
            pictures[task_id].append(
                Picture(
                    id="" if is_elsewhere else pk,
                    url=url if is_elsewhere else TaskImage.url_of(pk),
                    width=width,
                    height=height,
                    is_nsfw=bool(is_nsfw),
                    stored=stored_at is not None,
                    lost=lost_at is not None,
                    storage_key=key,
                )
            )
        return pictures

    def _imported(self, ids: Collection[str]) -> set[str]:
        if not ids:
            return set()
        brought_over = self._table().filter(pk__in=ids).exclude(origin="")
        return set(brought_over.values_list("pk", flat=True))

    def details_of(self, ids: Collection[str]) -> Mapping[str, Details]:
        return {task.pk: self._details(task) for task in self._table().filter(pk__in=ids)}

    def _details(self, task: Any) -> Details:
        raise NotImplementedError

    def _table(self) -> QuerySet[Any, Any]:
        return QuerySet(self.model)

    # ------------------------------------------------------------ marks
    def owned(self, *, user: Any, ids: Collection[str]) -> set[str]:
        mine = self._table().filter(user=user, pk__in=ids).exclude(trashed_at=REMOVED_AT)
        return set(mine.values_list("pk", flat=True))

    def set_favourite(self, *, user: Any, ids: Collection[str], value: bool) -> int:
        return self._shown(user, ids).update(is_favourite=value)

    def trash(self, *, user: Any, ids: Collection[str], now: datetime) -> int:
        return self._shown(user, ids).update(trashed_at=now)

    def restore(self, *, user: Any, ids: Collection[str]) -> int:
        thrown_away = self._table().filter(user=user, pk__in=ids, trashed_at__gt=REMOVED_AT)
        return thrown_away.update(trashed_at=None)

    def _shown(self, user: Any, ids: Collection[str]) -> QuerySet[Any, Any]:
        return self._table().filter(user=user, pk__in=ids, trashed_at=None, **self.markable)

    # ------------------------------------------------------------ for ever
    def trashed_before(self, moment: datetime, *, limit: int) -> list[str]:
        old = self._table().filter(trashed_at__gt=REMOVED_AT, trashed_at__lte=moment)
        return list(old.order_by("trashed_at").values_list("pk", flat=True)[:limit])

    def remove(self, *, ids: Collection[str], trashed_before: datetime, user: Any = None) -> int:
        tasks = self._table().filter(
            trashed_at__gt=REMOVED_AT, trashed_at__lte=trashed_before, **self.markable
        )
        if user is not None:
            tasks = tasks.filter(user=user)
        return sum(removal.remove(tasks, task_id=task_id, source=self.name) for task_id in ids)


class FluxSource(TaskSource):
    name = TaskImage.Source.FLUX.value
    label = TaskImage.Source.FLUX.label
    model = FluxTask
    markable: ClassVar[Mapping[str, Any]] = {
        "status__in": [each for each in FluxTask.Status if each not in FluxTask.UNFINISHED],
        # Its late result is on its way.
        "recover_requested_at": None,
    }

    def explained_at(self, task_id: str) -> str:
        return f"{reverse('generation:studio')}?task={task_id}#task-{task_id}"

    def model_name(self, model: str) -> str:
        known = catalogue.find_model(model)
        return known.name if known else model

    def _details(self, task: FluxTask) -> Details:
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
    model = MidjourneyTask

    def model_name(self, model: str) -> str:
        return "Midjourney" if model in ("", "midjourney") else model

    def _details(self, task: MidjourneyTask) -> Details:
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
    model = JimengTask

    def _details(self, task: JimengTask) -> Details:
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
