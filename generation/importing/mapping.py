"""A row of theirs, made into a task of ours: which tables there are, and what becomes of them.

Read in the open sources of those sites (2025, 2026): the image tables of Open WebUI forks,
and new-api's table of Midjourney tasks. Their columns differ from version to version, so any
of them may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from generation import catalogue
from generation.ids import id_born_at
from generation.importing import links, values
from generation.importing.values import Cells
from generation.models import FluxTask, ImageTask, JimengTask, MidjourneyTask, TaskImage

#: More pictures than any request brings are not pictures of one.
MAX_PICTURES = 50

_STATUSES = {
    "SUCCESS": "SUCCESS",
    "COMPLETED": "SUCCESS",
    "FAILURE": "FAILED",
    "FAILED": "FAILED",
    "ERROR": "FAILED",
    "CANCELLED": "CANCELLED",
    "CANCELED": "CANCELLED",
    "CANCEL": "CANCELLED",
}
_MIDJOURNEY_VERSION = re.compile(r"(?:--|—)(v|version|niji)\s+(\d+(?:\.\d+)?)\b", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Whose a row is: by the id they have there, by an e-mail address, or nobody's."""

    key: str = ""
    email: str = ""

    def __bool__(self) -> bool:
        return bool(self.key or self.email)


@dataclass(frozen=True, kw_only=True)
class PictureDraft:
    """A picture with the first of its addresses that is not known to be dead."""

    url: str
    is_dead: bool
    width: int | None = None
    height: int | None = None
    is_nsfw: bool = False


@dataclass(kw_only=True)
class Draft:
    """A task that has no owner yet. Only those with pictures are a success."""

    task: Any  # one of the three kinds of ImageTask
    owner: Owner
    pictures: list[PictureDraft] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A table of theirs. `columns` are read as far as they exist, `left_out` never."""

    table: str
    model: type[ImageTask]
    source: TaskImage.Source
    columns: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    to_task: Callable[[Cells, Ending], Any]
    ids: tuple[str, ...] = ("id",)
    #: What rows are read in the order of.
    order: tuple[str, ...] = ("created_at", "submit_time")


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a row ended, and when it began."""

    status: Literal["SUCCESS", "FAILED", "CANCELLED"]
    #: Why it is a failure here: it had not ended there, or it has no picture. "" if it says so.
    reason: Literal["", "imported_unfinished", "no_media_generated"]
    created_at: datetime
    #: Whether it says itself what it was drawn with, as results of fal do.
    result: Mapping[str, Any]


def draft(cells: Cells, *, kind: Kind, origin: str, now: datetime) -> Draft | str:
    """Return the task a row becomes, or why it becomes none."""
    external_id = cells.text(*kind.ids).strip()
    if not external_id:
        return "without an id"
    if len(external_id) > 255:
        return "whose id is too long"
    result = cells.mapping("flux_response")
    pictures = _pictures(cells, result, now=now)
    ending = _ending(cells, result, has_pictures=bool(pictures), now=now)
    task = kind.to_task(cells, ending)
    task.id = id_born_at(round(ending.created_at.timestamp() * 1000))
    task.origin, task.external_id = origin, external_id
    task.status, task.created_at = ending.status, ending.created_at
    task.prompt = cells.text("prompt")
    if ending.status != "SUCCESS":
        return Draft(task=task, owner=_owner(cells))
    first = pictures[0].url
    if first == cells.text("cloud_image_url").strip():
        task.cloud_image_url = first
        task.image_url = links.usable(cells.text("image_url")) or first
    else:
        # There is no copy, or its link has run out: the history shows what is left.
        task.image_url = first
    return Draft(task=task, owner=_owner(cells), pictures=pictures)


def _owner(cells: Cells) -> Owner:
    key = cells.text("user_id", "user").strip()
    email = cells.text("user_email", "email").strip().lower()
    return Owner(key=key, email=email or (key.lower() if "@" in key else ""))


def _ending(
    cells: Cells, result: Mapping[str, Any], *, has_pictures: bool, now: datetime
) -> Ending:
    word = cells.text("status").strip().upper()
    status: Any = _STATUSES.get(word, "FAILED")
    reason: Any = "" if word in _STATUSES else "imported_unfinished"
    if reason:
        cells.note("not finished there: failed here")
    elif status == "SUCCESS" and not has_pictures:
        status, reason = "FAILED", "no_media_generated"
        cells.note("success without a picture: failed here")
    return Ending(
        status=status, reason=reason, created_at=_created_at(cells, now=now), result=result
    )


def _created_at(cells: Cells, *, now: datetime) -> datetime:
    created = cells.utc("created_at") or cells.local("submit_time") or cells.local("start_time")
    created = created or cells.local("finish_time") or cells.utc("completed_at")
    if created is None:
        cells.note("without any time: made now")
    return created or now


