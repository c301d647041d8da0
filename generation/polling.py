"""What the workers run: one sweep that sends and asks, and a task per picture to store.

The database is the truth and a queue message only a wake-up: lost, doubled or late messages
change nothing but the delay. A sweep holds no worker per task: it takes the rows that are due,
asks the provider about them side by side, writes down what changed, and goes on until nothing
is left to do or its window ends, when it hands over to a successor.

What starts a sweep: creating a task; a page that watches one; the schedule, every minute, as
the floor. A lease keeps it to one sweep over all clusters.
"""

from __future__ import annotations

import logging
import os
import queue
import random
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from heapq import heapify, heappop, heapreplace
from typing import Any, Protocol

from django.conf import settings
from django.db import (
    IntegrityError,
    InterfaceError,
    OperationalError,
    close_old_connections,
    connections,
    router,
    transaction,
)
from django.db.models import Count, Q, Window, prefetch_related_objects
from django.db.models.functions import RowNumber
from django.utils import timezone
from django_q.tasks import async_task

from fluxsite import request_ids
from generation import channel, lifecycle, webhook_address
from generation.ids import new_token
from generation.models import FluxConfig, FluxTask, SweepLease, TaskImage
from generation.providers.base import (
    OperatorNeeded,
    Provider,
    ProviderFailure,
    Submitted,
    Throttled,
    Unavailable,
)

logger = logging.getLogger(__name__)

NO_DATABASE = (OperationalError, InterfaceError)

LEASE = "sweep"
LEASE_SECONDS = 6.0
#: Seconds until a sweep hands over; well below the cluster's own time limit.
WINDOW_SECONDS = 40.0
#: Seconds between two looks into the database while something is going on.
TICK_SECONDS = 0.1
#: Seconds a sweep lingers without work before it ends.
IDLE_SECONDS = 2.0
#: Seconds a sweep waits at its end for requests in flight: a submit may take this long.
DRAIN_SECONDS = 100.0
#: Seconds to wait when the database does not answer.
DATABASE_SECONDS = 1.0
#: A called sweep that has not begun by then is called again: its message may be lost.
CALL_AGAIN_AFTER = timedelta(seconds=10)
#: Requests sent side by side, and tasks chosen for it at most: what a killed sweep had chosen
#: and not sent yet ends as `submit_unknown`.
SENDERS = 16
SEND_BATCH = 128
#: Questions asked side by side by one thread, threads, and tasks claimed at a time. Threads
#: wait for one another wherever the interpreter's lock is passed on, at every word that is
#: sent: while the provider answers quickly, one thread asks all that is due.
SIDE_BY_SIDE = 250
ASKERS = 32
ASK_BATCH = 1000
#: What comes back is written down in one transaction, of so many tasks at most: a commit costs
#: more than what is committed, and others wait to write meanwhile.
WRITE_BATCH = 50
#: The more tasks there are, the more rarely each is asked about: with n of them at most every
#: 0.25 s + n / 2200. That is what one processor core can ask, and what is polite.
ASK_AT_MOST_EVERY = 0.25
ASKED_PER_SECOND = 2200
#: Seconds without a submit after one that could not be delivered.
HOLD_SECONDS = 1.0
#: Due work that nobody touched for so long, with no sweep alive, is announced again.
UNTOUCHED_AFTER = timedelta(seconds=1)
#: Due work that nobody touched for this long, with no sweep alive, means a hung cluster.
STUCK_AFTER = timedelta(seconds=20)


# ---------------------------------------------------------------- wake-ups
def kick() -> None:
    """See to it that a sweep is running. Call it after the commit; it never raises.

    While one is alive, or was called a moment ago, there is nothing to do: it will see what
    has been committed before.
    """
    try:
        if _call():
            async_task("generation.polling.sweep")
    except Exception:
        logger.warning("no sweep could be started; the schedule will do it", exc_info=True)


