"""From what a door received to a task: one path for the API and for the page.

Every problem is found before anything is stored, and comes back under the name of its field.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext_noop as _
from django.utils.translation import ngettext

from generation import catalogue, channel, lifecycle, media, polling, rates
from generation.models import FluxTask, TaskImage, Upload

#: More reference pictures than any model takes: enough to say "too many" precisely.
MAX_IMAGE_URLS = 20


@dataclass(frozen=True, kw_only=True)
class Order:
    """A request as it came: `addresses` name the reference pictures, in order.

    `image_field` is the field those came in, to lay problems at the right door.
    """

    model_id: str
    prompt: Any
    addresses: Sequence[object]
    parameters: Mapping[str, Any]
    image_field: str = "image_urls"


@dataclass(frozen=True, kw_only=True)
class Checked:
    request: catalogue.Request
    pictures: tuple[Upload | TaskImage, ...]


def check(*, user: Any, order: Order) -> Checked:
    """Check an order completely. Raises catalogue.InvalidRequest with every problem."""
    problems: list[catalogue.Problem] = []
    pictures: list[Upload | TaskImage] = []
    for address in order.addresses[:MAX_IMAGE_URLS]:
        picture = media.find_own_picture(user=user, address=address)
        if picture is None:
            problems.append(_not_yours(order.image_field))
            break
        if not picture.storage_key:
            problems.append(_not_stored_yet(order.image_field))
            break
        pictures.append(picture)
    try:
        request = catalogue.check(
            model_id=order.model_id,
            prompt=order.prompt,
            images=len(order.addresses),
            parameters=order.parameters,
        )
    except catalogue.InvalidRequest as error:
        raise catalogue.InvalidRequest([*problems, *error.problems]) from None
    if problems:
        raise catalogue.InvalidRequest(problems)
    return Checked(request=request, pictures=tuple(pictures))


def _not_yours(field: str) -> catalogue.Problem:
    return catalogue.Problem(
        field=field,
        code="not_your_picture",
        message=_(
            "This is not one of your pictures. Upload it first, or take one from your history."
        ),
    )


def _not_stored_yet(field: str) -> catalogue.Problem:
    return catalogue.Problem(
        field=field,
        code="not_stored_yet",
        message=_("This picture is still being saved. Try again in a moment."),
    )


def place(
    *, user: Any, order: Order, now: datetime, idempotency_key: str = "", caller: str = ""
) -> FluxTask:
    """Check an order, create its task and wake the workers.

    The same key with the same order returns the same task. `caller` tells those apart who order
    the same (see `find_recent`). Raises catalogue.InvalidRequest, channel.ChannelClosed,
    lifecycle.CannotPay, lifecycle.IdempotencyConflict or rates.TooOften.
    """
    checked = check(user=user, order=order)
    task = lifecycle.create(
        user=user,
        request=checked.request,
        pictures=checked.pictures,
        idempotency_key=idempotency_key,
        body_hash=_hash(order, caller=caller),
        now=now,
    )
    polling.kick_on_commit()
    return task


def find_recent(*, user: Any, order: Order, caller: str, since: datetime) -> FluxTask | None:
    """Return the newest task since then of the same order by the same caller, or None."""
    same = FluxTask.objects.for_user(user).filter(body_hash=_hash(order, caller=caller))
    return same.filter(created_at__gte=since).order_by("-created_at", "-pk").first()


def place_together(
    *, user: Any, orders: Sequence[Order], now: datetime, idempotency_key: str
) -> list[FluxTask]:
    """Check several orders of the same pictures, create the tasks of all or of none and wake
    the workers. Raises what `place` raises; a problem that several share is named once."""
    checked: list[Checked] = []
    problems: dict[str, catalogue.Problem] = {}
    for order in orders:
        try:
            checked.append(check(user=user, order=order))
        except catalogue.InvalidRequest as error:
            problems |= {f"{problem.field}: {problem}": problem for problem in error.problems}
    if problems:
        raise catalogue.InvalidRequest(list(problems.values()))
    tasks = lifecycle.create_together(
        user=user,
        requests=[each.request for each in checked],
        pictures=checked[0].pictures,
        idempotency_key=idempotency_key,
        body_hash=_hash(*orders),
        now=now,
    )
    polling.kick_on_commit()
    return tasks


def _hash(*orders: Order, caller: str = "") -> str:
    bodies: list[list[Any]] = [
        [
            order.model_id,
            order.prompt,
            [str(address) for address in order.addresses],
            sorted(order.parameters.items()),
        ]
        for order in orders
    ]
    # One order alone hashes as it always has: its key may be sent again after an update.
    body = bodies[0] if len(bodies) == 1 else bodies
    if caller:
        body = [caller, *body]
    return hashlib.sha256(json.dumps(body, default=str).encode()).hexdigest()


def too_often(error: rates.TooOften) -> str:
    """Tell, in the reader's language, when the next task may be begun."""
    text = ngettext(
        "You have begun as many tasks as one minute allows. Try again in %(seconds)d second.",
        "You have begun as many tasks as one minute allows. Try again in %(seconds)d seconds.",
        error.retry_after,
    )
    return text % {"seconds": error.retry_after}


#: For people: why nothing can be drawn, and what is to be done. English message ids.
CLOSED_REASONS: Mapping[channel.Mode, str] = {
    "off": _("Drawing is switched off on this site at the moment."),
    "not_configured": _(
        "No image provider is set up on this site. An administrator has to enter a fal key."
    ),
    "key_unreadable": _(
        "The stored fal key cannot be read. An administrator has to enter it again."
    ),
}
