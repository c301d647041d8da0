"""From a task that has ended to the bytes of an answer.

`look` asks the database, `pack` the storage, so that they can happen in different threads. A
packed answer is a file: it may have many megabytes, and goes out as fast as its reader takes it.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import IO, Any

from django.core import signing
from django.core.files.storage import default_storage
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _

from generation import lifecycle
from generation.errors import explain
from generation.models import FluxTask, TaskImage
from generation.openai_api import errors

logger = logging.getLogger(__name__)

#: Of so many bytes a packed answer stays in memory.
_IN_MEMORY = 2 * 1024 * 1024
#: A multiple of three: base64 of the pieces is base64 of the whole.
_PIECE = 3 * 64 * 1024
#: How long an address of a picture is good, in seconds; OpenAI's are for an hour.
ADDRESS_SECS = 3600
_signer = signing.TimestampSigner(sep=".", salt="generation.openai_api")
#: Nothing here is counted in tokens. Dify breaks without the block, others show its zeros.
USAGE = {
    "total_tokens": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
}
#: For ends whose `fault` says it all: the status. Nothing was charged for any of them.
_STATUS_OF_FAULT = {"request": 400, "provider": 502, "site": 502, "time": 504}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How a caller wants to be answered. `event` names the event of a stream, "" for plain JSON;
    `site` is what our addresses begin with; `seconds` is how long the caller waits at most."""

    as_url: bool
    event: str
    site: str
    language: str
    seconds: int


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A task that has ended, with the pictures there are to hand over. `is_lost`: of some there
    is no copy any more."""

    task: FluxTask
    is_lost: bool = False
    pictures: tuple[TaskImage, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Packed:
    """An answer as it is sent. `body` is read from where it stands, `size` is in bytes."""

    status: int
    reason: str
    body: IO[bytes]
    size: int
    headers: dict[str, str] = field(default_factory=dict)


# ---------------------------------------------------------------- asking
def look(ids: Collection[str]) -> dict[str, Ended]:
    """Return those of the tasks that have ended and whose pictures are all kept, or lost for
    good. Two queries."""
    ended = FluxTask.objects.filter(pk__in=ids).exclude(status__in=FluxTask.UNFINISHED)
    tasks = {
        task.pk: task
        for task in ended.only("pk", "status", "error_code", "parameters", "completed_at")
    }
    drawn = [pk for pk, task in tasks.items() if task.status == FluxTask.Status.SUCCESS]
    images: dict[str, list[TaskImage]] = {}
    if drawn:
        for image in TaskImage.objects.of_tasks(source=TaskImage.Source.FLUX, ids=drawn):
            images.setdefault(image.task_id, []).append(image)
    found = {}
    for pk, task in tasks.items():
        own = images.get(pk, [])
        if all(image.stored_at or image.lost_at for image in own):
            found[pk] = Ended(
                task=task,
                is_lost=any(image.lost_at for image in own),
                pictures=tuple(
                    image
                    for image in own
                    if image.stored_at and not lifecycle.is_withheld(task=task, picture=image)
                ),
            )
    return found


# ---------------------------------------------------------------- packing
def pack(ended: Ended, wanted: Wanted) -> Packed:
    """Return the answer about a task that has ended: its pictures, or why there are none."""
    with translation.override(wanted.language):
        if ended.task.status != FluxTask.Status.SUCCESS or not ended.pictures:
            return _failure(ended)
        # Closed by whoever has sent it.
        body: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
        try:
            for part in _parts(ended, wanted):
                body.write(part)
        except OSError as error:
            body.close()
            logger.error("pictures of task %s cannot be read: %s", ended.task.pk, error)  # noqa: TRY400 - the text says it all
            return refuse(
                status=502,
                code="storage_unavailable",
                message=_(
                    "The picture is drawn, but cannot be read at the moment. See the history."
                ),
                task_id=ended.task.pk,
            )
    size = body.tell()
    body.seek(0)
    kind = "text/event-stream" if wanted.event else "application/json"
    return Packed(
        status=200, reason="OK", body=body, size=size, headers=_headers(ended.task.pk, kind)
    )


def too_late(task_id: str, wanted: Wanted) -> Packed:
    """Return the answer to who has waited long enough. The task goes on."""
    with translation.override(wanted.language):
        message = _(
            "The picture is not ready after %(seconds)d seconds. It is still being drawn and will "
            "be in the history: task %(task)s."
        )
        return refuse(
            status=504,
            code="timeout",
            message=message % {"seconds": wanted.seconds, "task": task_id},
            task_id=task_id,
        )


def refuse(*, status: int, code: str, message: str, task_id: str) -> Packed:
    content = json.dumps(errors.body(status=status, code=code, message=message)).encode()
    return Packed(
        status=status,
        reason=errors.reason(message) or HTTPStatus(status).phrase,
        body=io.BytesIO(content),
        size=len(content),
        headers={
            **_headers(task_id, "application/json"),
            **errors.headers(status=status, code=code),
        },
    )


def _headers(task_id: str, kind: str) -> dict[str, str]:
    return {"Content-Type": kind, "Cache-Control": "no-store", "X-Fluxsite-Task": task_id}


def _failure(ended: Ended) -> Packed:
    task = ended.task
    if task.status == FluxTask.Status.CANCELLED:
        code = "cancelled"
    elif task.status == FluxTask.Status.SUCCESS:
        # All that was drawn was lost before it was here, or painted black.
        code = "provider_error" if ended.is_lost else "content_policy"
    else:
        code = task.error_code or "internal"
    explanation = explain(code)
    status = 409 if code == "cancelled" else _STATUS_OF_FAULT[explanation.fault]
    message = f"{_(explanation.cause)} {_(explanation.advice)}"
    return refuse(status=status, code=code, message=message, task_id=task.pk)


def _parts(ended: Ended, wanted: Wanted) -> Iterator[bytes]:
    created = int(ended.task.completed_at.timestamp()) if ended.task.completed_at else 0
    if wanted.event:
        for picture in ended.pictures:
            yield from _event(picture, wanted, created=created)
        return
    yield b'{"created": %d, "data": [' % created
    for number, picture in enumerate(ended.pictures):
        yield b", " if number else b""
        if wanted.as_url:
            yield json.dumps({"url": wanted.site + signed_path(picture)}).encode()
        else:
            yield b'{"b64_json": "'
            yield from _base64_of(picture)
            yield b'"}'
    yield b'], "usage": ' + json.dumps(USAGE).encode() + b"}"


def _event(picture: TaskImage, wanted: Wanted, *, created: int) -> Iterator[bytes]:
    """Yield a picture as the event that ends a stream, or as one of several."""
    name = f"{wanted.event}.completed"
    about: dict[str, Any] = {
        "type": name,
        "created_at": created,
        "size": f"{picture.width}x{picture.height}",
        "output_format": picture.content_type.rpartition("/")[2],
        "quality": "auto",
        "background": "auto",
        "usage": USAGE,
    }
    yield f"event: {name}\ndata: {json.dumps(about)[:-1]}, ".encode()
    yield b'"b64_json": "'
    yield from _base64_of(picture)
    yield b'"}\n\n'


def _base64_of(picture: TaskImage) -> Iterator[bytes]:
    rest = b""
    with default_storage.open(picture.storage_key) as file:
        while piece := file.read(_PIECE):
            piece = rest + piece
            whole = len(piece) - len(piece) % 3
            rest = piece[whole:]
            yield base64.b64encode(piece[:whole])
    yield base64.b64encode(rest)


# ---------------------------------------------------------------- addresses
def signed_path(picture: TaskImage) -> str:
    """Return an address at which whoever has it gets the picture, for ADDRESS_SECS."""
    signature = _signer.sign(picture.pk).partition(".")[2]
    return reverse("openai:picture", args=[picture.pk, signature])


def is_signed(picture_id: str, signature: str) -> bool:
    """Tell whether that is our signature, and not too old."""
    try:
        _signer.unsign(f"{picture_id}.{signature}", max_age=ADDRESS_SECS)
    except signing.BadSignature:
        return False
    return True