# ---------------------------------------------------------------- pictures
def _pictures(cells: Cells, result: Mapping[str, Any], *, now: datetime) -> list[PictureDraft]:
    """Return the pictures of a row. The columns name the first of them, some rows list all."""
    listed = [each if isinstance(each, dict) else {"url": each} for each in _listed(cells, result)]
    blacked_out = _list(result.get("has_nsfw_concepts"))
    pictures: dict[str, PictureDraft] = {}
    for index, facts in enumerate(listed or [{}]):
        copies = [cells.text("cloud_image_url"), cells.text("image_url")] if index == 0 else []
        picture = _picture(
            [*copies, facts.get("url")],
            facts,
            is_nsfw=blacked_out[index : index + 1] == [True],
            now=now,
        )
        if picture:
            pictures.setdefault(picture.url, picture)
    if not pictures and cells.text("cloud_image_url", "image_url"):
        cells.note("picture without an http address, left out")
    if len(pictures) > MAX_PICTURES:
        cells.note(f"more than {MAX_PICTURES} pictures, the others left out")
    return list(pictures.values())[:MAX_PICTURES]


def _listed(cells: Cells, result: Mapping[str, Any]) -> list[Any]:
    return _list(result.get("images")) or cells.sequence("image_urls")


def _picture(
    addresses: list[Any], facts: Mapping[str, Any], *, is_nsfw: bool, now: datetime
) -> PictureDraft | None:
    known = [address for each in addresses if (address := links.usable(each))]
    if not known:
        return None
    alive = [address for address in known if not links.is_dead(address, now=now)]
    return PictureDraft(
        url=(alive or known)[0],
        is_dead=not alive,
        width=_pixels(facts.get("width")),
        height=_pixels(facts.get("height")),
        is_nsfw=is_nsfw,
    )


def _pixels(value: Any) -> int | None:
    is_size = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 100_000
    return value if is_size else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


# ---------------------------------------------------------------- Midjourney and Jimeng
def _foreign(cells: Cells, ending: Ending) -> dict[str, Any]:
    """Return the columns that Midjourney and Jimeng share."""
    return {
        "credits_cost": cells.whole("credits_cost", minimum=0) or 0,
        "submit_time": cells.local("submit_time"),
        "start_time": cells.local("start_time"),
        "finish_time": cells.local("finish_time"),
        "progress": cells.short("progress", 20),
        "fail_reason": cells.text("fail_reason") or ending.reason,
        "properties": cells.mapping("properties"),
    }


def _midjourney(cells: Cells, ending: Ending) -> MidjourneyTask:
    task = MidjourneyTask(
        **_foreign(cells, ending),
        model=_midjourney_model(cells),
        action=cells.short("action", 50) or "IMAGINE",
        prompt_en=cells.text("prompt_en"),
        description=cells.text("description"),
        mode=cells.short("mode", 50),
        buttons=cells.sequence("buttons"),
        parent_task_id=cells.name("parent_task_id", 50),
    )
    if ending.status == "SUCCESS" and task.finish_time is None and not task.buttons:
        # Proxies tell the address of a preview before there is a picture, and some sites took
        # that for the end.
        cells.note("perhaps a preview only: no end and no buttons")
    return task


def _midjourney_model(cells: Cells) -> str:
    """Return the bot and, where the prompt names one, its version: `midjourney-6.1`."""
    found = _MIDJOURNEY_VERSION.search(cells.text("prompt"))
    is_niji = cells.mapping("properties").get("botType") == "NIJI_JOURNEY"
    bot = "niji" if is_niji or (found and found[1] == "niji") else "midjourney"
    return f"{bot}-{found[2]}"[:100] if found else bot


def _jimeng(cells: Cells, ending: Ending) -> JimengTask:
    return JimengTask(
        **_foreign(cells, ending),
        model=cells.short("model", 100),
        action=cells.short("action", 50) or "TEXT_TO_IMAGE",
        size=cells.short("size", 50),
        guidance_scale=cells.number("guidance_scale"),
        seed=cells.seed("seed"),
        watermark=cells.flag("watermark") or False,
    )


def _new_api(cells: Cells, ending: Ending) -> MidjourneyTask:
    task = _midjourney(cells, ending)
    task.credits_cost = cells.whole("quota", minimum=0) or 0
    return task


# ---------------------------------------------------------------- FLUX
#: Columns that are also parameters of the same name.
_BOTH = (
    *("num_images", "aspect_ratio", "guidance_scale", "num_inference_steps", "seed"),
    *("safety_tolerance", "strength"),
)
_TASK_TYPES = {"multi_image_edit": "multi_image"}
_ERROR_CODES = {"SUCCESS": "", "FAILED": "imported_failed", "CANCELLED": "cancelled"}


