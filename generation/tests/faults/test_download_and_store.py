"""From the provider's address of a picture to our own copy, checked and written down."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from generation.tests.faults.processes import wait_for
from generation.tests.faults.site import Site, paid, paid_back, past


def files_below(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.rglob("*") if path.is_file())


def store_again_now(site: Site) -> None:
    site.database.change(
        "UPDATE task_images SET next_action_at = %s WHERE stored_at IS NULL", past(1)
    )


def wait_for_attempts(site: Site, task_id: str, attempts: int) -> dict:
    return wait_for(
        lambda: next((i for i in site.images(task_id) if i["store_attempts"] >= attempts), None),
        what=f"attempt {attempts} to store",
        pause=0.02,
    )


def test_a_worker_killed_in_the_middle_of_a_download_leaves_no_trace(site: Site):
    """Row 22."""
    site.sandbox.add_fault("drip_download", times=1, seconds=0.5)
    site.web()
    workers = site.workers()
    task_id = site.alice.draw("killed while downloading")
    wait_for(lambda: site.requests("file"), what="a download")

    workers.kill()
    assert files_below(site.media) == []
    site.skip()
    site.workers()
    site.quiet()

    assert len(files_below(site.media)) == 3
    assert site.entries(task_id) == paid()
    site.check()


def test_what_is_no_whole_picture_is_fetched_again(open_site: Site):
    """Row 23."""
    faults = {
        "half": {"kind": "truncated_download"},
        "page": {"kind": "html_instead_of_image"},
        "flood": {"kind": "oversized_file", "bytes": 65 * 2**20},
        "bomb": {"kind": "bomb_file"},
        "packed": {"kind": "gzip_bomb", "bytes": 65 * 2**20},
        "elsewhere": {"kind": "redirect", "on": "file", "to": "https://192.0.2.1/x"},
        "broken": {"kind": "status_500", "on": "file"},
        "cut": {"kind": "reset", "on": "file"},
    }
    for prompt, fault in faults.items():
        open_site.sandbox.add_fault(**fault, prompt=prompt, times=1)
    tasks = [open_site.alice.draw(prompt) for prompt in faults]
    open_site.quiet()

    for task_id in tasks:
        (image,) = open_site.images(task_id)
        assert (image["store_attempts"], image["store_error"]) == (1, "")
    open_site.check()


def test_a_picture_that_never_comes_is_given_up_and_paid_back(site: Site):
    """Rows 23 and 24. Its request is asked once for a new address, and has none; what is gone
    for good is given up after four tries."""
    site.sandbox.add_fault("expired_file", prompt="gone")
    site.sandbox.add_fault("never_completes", prompt="keeps the sweep awake")
    site.web()
    site.workers()
    awake = site.alice.draw("keeps the sweep awake")
    task_id = site.alice.draw("gone")
    for attempt in range(1, 5):
        image = wait_for_attempts(site, task_id, attempt)
        if attempt < 4:
            assert image["next_action_at"] is not None
            store_again_now(site)

    assert (image["next_action_at"], image["storing_since"]) == (None, None)
    assert image["lost_at"] is not None
    assert image["store_error"] == "The provider no longer has it (HTTP 404)."
    assert files_below(site.media) == []
    assert len(site.requests("result")) == 2
    assert site.entries(task_id) == [*paid(), *paid_back()]
    assert site.task(task_id)["cost_charged"] == 0
    site.alice.cancel(awake)
    site.quiet()
    site.check(unstored=[task_id])


def test_a_picture_whose_address_is_gone_is_found_at_a_new_one(site: Site):
    """Row 24."""
    site.sandbox.add_fault("moved_files", prompt="moved")
    site.web()
    site.workers()
    task_id = site.alice.draw("moved")
    site.quiet()

    (image,) = site.images(task_id)
    assert (image["store_attempts"], image["lost_at"]) == (1, None)
    assert len(site.requests("submit", "moved")) == 1
    assert site.entries(task_id) == paid()
    site.check()


def test_a_storage_that_fails_twice_is_asked_a_third_time_and_the_provider_not_again(site: Site):
    """Row 25. A file stands where the storage wants its directory."""
    site.media.mkdir()
    obstacle = site.media / "generated"
    obstacle.write_text("in the way")
    site.sandbox.add_fault("never_completes", prompt="keeps the sweep awake")
    site.web()
    site.workers()
    awake = site.alice.draw("keeps the sweep awake")
    task_id = site.alice.draw("badly stored")
    wait_for_attempts(site, task_id, 1)
    store_again_now(site)
    wait_for_attempts(site, task_id, 2)
    obstacle.unlink()
    store_again_now(site)
    site.wait_until_stored(task_id)

    assert len(site.requests("submit", "badly stored")) == 1
    assert len(site.requests("result")) == 1
    site.alice.cancel(awake)
    site.quiet()
    site.check()


@pytest.fixture
def small_disk(site: Site) -> Iterator[Path]:
    """64 KiB for pictures, less than one of them needs."""
    site.media.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(site.media)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk, and not in every container")
    yield site.media
    site.kill()
    subprocess.run(["umount", str(site.media)], check=True)


def test_a_full_disk_is_waited_for_and_nothing_half_written_stays(site: Site, small_disk: Path):
    """Row 27."""
    site.sandbox.clear_faults()  # among them the one that makes pictures small
    site.sandbox.add_fault("never_completes", prompt="keeps the sweep awake")
    site.web()
    site.workers()
    awake = site.alice.draw("keeps the sweep awake")
    task_id = site.alice.draw("too large for the disk")
    image = wait_for_attempts(site, task_id, 1)

    assert "No space left on device" in image["store_error"]
    assert files_below(small_disk) == []

    remount = ["mount", "-o", "remount,size=16m", str(small_disk)]
    subprocess.run(remount, check=True)
    store_again_now(site)
    site.wait_until_stored(task_id)
    site.alice.cancel(awake)
    site.quiet()
    site.check()


def test_a_worker_killed_between_file_and_row_writes_the_same_file_again(site: Site):
    """Row 28."""
    site.sandbox.add_fault("hold", on="file", times=1)
    site.web()
    workers = site.workers()
    task_id = site.alice.draw("file without a row")
    site.wait_until_held()

    with site.database.locked("task_images"):
        site.sandbox.release()
        wait_for(lambda: len(files_below(site.media)) == 3, what="the files")
        site.database.wait_for_waiter()
        before = files_below(site.media)
        workers.kill()
    assert site.images(task_id)[0]["stored_at"] is None
    site.skip()
    site.workers()
    site.quiet()

    assert files_below(site.media) == before
    assert len(site.images(task_id)) == 1
    site.check()