def _call() -> bool:
    """Note that a sweep is called, unless one is alive or called already."""
    now = timezone.now()
    # Looked at before it is written: every page that watches a task comes by here, and on
    # SQLite even an update of nothing waits for the write lock. In SQL: the ORM takes ten
    # times as long to build the query as the database to answer it.
    for lease in SweepLease.objects.raw("SELECT * FROM sweep_leases WHERE name = %s", [LEASE]):
        called = lease.called_at and now - CALL_AGAIN_AFTER <= lease.called_at <= now
        if called or now < lease.expires_at <= now + timedelta(seconds=LEASE_SECONDS + 1):
            return False
    uncalled = Q(called_at=None) | ~Q(called_at__range=(now - CALL_AGAIN_AFTER, now))
    if SweepLease.objects.filter(uncalled, _is_over(now), name=LEASE).update(called_at=now):
        return True
    _lease, created = SweepLease.objects.get_or_create(
        name=LEASE, defaults={"expires_at": now, "called_at": now}
    )
    return created


def kick_on_commit() -> None:
    transaction.on_commit(kick)


def cluster_is_stuck() -> bool:
    """Tell whether due work lies untouched though it was announced: a cluster that hangs.

    Announces work that lies untouched, at once and not only when it is stuck: the message of
    a sweep that was killed is lost with it, and nobody may be watching a page.
    """
    now = timezone.now()
    if _lease_is_live(now) or not _is_work_due(now - UNTOUCHED_AFTER):
        return False
    kick()
    return _is_work_due(now - STUCK_AFTER)


def _is_work_due(moment: datetime) -> bool:
    """Tell whether there is something that a sweep can move at that moment."""
    state = channel.current()
    tasks = FluxTask.objects.filter(next_action_at__lte=moment)
    if state.connection is None:
        tasks = tasks.none()
    elif not state.may_send(moment):
        tasks = tasks.sent()
    return tasks.exists() or TaskImage.objects.to_store(now=moment).exists()


# ---------------------------------------------------------------- lease
def _is_over(now: datetime) -> Q:
    """Match leases nobody holds. One that ends later than any can was taken before the clock
    was put back; its holder, if there still is one, renews it within seconds."""
    return Q(expires_at__lte=now) | Q(expires_at__gt=now + timedelta(seconds=LEASE_SECONDS + 1))


def _lease_is_live(now: datetime) -> bool:
    return SweepLease.objects.filter(name=LEASE).exclude(_is_over(now)).exists()


def last_swept_at(*, now: datetime) -> datetime | None:
    """Return when a worker last held the lease, `now` while one does, None if none ever did.

    The schedule has a worker sweep every minute, work or not, so this is also the sign of life
    of the workers.
    """
    for expires_at in SweepLease.objects.filter(name=LEASE).values_list("expires_at", flat=True):
        return min(now, expires_at)
    return None


def _take_lease(holder: str) -> bool:
    now = timezone.now()
    free = _is_over(now) | Q(holder=holder)
    expires_at = now + timedelta(seconds=LEASE_SECONDS)
    taken = SweepLease.objects.filter(free, name=LEASE).update(
        holder=holder, expires_at=expires_at, called_at=None
    )
    if taken or SweepLease.objects.filter(name=LEASE).exists():
        return bool(taken)
    try:
        with transaction.atomic():
            SweepLease.objects.create(name=LEASE, holder=holder, expires_at=expires_at)
    except IntegrityError:
        return False
    return True


def _release_lease(holder: str) -> None:
    SweepLease.objects.filter(name=LEASE, holder=holder).update(
        expires_at=timezone.now(), called_at=None
    )


# ---------------------------------------------------------------- sweep
def sweep(window: float = WINDOW_SECONDS, idle: float = IDLE_SECONDS) -> None:
    """Send and ask until nothing was left to do for `idle` or `window` seconds are over."""
    holder = new_token()
    if not _take_lease(holder):
        return
    run = _Sweep(holder=holder)
    # Woken for one request, it works for all.
    with request_ids.named(None), _ending_gently(run):
        try:
            run.until(time.monotonic() + window, idle=idle)
            # Handed over before the last submits have come back: a slow one holds up nobody.
            _release_lease(holder)
            # Looked at after the release: whoever came while we held the lease did not kick.
            if run.has_work_soon():
                kick()
        finally:
            run.drain(time.monotonic() + DRAIN_SECONDS)
            run.close()


