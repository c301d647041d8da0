"""What administrators, deploys, backups and clocks do to a site at work."""

from __future__ import annotations

import os
import signal

from cryptography.fernet import Fernet

from generation.tests.faults.processes import children, members, wait_for
from generation.tests.faults.site import Site, given_back, paid


# ---------------------------------------------------------------- configuration
def test_a_price_changed_in_between_holds_for_new_tasks_only(site: Site):
    """Row 33, the price."""
    running = site.sandbox.add_fault("unknown_status", prompt="at the old price", forever=True)
    site.web()
    site.workers()
    task_id = site.alice.draw("at the old price")
    wait_for(lambda: site.requests("status"))

    site.database.change("UPDATE credit_prices SET credits = 7")
    new = site.alice.draw("at the new price")
    for job in site.jobs("at the old price"):
        job.faults.remove(running)
    site.quiet()

    assert site.entries(task_id) == paid(5)
    assert site.entries(new) == paid(7)
    site.check()


def test_a_model_that_is_gone_fails_its_waiting_tasks_and_charges_nothing(site: Site):
    """Row 33, the model."""
    site.web()
    task_id = site.alice.draw("a model of yesterday")
    gone = "UPDATE flux_tasks SET model = %s, endpoint = %s"
    site.database.change(gone, "fal-ai/flux-0", "fal-ai/flux-0")
    site.workers()
    site.quiet()

    task = site.task(task_id)
    assert (task["status"], task["error_code"]) == ("FAILED", "unknown_model")
    assert site.entries(task_id) == given_back()
    site.check()


def test_a_wrong_encryption_key_lets_tasks_wait_and_crashes_nothing(site: Site):
    """Row 33, the keys. The fal key itself is changed as well in between."""
    field_key = site.directory / "field_key"
    right = field_key.read_bytes()
    site.set_key("first:key")
    site.sandbox.add_fault("hold", on="result", times=1)
    web, workers = site.web(), site.workers()
    running = site.alice.draw("followed with the second key")
    site.wait_until_held()
    waiting = site.alice.draw("waits for the right key")
    site.wait_until(waiting, submission="ACCEPTED")
    web.kill()
    workers.kill()
    site.sandbox.release()

    field_key.write_bytes(Fernet.generate_key())
    site.web()
    workers = site.workers()
    refused = site.alice.ask("nobody can draw this")
    assert (refused.status, refused.body["code"]) == (503, "key_unreadable")
    site.skip()
    site.alice.look(running)
    wait_for(site.is_sweeping, what="a sweep without a key")
    wait_for(lambda: not site.is_sweeping(), what="its end")
    assert {task["id"] for task in site.unfinished()} == {running, waiting}
    assert "Traceback" not in workers.log.read_text()
    site.kill()

    field_key.write_bytes(right)
    site.set_key("second:key")
    site.web()
    site.workers()
    site.skip()
    site.quiet()
    assert [site.status(running), site.status(waiting)] == ["SUCCESS", "SUCCESS"]
    site.check()


# ---------------------------------------------------------------- processes
def test_a_deploy_in_the_middle_of_work_loses_nothing(site: Site):
    """Row 34, SIGTERM."""
    site.sandbox.add_fault("hold", on="submit", prompt="being sent", times=1)
    site.sandbox.add_fault("drip_download", prompt="stored", times=1, seconds=0.1)
    start = site.start()
    stored = site.alice.draw("being stored")
    site.wait_until(stored, status="SUCCESS")
    sent = site.alice.draw("being sent")
    site.wait_until_held()
    programs = children(start.pid)

    start.terminate()
    # What is being sent is written down before its worker goes.
    wait_for(lambda: not site.is_sweeping(), what="the sweep to stop")
    site.sandbox.release()
    assert start.wait() == 0
    assert not any(members(pid) for pid in programs)
    assert site.task(sent)["submission"] == "ACCEPTED"
    site.web()
    site.workers()
    after = site.bob.draw("after the deploy")
    site.skip()
    site.quiet()

    assert {site.status(task_id) for task_id in (stored, sent, after)} == {"SUCCESS"}
    site.check()


def test_everything_dies_with_its_parent_and_the_next_start_goes_on(site: Site):
    """Row 34, SIGKILL to `start` itself."""
    site.sandbox.add_fault("hold", on="status", prompt="at work", times=1)
    start = site.start()
    task_id = site.alice.draw("at work")
    site.wait_until_held()
    programs = children(start.pid)

    os.kill(start.pid, signal.SIGKILL)
    start.wait()
    wait_for(lambda: not any(members(pid) for pid in programs), what="the end of all")
    site.sandbox.release()
    site.start()
    site.quiet()

    assert site.status(task_id) == "SUCCESS"
    site.check()


