"""The transaction in which a picture is delivered and charged: whole, and once."""

from __future__ import annotations

import subprocess
import sys
import time

from generation.tests.faults import database
from generation.tests.faults.processes import ROOT, wait_for
from generation.tests.faults.site import PRICE, Site, paid

# Short enough that a test can outwait it.
IMPATIENT = {"fluxsite.settings.DATABASES": {"default": {"OPTIONS": {"timeout": 1}}}}


def test_a_delivery_that_loses_its_database_is_done_again_once(site: Site):
    """Row 29. PostgreSQL cuts the connection in the middle of the transaction; SQLite is locked
    for longer than a worker waits."""
    site.sandbox.add_fault("hold", on="result", times=1)
    site.web()
    workers = site.workers(None if database.is_postgresql() else IMPATIENT)
    task_id = site.alice.draw("loses its database")
    site.wait_until_held()

    with site.database.locked("credit_ledger"):
        site.sandbox.release()
        site.database.wait_for_waiter()
        if database.is_postgresql():
            (waiting,) = site.database.waiting()
            site.database.rows("SELECT pg_terminate_backend(%s)", waiting)
        wait_for(lambda: "the database does not answer" in workers.log.read_text())
    assert site.entries(task_id) == [("RESERVE", -PRICE, 0)]
    assert site.images(task_id) == []
    site.quiet()

    assert site.status(task_id) == "SUCCESS"
    assert site.entries(task_id) == paid()
    site.check()


DELIVER = """
import sys, threading, time
from django.db import connection
from django.utils import timezone
from generation import lifecycle
from generation.models import FluxTask
from generation.providers.base import PictureLink, Result
task = FluxTask.objects.get(pk={task_id!r})
result = Result(pictures=(PictureLink(url={url!r}),))
delivered = []
def deliver():
    delivered.append(lifecycle.deliver(task=task, result=result, now=timezone.now()))
    connection.close()
threads = [threading.Thread(target=deliver) for _ in range(10)]
time.sleep(max(0, {start} - time.time()))
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sum(delivered), len(delivered))
"""


def test_ten_deliveries_at_once_in_each_of_two_processes_charge_once(site: Site):
    """Row 30."""
    site.sandbox.add_fault("never_completes", prompt="delivered often")
    site.web()
    workers = site.workers()
    drawn, task_id = site.alice.draw("a picture"), site.alice.draw("delivered often")
    site.wait_until_stored(drawn)
    site.wait_until(task_id, status="IN_PROGRESS")
    workers.kill()

    script = DELIVER.format(
        task_id=task_id, url=site.task(drawn)["image_url"], start=time.time() + 2
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "manage.py", "shell", "-v0", "-c", script],
            env=site.env,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    printed = sorted(process.communicate(timeout=60)[0] for process in processes)

    assert printed == ["0 10\n", "1 10\n"]
    assert site.entries(task_id) == paid()
    site.skip()
    site.workers()
    site.quiet()
    site.check()


def test_two_pictures_of_four_are_charged_as_two(open_site: Site):
    """Row 31."""
    two = open_site.alice.draw("two that exist", num_images=2)
    open_site.quiet()
    links = [{"url": image["provider_url"]} for image in open_site.images(two)]
    open_site.sandbox.add_fault(
        "wrong_shape", on="result", prompt="half of what was asked", body={"images": links}
    )

    task_id = open_site.alice.draw("half of what was asked", num_images=4)
    open_site.quiet()

    assert open_site.status(task_id) == "SUCCESS"
    assert len(open_site.images(task_id)) == 2
    assert open_site.entries(task_id) == paid(2 * PRICE, reserved=4 * PRICE)
    assert open_site.task(task_id)["cost_charged"] == 2 * PRICE
    open_site.check()
