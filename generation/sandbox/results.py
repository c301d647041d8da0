"""From a finished job to what the result call answers.

Here, and not at submit, the input is validated: the vendor accepts anything into its
queue, reports COMPLETED without a word of error, and lets the result's HTTP status tell.
"""

from __future__ import annotations

import base64
from typing import Any

from generation.sandbox import answers, inputs, painter, schemas
from generation.sandbox.answers import Answer
from generation.sandbox.files import FileStore, StoredFile
from generation.sandbox.jobs import Job

HUGE_SEED = 17454220438242315174
# Where the real machines run out of memory, and long before ours would.
MAX_OUTPUT_PIXELS = 4096 * 4096

_ERROR_PAGES = "https://docs.fal.ai/errors/#"
_UNDOWNLOADABLE = (
    "Failed to download the file. Please check if the URL is accessible and try again."
)
_UNREADABLE = (
    "Failed to load the image. Please ensure the image file is not corrupted and is in a "
    "supported format."
)
_FLAGGED = "The content could not be processed because it was flagged by a content checker."


def of(job: Job, files: FileStore) -> Answer:
    """Return the finished job's result; made once, the same for every later call."""
    with job.lock:
        moved = job.fault("moved_files")
        if job.outcome is None:
            job.outcome = _make(job, files)
            if moved:
                files.forget(job.file_names)
            # Data URIs may be megabytes each and have served their purpose.
            job.body = _shortened(job.body)
        elif moved:
            job.outcome = _make(job, files)
        outcome: Answer = job.outcome
        return outcome


class BrokenJson:
    """Stands for a submitted body that was no JSON: accepted, and refused at the result."""


def _make(job: Job, files: FileStore) -> Answer:
    failure = _failed_outright(job)
    if failure is not None:
        return failure
    endpoint = schemas.endpoints().get(job.endpoint_id)
    if endpoint is None or job.fault("wrong_path"):
        sub_path = job.endpoint_id.removeprefix(schemas.app_of(job.endpoint_id))
        return _unbilled(404, f"Path {sub_path or '/'} not found")
    arguments, problems = _validated(endpoint, job.body)
    if problems:
        return _unbilled(422, problems)
    refused = _refused(job, arguments)
    if refused is not None:
        return refused
    pictures, problems = _load_inputs(arguments)
    if problems:
        return _unbilled(422, problems)
    return _pictures(job, endpoint, arguments, pictures, files)


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shortened(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_shortened(member) for member in value]
    if isinstance(value, str) and value.startswith("data:") and len(value) > 200:
        return f"{value[:64]}…"
    return value


def _failed_outright(job: Job) -> Answer | None:
    if job.cancelled:
        return answers.refusal(499, "Request was cancelled by the client", "client_cancelled")
    rule = job.fault("completed_with_error")
    if rule is not None:
        error_type = rule.get("error_type", "internal_server_error")
        text = rule.get("error", "The runner failed to complete the request")
        return answers.refusal(int(rule.get("status", 500)), text, error_type)
    if job.fault("model_crash"):
        return answers.refusal(500, "Internal Server Error")
    return None


def _validated(endpoint: schemas.Endpoint, body: Any) -> tuple[dict[str, Any], list[Any]]:
    if isinstance(body, BrokenJson):
        problem = {
            "type": "json_invalid",
            "loc": ["body", 0],
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": "Expecting value"},
        }
        return {}, [problem]
    return schemas.validate(endpoint, body)


def _refused(job: Job, arguments: dict[str, Any]) -> Answer | None:
    """Apply the faults in which the model looks at valid input and says no."""
    rule = job.fault("content_policy")
    if rule is not None:
        reason = rule.get("reason", "partner_validation_failed")
        problem = _model_problem(
            "content_policy_violation", ["body", "prompt"], _FLAGGED, arguments.get("prompt", "")
        )
        problem["ctx"] = {"extra_info": {"reason": reason}}
        return _unbilled(422, [problem])
    for kind, message in (
        ("file_download_error", _UNDOWNLOADABLE),
        ("image_load_error", _UNREADABLE),
    ):
        if job.fault(kind):
            name = "image_urls" if "image_urls" in arguments else "image_url"
            return _unbilled(
                422, [_model_problem(kind, ["body", name], message, arguments.get(name))]
            )
    return None


