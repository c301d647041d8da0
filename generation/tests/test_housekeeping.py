"""Pictures kept for ever: what is tried again, removed, counted, compared and copied."""

from __future__ import annotations

import hashlib
import io
import os
import time
from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage, storages
from django.core.management import CommandError, call_command
from django.utils import timezone
from django_q.models import OrmQ, Schedule
from PIL import Image

from generation import housekeeping
from generation.management import progress
from generation.models import StorageUse, TaskImage, Upload
from generation.tests.factories import FluxTaskFactory, TaskImageFactory, UploadFactory

pytestmark = pytest.mark.usefixtures("shelf")


def age(shelf, name, *, hours):
    then = time.time() - hours * 3600
    os.utime(shelf / name, (then, then))


def put(shelf, name, *, hours=48.0, content=b"left over"):
    default_storage.save(name, ContentFile(content))
    age(shelf, name, hours=hours)
    return name


def names(shelf):
    return {path.relative_to(shelf).as_posix() for path in shelf.rglob("*") if path.is_file()}


def honest(picture):
    """Give a picture the size and hash its file really has."""
    with default_storage.open(picture.storage_key) as file:
        content = file.read()
    picture.byte_size = len(content)
    picture.sha256 = hashlib.sha256(content).hexdigest()
    picture.save()
    return picture


def run(name, *args):
    out = io.StringIO()
    try:
        call_command(name, *args, stdout=out)
    except SystemExit as ended:
        return out.getvalue().splitlines(), ended.code
    return out.getvalue().splitlines(), 0


# ---------------------------------------------------------------- every night
def test_a_schedule_looks_after_the_pictures_every_night(db):
    schedule = Schedule.objects.get(name="housekeeping")
    assert (schedule.func, schedule.schedule_type) == ("generation.housekeeping.nightly", "D")

    housekeeping.nightly()

    asked = {message.task["func"] for message in OrmQ.objects.all()}
    assert asked == {
        f"generation.housekeeping.{job}"
        for job in (
            "rearchive",
            "count_storage",
            "nightly_orphans",
            "nightly_verify",
            "forget_presets",
            "forget_rates",
        )
    }
    for name in asked:
        getattr(housekeeping, name.rpartition(".")[2])()


def test_what_was_given_up_is_tried_again_while_the_provider_may_have_it(alice):
    now = timezone.now()
    given_up = TaskImageFactory(user=alice, storage_key="", stored_at=None, store_attempts=9)
    old = TaskImageFactory(
        user=alice,
        storage_key="",
        stored_at=None,
        store_attempts=9,
        created_at=now - timedelta(days=31),
    )
    stored = TaskImageFactory(user=alice)

    lines, _code = run("rearchive")

    assert lines == ["pictures to save again: 1"]
    due = TaskImage.objects.filter(next_action_at__lte=timezone.now())
    assert list(due) == [given_up]
    assert {old, stored}.isdisjoint(due)
    assert run("rearchive", "--days", "60")[0] == ["pictures to save again: 1"]


# ---------------------------------------------------------------- orphans
def test_files_without_a_row_go_after_a_day_and_no_others(shelf, alice):
    picture, upload = TaskImageFactory(user=alice), UploadFactory(user=alice)
    kept = names(shelf)
    for name in kept:
        age(shelf, name, hours=48)
    put(shelf, f"generated/2026/11/{'0' * 32}/0.png")
    put(shelf, f"uploads/{alice.pk}/{'f' * 64}.png")
    # Of a known task, but not what its row says.
    put(shelf, f"generated/{picture.task_id}/0.jpg")
    young = put(shelf, f"generated/2026/11/{'1' * 32}/0.png", hours=23)

    lines, _code = run("remove_orphans")

    assert lines == ["files: 10, without a picture: 3, removed: 3"]
    assert names(shelf) == {*kept, young}
    assert upload.storage_key in kept


def test_a_dry_run_names_them_and_removes_nothing(shelf, alice):
    orphan = put(shelf, f"generated/2026/11/{'0' * 32}/0.png")

    lines, _code = run("remove_orphans", "--dry-run")

    assert lines == [orphan, "files: 1, without a picture: 1, removed: 0"]
    assert names(shelf) == {orphan}


