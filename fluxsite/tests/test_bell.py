"""The bell in Redis: it rings after the commit, and nobody depends on hearing it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction

from fluxsite import bell
from generation.tests.faults import redis_server
from generation.tests.faults.redis_server import Server

pytestmark = pytest.mark.skipif(not redis_server.IS_THERE, reason="no redis-server found")


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with redis_server.running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def broker(redis: Server, settings: Any, monkeypatch: Any) -> Iterator[bell.Broker]:
    settings.REDIS_URL = redis.url
    bell._client.cache_clear()
    monkeypatch.setattr(bell, "_let_be_until", 0.0)
    yield bell.Broker(list_key="test")
    bell._client().close()
    bell._client.cache_clear()


@pytest.mark.django_db(transaction=True)
def test_the_bell_rings_after_the_commit(broker: bell.Broker, redis: Server):
    with transaction.atomic():
        broker.enqueue("a message")
        assert redis.client.llen(bell._key()) == 0

    assert redis.client.llen(bell._key()) == 1
    ((key, message),) = broker.dequeue()
    assert message == "a message"
    broker.acknowledge(key)
    # Nothing to do: what rang is heard, and then no more.
    assert broker.dequeue() is None
    assert redis.client.llen(bell._key()) == 0


@pytest.mark.django_db(transaction=True)
def test_rings_that_nobody_hears_do_not_pile_up(broker: bell.Broker, redis: Server):
    for _ in range(bell.MOST_RINGS + 5):
        bell.ring()

    assert redis.client.llen(bell._key()) == bell.MOST_RINGS
    assert 0 < redis.client.ttl(bell._key()) <= bell.KEEP_SECONDS


@pytest.mark.django_db(transaction=True)
def test_a_message_outlives_a_redis_that_is_emptied_and_one_that_is_killed(
    broker: bell.Broker, redis: Server
):
    broker.enqueue("before it was emptied")
    redis.client.flushall()
    redis.kill()
    broker.enqueue("after it was killed")

    messages = []
    for _ in range(2):
        ((key, message),) = broker.dequeue()
        messages.append(message)
        broker.acknowledge(key)
    assert sorted(messages) == ["after it was killed", "before it was emptied"]
    assert broker.dequeue() is None