@contextmanager
def _ending_gently(run: _Sweep) -> Iterator[None]:
    """Let SIGTERM end the sweep after what is being sent has been written down.

    Cut off in the middle of a POST, its task could only end as `submit_unknown`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread can hear signals.
        return
    before = signal.signal(signal.SIGTERM, lambda *_: run.stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
    if run.stopped:
        os.kill(os.getpid(), signal.SIGTERM)


#: What came back about a task: an answer, or an exception that is none.
_Outcome = Any


class _Recorder(Protocol):
    """Writes down what came back about tasks."""

    def together(
        self, outcomes: Sequence[tuple[FluxTask, _Outcome]]
    ) -> Sequence[tuple[FluxTask, _Outcome]]:
        """Write down what can be in one transaction, and return the others. Never raises."""

    def alone(self, task: FluxTask, outcome: _Outcome) -> None: ...


_Back = tuple[FluxTask, _Recorder, _Outcome]


class _Sweep:
    """One sweep: threads for the network, and the thread that runs it for the database."""

    def __init__(self, *, holder: str) -> None:
        self.holder = holder
        self.stopped = False
        self._senders = ThreadPoolExecutor(SENDERS, thread_name_prefix="send")
        self._askers = ThreadPoolExecutor(ASKERS, thread_name_prefix="ask")
        # What is under way, by task, and what has come back and is to be written down.
        self._in_flight: dict[str, FluxTask] = {}
        self._back: queue.SimpleQueue[_Back] = queue.SimpleQueue()
        self._renewed_at = 0.0
        self._worked_at = time.monotonic()
        self.send_after = self.ask_after = 0.0
        self._paces = _Paces()
        self._known = _Known()
        self._looks = _Looks(self)

    def stop(self) -> None:
        self.stopped = True

    def until(self, end: float, *, idle: float) -> None:
        while time.monotonic() < end and not self.stopped:
            try:
                if not self._keep_lease():
                    return
                self._tick()
                self._harvest(TICK_SECONDS)
                if self._in_flight or self.has_work_soon():
                    self._worked_at = time.monotonic()
                elif time.monotonic() - self._worked_at > idle:
                    return
            except NO_DATABASE:
                self._wait_for_database()

    def drain(self, end: float) -> None:
        """Write down what became of the submits in flight, whoever has the lease by now.

        What is being asked can be asked again; a request id that is lost here is lost.
        """
        while self._being_sent() and time.monotonic() < end:
            self._harvest(TICK_SECONDS)

    def _wait_for_database(self) -> None:
        logger.warning("the database does not answer: %s", sys.exc_info()[1])
        close_old_connections()
        time.sleep(DATABASE_SECONDS)

    def _being_sent(self) -> int:
        unsent = FluxTask.Submission.UNSENT
        return sum(task.submission == unsent for task in self._in_flight.values())

    def close(self) -> None:
        for pool in (self._senders, self._askers):
            pool.shutdown(wait=False, cancel_futures=True)
        channel.hang_up()

    def _keep_lease(self) -> bool:
        if time.monotonic() - self._renewed_at < LEASE_SECONDS / 4:
            return True
        self._renewed_at = time.monotonic()
        if not _take_lease(self.holder):
            return False
        _end_what_waited_too_long()
        return True

    def has_work_soon(self) -> bool:
        return _is_work_due(timezone.now() + timedelta(seconds=30))

    # ------------------------------------------------------------ one round
    def _tick(self) -> None:
        now = timezone.now()
        _announce_pictures(now)
        state = channel.current()
        if state.connection is None:
            return
        if time.monotonic() >= self.send_after:
            self._send_due(state, now)
        if time.monotonic() >= self.ask_after:
            self._ask_due(state, now)

    def _send_due(self, state: channel.Channel, now: datetime) -> None:
        if not state.may_send(now):
            return
        room = SEND_BATCH - self._being_sent()
        if room < SEND_BATCH / 2:
            return
        tasks = _to_send(state.config, now, most=1 if state.is_refused else room)
        if tasks and state.is_refused and not channel.begin_probe(config=state.config, now=now):
            return
        provider = state.provider()
        record = _Submissions(self, state)
        for task in lifecycle.begin_submissions(tasks=tasks, now=now):
            self._start(
                self._senders,
                task,
                record,
                lifecycle.send,
                provider=provider,
                webhook_url=webhook_address.address_for(config=state.config, task_id=task.pk),
            )

    def _ask_due(self, state: channel.Channel, now: datetime) -> None:
        room = ASK_BATCH - len(self._in_flight)
        if room <= 0:
            return
        provider = state.provider()
        tasks = _claim_to_ask(self.holder, now, most=room, paces=self._paces, known=self._known)
        simple: list[FluxTask] = []
        for task in tasks:
            if task.pk in self._in_flight:
                continue  # Asked before, and still waiting for the answer.
            if task.submission == FluxTask.Submission.UNKNOWN:
                # Its sender's lease has run out: it died between asking and writing down.
                lifecycle.fail_submission(task=task, code="submit_unknown", now=now)
                continue
            self._in_flight[task.pk] = task
            if lifecycle.wants_cancel(task=task, now=now):
                self._start(
                    self._askers,
                    task,
                    self._looks,
                    lifecycle.look,
                    provider=provider,
                    cancel=True,
                )
            else:
                simple.append(task)
        for start in range(0, len(simple), SIDE_BY_SIDE):
            self._askers.submit(self._look_each, simple[start : start + SIDE_BY_SIDE], provider)

    def _look_each(self, tasks: list[FluxTask], provider: Provider) -> None:
        unanswered = {task.pk: task for task in tasks}
        try:
            for task, look in lifecycle.look_each(tasks=tasks, provider=provider):
                del unanswered[task.pk]
                self._back.put((task, self._looks, look))
        except Exception as error:  # noqa: BLE001 - passed on to the thread that writes it down
            for task in unanswered.values():
                self._back.put((task, self._looks, error))

    def _start(
        self,
        pool: ThreadPoolExecutor,
        task: FluxTask,
        record: _Recorder,
        ask: Callable[..., Any],
        **arguments: Any,
    ) -> None:
        self._in_flight[task.pk] = task
        pool.submit(self._ask, task, record, partial(ask, task=task, **arguments))

    def _ask(self, task: FluxTask, record: _Recorder, ask: Callable[[], Any]) -> None:
        try:
            with request_ids.named(task.web_request_id):
                outcome = ask()
        except Exception as error:  # noqa: BLE001 - passed on to the thread that writes it down
            outcome = error
        self._back.put((task, record, outcome))

    def _harvest(self, seconds: float) -> None:
        """Write down what has come back, and what comes back within `seconds`."""
        end = time.monotonic() + seconds
        if not self._in_flight:
            time.sleep(seconds)
            return
        while self._in_flight and (left := end - time.monotonic()) > 0:
            try:
                back = [self._back.get(timeout=left)]
            except queue.Empty:
                return
            with suppress(queue.Empty):
                while len(back) < WRITE_BATCH:
                    back.append(self._back.get_nowait())
            self._write_down_all(back)

    def _write_down_all(self, back: Sequence[_Back]) -> None:
        """Write down together what can be, and the others one by one."""
        of_each: dict[_Recorder, list[tuple[FluxTask, _Outcome]]] = {}
        for task, record, outcome in back:
            of_each.setdefault(record, []).append((task, outcome))
        for record, outcomes in of_each.items():
            left = record.together(outcomes) if len(outcomes) > 1 else outcomes
            written = {task.pk for task, _ in outcomes} - {task.pk for task, _ in left}
            for key in written:
                del self._in_flight[key]
            for task, outcome in left:
                self._write_down((task, record, outcome))

    def _write_down(self, back: _Back) -> None:
        with request_ids.named(back[0].web_request_id):
            self._record(back)

    def _record(self, back: _Back) -> None:
        task, record, outcome = back
        try:
            if isinstance(outcome, Exception) and not isinstance(outcome, ProviderFailure):
                raise outcome
            record.alone(task, outcome)
        except NO_DATABASE:
            self._wait_for_database()
            if task.submission == FluxTask.Submission.UNSENT:
                self._back.put(back)  # Kept, and written down once the database answers.
                return
        except Exception:
            # One poisonous task must not stop the others.
            logger.exception("task %s could not be moved on", task.pk)
            _give_up(task)
        del self._in_flight[task.pk]


# ---------------------------------------------------------------- what came back
class _Submissions:
    """What became of the submits of one round."""

    def __init__(self, run: _Sweep, state: channel.Channel) -> None:
        self._run = run
        self._is_refused = state.is_refused
        self._timeout = timedelta(seconds=state.config.timeout)
        self._awaits_webhook = webhook_address.is_enabled(config=state.config)

    def together(
        self, outcomes: Sequence[tuple[FluxTask, _Outcome]]
    ) -> Sequence[tuple[FluxTask, _Outcome]]:
        accepted = [(task, seen) for task, seen in outcomes if isinstance(seen, Submitted)]
        try:
            lifecycle.record_acceptances(
                accepted=accepted, timeout=self._timeout, now=timezone.now()
            )
        except Exception:  # noqa: BLE001 - met again, and reported, where it belongs to one task
            return outcomes
        return [(task, seen) for task, seen in outcomes if not isinstance(seen, Submitted)]

    def alone(self, task: FluxTask, outcome: Submitted | ProviderFailure) -> None:
        lifecycle.record_submission(
            task=task,
            outcome=outcome,
            timeout=self._timeout,
            awaits_webhook=self._awaits_webhook,
            now=timezone.now(),
        )
        if isinstance(outcome, Submitted):
            # With an open breaker one task at a time is sent, so its news comes alone.
            if self._is_refused and channel.close_breaker():
                logger.warning("the provider takes requests again")
        elif isinstance(outcome, Unavailable):
            # The next one would meet the same; the line waits a little instead.
            self._run.send_after = time.monotonic() + (outcome.retry_after or HOLD_SECONDS)
        else:
            _follow_breaker(outcome)


class _Looks:
    """What looks at the provider brought."""

    def __init__(self, run: _Sweep) -> None:
        self._run = run

    def together(
        self, outcomes: Sequence[tuple[FluxTask, _Outcome]]
    ) -> Sequence[tuple[FluxTask, _Outcome]]:
        looks = [(task, seen) for task, seen in outcomes if isinstance(seen, lifecycle.Look)]
        errors = [(task, seen) for task, seen in outcomes if isinstance(seen, Exception)]
        return [*lifecycle.record_looks(looks=looks, now=timezone.now()), *errors]

    def alone(self, task: FluxTask, look: lifecycle.Look) -> None:
        lifecycle.record_look(task=task, look=look, now=timezone.now())
        if isinstance(look.outcome, Throttled):
            self._run.ask_after = time.monotonic() + (look.outcome.retry_after or HOLD_SECONDS)
        elif isinstance(look.outcome, ProviderFailure):
            _follow_breaker(look.outcome)


def _follow_breaker(failure: ProviderFailure) -> None:
    if isinstance(failure, OperatorNeeded) and channel.open_breaker(
        code=failure.code, detail=failure.detail, now=timezone.now()
    ):
        logger.error("the provider refuses us, new tasks wait: %s", failure.detail)


# ---------------------------------------------------------------- what is due
def _to_send(config: FluxConfig, now: datetime, *, most: int) -> list[FluxTask]:
    """Return the tasks to send now: while there are free places, the oldest task of the
    member with the fewest running."""
    due = FluxTask.objects.waiting().filter(next_action_at__lte=now)
    if not due.exists():
        return []
    at_provider = FluxTask.objects.at_provider().order_by().values_list("user")
    running = dict(at_provider.annotate(n=Count("pk")))
    free = min(config.max_concurrent_tasks - sum(running.values()), most)
    if free <= 0:
        return []
    # A task that was refused before lets the others go first: it may be the one to blame.
    order = ["retry_count", "created_at", "id"]
    place = Window(RowNumber(), partition_by="user", order_by=order)
    first = due.annotate(place=place).filter(place__lte=free).order_by(*order)[:1000]
    lines: dict[int, deque[tuple[int, str]]] = {}
    for rank, (user, key) in enumerate(first.values_list("user", "pk")):
        lines.setdefault(user, deque()).append((rank, key))
    limit = config.max_concurrent_per_member or config.max_concurrent_tasks
    # The members by what they run and how long their first task has waited.
    heads = [(running.get(user, 0), line[0][0], user) for user, line in lines.items()]
    heapify(heads)
    chosen: list[str] = []
    while heads and len(chosen) < free and heads[0][0] < limit:
        runs, _rank, user = heads[0]
        chosen.append(lines[user].popleft()[1])
        if lines[user]:
            heapreplace(heads, (runs + 1, lines[user][0][0], user))
        else:
            heappop(heads)
    tasks = list(FluxTask.objects.filter(pk__in=chosen).order_by("created_at", "id"))
    with_pictures = [task for task in tasks if task.input_image_url]
    prefetch_related_objects(with_pictures, "inputs__upload", "inputs__image")
    return tasks


#: What is needed of a task to ask about it and to write down the answer; a third of its columns.
ASKED_WITH = (
    *("user", "endpoint", "status", "submission", "request_id", "queue_position"),
    *("created_at", "submitted_at", "accepted_at", "deadline_at", "missing_since", "updated_at"),
    *("cancel_requested_at", "cancel_sent_at", "recover_requested_at", "input_transport"),
    *("cost_reserved", "num_images", "error_code", "error_message", "web_request_id"),
)


class _Known:
    """The tasks a sweep follows, as they were when they last changed.

    Most questions bring no news, and reading a whole task for each of them would cost more
    than asking. Every change of a task sets its `updated_at`.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, tuple[Any, FluxTask]] = {}

    def refresh(self, seen: Mapping[str, Any]) -> list[FluxTask]:
        """Return the tasks of these keys, read anew where their `updated_at`, as the database
        says it, has changed since."""
        changed = [
            key
            for key, updated_at in seen.items()
            if key not in self._tasks or self._tasks[key][0] != updated_at
        ]
        if changed:
            fresh = FluxTask.objects.only(*ASKED_WITH).in_bulk(changed)
            # What changed in between is read once more the next time.
            self._tasks.update({key: (seen[key], task) for key, task in fresh.items()})
        return [self._tasks[key][1] for key in seen if key in self._tasks]


