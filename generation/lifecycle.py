"""The verbs of a task's life, and the only writer of its state.

    create ─ row PENDING, not sent; create_together ─ several, or none
    begin_submission ─ written down as UNKNOWN before the request leaves
    send ─ the POST; no database
    record_submission ─ ACCEPTED with its request id, or why not
    look ─ one question to the provider; no database
    record_look ─ progress, SUCCESS with pictures, FAILED or CANCELLED; back in line, once, when
                  the provider could not download the reference pictures
    record_looks ─ the same for many, in one transaction as far as there is nothing special
    cancel ─ at once while not sent, else a wish the provider is told; withdraw ─ only the first
    hear_of ─ the provider calls: look now, or learn which request a lost answer was about
    recover ─ asks once more for what came too late; charged only if it delivers
    refund ─ staff give back what a task has cost, once, with a reason
    store ─ copies a finished picture into our storage; what is lost for good is paid back

Every transition is a conditional update whose row count is checked, so that two workers on
one task are harmless and the slower one's news is dropped. `send` and `look` talk to the
provider and touch no database: no transaction is ever open across the network. Any process
may die between any two of these lines; what it leaves behind is picked up when
`next_action_at` passes.

Credits are booked in here and nowhere else, in the transaction of the state they belong to:
the most a task may cost is reserved with its row, what was delivered is settled with SUCCESS,
and every other end releases all of it. A picture the provider blacked out, or one that was
lost before we had a copy, costs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from credits import budgets, ledger, pricing
from fluxsite import request_ids
from generation import catalogue, channel, fetching, rates, storage, transport
from generation.ids import new_id
from generation.models import (
    FluxTask,
    FluxTaskQuerySet,
    JimengTask,
    MidjourneyTask,
    TaskImage,
    TaskInput,
    Upload,
)
from generation.providers.base import (
    Cancelled,
    OperatorNeeded,
    OutcomeUnknown,
    PictureLink,
    Progress,
    Provider,
    ProviderFailure,
    Refused,
    RequestNotFound,
    Result,
    Submitted,
    Unavailable,
)
from history import search

logger = logging.getLogger(__name__)

Status = FluxTask.Status
Submission = FluxTask.Submission

#: Longer than a submit can take: after this a task still UNKNOWN belongs to a dead worker.
SUBMIT_LEASE = timedelta(seconds=180)
#: An answer to a submit that was lost may still be made good by a webhook for so long.
WEBHOOK_PATIENCE = timedelta(seconds=60)
#: What could not be sent for this long ends, and its credits go back.
WAIT_AT_MOST = timedelta(hours=24)
#: A request the provider denies knowing for this long is lost.
MISSING_PATIENCE = timedelta(seconds=60)
#: How long to wait before sending again what provably was not sent: doubled, up to the last.
RESEND_AFTER = (2, 4, 8, 15, 30, 60)
#: How long to wait before fetching a picture again, in seconds; then it waits for staff.
STORE_AGAIN_AFTER = (2, 10, 30, 120, 600, 3600, 6 * 3600, 24 * 3600)
#: So often after the first a picture is looked for where the provider says there is none.
GONE_TRIES = 3
STORE_LEASE = timedelta(seconds=180)
#: Ends after which the provider may still have a result.
LATE_CODES = ("timeout", "submit_unknown", "internal")
#: fal keeps results for 30 days.
RESULTS_KEPT = timedelta(days=30)
#: How long a late result is asked for at a time.
RECOVER_PATIENCE = timedelta(minutes=10)
#: In which a member may begin settings.TASKS_PER_MINUTE.
RATE_WINDOW = timedelta(minutes=1)


#: What FluxTaskQuerySet.change_each takes.
Change = tuple[str, Mapping[str, Any], Mapping[str, Any]]


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
    """Return what a request would cost. Nothing is reserved. Raises catalogue.InvalidRequest when
    its model is not offered to the member."""
    channel.current().offer.menu(user=user).require(request.model)
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


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a member may still spend until `resets_at`, of `limit` credits."""

    limit: int
    left: int
    resets_at: datetime


def tightest_budget(*, user: Any) -> Budget | None:
    """Return the budget a member comes up against first, None without any. One query, and two
    more where there are budgets."""
    if not settings.CREDITS_ENABLED:
        return None
    limits = budgets.limits_of(user=user)
    if not limits:
        return None
    account = ledger.account_for(user=user)
    uses = budgets.uses_of(account_id=account.pk, limits=limits, now=timezone.now())
    # Of two that leave the same, the one that lasts longer.
    use = min(uses, key=lambda use: (use.left, -use.resets_at.timestamp()))
    return Budget(limit=use.limit, left=use.left, resets_at=use.resets_at)


def _reference(task: FluxTask) -> str:
    """Return the name under which the ledger knows a task."""
    return f"{TaskImage.Source.FLUX}:{task.pk}"