def test_a_database_that_knows_too_few_files_removes_none(shelf, alice, monkeypatch, caplog):
    """As after a restore of an old backup, or with another site's database."""
    monkeypatch.setattr(housekeeping, "FEW_ORPHANS", 2)
    orphans = {put(shelf, f"generated/2026/11/{n:032x}/0.png") for n in range(3)}

    with pytest.raises(CommandError, match="3 of 3 files belong to no picture"):
        run("remove_orphans")
    housekeeping.nightly_orphans()
    assert names(shelf) == orphans
    assert "3 of 3 files belong to no row; none was removed" in caplog.text

    assert run("remove_orphans", "--force")[0] == ["files: 3, without a picture: 3, removed: 3"]
    assert names(shelf) == set()


def test_other_files_in_the_storage_are_not_ours_to_remove(shelf, alice):
    other = put(shelf, "somebody/else.txt")

    housekeeping.remove_orphans()

    assert names(shelf) == {other}


def test_a_night_with_little_time_removes_what_it_has_seen(shelf, alice, monkeypatch):
    monkeypatch.setattr(housekeeping, "BATCH", 2)
    for number in range(6):
        put(shelf, f"generated/2026/11/{number:032x}/0.png")

    found = housekeeping.remove_orphans(seconds=0)

    assert (found.seen, found.removed) == (2, 2)
    assert len(names(shelf)) == 4


# ---------------------------------------------------------------- storage used
def test_what_each_member_uses_is_counted(alice, bob):
    for size in (1000, 2000):
        TaskImageFactory(user=alice, byte_size=size, thumbnails_size=100)
    UploadFactory(user=alice, byte_size=500)
    UploadFactory(user=bob, byte_size=70)
    TaskImageFactory(user=bob, storage_key="", stored_at=None, byte_size=None)

    lines, _code = run("storage_used")

    rows = StorageUse.objects.values_list("user__username", "pictures", "uploads", "byte_size")
    assert list(rows) == [("alice", 2, 1, 3700), ("bob", 0, 1, 70)]
    assert [line.strip() for line in lines] == [
        "3.6 KB  alice: 2 pictures, 1 uploads",
        "70 bytes  bob: 0 pictures, 1 uploads",
        "3.7 KB  in all",
    ]


def test_a_member_without_pictures_is_no_longer_listed(alice):
    upload = UploadFactory(user=alice)
    housekeeping.count_storage()
    Upload.objects.filter(pk=upload.pk).delete()

    assert housekeeping.count_storage() == 0
    assert StorageUse.objects.count() == 0


@pytest.mark.parametrize("members", [1, 3])
def test_counting_takes_the_same_queries_for_any_number(members, django_assert_num_queries):
    for _member in range(members):
        UploadFactory()

    with django_assert_num_queries(6):
        housekeeping.count_storage()


# ---------------------------------------------------------------- integrity
def test_whole_pictures_are_right(alice):
    honest(TaskImageFactory(user=alice))
    honest(UploadFactory(user=alice))

    assert run("check_pictures") == (["pictures are right: 2"], 0)
    assert run("check_pictures", "--quick") == (["pictures are right: 2"], 0)


def test_a_changed_a_missing_and_a_shorter_file_are_found(shelf, alice):
    changed, missing, shorter = (honest(TaskImageFactory(user=alice)) for _ in range(3))
    content = (shelf / changed.storage_key).read_bytes()
    (shelf / changed.storage_key).write_bytes(content[:-1] + b"?")
    (shelf / missing.storage_key).unlink()
    (shelf / shorter.storage_key).write_bytes(content[:9])

    lines, code = run("check_pictures")
    quick, _code = run("check_pictures", "--quick")

    assert code == 1
    assert lines == [
        f"{changed.storage_key} of {changed.pk} is changed",
        f"{missing.storage_key} of {missing.pk} is missing",
        f"{shorter.storage_key} of {shorter.pk} is changed",
        "damaged: 3 files, of 3 pictures",
    ]
    assert len(quick) == 3  # Sizes alone do not tell the first.


def test_missing_thumbnails_are_made_again(shelf, alice):
    picture = honest(TaskImageFactory(user=alice, width=800, height=400))
    for width in (320, 640):
        (shelf / picture.thumbnail_key(width)).unlink()

    assert run("check_pictures")[1] == 1
    assert run("check_pictures", "--repair") == (
        ["thumbnails made again: 2", "pictures are right: 1"],
        0,
    )
    with default_storage.open(picture.thumbnail_key(320)) as file:
        assert Image.open(file).size == (320, 160)