#: Tasks to ask about, those that have been due the longest first.
_DUE = """
    SELECT id, updated_at FROM flux_tasks
    WHERE NOT (submission = 'UNSENT') AND next_action_at <= %s
    ORDER BY next_action_at LIMIT %s
"""
_CLAIM = """
    UPDATE flux_tasks SET next_action_at = %s, lease_token = %s
    WHERE NOT (submission = 'UNSENT') AND next_action_at <= %s AND id IN ({})
"""


def _claim_to_ask(
    holder: str, now: datetime, *, most: int, paces: _Paces, known: _Known
) -> list[FluxTask]:
    """Claim sent tasks that are due, by moving their time forward.

    In SQL: this runs ten times a second, and thousands of rows come by that bring no news.
    """
    connection = connections[router.db_for_write(FluxTask)]
    moment = connection.ops.adapt_datetimefield_value(now)
    claimed: list[FluxTask] = []
    by_interval: dict[float, list[FluxTask]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_DUE, [moment, most])
        for task in known.refresh(dict(cursor.fetchall())):
            by_interval.setdefault(paces.seconds_for(task, now=now), []).append(task)
        for interval, group in by_interval.items():
            ids = [task.pk for task in group]
            next_time = now + timedelta(seconds=interval * random.uniform(0.9, 1.1))  # noqa: S311
            cursor.execute(
                _CLAIM.format(", ".join(["%s"] * len(ids))),
                [connection.ops.adapt_datetimefield_value(next_time), holder, moment, *ids],
            )
            if cursor.rowcount == len(group):
                claimed += group
            else:
                mine = FluxTask.objects.filter(lease_token=holder, next_action_at=next_time)
                won = set(mine.filter(pk__in=ids).values_list("pk", flat=True))
                claimed += [task for task in group if task.pk in won]
    return claimed


