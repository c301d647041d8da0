"""Is everything there that drawing needs? Asked by /readyz and by the alerts.

Each answer is short and comes within seconds, whatever hangs: anybody may ask, and whoever asks
wants to know soonest when something is wrong. For the same reason it names no host, no account
and no file. The storage is asked in a thread of its own, at most once in KEEP_SECONDS by each
process, however many ask.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import Error, connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from generation import workload

logger = logging.getLogger(__name__)

#: How long an answer of the storage is good for, and how long it is waited for.
KEEP_SECONDS = 10.0
PATIENCE_SECONDS = 4.0
#: How long the database may take over one question.
DATABASE_SECONDS = 3
#: A worker sweeps every minute; some time more for one that is being started again.
WORKERS_SILENT_AFTER = timedelta(minutes=3)
#: What is written to see whether the storage takes anything.
FILE_NAME = "probe/ready.txt"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at. `said` is for people, in the language of the moment, and
    holds no secret."""

    name: str
    is_well: bool
    said: str


def check_all(*, now: datetime) -> list[Check]:
    """Look at everything, in at most some seconds."""
    checks = []
    try:
        with _bounded_queries():
            load = workload.measure(now=now)
    except Error as error:
        # The full text may name hosts and users.
        logger.error("the database does not answer: %s", error)  # noqa: TRY400 - the text says it
        checks.append(Check(name="database", is_well=False, said=type(error).__name__))
        checks += [
            Check(name=name, is_well=False, said=_("not asked: the database does not answer"))
            for name in ("workers", "queue")
        ]
    else:
        checks.append(Check(name="database", is_well=True, said=_("answers")))
        checks += [check_workers(load), check_queue(load)]
    checks.insert(1, check_storage())
    return checks


@contextmanager
def _bounded_queries() -> Iterator[None]:
    """Let PostgreSQL give up after a while. SQLite's readers wait for nobody."""
    if connection.vendor != "postgresql":
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = '{DATABASE_SECONDS}s'")
        yield


# ---------------------------------------------------------------- workers and queue
def check_workers(load: workload.Workload) -> Check:
    """Tell whether a worker showed itself lately."""
    seen_at = load.workers_seen_at
    if seen_at is None:
        return Check(name="workers", is_well=False, said=_("never seen"))
    return Check(
        name="workers",
        is_well=load.now - seen_at < WORKERS_SILENT_AFTER,
        said=_("last seen %(seconds)s s ago") % {"seconds": _seconds(load.now - seen_at)},
    )


def check_queue(load: workload.Workload) -> Check:
    """Tell how long the oldest due task has been due, and whether that is too long."""
    oldest = min(load.oldest_due_at.values(), default=load.now)
    said = _("%(waiting)s waiting, %(sent)s at the provider, the oldest due for %(seconds)s s") % {
        "waiting": load.waiting,
        "sent": load.at_provider,
        "seconds": _seconds(load.now - oldest),
    }
    return Check(name="queue", is_well=load.stuck_since is None, said=said)


def _seconds(span: timedelta) -> int:
    return max(0, int(span.total_seconds()))


# ---------------------------------------------------------------- storage
class _StorageProbe:
    """Writes a small file, in a thread: a storage that hangs must not take ours with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: Future[str] | None = None
        self._kept = ""
        self._kept_until = float("-inf")

    def trouble(self) -> str:
        """Return what is wrong with the storage, "" if nothing."""
        with self._lock:
            if time.monotonic() < self._kept_until:
                return self._kept
            if self._under_way is None or self._under_way.done():
                self._under_way = _in_a_thread(_write)
            under_way = self._under_way
        try:
            trouble = under_way.result(timeout=PATIENCE_SECONDS)
        except TimeoutError:
            trouble = f"no answer within {PATIENCE_SECONDS:.0f} s"
        with self._lock:
            self._kept, self._kept_until = trouble, time.monotonic() + KEEP_SECONDS
        return trouble

    def forget(self) -> None:
        with self._lock:
            self._kept_until = float("-inf")


def _in_a_thread(ask: Callable[[], str]) -> Future[str]:
    future: Future[str] = Future()
    # A daemon: one that hangs for ever must not keep the process from ending.
    threading.Thread(target=lambda: future.set_result(ask()), daemon=True).start()
    return future


def _write() -> str:
    try:
        default_storage.save(FILE_NAME, ContentFile(timezone.now().isoformat().encode()))
    except OSError as error:
        logger.error("the storage takes nothing: %s", error)  # noqa: TRY400 - the text says it
        return os.strerror(error.errno) if error.errno else type(error).__name__
    except Exception as error:
        logger.exception("the storage takes nothing")
        return type(error).__name__
    return ""


_probe = _StorageProbe()


def check_storage(*, fresh: bool = False) -> Check:
    """Tell whether the storage takes a file; `fresh`: whatever was known a moment ago."""
    if fresh:
        _probe.forget()
    trouble = _probe.trouble()
    return Check(name="storage", is_well=not trouble, said=trouble or _("takes files"))
