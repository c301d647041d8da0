"""The verbs of a task's life, and the only writer of its state.

    create ─ row PENDING, not sent
    begin_submission ─ written down as UNKNOWN before the request leaves
    send ─ the POST; no database
    record_submission ─ ACCEPTED with its request id, or why not
    look ─ one question to the provider; no database
    record_look ─ progress, SUCCESS with pictures, FAILED or CANCELLED
    cancel ─ at once while not sent, else a wish the provider is told
    store ─ copies a finished picture into our storage

Every transition is a conditional update whose row count is checked, so that two workers on
one task are harmless and the slower one's news is dropped. `send` and `look` talk to the
provider and touch no database: no transaction is ever open across the network. Any process
may die between any two of these lines; what it leaves behind is picked up when
`next_action_at` passes.

Credits are booked in here and nowhere else, in the transaction of the state they belong to:
the most a task may cost is reserved with its row, what was delivered is settled with SUCCESS,
and every other end releases all of it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.translation import gettext_noop as _

from credits import ledger, pricing
from generation import catalogue, channel, storage
from generation.models import FluxTask, TaskImage, TaskInput, Upload
from generation.providers.base import (
    Cancelled,
    OutcomeUnknown,
    Progress,
    Provider,
    ProviderFailure,
    Refused,
    RequestNotFound,
    Result,
    Submitted,
    Unavailable,
)

logger = logging.getLogger(__name__)

Status = FluxTask.Status
Submission = FluxTask.Submission

#: Longer than a submit can take: after this a task still UNKNOWN belongs to a dead worker.
SUBMIT_LEASE = timedelta(seconds=180)
#: A request the provider denies knowing for this long is lost.
MISSING_PATIENCE = timedelta(seconds=60)
#: How long to wait before sending again what provably was not sent: doubled, up to the last.
RESEND_AFTER = (2, 4, 8, 15, 30, 60)
#: How long to wait before fetching a picture again, in seconds; then it waits for staff.
STORE_AGAIN_AFTER = (2, 10, 30, 120, 600, 3600, 6 * 3600, 24 * 3600)
STORE_LEASE = timedelta(seconds=180)


class IdempotencyConflict(Exception):
    """The key was used before, for a different request."""


class CannotPay(Exception):
    """The member has too few credits, or a budget says no. `problem` is for the doors."""

    def __init__(self, code: str, message: str, **params: Any) -> None:
        self.problem = catalogue.Problem(field="credits", code=code, message=message, params=params)
        super().__init__(str(self.problem))

    @classmethod
    def insufficient(cls, *, needed: int, balance: int) -> CannotPay:
        return cls(
            "insufficient_credits",
            _("This needs %(needed)s credits and you have %(balance)s."),
            needed=needed,
            balance=balance,
        )


# ---------------------------------------------------------------- price
@dataclass(frozen=True, kw_only=True)
class Quote:
    """What a request would cost at most, in whole credits. `balance` is None while credits
    are switched off."""

    credits: int
    balance: int | None

    @property
    def balance_after(self) -> int | None:
        return None if self.balance is None else self.balance - self.credits

    @property
    def shortfall(self) -> catalogue.Problem | None:
        """Say what is missing, None when the balance suffices."""
        if self.balance is None or self.balance >= self.credits:
            return None
        return CannotPay.insufficient(needed=self.credits, balance=self.balance).problem


def unit_price(*, endpoint: catalogue.Endpoint) -> int:
    """Return the credits of one picture now. At most one query."""
    if not settings.CREDITS_ENABLED:
        return 0
    return pricing.price_of(key=endpoint.id, default=endpoint.credits)


def list_new_prices() -> None:
    """Put endpoints that are new in the catalogue on the price list of the admin."""
    pricing.list_new(prices=catalogue.listed_prices())


def price_list() -> Mapping[str, int]:
    """Return the credits of one picture by endpoint. At most one query."""
    listed = catalogue.listed_prices()
    if not settings.CREDITS_ENABLED:
        return dict.fromkeys(listed, 0)
    return pricing.prices_of(defaults=listed)


def quote(*, user: Any, request: catalogue.Request) -> Quote:
    """Return what a request would cost. Nothing is reserved."""
    if not settings.CREDITS_ENABLED:
        return Quote(credits=0, balance=None)
    return Quote(
        credits=unit_price(endpoint=request.endpoint) * request.num_images,
        balance=balance_of(user=user),
    )


def balance_of(*, user: Any) -> int | None:
    """Return the credits a member has left, None while credits are switched off."""
    if not settings.CREDITS_ENABLED:
        return None
    return ledger.account_for(user=user).credits_balance


def _reference(task: FluxTask) -> str:
    """Return the name under which the ledger knows a task."""
    return f"{TaskImage.Source.FLUX}:{task.pk}"


# ---------------------------------------------------------------- create
def create(
    *,
    user: Any,
    request: catalogue.Request,
    pictures: Sequence[Upload | TaskImage],
    now: datetime,
    idempotency_key: str = "",
    body_hash: str = "",
    retry_of: FluxTask | None = None,
) -> FluxTask:
    """Accept a request and return its task; the same idempotency key returns the same task.

    `pictures` belong to the user and match `request.images`. Raises channel.ChannelClosed
    when nothing can be drawn, IdempotencyConflict when the key belongs to another body,
    CannotPay when the member cannot pay for it.
    """
    if idempotency_key:
        known = _by_idempotency_key(user, idempotency_key, body_hash)
        if known:
            return known
    state = channel.current()
    if not state.is_open:
        raise channel.ChannelClosed(state.mode)
    asked = request.parameters
    task = FluxTask(
        user=user,
        model=request.model.id,
        endpoint=request.endpoint.id,
        task_type=request.task_type,
        prompt=request.prompt,
        parameters=dict(asked),
        num_images=request.num_images,
        aspect_ratio=asked.get("aspect_ratio") or "",
        guidance_scale=asked.get("guidance_scale"),
        num_inference_steps=asked.get("num_inference_steps"),
        seed=asked.get("seed") or "",
        safety_tolerance=asked.get("safety_tolerance") or "",
        strength=asked.get("strength"),
        input_image_url=pictures[0].url if pictures else "",
        uploaded_image_url=next((p.url for p in pictures if isinstance(p, Upload)), ""),
        cost_reserved=unit_price(endpoint=request.endpoint) * request.num_images,
        idempotency_key=idempotency_key,
        body_hash=body_hash,
        retry_of=retry_of,
        created_at=now,
        next_action_at=now,
    )
    inputs = [
        TaskInput(
            task=task,
            position=position,
            upload=picture if isinstance(picture, Upload) else None,
            image=picture if isinstance(picture, TaskImage) else None,
        )
        for position, picture in enumerate(pictures)
    ]
    try:
        with transaction.atomic():
            task.save(force_insert=True)
            TaskInput.objects.bulk_create(inputs)
            if task.cost_reserved:
                _reserve(task)
    except IntegrityError:
        # The same key came twice at once; whoever lost the race answers like the winner.
        known = _by_idempotency_key(user, idempotency_key, body_hash) if idempotency_key else None
        if known is None:
            raise
        return known
    return task


def _reserve(task: FluxTask) -> None:
    try:
        ledger.reserve(user=task.user, amount=task.cost_reserved, reference=_reference(task))
    except ledger.InsufficientCredits as error:
        raise CannotPay.insufficient(needed=error.needed, balance=error.balance) from error
    except ledger.BudgetExceeded as error:
        raise CannotPay(
            "budget_exceeded",
            _(
                "This would exceed your budget of %(limit)s credits; it starts anew at %(resets_at)s."
            ),
            limit=error.limit,
            resets_at=error.resets_at.strftime("%Y-%m-%d %H:%M"),
        ) from error


def _by_idempotency_key(user: Any, key: str, body_hash: str) -> FluxTask | None:
    task = FluxTask.objects.filter(user=user, idempotency_key=key).first()
    if task and task.body_hash != body_hash:
        raise IdempotencyConflict(key)
    return task


def retry(*, task: FluxTask, now: datetime, idempotency_key: str = "") -> FluxTask:
    """Ask for the same again, as a new task linked to the old one.

    Raises catalogue.InvalidRequest when the model changed since, and what `create` raises.
    """
    pictures = [item.picture for item in task.inputs.select_related("upload", "image")]
    request = catalogue.check(
        model_id=task.model,
        prompt=task.prompt,
        images=len(pictures),
        parameters=task.parameters,
    )
    return create(
        user=task.user,
        request=request,
        pictures=pictures,
        retry_of=task,
        idempotency_key=idempotency_key,
        body_hash=f"retry of {task.pk}",
        now=now,
    )


# ---------------------------------------------------------------- submit
def begin_submission(*, task: FluxTask, now: datetime) -> bool:
    """Claim a waiting task for sending. False: somebody else has it, or it was cancelled."""
    claimed = (
        FluxTask.objects.waiting()
        .filter(pk=task.pk)
        .update(
            submission=Submission.UNKNOWN,
            submitted_at=now,
            next_action_at=now + SUBMIT_LEASE,
            updated_at=now,
        )
    )
    return claimed == 1


def send(*, task: FluxTask, provider: Provider) -> Submitted | ProviderFailure:
    """Send a claimed task, once. Touches no database: `task.inputs` must be prefetched."""
    endpoint = catalogue.find_endpoint(task.endpoint)
    if endpoint is None:
        return Refused("unknown_model", f"{task.endpoint} is not in the catalogue.")
    try:
        payload = catalogue.build_payload(
            endpoint=endpoint,
            prompt=task.prompt,
            parameters=task.parameters,
            image_urls=[storage.as_data_uri(item.picture) for item in task.inputs.all()],
        )
    except storage.CannotStore as error:
        return Refused("input_missing", str(error))
    try:
        return provider.submit(endpoint=task.endpoint, payload=payload)
    except ProviderFailure as failure:
        return failure


def record_submission(
    *,
    task: FluxTask,
    outcome: Submitted | ProviderFailure,
    timeout: timedelta,
    now: datetime,
) -> None:
    """Write down what became of `send`. `timeout` is the time the provider gets from now."""
    claimed = FluxTask.objects.filter(
        pk=task.pk, status=Status.PENDING, submission=Submission.UNKNOWN
    )
    if isinstance(outcome, Submitted):
        claimed.update(
            submission=Submission.ACCEPTED,
            status=Status.IN_QUEUE,
            request_id=outcome.request_id,
            queue_position=outcome.queue_position,
            accepted_at=now,
            deadline_at=now + timeout,
            next_action_at=now + timedelta(milliseconds=300),
            updated_at=now,
        )
    elif isinstance(outcome, Unavailable):
        _send_later(claimed, task, outcome, now=now)
    else:
        if isinstance(outcome, OutcomeUnknown):
            logger.warning("task %s: submit with unknown outcome: %s", task.pk, outcome.detail)
        fail(task=task, code=outcome.code, detail=outcome.detail, now=now)


def _send_later(claimed: Any, task: FluxTask, outcome: Unavailable, *, now: datetime) -> None:
    """Put a task back in line that provably was not taken, unless it was cancelled meanwhile."""
    wait = RESEND_AFTER[min(task.retry_count, len(RESEND_AFTER) - 1)]
    back_in_line = claimed.filter(cancel_requested_at=None).update(
        submission=Submission.UNSENT,
        submitted_at=None,
        retry_count=F("retry_count") + 1,
        error_message=outcome.detail,
        next_action_at=now + timedelta(seconds=max(wait, outcome.retry_after or 0)),
        updated_at=now,
    )
    if not back_in_line and claimed.exists():
        _end(task=task, status=Status.CANCELLED, code="cancelled", now=now)


# ---------------------------------------------------------------- look
@dataclass(frozen=True, kw_only=True)
class Look:
    """What one visit at the provider brought. `cancel_sent`: it was told to stop."""

    outcome: Progress | Result | ProviderFailure
    cancel_sent: bool = False


def wants_cancel(*, task: FluxTask, now: datetime) -> bool:
    """Tell whether the provider should be told to stop: by wish, or because time is up."""
    overdue = task.deadline_at is not None and now >= task.deadline_at
    return task.cancel_sent_at is None and (task.cancel_requested_at is not None or overdue)


def look(*, task: FluxTask, provider: Provider, cancel: bool) -> Look:
    """Ask the provider once how an accepted task stands, and fetch what is ready.

    With `cancel` it is told to stop first. Touches no database.
    """
    cancel_sent = cancel and _tell_to_stop(task, provider)
    outcome: Progress | Result | ProviderFailure
    try:
        outcome = progress = provider.poll(endpoint=task.endpoint, request_id=task.request_id)
        if progress.state == "completed":
            # Completed says nothing about success; the result's own status does.
            outcome = provider.result(endpoint=task.endpoint, request_id=task.request_id)
    except ProviderFailure as failure:
        outcome = failure
    return Look(outcome=outcome, cancel_sent=cancel_sent)


def _tell_to_stop(task: FluxTask, provider: Provider) -> bool:
    try:
        provider.cancel(endpoint=task.endpoint, request_id=task.request_id)
    except ProviderFailure:
        return False  # Told again at the next look; what it has drawn is asked for all the same.
    return True


def record_look(*, task: FluxTask, look: Look, now: datetime) -> None:
    """Write down what `look` brought. News for a task that has ended meanwhile is dropped."""
    if look.cancel_sent:
        FluxTask.objects.filter(pk=task.pk, cancel_sent_at=None).update(cancel_sent_at=now)
    outcome = look.outcome
    if isinstance(outcome, Result):
        deliver(task=task, result=outcome, now=now)
    elif isinstance(outcome, Refused):
        fail(task=task, code=outcome.code, detail=outcome.detail, now=now)
    elif isinstance(outcome, Cancelled) and task.cancel_requested_at:
        _end(task=task, status=Status.CANCELLED, code="cancelled", now=now)
    elif isinstance(outcome, Cancelled) or (task.deadline_at and now >= task.deadline_at):
        detail = outcome.detail if isinstance(outcome, ProviderFailure) else ""
        fail(task=task, code="timeout", detail=detail, now=now)
    elif isinstance(outcome, Progress):
        _record_progress(task, outcome, now=now)
    elif isinstance(outcome, RequestNotFound):
        _record_missing(task, outcome, now=now)
    else:
        _record_silence(task, outcome, now=now)


def _record_progress(task: FluxTask, progress: Progress, *, now: datetime) -> None:
    status = Status.IN_QUEUE if progress.state == "queued" else Status.IN_PROGRESS
    position = progress.queue_position if progress.state == "queued" else None
    if (status, position, None) == (task.status, task.queue_position, task.missing_since):
        return  # Most polls bring no news, and no news costs no write.
    FluxTask.objects.unfinished().filter(pk=task.pk, submission=Submission.ACCEPTED).update(
        status=status, queue_position=position, missing_since=None, updated_at=now
    )


def _record_missing(task: FluxTask, failure: RequestNotFound, *, now: datetime) -> None:
    if task.missing_since is None:
        FluxTask.objects.unfinished().filter(pk=task.pk).update(missing_since=now)
    elif now - task.missing_since >= MISSING_PATIENCE:
        fail(task=task, code=failure.code, detail=failure.detail, now=now)


def _record_silence(task: FluxTask, failure: ProviderFailure, *, now: datetime) -> None:
    """A failed question is not a failed task: note what was said, and ask again at the usual
    time or when the provider wishes."""
    news: dict[str, Any] = {}
    if failure.detail != task.error_message:
        news["error_message"] = failure.detail
    if failure.retry_after:
        news["next_action_at"] = now + timedelta(seconds=failure.retry_after)
    if news:
        FluxTask.objects.unfinished().filter(pk=task.pk).update(**news, updated_at=now)


# ---------------------------------------------------------------- ends
def deliver(*, task: FluxTask, result: Result, now: datetime) -> bool:
    """End a task with its pictures, in one transaction. False: it had ended already.

    Charged is what was delivered, at the price of the day it was asked for.
    """
    started = task.submitted_at or task.created_at
    delivered_pictures = min(len(result.pictures), task.num_images)
    charged = task.cost_reserved * delivered_pictures // task.num_images
    with transaction.atomic():
        delivered = (
            FluxTask.objects.unfinished()
            .filter(pk=task.pk, submission=Submission.ACCEPTED)
            .update(
                status=Status.SUCCESS,
                image_url=result.pictures[0].url,
                result_seed=result.seed,
                billable_units=result.billable_units,
                generation_time=(now - started).total_seconds(),
                queue_position=None,
                error_message="",
                cost_charged=charged,
                completed_at=now,
                next_action_at=None,
                updated_at=now,
            )
        )
        if delivered != 1:
            return False
        TaskImage.objects.bulk_create(
            TaskImage(
                user_id=task.user_id,
                source=TaskImage.Source.FLUX,
                task_id=task.pk,
                position=position,
                provider_url=picture.url,
                width=picture.width,
                height=picture.height,
                content_type=picture.content_type,
                is_nsfw=picture.is_nsfw,
                created_at=now,
                next_action_at=now,
            )
            for position, picture in enumerate(result.pictures)
        )
        if task.cost_reserved:
            ledger.settle(reference=_reference(task), charged=charged)
    return True


def fail(*, task: FluxTask, code: str, now: datetime, detail: str = "") -> bool:
    """End a task without pictures. `code` is an entry of generation/errors.py, `detail` what
    the provider said. False: it had ended already."""
    return _end(task=task, status=Status.FAILED, code=code, detail=detail, now=now)


def _end(
    *, task: FluxTask, status: FluxTask.Status, code: str, now: datetime, detail: str = ""
) -> bool:
    with transaction.atomic():
        ended = (
            FluxTask.objects.unfinished()
            .filter(pk=task.pk)
            .update(
                status=status,
                error_code=code,
                error_message=detail,
                queue_position=None,
                completed_at=now,
                next_action_at=None,
                updated_at=now,
            )
        )
        if ended and task.cost_reserved:
            ledger.release(reference=_reference(task))
    return ended == 1


def cancel(*, task: FluxTask, now: datetime) -> bool:
    """Cancel a task: at once while it has not been sent, else by asking the provider.

    False: it had ended already, and nothing changed.
    """
    with transaction.atomic():
        unsent = (
            FluxTask.objects.waiting()
            .filter(pk=task.pk)
            .update(
                status=Status.CANCELLED,
                error_code="cancelled",
                cancel_requested_at=now,
                completed_at=now,
                next_action_at=None,
                updated_at=now,
            )
        )
        if unsent:
            if task.cost_reserved:
                ledger.release(reference=_reference(task))
            return True
        asked = FluxTask.objects.unfinished().filter(pk=task.pk)
        # Only an accepted task is looked at sooner: one being sent keeps its sender's lease.
        asked.filter(submission=Submission.ACCEPTED).update(next_action_at=now)
        return asked.update(cancel_requested_at=now, updated_at=now) == 1


# ---------------------------------------------------------------- pictures
def store(*, image: TaskImage, allowed_hosts: Sequence[str], now: datetime) -> bool:
    """Copy a picture into our storage and note where, or when to try again. May be repeated."""
    try:
        stored = storage.ingest(image=image, allowed_hosts=allowed_hosts)
    except (storage.CannotStore, OSError) as error:
        _store_later(image, error, now=now)
        return False
    except Exception as error:
        logger.exception("picture %s of task %s could not be stored", image.pk, image.task_id)
        _store_later(image, error, now=now)
        return False
    with transaction.atomic():
        done = TaskImage.objects.filter(pk=image.pk, stored_at=None).update(
            storage_key=stored.storage_key,
            content_type=stored.content_type,
            width=stored.width,
            height=stored.height,
            byte_size=stored.byte_size,
            sha256=stored.sha256,
            stored_at=now,
            storing_since=None,
            next_action_at=None,
            store_error="",
        )
        if done and image.position == 0 and image.source == TaskImage.Source.FLUX:
            FluxTask.objects.filter(pk=image.task_id).update(cloud_image_url=image.url)
    return True


def _store_later(image: TaskImage, error: Exception, *, now: datetime) -> None:
    gone = isinstance(error, storage.CannotStore) and error.gone
    attempt = image.store_attempts
    # Even what is gone gets a few tries: provider addresses answer 404 for a moment at times.
    hopeless = attempt >= (3 if gone else len(STORE_AGAIN_AFTER))
    wait = STORE_AGAIN_AFTER[min(attempt, len(STORE_AGAIN_AFTER) - 1)]
    log = logger.error if hopeless else logger.warning
    log("picture %s of task %s not stored: %s", image.pk, image.task_id, error)
    TaskImage.objects.filter(pk=image.pk, stored_at=None).update(
        store_attempts=F("store_attempts") + 1,
        storing_since=None,
        store_error=str(error),
        next_action_at=None if hopeless else now + timedelta(seconds=wait),
    )


def parameters_of(task: FluxTask) -> Mapping[str, Any]:
    """Return what was asked, without settings left to the provider."""
    return {name: value for name, value in task.parameters.items() if value is not None}