def test_only_young_pictures_can_be_asked_for(shelf, alice):
    old = honest(TaskImageFactory(user=alice, created_at=timezone.now() - timedelta(days=9)))
    (shelf / old.storage_key).unlink()

    assert run("check_pictures", "--days", "7") == (["pictures are right: 0"], 0)


def test_every_night_some_are_compared_and_in_time_all(shelf, alice, time_machine, caplog):
    broken = honest(TaskImageFactory(user=alice))
    (shelf / broken.storage_key).unlink()
    tonight = next(
        day
        for day in range(housekeeping.VERIFIED_IN_NIGHTS)
        if f"{(timezone.now() + timedelta(days=day)).toordinal() % 256:02x}" == broken.pk[-2:]
    )
    start = timezone.now()

    for day in (tonight - 1, tonight + 1):
        time_machine.move_to(start + timedelta(days=day))
        housekeeping.nightly_verify()
    assert caplog.text == ""

    time_machine.move_to(start + timedelta(days=tonight))
    housekeeping.nightly_verify()
    assert f"{broken.storage_key} of {broken.pk} is missing" in caplog.text


# ---------------------------------------------------------------- moving
@pytest.fixture
def elsewhere(settings, tmp_path):
    """Another storage to move to, under the name of the bucket."""
    there = {
        "BACKEND": "fluxsite.disk.DiskStorage",
        "OPTIONS": {"location": tmp_path / "bucket", "allow_overwrite": True},
    }
    settings.STORAGES = {**settings.STORAGES, "cos": there}
    return storages["cos"]


def test_everything_is_copied_and_the_second_time_nothing(shelf, alice, elsewhere, tmp_path):
    honest(TaskImageFactory(user=alice))
    honest(UploadFactory(user=alice))
    FluxTaskFactory(user=alice)

    lines, code = run("migrate_storage", "--to", "cos")

    assert names(tmp_path / "bucket") == names(shelf)
    size = sum((shelf / name).stat().st_size for name in names(shelf))
    assert (lines, code) == (
        [
            f"pictures: 2, files copied: 6, bytes: {size}",
            "All is there. Start the site with STORAGE=cos now.",
        ],
        0,
    )
    assert run("migrate_storage", "--to", "cos")[0][0] == "pictures: 2, files copied: 0, bytes: 0"


def test_what_was_interrupted_is_gone_on_with(shelf, alice, elsewhere, tmp_path):
    pictures = [honest(TaskImageFactory(user=alice)) for _ in range(3)]
    first = pictures[0]
    elsewhere.save(first.storage_key, ContentFile((shelf / first.storage_key).read_bytes()))
    elsewhere.save(pictures[1].storage_key, ContentFile(b"cut o"))

    lines, _code = run("migrate_storage", "--to", "cos")

    assert lines[0].startswith("pictures: 3, files copied: 8,")
    assert run("migrate_storage", "--to", "local")[0][0] == (
        "pictures: 3, files copied: 0, bytes: 0"
    )
    for name in names(shelf):
        assert (tmp_path / "bucket" / name).read_bytes() == (shelf / name).read_bytes()


def test_one_broken_picture_does_not_stop_the_others(shelf, alice, elsewhere, tmp_path):
    lost, fine = honest(TaskImageFactory(user=alice)), honest(TaskImageFactory(user=alice))
    (shelf / lost.storage_key).unlink()

    lines, code = run("migrate_storage", "--to", "cos")

    assert code == 1
    assert lines[0].startswith(f"{lost.pk}: FileNotFoundError")
    assert lines[-1] == "not copied: 1 pictures; call it again"
    assert fine.storage_key in names(tmp_path / "bucket")


def test_without_a_bucket_it_says_what_to_set(alice):
    with pytest.raises(CommandError, match="Set COS_BUCKET"):
        run("migrate_storage", "--to", "cos")


# ---------------------------------------------------------------- telling how far
class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_how_far_it_has_come_and_a_log_does_not():
    terminal, log = Terminal(), io.StringIO()

    assert list(progress.shown(range(4), total=4, out=terminal)) == [0, 1, 2, 3]
    assert list(progress.shown(range(4), total=4, out=log)) == [0, 1, 2, 3]

    assert terminal.getvalue().endswith(f"{'█' * 30} 4/4  0 s   \n")
    assert log.getvalue() == ""


def test_the_time_left_follows_from_the_time_taken():
    assert progress.line(25, 100, seconds=10) == f"{'█' * 8:░<30} 25/100  30 s left   "
