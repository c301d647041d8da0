"""Redis may be emptied, killed or away: it keeps nothing that would be missed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from generation.tests.faults import redis_server
from generation.tests.faults.redis_server import Server
from generation.tests.faults.site import Site, paid

pytestmark = pytest.mark.skipif(not redis_server.IS_THERE, reason="no redis-server found")


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with redis_server.running(tmp_path_factory.mktemp("redis")) as server:
        yield server


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