@dataclass
class _Paces:
    """How long until a task is asked about again."""

    slowest: float = 0.0
    counted_at: float = field(default=float("-inf"))

    def seconds_for(self, task: FluxTask, *, now: datetime) -> float:
        """Return the seconds until the next question: as its age wants, as their number
        allows."""
        if time.monotonic() - self.counted_at > 1:
            self.counted_at = time.monotonic()
            count = FluxTask.objects.at_provider().count()
            self.slowest = ASK_AT_MOST_EVERY + count / ASKED_PER_SECOND
        return max(ask_again_after(task, now=now), self.slowest)


def _end_what_waited_too_long() -> None:
    now = timezone.now()
    forgotten = FluxTask.objects.waiting().filter(created_at__lt=now - lifecycle.WAIT_AT_MOST)
    tasks = list(forgotten[:100])
    code = tasks and channel.load_config().refusal_code
    for task in tasks:
        lifecycle.fail_waiting(task=task, code=code or "provider_unavailable", now=now)


def _give_up(task: FluxTask) -> None:
    """End a task whose news cannot be written down: at once if it was being sent, else when
    its time is up."""
    now = timezone.now()
    is_over = task.deadline_at is None or now >= task.deadline_at
    try:
        if is_over:
            lifecycle.fail(task=task, code="internal", now=now)
    except Exception:
        logger.exception("task %s could not be ended", task.pk)