def _load_inputs(
    arguments: dict[str, Any],
) -> tuple[list[inputs.InputPicture], list[dict[str, Any]]]:
    wanted: list[tuple[list[str | int], str]] = []
    if arguments.get("image_url") is not None:
        wanted.append((["body", "image_url"], arguments["image_url"]))
    for index, url in enumerate(arguments.get("image_urls") or []):
        wanted.append((["body", "image_urls", index], url))
    pictures: list[inputs.InputPicture] = []
    for loc, url in wanted:
        try:
            pictures.append(inputs.load(url))
        except inputs.Undownloadable:
            return [], [_model_problem("file_download_error", loc, _UNDOWNLOADABLE, url)]
        except inputs.Unreadable:
            return [], [_model_problem("image_load_error", loc, _UNREADABLE, url)]
    return pictures, []


def _pictures(
    job: Job,
    endpoint: schemas.Endpoint,
    arguments: dict[str, Any],
    pictures: list[inputs.InputPicture],
    files: FileStore,
) -> Answer:
    first = (pictures[0].width, pictures[0].height) if pictures else None
    width, height = schemas.promised_size(endpoint, arguments, first)
    if width * height > MAX_OUTPUT_PIXELS:
        return answers.refusal(500, "Internal Server Error")
    seed = job.seed if arguments.get("seed") is None else arguments["seed"]
    prompt = arguments.get("prompt", "")
    count = 0 if job.fault("no_images") else arguments.get("num_images", 1)
    flags = [_is_flagged(job, index) for index in range(count)]
    images = []
    for index in range(count):
        recipe = painter.Recipe(
            endpoint=endpoint.id,
            kind=endpoint.kind if pictures else "text",
            prompt=prompt,
            seed=seed,
            index=index,
            width=width,
            height=height,
            format=arguments.get("output_format", "jpeg"),
            inputs=tuple(picture.jpeg for picture in pictures),
            strength=_strength(arguments),
            black=flags[index] or bool(job.fault("plain_black")),
        )
        file = files.add_picture(recipe, request_id=job.request_id)
        job.file_names.append(file.name)
        images.append(_image_member(job, file, files, inline=bool(arguments.get("sync_mode"))))
    document: dict[str, Any] = {"images": images}
    if endpoint.output == "full":
        document["timings"] = (
            {} if job.fault("missing_members") else {"inference": job.inference_seconds}
        )
    document["seed"] = HUGE_SEED if job.fault("huge_seed") else seed
    if endpoint.output == "full":
        document["has_nsfw_concepts"] = flags
        document["prompt"] = prompt
    units = schemas.billable_units(endpoint, [(width, height)] * count)
    return answers.as_json(200, document, x_fal_billable_units=str(units))


def _strength(arguments: dict[str, Any]) -> float:
    """Return how far the picture may leave its input, 0 to 1."""
    if "strength" in arguments:
        return float(arguments["strength"])
    if "image_prompt_strength" in arguments:
        return 1.0 - float(arguments["image_prompt_strength"])
    return 0.5


def _is_flagged(job: Job, index: int) -> bool:
    return bool(job.fault("nsfw_black")) or (index == 0 and bool(job.fault("nsfw_first")))


def _image_member(job: Job, file: StoredFile, files: FileStore, *, inline: bool) -> dict[str, Any]:
    data = files.read(file) or b""
    recipe = file.recipe
    if recipe is None or inline:
        encoded = base64.b64encode(data).decode()
        url = f"data:{file.content_type};base64,{encoded}"
    else:
        url = f"{_file_host(job)}/files/{file.name}"
    if job.fault("missing_members") or recipe is None:
        return {"url": url}
    return {
        "url": url,
        "width": recipe.width,
        "height": recipe.height,
        "content_type": file.content_type,
        "file_name": file.name,
        "file_size": len(data),
    }


def _file_host(job: Job) -> str:
    rule = job.fault("foreign_host")
    if rule is not None and rule.get("where", "both") in ("both", "images"):
        return foreign(rule.get("host", "example.invalid"))
    return job.base_url


def foreign(host: str) -> str:
    """Return the origin for a foreign_host parameter, which may carry a scheme."""
    return host.rstrip("/") if "://" in host else f"https://{host}"


def _model_problem(kind: str, loc: list[str | int], message: str, value: Any) -> dict[str, Any]:
    return {"loc": loc, "msg": message, "type": kind, "url": _ERROR_PAGES + kind, "input": value}


def _unbilled(status: int, detail: Any) -> Answer:
    return answers.as_json(status, {"detail": detail}, x_fal_billable_units="0")
