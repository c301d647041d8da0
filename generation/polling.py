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
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import (
    IntegrityError,
    InterfaceError,
    OperationalError,
    close_old_connections,
    transaction,
)
from django.db.models import Count, Q, Window
from django.db.models.functions import RowNumber
from django.utils import timezone
from django_q.tasks import async_task

from generation import channel, lifecycle
from generation.ids import new_token
from generation.models import FluxTask, SweepLease, TaskImage

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
THREADS = 16
#: Tasks asked about at the same time.
MAX_IN_FLIGHT = 64
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
    uncalled = Q(called_at=None) | Q(called_at__lt=now - CALL_AGAIN_AFTER)
    asleep = SweepLease.objects.filter(uncalled, name=LEASE, expires_at__lte=now)
    # Looked at before it is written: every page that watches a task comes by here, and on
    # SQLite even an update of nothing waits for the write lock.
    if asleep.exists():
        return asleep.update(called_at=now) == 1
    _lease, created = SweepLease.objects.get_or_create(
        name=LEASE, defaults={"expires_at": now, "called_at": now}
    )
    return created


def kick_on_commit() -> None:
    transaction.on_commit(kick)


def cluster_is_stuck() -> bool:
    """Tell whether due work lies untouched though it was announced: a cluster that hangs.

    Announces the work once more, so that a cluster which merely lost a message catches up.
    """
    now = timezone.now()
    if _lease_is_live(now):
        return False
    stuck = _is_work_due(now - STUCK_AFTER)
    if stuck:
        kick()
    return stuck


def _is_work_due(moment: datetime) -> bool:
    """Tell whether there is something that a sweep can move at that moment."""
    state = channel.current()
    tasks = FluxTask.objects.unfinished().filter(next_action_at__lte=moment)
    if state.connection is None:
        tasks = tasks.none()
    elif not state.is_open:
        tasks = tasks.exclude(submission=FluxTask.Submission.UNSENT)
    return tasks.exists() or TaskImage.objects.to_store(now=moment).exists()


# ---------------------------------------------------------------- lease
def _lease_is_live(now: datetime) -> bool:
    return SweepLease.objects.filter(name=LEASE, expires_at__gt=now).exists()


def _take_lease(holder: str) -> bool:
    now = timezone.now()
    free = Q(expires_at__lte=now) | Q(holder=holder)
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
    with _ending_gently(run):
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


