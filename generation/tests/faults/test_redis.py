"""The bell in Redis: it may be emptied, killed or away, and nothing is lost."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import transaction

from fluxsite import bell
from generation.tests.faults.processes import wait_for
from generation.tests.faults.site import Site, paid

pytestmark = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="no redis-server found"
)


@dataclass
class Server:
    """A Redis of our own. `client` is a connection to it."""

    url: str
    client: Any
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    from redis import ConnectionError as NotThere
    from redis import Redis

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    directory = tmp_path_factory.mktemp("redis")
    process = subprocess.Popen(
        [*command, "--dir", str(directory)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    client = Redis(port=port)

    def answers() -> bool:
        try:
            return bool(client.ping())
        except NotThere:
            return False

    wait_for(answers, what="Redis")
    server = Server(f"redis://127.0.0.1:{port}/0", client, process)
    yield server
    server.kill()
    client.close()


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


def test_redis_emptied_and_killed_while_tasks_run_loses_nothing(site: Site, redis: Server):
    """Row 40."""
    site.env["REDIS_URL"] = redis.url
    site.web()
    site.workers()
    tasks = [site.alice.draw("heard")]
    site.wait_until(tasks[0], status="SUCCESS")
    assert redis.client.info("commandstats")["cmdstat_blpop"]["calls"] > 0
    assert redis.client.info("commandstats")["cmdstat_rpush"]["calls"] > 0

    tasks += [site.alice.draw(f"emptied {n}") for n in range(5)]
    redis.client.flushall()
    tasks += [site.alice.draw(f"killed {n}") for n in range(5)]
    redis.kill()
    tasks += [site.alice.draw(f"gone {n}") for n in range(5)]
    site.quiet()

    assert {site.status(task) for task in tasks} == {"SUCCESS"}
    assert [site.entries(task) for task in tasks] == [paid()] * len(tasks)
    site.check()