def _late_reference(task: FluxTask) -> str:
    """Return the name under which the ledger knows what a late result cost. The task's own
    reservation was released when its time was up, and stays so."""
    return f"{_reference(task)}:late"


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
    CannotPay when the member cannot pay for it, catalogue.InvalidRequest when its model is not
    offered to the member, rates.TooOften when this minute has seen enough of theirs.
    """
    if idempotency_key:
        known = _by_idempotency_key(user, idempotency_key, body_hash)
        if known:
            return known
    state = channel.current()
    if not state.is_open:
        raise channel.ChannelClosed(state.mode)
    state.offer.menu(user=user).require(request.model)
    task = _new_task(
        user=user,
        request=request,
        pictures=pictures,
        idempotency_key=idempotency_key,
        body_hash=body_hash,
        retry_of=retry_of,
        now=now,
    )
    try:
        with transaction.atomic():
            _insert(task, pictures)
            _count(user, tasks=1, now=now)
    except IntegrityError:
        # The same key came twice at once; whoever lost the race answers like the winner.
        known = _by_idempotency_key(user, idempotency_key, body_hash) if idempotency_key else None
        if known is None:
            raise
        return known
    return task


def create_together(
    *,
    user: Any,
    requests: Sequence[catalogue.Request],
    pictures: Sequence[Upload | TaskImage],
    now: datetime,
    idempotency_key: str,
    body_hash: str,
) -> list[FluxTask]:
    """Accept all of the requests, or none, and return their tasks, which name one comparison.

    The same idempotency key returns the same tasks: the first of them holds it. Raises what
    `create` raises.
    """
    known = _by_idempotency_key(user, idempotency_key, body_hash)
    if known:
        return compared_with(known)
    state = channel.current()
    if not state.is_open:
        raise channel.ChannelClosed(state.mode)
    menu = state.offer.menu(user=user)
    for request in requests:
        menu.require(request.model)
    comparison = new_id()
    tasks = [
        _new_task(
            user=user,
            request=request,
            pictures=pictures,
            idempotency_key=idempotency_key if position == 0 else "",
            body_hash=body_hash,
            comparison=comparison,
            position=position,
            now=now,
        )
        for position, request in enumerate(requests)
    ]
    try:
        with transaction.atomic():
            for task in tasks:
                _insert(task, pictures)
            _count(user, tasks=len(tasks), now=now)
    except IntegrityError:
        known = _by_idempotency_key(user, idempotency_key, body_hash)
        if known is None:
            raise
        return compared_with(known)
    except CannotPay as refusal:
        if refusal.problem.code != "insufficient_credits":
            raise
        # The one that met the end of the balance knows only of itself.
        needed = sum(task.cost_reserved for task in tasks)
        raise CannotPay.insufficient(
            needed=needed, balance=ledger.account_for(user=user).credits_balance
        ) from refusal
    return tasks


def compared_with(task: FluxTask) -> list[FluxTask]:
    """Return the tasks of a task's comparison, in the order of their models, itself among them."""
    if not task.comparison:
        return [task]
    # They were created at one moment, and that is indexed.
    together = FluxTask.objects.filter(
        user=task.user_id, created_at=task.created_at, comparison=task.comparison
    )
    return list(together.order_by("comparison_position"))


def _new_task(
    *,
    user: Any,
    request: catalogue.Request,
    pictures: Sequence[Upload | TaskImage],
    now: datetime,
    idempotency_key: str,
    body_hash: str,
    retry_of: FluxTask | None = None,
    comparison: str | None = None,
    position: int | None = None,
) -> FluxTask:
    asked = request.parameters
    return FluxTask(
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
        comparison=comparison,
        comparison_position=position,
        web_request_id=request_ids.to_keep(),
        created_at=now,
        next_action_at=now,
    )


def _count(user: Any, *, tasks: int, now: datetime) -> None:
    """Count new tasks, in the transaction that makes them: what comes to nothing is not counted,
    and the one statement costs no commit of its own. It comes last, because all of a member's
    transactions wait for its row until the end of the one before."""
    limit = settings.TASKS_PER_MINUTE
    if limit:
        rates.take(
            scope="generate", user=user, limit=limit, window=RATE_WINDOW, now=now, amount=tasks
        )


def _insert(task: FluxTask, pictures: Sequence[Upload | TaskImage]) -> None:
    """Write a new task and reserve its credits, in a transaction of the caller's that a refusal
    must end: it takes the rows back too, so that nothing need be kept before it."""
    task.save(force_insert=True)
    inputs = [
        TaskInput(
            task=task,
            position=position,
            upload=picture if isinstance(picture, Upload) else None,
            image=picture if isinstance(picture, TaskImage) else None,
        )
        for position, picture in enumerate(pictures)
    ]
    TaskInput.objects.bulk_create(inputs)
    if task.cost_reserved:
        _reserve(task, amount=task.cost_reserved, reference=_reference(task), savepoint=False)


