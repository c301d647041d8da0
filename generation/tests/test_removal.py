"""What is left of a task that was removed for ever, and of those that were drawn from it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone

from credits import audit, ledger
from generation import housekeeping
from generation.models import FluxTask, JimengTask, MidjourneyTask, TaskImage, TaskInput
from generation.tests.factories import (
    FluxTaskFactory,
    JimengTaskFactory,
    MidjourneyTaskFactory,
    TaskImageFactory,
    UploadFactory,
)
from history import marks, trash
from history.marks import Name
from history.sources import REMOVED_AT

MONTH_AGO = timedelta(days=30, minutes=1)


@pytest.fixture
def make(alice):
    """Return a function that makes a task with pictures, in the trash for a while."""

    def task(*, ago=MONTH_AGO, pictures=1, **fields):
        trashed_at = None if ago is None else timezone.now() - ago
        made = FluxTaskFactory(user=alice, succeeded=True, trashed_at=trashed_at, **fields)
        for position in range(pictures):
            TaskImageFactory(user=alice, task=made, position=position)
        return made

    return task


def names_of(task):
    images = TaskImage.objects.filter(task_id=task.pk)
    return [name for image in images for name in housekeeping.keys_of(image)]


def exist(names):
    return {default_storage.exists(name) for name in names}


# ---------------------------------------------------------------- what goes and what stays
def test_after_thirty_days_prompt_pictures_and_files_are_gone(make):
    task = make(pictures=2, prompt="a secret", parameters={"seed": "7"}, error_message="it said")
    names = names_of(task)
    assert exist(names) == {True}

    assert trash.remove_old() == 1

    task.refresh_from_db()
    assert (task.trashed_at, task.prompt, task.parameters) == (REMOVED_AT, "", {})
    assert (task.image_url, task.result_seed, task.error_message) == ("", "", "")
    assert TaskImage.objects.count() == 0
    assert (len(names), exist(names)) == (6, {False})


def test_what_the_books_need_stays(make):
    task = make(cost_charged=10, request_id="r-1")

    trash.remove_old()

    left = FluxTask.objects.get(pk=task.pk)
    assert (left.status, left.cost_charged, left.model) == ("SUCCESS", 10, task.model)
    assert (left.request_id, left.completed_at) == ("r-1", task.completed_at)


def test_before_thirty_days_nothing_goes(make, time_machine):
    time_machine.move_to("2026-11-01T12:00:00+00:00", tick=False)
    task = make(ago=timedelta(0))

    time_machine.move_to("2026-12-01T11:59:59+00:00", tick=False)
    assert trash.remove_old() == 0
    time_machine.move_to("2026-12-01T12:00:00+00:00", tick=False)
    assert trash.remove_old() == 1

    task.refresh_from_db()
    assert task.prompt == ""


def test_what_was_never_thrown_away_stays(make):
    task = make(ago=None)

    assert (trash.remove_old(), exist(names_of(task))) == (0, {True})


@pytest.mark.parametrize(
    ("factory", "model", "fields"),
    [
        (
            MidjourneyTaskFactory,
            MidjourneyTask,
            {"prompt_en": "in English", "buttons": [1], "properties": {"finalPrompt": "x"}},
        ),
        (JimengTaskFactory, JimengTask, {"input_image": "https://x/", "properties": {"a": 1}}),
    ],
)
def test_other_sources_forget_as_well(alice, factory, model, fields):
    task = factory(
        user=alice,
        trashed_at=timezone.now() - MONTH_AGO,
        origin="open-webui",
        external_id="e-1",
        **fields,
    )

    assert trash.remove_old() == 1

    left = model.objects.get(pk=task.pk)
    assert (left.prompt, left.image_url, left.properties) == ("", "", {})
    assert not any(getattr(left, name) for name in fields)
    # So that an import does not bring it back.
    assert (left.origin, left.external_id) == ("open-webui", "e-1")


def test_what_is_gone_is_not_looked_at_every_night(make, django_assert_num_queries):
    make()
    trash.remove_old()

    with django_assert_num_queries(3):
        assert trash.remove_old() == 0


def test_the_ledger_still_adds_up(alice, make):
    before = ledger.account_for(user=alice).credits_balance
    task = make()
    ledger.reserve(user=alice, amount=10, reference=f"flux:{task.pk}")
    ledger.settle(reference=f"flux:{task.pk}", charged=10)

    trash.remove_old()

    assert audit.check() == []
    assert ledger.account_for(user=alice).credits_balance == before - 10


# ---------------------------------------------------------------- pictures others were drawn from
@pytest.fixture
def drawn_from(alice, make):
    """A task in the trash, and one that is not and was drawn from its first picture."""
    old = make(pictures=2)
    new = FluxTaskFactory(user=alice, succeeded=True)
    TaskInput.objects.create(
        task=new, position=0, image=TaskImage.objects.get(task_id=old.pk, position=0)
    )
    return old, new


def test_a_picture_another_task_was_drawn_from_stays(drawn_from):
    old, new = drawn_from
    first, second = TaskImage.objects.filter(task_id=old.pk).order_by("position")

    assert trash.remove_old() == 1

    assert [image.pk for image in TaskImage.objects.all()] == [first.pk]
    assert new.inputs.get().picture == first
    assert exist(housekeeping.keys_of(first)) == {True}
    assert exist(housekeeping.keys_of(second)) == {False}


def test_it_goes_with_the_last_task_that_was_drawn_from_it(drawn_from):
    old, new = drawn_from
    names = names_of(old)
    trash.remove_old()
    FluxTask.objects.filter(pk=new.pk).update(trashed_at=timezone.now() - MONTH_AGO)

    assert trash.remove_old() == 1

    assert (TaskImage.objects.count(), TaskInput.objects.count()) == (0, 0)
    assert exist(names) == {False}


def test_pictures_of_a_living_task_stay_when_one_drawn_from_them_goes(drawn_from):
    old, new = drawn_from
    FluxTask.objects.filter(pk=old.pk).update(trashed_at=None)
    FluxTask.objects.filter(pk=new.pk).update(trashed_at=timezone.now() - MONTH_AGO)

    assert trash.remove_old() == 1

    assert (TaskImage.objects.count(), exist(names_of(old))) == (2, {True})


def test_an_upload_a_task_was_drawn_from_stays_its_members(alice, make):
    task = make()
    upload = UploadFactory(user=alice)
    TaskInput.objects.create(task=task, position=0, upload=upload)

    trash.remove_old()

    assert default_storage.exists(upload.storage_key)
    assert TaskInput.objects.count() == 0


# ---------------------------------------------------------------- at once, and when interrupted
def test_a_member_may_delete_from_the_trash_at_once(alice, bob, make):
    mine, kept = make(ago=timedelta(seconds=1)), make(ago=None)
    both = [Name("flux", mine.pk), Name("flux", kept.pk)]
    now = timezone.now()

    assert marks.remove(user=bob, names=both, now=now) == 0
    assert marks.remove(user=alice, names=both, now=now) == 1

    assert FluxTask.objects.get(pk=mine.pk).prompt == ""
    assert FluxTask.objects.get(pk=kept.pk).prompt != ""


def test_a_task_whose_late_result_is_asked_for_is_not_removed(make):
    make(recover_requested_at=timezone.now())

    assert trash.remove_old() == 0


def test_a_file_that_cannot_be_removed_is_found_by_the_search_for_orphans(
    shelf, make, settings, time_machine
):
    task = make()
    [image] = TaskImage.objects.filter(task_id=task.pk)
    names = housekeeping.keys_of(image)
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            "BACKEND": "generation.tests.test_removal.StorageThatRefuses",
            "OPTIONS": settings.STORAGES["default"]["OPTIONS"],
        },
    }

    assert trash.remove_old() == 1
    assert exist(names) == {True}

    time_machine.move_to(timezone.now() + timedelta(days=2))
    StorageThatRefuses.refuses = False
    try:
        housekeeping.remove_orphans()
    finally:
        StorageThatRefuses.refuses = True
    assert exist(names) == {False}


class StorageThatRefuses(default_storage.__class__):
    refuses = True

    def delete(self, name):
        if self.refuses:
            raise OSError(5, "the bucket does not answer")
        super().delete(name)


def test_the_end_of_the_trash_comes_every_night(db):
    from django_q.models import Schedule

    schedule = Schedule.objects.get(name="history")

    assert (schedule.func, schedule.schedule_type) == ("history.nightly.nightly", Schedule.DAILY)
