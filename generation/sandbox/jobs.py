"""The queue: which jobs exist and how far each has come.

Nothing runs between requests. Every question first replays, in order of time, what must
have happened since the last one (jobs starting as slots fall free, jobs finishing), so a
thousand waiting jobs cost no thread and a test may hand in its own clock.

Finished jobs are kept up to a number; the oldest is forgotten first, together with its
pictures.
"""

from __future__ import annotations

import heapq
import math
import random
import secrets
import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from generation.sandbox.faults import FaultRule

IN_QUEUE = "IN_QUEUE"
IN_PROGRESS = "IN_PROGRESS"
COMPLETED = "COMPLETED"

# How many imaginary strangers wait ahead of a job while no concurrency limit is set, so
# that a client sees a position that falls.
STRANGERS_AHEAD = 3


@dataclass(eq=False)
class Job:
    """One accepted request. Times are those of the store's clock, in seconds."""

    request_id: str
    endpoint_id: str
    body: Any
    prompt: str
    submitted_at: float
    ready_at: float
    duration: float
    faults: list[FaultRule] = field(default_factory=list)
    base_url: str = ""
    webhook: str | None = None
    started_at: float | None = None
    finished_at: float | None = None
    cancelled: bool = False
    submitted_at_wall: float = field(default_factory=time.time)
    seed: int = field(default_factory=lambda: secrets.randbits(64))
    outcome: Any = None
    file_names: list[str] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def fault(self, *kinds: str) -> FaultRule | None:
        return next((rule for rule in self.faults if rule.kind in kinds), None)

    @property
    def status(self) -> str:
        """The state as of the last question asked of the store."""
        if self.finished_at is not None:
            return COMPLETED
        return IN_QUEUE if self.started_at is None else IN_PROGRESS

    @property
    def inference_seconds(self) -> float | None:
        if self.started_at is None or self.finished_at is None:
            return None
        return self.finished_at - self.started_at


class JobStore:
    """All jobs. ``concurrency`` None runs any number side by side."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        generation_seconds: float | tuple[float, float],
        queue_seconds: float,
        concurrency: int | None,
        keep_finished: int,
        on_forget: Callable[[Job], None],
    ) -> None:
        self._clock = clock
        self._generation_seconds = generation_seconds
        self._queue_seconds = queue_seconds
        self._concurrency = concurrency
        self._keep_finished = keep_finished
        self._on_forget = on_forget
        self._lock = threading.RLock()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._waiting: deque[Job] = deque()
        self._running: list[tuple[float, str]] = []
        self._busy = 0
        self._finished: deque[str] = deque()
        self._replayed_to = clock()

    def submit(
        self,
        *,
        endpoint_id: str,
        body: Any,
        prompt: str,
        faults: list[FaultRule],
        base_url: str = "",
        webhook: str | None = None,
    ) -> Job:
        with self._lock:
            now = self._replay()
            job = Job(
                request_id=str(uuid.uuid4()),
                endpoint_id=endpoint_id,
                body=body,
                prompt=prompt,
                submitted_at=now,
                ready_at=now + self._queue_seconds,
                duration=self._draw_duration(),
                faults=faults,
                base_url=base_url,
                webhook=webhook,
            )
            stuck = job.fault("never_completes")
            if stuck is not None:
                job.duration = math.inf
            self._jobs[job.request_id] = job
            if stuck is None or stuck.get("state", IN_PROGRESS) != IN_QUEUE:
                self._waiting.append(job)
            return job

    def get(self, request_id: str) -> Job | None:
        """Return the job brought up to date, or None."""
        with self._lock:
            self._replay()
            return self._jobs.get(request_id)

    def snapshot(self) -> dict[str, Job]:
        with self._lock:
            self._replay()
            return dict(self._jobs)

    def waiting_count(self) -> int:
        with self._lock:
            self._replay()
            return len(self._waiting)

    def position(self, job: Job) -> int:
        """Return how many requests are ahead of this one; 0 is next."""
        with self._lock:
            now = self._replay()
            if self._concurrency is not None:
                return next((n for n, other in enumerate(self._waiting) if other is job), 0)
            left = job.ready_at - now
            if left <= 0 or self._queue_seconds <= 0:
                return 0
            return min(STRANGERS_AHEAD, math.ceil(STRANGERS_AHEAD * left / self._queue_seconds)) - 1

    def cancel(self, job: Job) -> bool:
        """End the job now and return True; False when it had already finished."""
        with self._lock:
            now = self._replay()
            if job.finished_at is not None:
                return False
            job.cancelled = True
            if job.started_at is None:
                if job in self._waiting:
                    self._waiting.remove(job)
            else:
                self._running = [entry for entry in self._running if entry[1] != job.request_id]
                heapq.heapify(self._running)
                self._busy -= 1
            self._finish(job, now)
            return True

    def clear(self) -> None:
        """Forget every job, finished or not."""
        with self._lock:
            self._replay()
            forgotten = list(self._jobs.values())
            self._jobs.clear()
            self._waiting.clear()
            self._running.clear()
            self._finished.clear()
            self._busy = 0
        for job in forgotten:
            self._on_forget(job)

    def seconds_to_next_event(self) -> float | None:
        """Return how long nothing can change by itself; None when nothing ever will."""
        with self._lock:
            now = self._replay()
            event = self._next_event()
            return None if event is None else max(0.0, event - now)

    def _draw_duration(self) -> float:
        if isinstance(self._generation_seconds, tuple):
            return random.uniform(*self._generation_seconds)
        return self._generation_seconds

    def _slot_free(self) -> bool:
        return self._concurrency is None or self._busy < self._concurrency

    def _next_event(self) -> float | None:
        times = []
        if self._running:
            times.append(self._running[0][0])
        if self._waiting and self._slot_free():
            times.append(max(self._waiting[0].ready_at, self._replayed_to))
        return min(times) if times else None

    def _replay(self) -> float:
        now = self._clock()
        while (event := self._next_event()) is not None and event <= now:
            self._replayed_to = max(self._replayed_to, event)
            if self._running and self._running[0][0] <= event:
                _, request_id = heapq.heappop(self._running)
                self._busy -= 1
                self._finish(self._jobs[request_id], event)
            else:
                self._start(self._waiting.popleft(), event)
        self._replayed_to = max(self._replayed_to, now)
        return now

    def _start(self, job: Job, moment: float) -> None:
        job.started_at = moment
        self._busy += 1
        if job.duration != math.inf:
            heapq.heappush(self._running, (moment + job.duration, job.request_id))

    def _finish(self, job: Job, moment: float) -> None:
        job.finished_at = moment
        self._finished.append(job.request_id)
        while len(self._finished) > self._keep_finished:
            forgotten = self._jobs.pop(self._finished.popleft(), None)
            if forgotten is not None:
                self._on_forget(forgotten)