def _reserve(task: FluxTask, *, amount: int, reference: str, savepoint: bool = True) -> None:
    try:
        ledger.reserve(user=task.user, amount=amount, reference=reference, savepoint=savepoint)
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

    Raises catalogue.InvalidRequest when the model changed since, or its reference pictures are
    not here, as those of an imported task; and what `create` raises.
    """
    pictures = [item.picture for item in task.inputs.select_related("upload", "image")]
    if not pictures and task.task_type != "text_to_image":
        message = _("A reference picture of this task is no longer there.")
        problem = catalogue.Problem(field="image_url", code="input_missing", message=message)
        raise catalogue.InvalidRequest([problem])
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
def begin_submissions(*, tasks: Sequence[FluxTask], now: datetime) -> list[FluxTask]:
    """Claim waiting tasks for sending, and return those that were: the others somebody else
    has, or they were cancelled."""
    with transaction.atomic():
        return [task for task in tasks if begin_submission(task=task, now=now)]


def begin_submission(*, task: FluxTask, now: datetime) -> bool:
    """Claim a waiting task for sending. False: somebody else has it, or it was cancelled."""
    way = ""
    if task.input_image_url:
        fell_back = task.input_transport == transport.DATA
        way = transport.DATA if fell_back else transport.preferred()
    claimed = FluxTask.objects.change_one(
        task.pk,
        where={"status": Status.PENDING, "submission": Submission.UNSENT},
        submission=Submission.UNKNOWN,
        submitted_at=now,
        input_transport=way,
        next_action_at=now + SUBMIT_LEASE,
        updated_at=now,
    )
    if claimed:
        # Tells this attempt from others: news of another one is dropped.
        task.submitted_at = now
        task.input_transport = way
    return claimed


def send(
    *, task: FluxTask, provider: Provider, webhook_url: str = ""
) -> Submitted | ProviderFailure:
    """Send a claimed task, once. Touches no database: of one with reference pictures, `inputs`
    must be prefetched."""
    endpoint = catalogue.find_endpoint(task.endpoint)
    if endpoint is None:
        return Refused("unknown_model", f"{task.endpoint} is not in the catalogue.")
    inputs = task.inputs.all() if task.input_image_url else ()
    try:
        payload = catalogue.build_payload(
            endpoint=endpoint,
            prompt=task.prompt,
            parameters=task.parameters,
            image_urls=transport.addresses(
                pictures=[item.picture for item in inputs],
                transport=task.input_transport,
            ),
        )
    except storage.CannotStore as error:
        return Refused("input_missing", str(error))
    try:
        return provider.submit(endpoint=task.endpoint, payload=payload, webhook_url=webhook_url)
    except ProviderFailure as failure:
        return failure


def record_submission(
    *,
    task: FluxTask,
    outcome: Submitted | ProviderFailure,
    timeout: timedelta,
    now: datetime,
    awaits_webhook: bool = False,
) -> None:
    """Write down what became of `send`. `timeout` is the time the provider gets from now.

    `awaits_webhook`: a lost answer may still be made good by a call of the provider. Nothing
    changes if it has called already.
    """
    if isinstance(outcome, Submitted):
        record_acceptances(accepted=[(task, outcome)], timeout=timeout, now=now)
        return
    claimed = FluxTask.objects.filter(pk=task.pk, **_attempt(task))
    if isinstance(outcome, Unavailable | OperatorNeeded):
        _send_later(claimed, task, outcome, now=now)
    elif isinstance(outcome, OutcomeUnknown) and awaits_webhook:
        claimed.update(
            error_message=outcome.detail, next_action_at=now + WEBHOOK_PATIENCE, updated_at=now
        )
    else:
        if isinstance(outcome, OutcomeUnknown):
            logger.warning("task %s: submit with unknown outcome: %s", task.pk, outcome.detail)
        fail_submission(task=task, code=outcome.code, detail=outcome.detail, now=now)


def record_acceptances(
    *, accepted: Iterable[tuple[FluxTask, Submitted]], timeout: timedelta, now: datetime
) -> None:
    """Write down of several tasks, in one transaction, that the provider has taken them."""
    changes = [
        (
            task.pk,
            _attempt(task),
            {
                **_accepted(submitted.request_id, timeout=timeout, now=now),
                "queue_position": submitted.queue_position,
                "next_action_at": now + timedelta(milliseconds=300),
            },
        )
        for task, submitted in accepted
    ]
    with transaction.atomic():
        FluxTask.objects.change_each(changes)


def _attempt(task: FluxTask) -> dict[str, Any]:
    """Return what holds of a task while this attempt at sending it is the last."""
    return {
        "status": Status.PENDING,
        "submission": Submission.UNKNOWN,
        "submitted_at": task.submitted_at,
    }


def _accepted(request_id: str, *, timeout: timedelta, now: datetime) -> dict[str, Any]:
    """Return what is written down of a task once the provider is known to have it."""
    return {
        "submission": Submission.ACCEPTED,
        "status": Status.IN_QUEUE,
        "request_id": request_id,
        "error_message": "",
        "accepted_at": now,
        "deadline_at": now + timeout,
        "updated_at": now,
    }


def fail_submission(*, task: FluxTask, code: str, now: datetime, detail: str = "") -> bool:
    """End a task that was being sent. False: it is no longer in that state."""
    being_sent = Q(submission=Submission.UNKNOWN, submitted_at=task.submitted_at)
    return _end(
        task=task, status=Status.FAILED, code=code, detail=detail, now=now, only_if=being_sent
    )


def fail_waiting(*, task: FluxTask, code: str, now: datetime) -> bool:
    """End a task that waited too long to be sent. False: it is no longer waiting."""
    waiting = Q(submission=Submission.UNSENT)
    return _end(task=task, status=Status.FAILED, code=code, now=now, only_if=waiting)


def _send_later(claimed: Any, task: FluxTask, outcome: ProviderFailure, *, now: datetime) -> None:
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
    if task.recover_requested_at:
        return False
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


def look_each(*, tasks: Sequence[FluxTask], provider: Provider) -> Iterator[tuple[FluxTask, Look]]:
    """Look at several accepted tasks side by side, and yield each as its answer comes. Touches
    no database."""
    requests = [(task.endpoint, task.request_id) for task in tasks]
    for place, outcome in provider.look_each(requests):
        yield tasks[place], Look(outcome=outcome)


def _tell_to_stop(task: FluxTask, provider: Provider) -> bool:
    try:
        provider.cancel(endpoint=task.endpoint, request_id=task.request_id)
    except ProviderFailure:
        return False  # Told again at the next look; what it has drawn is asked for all the same.
    return True


def record_looks(
    *, looks: Sequence[tuple[FluxTask, Look]], now: datetime
) -> list[tuple[FluxTask, Look]]:
    """Write down several looks at once as far as that can be done, and return the others, for
    `record_look`.

    Progress and pictures, which is nearly everything, go into one transaction. If one of them
    does not fit, because its task has ended or its credits are amiss, none is written down:
    what is wrong with it is found out, and left to it alone, one by one.
    """
    progress: list[tuple[FluxTask, Progress]] = []
    results: list[tuple[FluxTask, Result]] = []
    others: list[tuple[FluxTask, Look]] = []
    # In one order for everybody, or two that do this at once could wait for each other.
    for task, look in sorted(looks, key=lambda seen: seen[0].pk):
        overdue = task.deadline_at is not None and now >= task.deadline_at
        if look.cancel_sent or task.recover_requested_at:
            others.append((task, look))
        elif isinstance(look.outcome, Result):
            results.append((task, look.outcome))
        elif isinstance(look.outcome, Progress) and not overdue:
            progress.append((task, look.outcome))
        else:
            others.append((task, look))
    try:
        _record_together(progress, results, now=now)
    except Exception:  # noqa: BLE001 - met again, and reported, where it belongs to one task
        return list(looks)
    return others


def _record_together(
    progress: Sequence[tuple[FluxTask, Progress]],
    results: Sequence[tuple[FluxTask, Result]],
    *,
    now: datetime,
) -> None:
    changes = [_progress(*seen, now=now) for seen in progress if _is_news(*seen)]
    if not changes and not results:
        return
    with transaction.atomic():
        FluxTask.objects.change_each(changes)
        _deliver_each(results, now=now)


def record_look(*, task: FluxTask, look: Look, now: datetime) -> None:
    """Write down what `look` brought. News for a task that has ended meanwhile is dropped."""
    if look.cancel_sent:
        FluxTask.objects.filter(pk=task.pk, cancel_sent_at=None).update(
            cancel_sent_at=now, updated_at=now
        )
    outcome = look.outcome
    if task.recover_requested_at:
        _record_late_look(task, outcome, now=now)
    elif isinstance(outcome, Result):
        deliver(task=task, result=outcome, now=now)
    elif isinstance(outcome, Refused):
        if not _send_as_data(task, outcome, now=now):
            _fail_request(task, code=outcome.code, detail=outcome.detail, now=now)
    elif isinstance(outcome, Cancelled):
        _record_stop(task, outcome, now=now)
    elif task.deadline_at and now >= task.deadline_at:
        detail = outcome.detail if isinstance(outcome, ProviderFailure) else ""
        _fail_request(task, code="timeout", detail=detail, now=now)
    elif isinstance(outcome, Progress):
        _record_progress(task, outcome, now=now)
    elif isinstance(outcome, RequestNotFound):
        _record_missing(task, outcome, now=now)
    else:
        _record_silence(task, outcome, now=now)


def _same_request_as(task: FluxTask) -> dict[str, Any]:
    """Return what holds of an unfinished task while the provider works on the request we know
    of. News of one that was sent before it is dropped."""
    return {
        "status": FluxTask.UNFINISHED,
        "submission": Submission.ACCEPTED,
        "request_id": task.request_id,
    }


def _same_request(task: FluxTask) -> FluxTaskQuerySet:
    return FluxTask.objects.unfinished().filter(
        pk=task.pk, submission=Submission.ACCEPTED, request_id=task.request_id
    )


def _fail_request(task: FluxTask, *, code: str, detail: str, now: datetime) -> bool:
    same = Q(request_id=task.request_id)
    return _end(task=task, status=Status.FAILED, code=code, detail=detail, now=now, only_if=same)


def _send_as_data(task: FluxTask, refusal: Refused, *, now: datetime) -> bool:
    """Put a task back in line, once, whose reference pictures the provider could not download:
    the next request has them inside. It has said that this one failed, so nothing is paid
    twice."""
    if refusal.code != "input_image_unreachable" or not transport.may_fall_back(
        task.input_transport
    ):
        return False
    logger.warning("task %s: the provider could not download its pictures", task.pk)
    # The old request id stays until there is a new one: a late call about it is known by it.
    back_in_line = (
        _same_request(task)
        .filter(cancel_requested_at=None)
        .update(
            status=Status.PENDING,
            submission=Submission.UNSENT,
            input_transport=transport.DATA,
            submitted_at=None,
            accepted_at=None,
            deadline_at=None,
            queue_position=None,
            missing_since=None,
            cancel_sent_at=None,
            webhook_at=None,
            error_message=refusal.detail,
            next_action_at=now,
            updated_at=now,
        )
    )
    return back_in_line == 1


def _record_stop(task: FluxTask, stop: Cancelled, *, now: datetime) -> None:
    # Asked of the row: the wish may be younger than what this worker has read of it. A wish is
    # never taken back, so none can come between these two.
    same = Q(request_id=task.request_id)
    out_of_time = Q(cancel_requested_at=None)
    if not _end(
        task=task,
        status=Status.FAILED,
        code="timeout",
        detail=stop.detail,
        now=now,
        only_if=same & out_of_time,
    ):
        _end(task=task, status=Status.CANCELLED, code="cancelled", now=now, only_if=same)


def _record_progress(task: FluxTask, progress: Progress, *, now: datetime) -> None:
    if _is_news(task, progress):  # Most polls bring none, and no news costs no write.
        FluxTask.objects.change_each([_progress(task, progress, now=now)])


def _is_news(task: FluxTask, progress: Progress) -> bool:
    return (*_standing(progress), None) != (task.status, task.queue_position, task.missing_since)


def _standing(progress: Progress) -> tuple[FluxTask.Status, int | None]:
    if progress.state == "queued":
        return Status.IN_QUEUE, progress.queue_position
    return Status.IN_PROGRESS, None


def _progress(task: FluxTask, progress: Progress, *, now: datetime) -> Change:
    status, position = _standing(progress)
    values = {
        "status": status,
        "queue_position": position,
        "missing_since": None,
        "updated_at": now,
    }
    return task.pk, _same_request_as(task), values


def _record_missing(task: FluxTask, failure: RequestNotFound, *, now: datetime) -> None:
    if task.missing_since is None:
        _same_request(task).update(missing_since=now, updated_at=now)
    elif now - task.missing_since >= MISSING_PATIENCE:
        _fail_request(task, code=failure.code, detail=failure.detail, now=now)


def _record_silence(task: FluxTask, failure: ProviderFailure, *, now: datetime) -> None:
    """A failed question is not a failed task: note what was said, and ask again at the usual
    time or when the provider wishes."""
    news: dict[str, Any] = {}
    if failure.detail != task.error_message:
        news["error_message"] = failure.detail
    if failure.retry_after:
        news["next_action_at"] = now + timedelta(seconds=failure.retry_after)
    if news:
        _same_request(task).update(**news, updated_at=now)


# ---------------------------------------------------------------- ends
def deliver(*, task: FluxTask, result: Result, now: datetime) -> bool:
    """End a task with its pictures, in one transaction. False: it had ended already.

    Charged is what was delivered, at the price of the day it was asked for. Pictures that the
    provider blacked out do not count as delivered (docs/adr/0010).
    """
    charged = _charge(task, result)
    with transaction.atomic():
        if not _deliver(task, result, where=_same_request_as(task), charged=charged, now=now):
            return False
        _settle(task, charged=charged)
    return True


def is_withheld(*, task: FluxTask, picture: PictureLink | TaskImage) -> bool:
    """Tell whether the provider painted a picture black: it found it unfit, and its checker was
    not switched off. Such a picture is kept and marked, and costs nothing."""
    return picture.is_nsfw and task.parameters.get("enable_safety_checker") is not False


def _charge(task: FluxTask, result: Result) -> int:
    drawn = sum(not is_withheld(task=task, picture=picture) for picture in result.pictures)
    return task.cost_reserved * min(drawn, task.num_images) // task.num_images


def _deliver_each(results: Sequence[tuple[FluxTask, Result]], *, now: datetime) -> None:
    """Do what `deliver` does for each, in a transaction of the caller's that must end without a
    trace when this raises."""
    if not results:
        return
    charged = {task.pk: _charge(task, result) for task, result in results}
    changes = [
        _delivery(task, result, where=_same_request_as(task), charged=charged[task.pk], now=now)
        for task, result in results
    ]
    if FluxTask.objects.change_each(changes) != len(changes):
        raise _Overtaken
    TaskImage.objects.add(
        picture for task, result in results for picture in _pictures(task, result, now=now)
    )
    ledger.settle_each(
        charged={_reference(task): charged[task.pk] for task, _ in results if task.cost_reserved}
    )


class _Overtaken(Exception):
    """One of the tasks is no longer as it was seen."""


def _deliver(
    task: FluxTask, result: Result, *, where: Mapping[str, Any], charged: int, now: datetime
) -> bool:
    """Write the pictures down if the task is still as `where` says."""
    delivery = _delivery(task, result, where=where, charged=charged, now=now)
    if not FluxTask.objects.change_each([delivery]):
        return False
    TaskImage.objects.add(_pictures(task, result, now=now))
    return True


def _delivery(
    task: FluxTask, result: Result, *, where: Mapping[str, Any], charged: int, now: datetime
) -> Change:
    started = task.submitted_at or task.created_at
    values = {
        "status": Status.SUCCESS,
        "image_url": result.pictures[0].url,
        "result_seed": result.seed,
        "billable_units": result.billable_units,
        "generation_time": (now - started).total_seconds(),
        "queue_position": None,
        "error_code": "",
        "error_message": "",
        "cost_charged": charged,
        "completed_at": now,
        "next_action_at": None,
        "recover_requested_at": None,
        "updated_at": now,
    }
    return task.pk, where, values


def _pictures(task: FluxTask, result: Result, *, now: datetime) -> list[TaskImage]:
    return [
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
    ]


def fail(*, task: FluxTask, code: str, now: datetime, detail: str = "") -> bool:
    """End a task without pictures. `code` is an entry of generation/errors.py, `detail` what
    the provider said. False: it had ended already."""
    return _end(task=task, status=Status.FAILED, code=code, detail=detail, now=now)


def _end(
    *,
    task: FluxTask,
    status: FluxTask.Status,
    code: str,
    now: datetime,
    detail: str = "",
    only_if: Q | None = None,
) -> bool:
    with transaction.atomic():
        ended = (
            FluxTask.objects.unfinished()
            .filter(only_if or Q(), pk=task.pk)
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
        if ended:
            _release(task)
    return ended == 1


def _settle(task: FluxTask, *, charged: int) -> None:
    if not task.cost_reserved:
        return
    try:
        ledger.settle(reference=_reference(task), charged=charged)
    except (ledger.UnknownReservation, ledger.AlreadyReleased):
        _report_missing_reservation(task)
        FluxTask.objects.filter(pk=task.pk).update(cost_charged=0)


def _release(task: FluxTask) -> None:
    if not task.cost_reserved:
        return
    try:
        ledger.release(reference=_reference(task))
    except (ledger.UnknownReservation, ledger.AlreadySettled):
        _report_missing_reservation(task)


def _report_missing_reservation(task: FluxTask) -> None:
    # Only rows changed by hand can get us here. The task ends all the same: what was never
    # taken from the member is neither charged nor given back.
    logger.error("task %s: the ledger has no open reservation for it", task.pk)


def withdraw(*, task: FluxTask, now: datetime) -> bool:
    """Cancel a task that has not been sent. False: it has been, and goes on."""
    with transaction.atomic():
        return _withdraw(task, now=now)


def _withdraw(task: FluxTask, *, now: datetime) -> bool:
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
        _release(task)
    return unsent == 1


def cancel(*, task: FluxTask, now: datetime) -> bool:
    """Cancel a task: at once while it has not been sent, else by asking the provider.

    False: it had ended already, and nothing changed.
    """
    with transaction.atomic():
        if _withdraw(task, now=now):
            return True
        asked = FluxTask.objects.unfinished().filter(pk=task.pk)
        # Only an accepted task is looked at sooner: one being sent keeps its sender's lease.
        asked.filter(submission=Submission.ACCEPTED).update(next_action_at=now)
        return asked.update(cancel_requested_at=now, updated_at=now) == 1


# ---------------------------------------------------------------- calls and late results
def hear_of(*, task_id: str, request_id: str, now: datetime) -> bool:
    """The provider says that it is done with a request of ours: look now.

    Believed only as far as a poll would be: it brings the next look forward. A task whose
    submit has not been answered is accepted by it, because only the provider knows the address
    of the call. One that has ended without its result is marked, for `recover`. False: there is
    nothing to do, such as at a call that is repeated.
    """
    tasks = FluxTask.objects.filter(pk=task_id, webhook_at=None)
    known = tasks.filter(submission=Submission.ACCEPTED, request_id=request_id)
    being_sent = tasks.filter(status=Status.PENDING, submission=Submission.UNKNOWN).exclude(
        request_id=request_id
    )
    lost = tasks.filter(
        status=Status.FAILED, submission=Submission.UNKNOWN, error_code__in=LATE_CODES
    ).exclude(request_id=request_id)
    called = {"webhook_at": now, "updated_at": now}
    # Any of these may change between two statements, but only towards a later one.
    if being_sent.exists():
        timeout = timedelta(seconds=channel.load_config().timeout)
        accepted = _accepted(request_id, timeout=timeout, now=now)
        if being_sent.update(**accepted, webhook_at=now, next_action_at=now):
            return True
    if known.filter(status__in=FluxTask.UNFINISHED).update(**called, next_action_at=now):
        return True
    late = {**called, "late_result_at": now}
    if known.filter(status=Status.FAILED, error_code__in=LATE_CODES).update(**late):
        return True
    return bool(
        lost.update(**late, submission=Submission.ACCEPTED, request_id=request_id, accepted_at=now)
    )


def is_recoverable(*, task: FluxTask, now: datetime) -> bool:
    """Tell whether the provider may have a result that came too late for this task."""
    return (
        task.status == Status.FAILED
        and not task.origin
        and task.submission == Submission.ACCEPTED
        and task.error_code in LATE_CODES
        and task.recover_requested_at is None
        and now - (task.accepted_at or task.created_at) < RESULTS_KEPT
    )


def recover(*, task: FluxTask, now: datetime) -> bool:
    """Ask the provider once more for the result of a task that was given up.

    Nothing is reserved: it is charged if and when it delivers, at the old price. False: there
    is nothing to ask for, or it is being asked for already. Raises CannotPay when the member
    could not pay for it now.
    """
    if not is_recoverable(task=task, now=now):
        return False
    balance = balance_of(user=task.user)
    if balance is not None and balance < task.cost_reserved:
        raise CannotPay.insufficient(needed=task.cost_reserved, balance=balance)
    given_up = FluxTask.objects.filter(
        pk=task.pk, status=Status.FAILED, error_code=task.error_code, recover_requested_at=None
    )
    asked = given_up.update(
        recover_requested_at=now, missing_since=None, next_action_at=now, updated_at=now
    )
    return asked == 1


def _record_late_look(
    task: FluxTask, outcome: Progress | Result | ProviderFailure, *, now: datetime
) -> None:
    if isinstance(outcome, Result):
        try:
            _deliver_late(task, outcome, now=now)
        except CannotPay as error:
            _stop_recovering(task, code=task.error_code, detail=str(error), now=now)
    elif isinstance(outcome, Refused | Cancelled | RequestNotFound):
        # There is none and never will be; its own reason says more than "too late".
        code = "stopped" if isinstance(outcome, Cancelled) else outcome.code
        _stop_recovering(task, code=code, detail=outcome.detail, now=now)
    elif task.recover_requested_at and now - task.recover_requested_at >= RECOVER_PATIENCE:
        detail = outcome.detail if isinstance(outcome, ProviderFailure) else ""
        _stop_recovering(task, code=task.error_code, detail=detail, now=now)


def _deliver_late(task: FluxTask, result: Result, *, now: datetime) -> None:
    charged = _charge(task, result)
    with transaction.atomic():
        recovering = {
            "status": Status.FAILED,
            "recover_requested_at": task.recover_requested_at,
        }
        if not _deliver(task, result, where=recovering, charged=charged, now=now):
            return
        if charged:
            reference = _late_reference(task)
            _reserve(task, amount=charged, reference=reference)
            ledger.settle(reference=reference, charged=charged)


def _stop_recovering(task: FluxTask, *, code: str, detail: str, now: datetime) -> None:
    FluxTask.objects.filter(
        pk=task.pk, status=Status.FAILED, recover_requested_at__isnull=False
    ).update(
        error_code=code,
        error_message=detail,
        recover_requested_at=None,
        late_result_at=None,
        next_action_at=None,
        updated_at=now,
    )


# ---------------------------------------------------------------- by staff
def refund(*, task: FluxTask, reason: str, actor: str, now: datetime) -> int:
    """Give back all that a finished task still costs, and return how much that was.

    Its pictures and its state stay. Once for each task: 0 when there is nothing to give back,
    because it cost nothing, was refunded, or has not ended with pictures. `actor` is the name of
    who decides, `reason` is read by the member.
    """
    with transaction.atomic():
        due = FluxTask.objects.filter(pk=task.pk, status=Status.SUCCESS, refunded_at=None)
        amount = due.values_list("cost_charged", flat=True).first()
        if not amount:
            return 0
        # A picture that is lost at this moment may be paying its part back already.
        taken = due.filter(cost_charged=amount).update(
            cost_charged=0, refunded_at=now, updated_at=now
        )
        if not taken:
            return 0
        ledger.adjust(
            user=task.user,
            amount=amount,
            reference=f"{_reference(task)}:refund",
            reason=reason,
            actor=actor,
        )
    return amount


# ---------------------------------------------------------------- pictures
def store(
    *,
    image: TaskImage,
    allowed_hosts: fetching.Hosts,
    now: datetime,
    provider: Provider | None = None,
) -> bool:
    """Copy a picture into our storage and note where, or when to try again. May be repeated.

    With a `provider`, a picture that is no longer where it was is asked for once more: its
    request may know a new address.
    """
    try:
        stored = storage.ingest(image=image, allowed_hosts=allowed_hosts)
    except storage.CannotStore as error:
        if error.gone and image.store_attempts == 0 and provider is not None:
            _ask_for_new_address(image, provider)
        _store_later(image, error, now=now)
        return False
    except OSError as error:
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
            thumbnails_size=stored.thumbnails_size,
            sha256=stored.sha256,
            stored_at=now,
            lost_at=None,
            storing_since=None,
            next_action_at=None,
            store_error="",
        )
        if done and image.position == 0:
            _task_of(image).update(cloud_image_url=image.url)
            _make_findable(image)
    return True


def _make_findable(image: TaskImage) -> None:
    """Have the task of a stored picture found by the words of its prompt.

    Here and not where it is delivered, because a sweep does that for thousands at a time. One
    whose picture never comes is found from the next night on (history/search.py).
    """
    for task in _task_of(image).values("user_id", "model", "prompt", "created_at"):
        search.add(search.Document(source=image.source, id=image.task_id, **task))


def _task_of(image: TaskImage) -> QuerySet[Any, Any]:
    """Return a queryset of the one task that a picture belongs to."""
    tables: Mapping[str, Any] = {
        TaskImage.Source.FLUX: FluxTask,
        TaskImage.Source.MIDJOURNEY: MidjourneyTask,
        TaskImage.Source.JIMENG: JimengTask,
    }
    found: QuerySet[Any, Any] = tables[image.source].objects.filter(pk=image.task_id)
    return found


def is_imported(*, image: TaskImage) -> bool:
    """Tell whether a picture was brought over from another site. One query."""
    return _task_of(image).exclude(origin="").exists()


def asked_for_by(*, image: TaskImage) -> str | None:
    """Return the name of the web request that a picture was asked for by. One query."""
    if image.source != TaskImage.Source.FLUX:
        return None
    names = FluxTask.objects.filter(pk=image.task_id).values_list("web_request_id", flat=True)
    return names.first()


def _ask_for_new_address(image: TaskImage, provider: Provider) -> None:
    task = FluxTask.objects.filter(pk=image.task_id).exclude(request_id="").first()
    if image.source != TaskImage.Source.FLUX or task is None:
        return
    try:
        result = provider.result(endpoint=task.endpoint, request_id=task.request_id)
    except ProviderFailure as failure:
        logger.info("picture %s: the provider has no new address: %s", image.pk, failure)
        return
    if image.position < len(result.pictures):
        TaskImage.objects.filter(pk=image.pk, provider_url=image.provider_url).update(
            provider_url=result.pictures[image.position].url
        )


def _store_later(image: TaskImage, error: Exception, *, now: datetime) -> None:
    log = logger.warning
    wait: float | None = STORE_AGAIN_AFTER[min(image.store_attempts, len(STORE_AGAIN_AFTER) - 1)]
    if _is_hopeless(image, error):
        wait, log = None, logger.error
    log("picture %s of task %s not stored: %s", image.pk, image.task_id, error)
    with transaction.atomic():
        noted = TaskImage.objects.filter(
            pk=image.pk, stored_at=None, store_attempts=image.store_attempts
        ).update(
            store_attempts=F("store_attempts") + 1,
            storing_since=None,
            store_error=str(error),
            next_action_at=None if wait is None else now + timedelta(seconds=wait),
        )
        if noted and wait is None:
            _give_back_for_lost(image, now=now)


def _is_hopeless(image: TaskImage, error: Exception) -> bool:
    """Tell whether trying again is left to people and to the nightly look. What our own storage
    cannot take is not lost: the provider still has it."""
    if not isinstance(error, storage.CannotStore):
        return False
    # Even what is gone gets a few tries: provider addresses answer 404 for a moment at times.
    return image.store_attempts >= (GONE_TRIES if error.gone else len(STORE_AGAIN_AFTER))


def _give_back_for_lost(image: TaskImage, *, now: datetime) -> None:
    """Mark a picture as lost and pay back what it cost, once. In the caller's transaction."""
    lost = TaskImage.objects.filter(pk=image.pk, lost_at=None).update(lost_at=now)
    if not lost or image.source != TaskImage.Source.FLUX:
        return
    task = FluxTask.objects.select_related("user").filter(pk=image.task_id).first()
    if task is None or is_withheld(task=task, picture=image):
        return
    amount = min(task.cost_charged, task.cost_reserved // task.num_images)
    if not amount:
        return
    # Staff may refund the task at this moment, and this picture with it.
    taken = FluxTask.objects.filter(pk=task.pk, cost_charged__gte=amount).update(
        cost_charged=F("cost_charged") - amount, updated_at=now
    )
    if taken:
        ledger.adjust(
            user=task.user,
            amount=amount,
            reference=f"{_reference(task)}:lost:{image.position}",
            reason="picture lost at the provider",
            actor="",
        )


def parameters_of(task: FluxTask) -> Mapping[str, Any]:
    """Return what was asked, without settings left to the provider."""
    return {name: value for name, value in task.parameters.items() if value is not None}