def _flux(cells: Cells, ending: Ending) -> FluxTask:
    model = cells.short("model", 100) or "flux"
    task_type = cells.short("task_type", 20) or "text_to_image"
    request_id = cells.name("request_id", 255)
    if ending.status == "SUCCESS":
        # A relay's answer may have had none, and what was drawn had been accepted.
        request_id = request_id or cells.text("id").strip()[:255]
    ended = cells.utc("completed_at") or cells.utc("updated_at") or ending.created_at
    task = FluxTask(
        model=model,
        endpoint=model,
        task_type=_TASK_TYPES.get(task_type, task_type),
        submission="ACCEPTED" if request_id else "UNSENT",
        request_id=request_id,
        input_image_url=links.usable(cells.text("input_image_url")),
        uploaded_image_url=links.usable(cells.text("uploaded_image_url")),
        num_images=cells.whole("num_images", minimum=1) or 1,
        aspect_ratio=_aspect_ratio(cells),
        guidance_scale=cells.number("guidance_scale"),
        num_inference_steps=cells.whole("num_inference_steps", minimum=0),
        seed=cells.seed("seed"),
        safety_tolerance=cells.short("safety_tolerance", 10),
        strength=cells.number("strength"),
        result_seed=values.as_seed(ending.result.get("seed")) or "",
        generation_time=_generation_time(cells, ending, ended),
        error_code=ending.reason or _ERROR_CODES[ending.status],
        error_message=cells.text("error_message"),
        retry_count=cells.whole("retry_count", minimum=0) or 0,
        completed_at=ended,
    )
    task.parameters = _parameters(cells, task)
    return task


def _aspect_ratio(cells: Cells) -> str:
    """Return the shape. FLUX.1 was told it as `image_size`; the other column has a default."""
    size = _image_size(cells)
    if not size:
        return cells.short("aspect_ratio", 20)
    return next((ratio for ratio, said in catalogue.IMAGE_SIZES.items() if size == said), "")


def _image_size(cells: Cells) -> Any:
    text = cells.text("image_size").strip()
    return cells.json("image_size") if text[:1] in ("{", '"') else text


def _parameters(cells: Cells, task: FluxTask) -> dict[str, Any]:
    """Return what was asked. The columns have defaults also for what a model knows nothing of."""
    asked = {
        **{name: getattr(task, name) for name in _BOTH},
        "output_format": cells.short("output_format", 10),
        "enable_safety_checker": cells.flag("enable_safety_checker"),
    }
    endpoint = catalogue.find_endpoint(task.endpoint)
    known = {
        name: value
        for name, value in asked.items()
        if value not in (None, "") and (endpoint is None or name in endpoint.by_name)
    }
    size = _image_size(cells)
    # A size of their own, which no shape of ours stands for.
    return known | {"image_size": size} if size and not task.aspect_ratio else known


def _generation_time(cells: Cells, ending: Ending, ended: datetime) -> float | None:
    told = cells.number("generation_time")
    if told is not None and told >= 0:
        return told
    if ending.status != "SUCCESS" or cells.utc("completed_at") is None:
        return None
    seconds = (ended - ending.created_at).total_seconds()
    return seconds if seconds >= 0 else None


# ---------------------------------------------------------------- the tables
_COMMON = ("id", "user_id", "status", "prompt", "image_url", "cloud_image_url", "created_at")
_FOREIGN = (
    *("action", "credits_cost", "submit_time", "start_time", "finish_time", "progress"),
    *("fail_reason", "properties"),
)
_MIDJOURNEY = ("prompt_en", "description", "mode", "buttons", "parent_task_id")
_FLUX = (
    *("request_id", "model", "task_type", "input_image_url", "uploaded_image_url"),
    *("num_images", "aspect_ratio", "guidance_scale", "num_inference_steps", "seed"),
    *("safety_tolerance", "strength", "image_size", "output_format", "enable_safety_checker"),
    *("generation_time", "error_message", "retry_count", "updated_at", "completed_at"),
    "flux_response",
)

MIDJOURNEY = Kind(
    table="mj_tasks",
    model=MidjourneyTask,
    source=TaskImage.Source.MIDJOURNEY,
    columns=(*_COMMON, *_FOREIGN, *_MIDJOURNEY),
    to_task=_midjourney,
)
JIMENG = Kind(
    table="dreamwork_tasks",
    model=JimengTask,
    source=TaskImage.Source.JIMENG,
    columns=(*_COMMON, *_FOREIGN, "model", "size", "guidance_scale", "seed", "watermark"),
    # Reference pictures as text of megabytes each.
    left_out=("input_image",),
    to_task=_jimeng,
)
FLUX = Kind(
    table="flux_tasks",
    model=FluxTask,
    source=TaskImage.Source.FLUX,
    columns=(*_COMMON, *_FLUX),
    left_out=("input_image_urls",),
    to_task=_flux,
    order=("created_at",),
)
NEW_API = Kind(
    table="midjourneys",
    model=MidjourneyTask,
    source=TaskImage.Source.MIDJOURNEY,
    columns=(
        *("id", "mj_id", "user_id", "action", "status", "prompt", "prompt_en", "description"),
        *("submit_time", "start_time", "finish_time", "progress", "image_url", "fail_reason"),
        *("quota", "buttons", "properties"),
    ),
    left_out=("video_url", "video_urls"),
    to_task=_new_api,
    # A submit that failed has no id at Midjourney.
    ids=("mj_id", "id"),
    order=("submit_time",),
)

#: By the name that people and the history call them.
BY_NAME = {kind.source.value: kind for kind in (MIDJOURNEY, JIMENG, FLUX)}
#: Columns a file may have beside those of its table.
IN_FILES = ("user", "user_email", "email", "image_urls")