def ask_again_after(task: FluxTask, *, now: datetime) -> float:
    """Return the seconds until the next question: short for a young task, growing with age."""
    age = (now - (task.accepted_at or now)).total_seconds()
    if age < 3:
        return 0.4
    if age < 30:
        return 0.7
    return 2.0 if age < 60 else 5.0 if age < 300 else 10.0


# ---------------------------------------------------------------- pictures
def _announce_pictures(now: datetime) -> None:
    """Queue a job for each picture due for storing. The time moved forward is its lease."""
    # The second condition follows from the third, and is indexed.
    being_stored = TaskImage.objects.filter(
        stored_at=None, next_action_at__gt=now, storing_since__gt=now - lifecycle.STORE_LEASE
    ).count()
    # One at a time even with the fewest workers; else some stay free for the sweep.
    free = max(1, settings.STORE_WORKERS) - being_stored
    if free <= 0:
        return
    # The newest first: pictures that were brought over by the thousand are due since long ago,
    # and what is drawn here does not wait behind them.
    for image in TaskImage.objects.to_store(now=now).order_by("-next_action_at")[:free]:
        claimed = TaskImage.objects.filter(
            pk=image.pk, stored_at=None, next_action_at=image.next_action_at
        ).update(next_action_at=now + lifecycle.STORE_LEASE, storing_since=now)
        if claimed:
            async_task("generation.polling.store", image.pk)


def store(image_id: str) -> None:
    """Copy one picture into our storage."""
    image = TaskImage.objects.filter(pk=image_id, stored_at=None).first()
    if image is not None:
        with request_ids.named(lifecycle.asked_for_by(image=image)):
            _store(image)


def _store(image: TaskImage) -> None:
    state = channel.current()
    now = timezone.now()
    if lifecycle.is_imported(image=image):
        # It may lie anywhere, and our provider knows nothing of it.
        lifecycle.store(image=image, allowed_hosts=channel.imported_hosts(), now=now)
        return
    lifecycle.store(
        image=image,
        allowed_hosts=state.result_hosts,
        provider=state.provider() if state.connection else None,
        now=now,
    )
