"""How tasks look from outside, and how requests are described in the API's schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework import serializers

from generation import catalogue, errors, lifecycle, line
from generation.lifecycle import parameters_of
from generation.models import FluxTask, Preset, TaskImage

THUMBNAIL = 640


class ImageSerializer(serializers.Serializer):
    id = serializers.CharField()
    image_url = serializers.CharField(help_text="Permanent address, for the owner and staff.")
    thumb_url = serializers.CharField()
    width = serializers.IntegerField(allow_null=True)
    height = serializers.IntegerField(allow_null=True)
    nsfw = serializers.BooleanField()


class TaskSerializer(serializers.Serializer):
    """Describes what `represent` makes; a test keeps the two alike."""

    id = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]
    status = serializers.ChoiceField(FluxTask.Status.choices)
    submission = serializers.ChoiceField(FluxTask.Submission.choices)
    model = serializers.CharField()
    endpoint = serializers.CharField()
    task_type = serializers.CharField()
    prompt = serializers.CharField()
    parameters = serializers.DictField()
    images = ImageSerializer(many=True)
    image_url = serializers.CharField(allow_null=True)
    queue_position = serializers.IntegerField(allow_null=True)
    queue_total = serializers.IntegerField(allow_null=True)
    cost = serializers.IntegerField()
    refunded_at = serializers.DateTimeField(
        allow_null=True, help_text="When staff gave back what it had cost."
    )
    error_code = serializers.CharField(allow_null=True)
    error_message = serializers.CharField(allow_null=True)
    seed = serializers.CharField(allow_null=True, help_text="Decimal text; up to 64 bit.")
    retry_of = serializers.CharField(allow_null=True)
    comparison = serializers.CharField(
        allow_null=True, help_text="Common to the tasks that were asked for together."
    )
    recoverable = serializers.BooleanField(
        help_text="Given up, but the provider may have a result: ask with recover."
    )
    recovering = serializers.BooleanField(help_text="Its late result is being asked for.")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    completed_at = serializers.DateTimeField(allow_null=True)
    generation_time = serializers.FloatField(allow_null=True, help_text="Seconds.")


class TaskListSerializer(serializers.Serializer):
    results = TaskSerializer(many=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)


class PresetSerializer(serializers.Serializer):
    """Describes what `represent_preset` makes; a test keeps the two alike."""

    id = serializers.CharField()
    name = serializers.CharField()
    model = serializers.CharField(help_text="May be one that is no longer offered.")
    parameters = serializers.DictField()
    prompt = serializers.CharField(help_text="Empty: the preset leaves the prompt alone.")
    shared = serializers.BooleanField(help_text="Staff offers it to everybody.")
    own = serializers.BooleanField(help_text="Yours, so that you may delete it.")
    created_at = serializers.DateTimeField()


class PresetListSerializer(serializers.Serializer):
    results = PresetSerializer(many=True)


class ProblemSerializer(serializers.Serializer):
    field = serializers.CharField()
    code = serializers.CharField()
    message = serializers.CharField()


class EstimateSerializer(serializers.Serializer):
    credits = serializers.IntegerField()
    balance_after = serializers.IntegerField(allow_null=True)
    problems = ProblemSerializer(many=True)


class UploadSerializer(serializers.Serializer):
    id = serializers.CharField()
    url = serializers.CharField()
    width = serializers.IntegerField()
    height = serializers.IntegerField()
    bytes = serializers.IntegerField()


class EndpointSerializer(serializers.Serializer):
    endpoint = serializers.CharField()
    task_type = serializers.CharField()
    min_images = serializers.IntegerField()
    max_images = serializers.IntegerField()
    has_prompt = serializers.BooleanField()
    credits = serializers.IntegerField(help_text="For one picture.")
    parameters = serializers.DictField(help_text="JSON schemas, by the name of the parameter.")


class ModelSerializer(serializers.Serializer):
    id = serializers.CharField()
    name = serializers.CharField()
    summary = serializers.CharField()
    endpoints = EndpointSerializer(many=True)


class ModelListSerializer(serializers.Serializer):
    default = serializers.CharField(help_text="What draws where no model is named.")
    results = ModelSerializer(many=True)


def represent_preset(preset: Preset, *, user: Any) -> dict[str, Any]:
    return {
        "id": preset.pk,
        "name": preset.name,
        "model": preset.model,
        "parameters": preset.parameters,
        "prompt": preset.prompt,
        "shared": preset.is_shared,
        "own": preset.owner_id == user.pk,
        "created_at": preset.created_at,
    }


def represent_problem(problem: catalogue.Problem) -> dict[str, str]:
    return {
        "field": problem.field,
        "code": problem.code,
        "message": _(problem.message) % problem.params,
    }


def represent_many(tasks: Sequence[FluxTask]) -> list[dict[str, Any]]:
    """Return tasks as the API shows them. Two queries, however many tasks."""
    images: dict[str, list[TaskImage]] = {}
    ids = [task.pk for task in tasks if task.status == FluxTask.Status.SUCCESS]
    if ids:
        for image in TaskImage.objects.of_tasks(source=TaskImage.Source.FLUX, ids=ids):
            images.setdefault(image.task_id, []).append(image)
    places = line.positions(tasks)
    return [_represent(task, images.get(task.pk, ()), places.get(task.pk)) for task in tasks]


def represent(task: FluxTask) -> dict[str, Any]:
    return represent_many([task])[0]


def _represent(
    task: FluxTask, images: Iterable[TaskImage], place: line.Place | None
) -> dict[str, Any]:
    pictures = [_represent_image(image) for image in images]
    return {
        "id": task.pk,
        "source": TaskImage.Source.FLUX.value,
        "status": task.status,
        "submission": task.submission,
        "model": task.model,
        "endpoint": task.endpoint,
        "task_type": task.task_type,
        "prompt": task.prompt,
        "parameters": parameters_of(task),
        "images": pictures,
        "image_url": pictures[0]["image_url"] if pictures else None,
        "queue_position": place.position if place else task.queue_position,
        "queue_total": place.total if place else None,
        "cost": 0 if task.refunded_at else task.cost_charged or task.cost_reserved,
        "refunded_at": task.refunded_at,
        "error_code": task.error_code or None,
        "error_message": _explain(task),
        "seed": task.result_seed or task.seed or None,
        "retry_of": task.retry_of_id,
        "comparison": task.comparison,
        "recoverable": lifecycle.is_recoverable(task=task, now=timezone.now()),
        "recovering": task.recover_requested_at is not None,
        "created_at": task.created_at,
        "updated_at": task.updated_at,
        "completed_at": task.completed_at,
        "generation_time": task.generation_time,
    }


def _represent_image(image: TaskImage) -> dict[str, Any]:
    return {
        "id": image.pk,
        "image_url": image.url,
        "thumb_url": image.thumbnail_url(THUMBNAIL) if image.storage_key else image.url,
        "width": image.width,
        "height": image.height,
        "nsfw": image.is_nsfw,
    }


def _explain(task: FluxTask) -> str | None:
    if not task.error_code:
        return None
    explanation = errors.explain(task.error_code)
    return f"{_(explanation.cause)} {_(explanation.advice)}"


# ---------------------------------------------------------------- the schema of requests
_JSON_TYPES: Mapping[str, dict[str, Any]] = {
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "choice": {"type": "string"},
    "seed": {"oneOf": [{"type": "string", "pattern": "^[0-9]{1,20}$"}, {"type": "integer"}]},
}


def describe_parameter(parameter: catalogue.Parameter) -> dict[str, Any]:
    """Return the JSON schema of a parameter."""
    schema: dict[str, Any] = dict(_JSON_TYPES[parameter.kind])
    if parameter.choices:
        schema["enum"] = list(parameter.choices)
    if parameter.kind != "seed":
        if parameter.minimum is not None:
            schema["minimum"] = parameter.minimum
        if parameter.maximum is not None:
            schema["maximum"] = parameter.maximum
    if parameter.default is not None:
        schema["default"] = parameter.default
    schema["title"] = _(parameter.label)
    if parameter.help:
        schema["description"] = _(parameter.help)
    return schema


def describe_endpoint(endpoint: catalogue.Endpoint, prices: Mapping[str, int]) -> dict[str, Any]:
    return {
        "endpoint": endpoint.id,
        "task_type": endpoint.task_type,
        "min_images": endpoint.min_images,
        "max_images": endpoint.max_images,
        "has_prompt": endpoint.has_prompt,
        "credits": prices[endpoint.id],
        "parameters": {p.name: describe_parameter(p) for p in endpoint.parameters},
    }


def describe_model(model: catalogue.Model, prices: Mapping[str, int]) -> dict[str, Any]:
    return {
        "id": model.id,
        "name": model.name,
        "summary": _(model.summary),
        "endpoints": [describe_endpoint(endpoint, prices) for endpoint in model.endpoints],
    }


def preset_schema() -> dict[str, Any]:
    """Return the JSON schema of a preset to create."""
    return {
        "type": "object",
        "required": ["name", "model"],
        "properties": {
            "name": {
                "type": "string",
                "maxLength": Preset.MAX_NAME_LENGTH,
                "description": "Unique among your presets.",
            },
            "model": {"type": "string", "enum": [model.id for model in catalogue.MODELS]},
            "parameters": {
                "type": "object",
                "description": "Settings of the model, as for drawing with it.",
            },
            "prompt": {"type": "string", "maxLength": catalogue.MAX_PROMPT_LENGTH},
            "shared": {"type": "boolean", "default": False, "description": "For staff only."},
        },
    }


def request_schema(*, with_images: bool) -> dict[str, Any]:
    """Return the JSON schema of a create body: the union of what the models accept. Which
    of it one model takes is told by GET /api/flux/models."""
    properties: dict[str, Any] = {
        "model": {"type": "string", "enum": list(catalogue.all_model_ids())},
        "prompt": {"type": "string", "maxLength": catalogue.MAX_PROMPT_LENGTH},
    }
    if with_images:
        address = {"type": "string", "description": "One of your own /media/… addresses."}
        properties["image_url"] = address
        properties["image_urls"] = {"type": "array", "items": address}
    for model in catalogue.MODELS:
        for endpoint in model.endpoints:
            for parameter in endpoint.parameters:
                if parameter.name not in properties:
                    properties[parameter.name] = {
                        **_JSON_TYPES[parameter.kind],
                        "description": "Range and default depend on the model.",
                    }
    return {"type": "object", "properties": properties}
