"""A bell for the workers, in Redis, where there is one (`REDIS_URL`).

Messages to the workers are rows of the database and stay so: nothing is lost when Redis is
emptied, killed or away. Redis only says that there is a new row, so that a cluster need not look five
times a second and still begins at once. Whoever does not hear the bell looks every second; while Redis
does not answer, as often as without it.

django-q2's own Redis broker keeps the messages themselves there, and loses what a killed worker
had taken.
"""

from __future__ import annotations

import hashlib
import logging
import time
from functools import cache
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django_q.brokers.orm import ORM
from django_q.conf import Conf

logger = logging.getLogger(__name__)

#: Seconds until a cluster looks by itself.
LOOK_EVERY = 1
#: What a request waits for Redis at most, once in so many seconds.
PATIENCE_SECONDS = 0.5
LET_BE_SECONDS = 10.0
#: Rings kept for clusters that are busy, and for how long.
MOST_RINGS = 64
KEEP_SECONDS = 60


class Broker(ORM):  # type: ignore[misc]
    """django-q2's queue in the database, with the bell."""

    def enqueue(self, task: str) -> Any:
        key = super().enqueue(task)
        # Heard before the commit it would lead to nothing.
        transaction.on_commit(ring, using=Conf.ORM)
        return key

    def dequeue(self) -> list[tuple[int, str]] | None:
        """Return the next message, or wait for the bell and return None."""
        messages = self.get_connection().filter(key=self.list_key, lock__lt=timezone.now())
        if not messages.exists():
            if not wait():
                time.sleep(Conf.POLL)
            return None
        found: list[tuple[int, str]] | None = super().dequeue()
        return found


# ---------------------------------------------------------------- Redis
def ring() -> None:
    """Say that there is something to do. Never raises."""

    def say(redis: Any) -> bool:
        with redis.pipeline() as pipeline:
            pipeline.rpush(_key(), 1)
            pipeline.ltrim(_key(), -MOST_RINGS, -1)
            pipeline.expire(_key(), KEEP_SECONDS)
            pipeline.execute()
        return True

    _try(say)


def wait() -> bool:
    """Wait for a ring, for LOOK_EVERY seconds. False: Redis does not answer, at once."""

    def hear(redis: Any) -> bool:
        redis.blpop([_key()], timeout=LOOK_EVERY)
        return True

    return _try(hear)


_let_be_until = 0.0


def _try(do: Any) -> bool:
    global _let_be_until  # noqa: PLW0603
    if time.monotonic() < _let_be_until:
        return False
    from redis import RedisError

    try:
        return bool(do(_client()))
    except (RedisError, OSError) as error:
        _let_be_until = time.monotonic() + LET_BE_SECONDS
        logger.warning("Redis does not answer: %s", type(error).__name__)
        return False


@cache
def _client() -> Any:
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Redis.from_url(
        settings.REDIS_URL,
        socket_connect_timeout=PATIENCE_SECONDS,
        socket_timeout=LOOK_EVERY + PATIENCE_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


@cache
def _key() -> str:
    """Return the name of our bell: sites that share a Redis do not hear each other."""
    site = hashlib.sha256(f"fluxsite.bell {settings.SECRET_KEY}".encode()).hexdigest()
    return f"fluxsite:{site[:16]}:bell"