@dataclass
class _Sweep:
    """One sweep: a thread pool for the network, and this thread alone for the database."""

    holder: str
    pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(THREADS, thread_name_prefix="sweep")
    )
    # Futures in flight, with the task they are about and what to do with their outcome.
    in_flight: dict[Future[Any], tuple[FluxTask, Callable[[Any], None]]] = field(
        default_factory=dict
    )
    renewed_at: float = 0.0
    worked_at: float = field(default_factory=time.monotonic)
    stopped: bool = False

    def stop(self) -> None:
        self.stopped = True

    def until(self, end: float, *, idle: float) -> None:
        while time.monotonic() < end and not self.stopped:
            try:
                if not self._keep_lease():
                    return
                self._tick()
                self._harvest(TICK_SECONDS)
                if self.in_flight or self.has_work_soon():
                    self.worked_at = time.monotonic()
                elif time.monotonic() - self.worked_at > idle:
                    return
            except NO_DATABASE:
                self._wait_for_database()

    def drain(self, end: float) -> None:
        """Write down what became of the submits in flight, whoever has the lease by now.

        What is being asked can be asked again; a request id that is lost here is lost.
        """
        while self._is_sending() and time.monotonic() < end:
            self._harvest(TICK_SECONDS)

    def _wait_for_database(self) -> None:
        logger.warning("the database does not answer: %s", sys.exc_info()[1])
        close_old_connections()
        time.sleep(DATABASE_SECONDS)

    def _is_sending(self) -> bool:
        return any(
            task.submission == FluxTask.Submission.UNSENT for task, _ in self.in_flight.values()
        )

    def close(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)

    def _keep_lease(self) -> bool:
        if time.monotonic() - self.renewed_at < LEASE_SECONDS / 4:
            return True
        self.renewed_at = time.monotonic()
        return _take_lease(self.holder)

    def has_work_soon(self) -> bool:
        return _is_work_due(timezone.now() + timedelta(seconds=30))

    # ------------------------------------------------------------ one round
    def _tick(self) -> None:
        now = timezone.now()
        _announce_pictures(now)
        state = channel.current()
        if state.connection is None:
            return
        timeout = timedelta(seconds=state.config.timeout)
        provider = state.provider()
        limit = state.config.max_concurrent_tasks if state.is_open else 0
        for task in self._to_send(now, limit):
            if lifecycle.begin_submission(task=task, now=now):
                self._start(task, _recorder_of_submission(task, timeout), lifecycle.send, provider)
        for task in self._to_ask(now):
            if task.submission == FluxTask.Submission.UNKNOWN:
                # Its sender's lease has run out: it died between asking and writing down.
                lifecycle.fail(task=task, code="submit_unknown", now=now)
                continue
            cancel = lifecycle.wants_cancel(task=task, now=now)
            self._start(task, _recorder_of_look(task), lifecycle.look, provider, cancel=cancel)

    def _start(
        self,
        task: FluxTask,
        record: Callable[[Any], None],
        ask: Callable[..., Any],
        provider: Any,
        **arguments: Any,
    ) -> None:
        future = self.pool.submit(ask, task=task, provider=provider, **arguments)
        self.in_flight[future] = (task, record)

    def _harvest(self, seconds: float) -> None:
        """Write down what has come back, waiting at most `seconds` for something to come."""
        if not self.in_flight:
            time.sleep(seconds)
            return
        done, _pending = wait(self.in_flight, timeout=seconds, return_when=FIRST_COMPLETED)
        for future in done:
            task, record = self.in_flight[future]
            try:
                record(future.result())
            except NO_DATABASE:
                self._wait_for_database()
                if task.submission == FluxTask.Submission.UNSENT:
                    continue  # Kept, and written down once the database answers.
            except Exception:
                # One poisonous task must not stop the others.
                logger.exception("task %s could not be moved on", task.pk)
                _give_up(task)
            del self.in_flight[future]

    # ------------------------------------------------------------ what is due
    def _busy(self) -> list[str]:
        return [task.pk for task, _record in self.in_flight.values()]

    def _to_send(self, now: datetime, limit: int) -> list[FluxTask]:
        """Return the tasks to send now: while there are free places, the oldest task of the
        member with the fewest running."""
        free = min(limit - FluxTask.objects.at_provider().count(), MAX_IN_FLIGHT)
        if free <= 0:
            return []
        place = Window(RowNumber(), partition_by="user", order_by=["created_at", "id"])
        due = FluxTask.objects.waiting().filter(next_action_at__lte=now).annotate(place=place)
        lines: dict[int, list[FluxTask]] = {}
        for task in due.filter(place__lte=free).order_by("created_at", "id")[:1000]:
            lines.setdefault(task.user_id, []).append(task)
        if not lines:
            return []
        running = dict(
            FluxTask.objects.at_provider().order_by().values_list("user").annotate(n=Count("pk"))
        )
        chosen: list[FluxTask] = []
        while len(chosen) < free and any(lines.values()):
            user = min(
                (user for user, line in lines.items() if line),
                key=lambda user: (running.get(user, 0), lines[user][0].created_at),
            )
            chosen.append(lines[user].pop(0))
            running[user] = running.get(user, 0) + 1
        return list(
            FluxTask.objects.filter(pk__in=[task.pk for task in chosen])
            .prefetch_related("inputs__upload", "inputs__image")
            .order_by("created_at", "id")
        )

    def _to_ask(self, now: datetime) -> list[FluxTask]:
        """Claim the tasks at the provider that are due, by moving their time forward."""
        room = MAX_IN_FLIGHT - len(self.in_flight)
        if room <= 0:
            return []
        due = FluxTask.objects.at_provider().filter(next_action_at__lte=now)
        tasks = list(due.exclude(pk__in=self._busy()).order_by("next_action_at")[:room])
        claimed: list[FluxTask] = []
        by_interval: dict[float, list[FluxTask]] = {}
        for task in tasks:
            by_interval.setdefault(ask_again_after(task, now=now), []).append(task)
        for interval, group in by_interval.items():
            ids = [task.pk for task in group]
            next_time = now + timedelta(seconds=interval * random.uniform(0.9, 1.1))  # noqa: S311
            moved = due.filter(pk__in=ids).update(next_action_at=next_time, lease_token=self.holder)
            if moved == len(group):
                claimed += group
            else:
                won = FluxTask.objects.filter(
                    pk__in=ids, lease_token=self.holder, next_action_at=next_time
                )
                claimed += list(won)
        return claimed


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
        return 1.0
    return 2.0 if age < 60 else 5.0 if age < 300 else 10.0


def _recorder_of_submission(task: FluxTask, timeout: timedelta) -> Callable[[Any], None]:
    return lambda outcome: lifecycle.record_submission(
        task=task, outcome=outcome, timeout=timeout, now=timezone.now()
    )


def _recorder_of_look(task: FluxTask) -> Callable[[Any], None]:
    return lambda look: lifecycle.record_look(task=task, look=look, now=timezone.now())


# ---------------------------------------------------------------- pictures
def _announce_pictures(now: datetime) -> None:
    """Queue a job for each picture due for storing. The time moved forward is its lease."""
    being_stored = TaskImage.objects.filter(
        stored_at=None, storing_since__gt=now - lifecycle.STORE_LEASE
    ).count()
    # One at a time even with the fewest workers; else some stay free for the sweep.
    free = max(1, settings.STORE_WORKERS) - being_stored
    if free <= 0:
        return
    for image in TaskImage.objects.to_store(now=now).order_by("next_action_at")[:free]:
        claimed = TaskImage.objects.filter(
            pk=image.pk, stored_at=None, next_action_at=image.next_action_at
        ).update(next_action_at=now + lifecycle.STORE_LEASE, storing_since=now)
        if claimed:
            async_task("generation.polling.store", image.pk)


def store(image_id: str) -> None:
    """Copy one picture into our storage."""
    image = TaskImage.objects.filter(pk=image_id, stored_at=None).first()
    if image is not None:
        hosts = channel.current().result_hosts
        lifecycle.store(image=image, allowed_hosts=hosts, now=timezone.now())