def test_a_poisonous_task_ends_and_the_others_pass(site: Site):
    """Row 35. Answers no parser can like, and a row that no code of ours would write."""
    poison = {
        "no object": [],
        "no list": {"images": 7},
        "no pictures": {"images": [None, {"url": 5}, {"url": "ftp://x/"}]},
        "too deep": {"images": {"images": {"images": []}}},
        "strange text": {"images": [{"url": "http://\udc00/\u0000"}], "seed": -1},
    }
    for prompt, body in poison.items():
        site.sandbox.add_fault("wrong_shape", on="result", prompt=prompt, body=body)
    site.web()
    broken_row = site.alice.draw("broken row")
    parameters = "UPDATE flux_tasks SET parameters = %s WHERE id = %s"
    site.database.change(parameters, '["not", "a", "dictionary"]', broken_row)
    tasks = [site.alice.draw(prompt) for prompt in poison]
    healthy = [site.bob.draw(f"healthy {number}") for number in range(5)]
    site.workers()
    site.quiet()

    ends = {site.task(task_id)["error_code"] for task_id in tasks}
    assert ends == {"no_media_generated"}
    assert site.task(broken_row)["error_code"] == "internal"
    for task_id in [broken_row, *tasks]:
        assert site.entries(task_id) == given_back()
    assert {site.status(task_id) for task_id in healthy} == {"SUCCESS"}
    site.check()


# ---------------------------------------------------------------- data, people, clocks
def test_yesterdays_backup_sends_nothing_again_that_was_finished(site: Site):
    """Row 36. What was at the provider when the backup was made is fetched again; pictures
    newer than the backup stay on the disk as they are."""
    site.sandbox.add_fault("hold", on="status", prompt="under way", times=1)
    site.web()
    workers = site.workers()
    finished = site.alice.draw("finished before")
    site.wait_until_stored(finished)
    under_way = site.alice.draw("under way")
    site.wait_until_held()
    site.kill()
    backup = site.database.backup()
    site.web()
    site.workers()
    site.skip()
    newer = site.alice.draw("newer than the backup")
    site.quiet()
    orphans = site.files_of(newer)
    site.kill()

    site.database.restore(backup)
    site.web()
    workers = site.workers()
    site.skip()
    site.quiet()

    assert workers.is_running()
    assert site.database.rows("SELECT id FROM flux_tasks WHERE id = %s", newer) == []
    assert [site.status(finished), site.status(under_way)] == ["SUCCESS", "SUCCESS"]
    for prompt in ("finished before", "under way", "newer than the backup"):
        assert len(site.requests("submit", prompt)) == 1
    assert len(orphans) == 3
    site.check(forgotten=orphans)


def test_a_member_switched_off_in_between_is_still_served_and_charged(site: Site):
    """Row 37."""
    site.sandbox.add_fault("hold", on="status", prompt="of somebody who left", times=1)
    site.web()
    site.workers()
    running = site.alice.draw("of somebody who left")
    site.wait_until_held()
    waiting = site.alice.draw("of somebody who left, in line")
    site.database.change("UPDATE auth_user SET is_active = %s WHERE username = 'alice'", False)
    site.sandbox.release()
    site.bob.draw("of somebody who stays")
    site.quiet()

    assert site.alice.ask("not any more").status == 401
    assert [site.status(running), site.status(waiting)] == ["SUCCESS", "SUCCESS"]
    assert site.entries(running) == paid()
    # Whoever has a history can be switched off, not deleted: the ledger must stay explicable.
    assert site.manage("shell", "-v0", "-c", DELETE_ALICE).strip() == "protected"
    site.check()


DELETE_ALICE = """
from django.contrib.auth.models import User
from django.db.models import ProtectedError
try:
    User.objects.get(username="alice").delete()
except ProtectedError:
    print("protected")
"""


def test_a_clock_put_back_an_hour_ends_no_task(site: Site):
    """Row 38. A clock that jumps back is the same as everything written down being an hour
    ahead; it is put right again a moment later, as time servers do."""
    site.configure(timeout=300)
    site.sandbox.add_fault("never_completes", prompt="drawn for long")
    site.web()
    site.workers()
    running = site.alice.draw("drawn for long")
    site.wait_until(running, status="IN_PROGRESS")

    site.skip(-3600)
    site.alice.look(running)
    assert site.status(running) == "IN_PROGRESS"
    site.skip(3600)
    site.alice.cancel(running)
    site.quiet()

    assert site.entries(running) == given_back()
    site.check()


def test_the_lease_of_a_dead_worker_does_not_last_longer_for_a_clock_put_back(site: Site):
    """Row 38. By the new clock the lease it left runs for another hour."""
    site.sandbox.add_fault("hold", on="status", prompt="before the jump", times=1)
    site.web()
    workers = site.workers()
    before = site.alice.draw("before the jump")
    site.wait_until_held()
    workers.kill()
    site.sandbox.release()

    site.skip(-3600)
    site.workers()
    after = site.alice.draw("after the jump")
    site.wait_until(after, status="SUCCESS")
    assert site.status(before) == "IN_QUEUE"
    site.skip(3600)
    site.quiet()

    assert site.status(before) == "SUCCESS"
    site.check()


def test_a_clock_put_forward_an_hour_ends_what_it_must_and_once(site: Site):
    """Row 38. Times are up by the only clock there is; finished work is still delivered."""
    site.configure(timeout=300)
    site.sandbox.add_fault("never_completes", prompt="drawn for long")
    site.sandbox.add_fault("hold", on="result", prompt="just finished", times=1)
    site.web()
    site.workers()
    running, finished = site.alice.draw("drawn for long"), site.alice.draw("just finished")
    site.wait_until(running, status="IN_PROGRESS")
    site.wait_until_held()

    site.skip(3600)
    site.sandbox.release()
    site.quiet()

    assert site.task(running)["error_code"] == "timeout"
    assert site.entries(running) == given_back()
    assert site.entries(finished) == paid()
    site.check()
