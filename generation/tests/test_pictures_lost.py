"""Pictures that cannot be had: what is tried, what is given back, and who is told."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from credits import ledger
from credits.models import LedgerEntry
from generation import housekeeping, lifecycle, polling
from generation.models import TaskImage
from generation.tests.factories import FluxTaskFactory, TaskImageFactory
from generation.tests.test_lifecycle import place

START = 500


@pytest.fixture(autouse=True)
def start(settings):
    settings.CREDITS_ENABLED = True
    settings.CREDITS_STARTING_GRANT = START


def balance(user):
    return ledger.account_for(user=user).credits_balance


def store_until_given_up(image):
    while image.stored_at is None and image.lost_at is None:
        polling.store(image.pk)
        image.refresh_from_db()
        assert image.store_attempts < 20


def paid_back():
    lost = LedgerEntry.objects.filter(kind="ADJUST").order_by("id")
    return list(lost.values_list("reference", "amount"))


def test_a_picture_that_has_moved_is_found_at_its_new_address(alice, work, drawing):
    drawing.add_fault(kind="moved_files")
    task = place(alice)
    work()
    image = TaskImage.objects.get()
    first = image.provider_url

    polling.store(image.pk)

    image.refresh_from_db()
    task.refresh_from_db()
    assert image.stored_at is not None
    assert image.provider_url == first != task.image_url
    assert balance(alice) == START - 5


def test_the_provider_is_asked_for_a_new_address_once(alice, work, drawing):
    drawing.add_fault(kind="expired_file")
    place(alice)
    work()

    store_until_given_up(TaskImage.objects.get())

    assert [entry.stage for entry in drawing.log.entries()].count("result") == 2


def test_a_lost_picture_is_paid_back_once(alice, work, drawing):
    drawing.add_fault(kind="expired_file")
    task = place(alice, num_images=2)
    work()
    first, second = TaskImage.objects.order_by("position")

    store_until_given_up(first)

    task.refresh_from_db()
    assert (task.status, task.cost_charged) == ("SUCCESS", 5)
    assert paid_back() == [(f"flux:{task.pk}:lost:0", 5)]
    assert balance(alice) == START - 5

    polling.store(first.pk)
    store_until_given_up(second)

    task.refresh_from_db()
    assert task.cost_charged == 0
    assert balance(alice) == START


def test_what_our_own_storage_cannot_take_is_not_lost(alice, drawing, settings, tmp_path):
    task = FluxTaskFactory(user=alice, succeeded=True)
    image = TaskImageFactory(task=task, user=alice, storage_key="", stored_at=None)

    lifecycle._store_later(image, OSError("No space left on device"), now=timezone.now())
    TaskImage.objects.update(store_attempts=50)
    image.refresh_from_db()
    lifecycle._store_later(image, OSError("No space left on device"), now=timezone.now())

    image.refresh_from_db()
    assert image.lost_at is None
    assert image.next_action_at > timezone.now() + timedelta(hours=23)


def test_two_workers_that_give_up_together_pay_back_once(alice, drawing):
    task = FluxTaskFactory(user=alice, succeeded=True, cost_reserved=5, cost_charged=5)
    image = TaskImageFactory(
        task=task, user=alice, storage_key="", stored_at=None, store_attempts=9
    )
    error = lifecycle.storage.CannotStore("gone", gone=True)

    for _worker in range(2):
        lifecycle._store_later(image, error, now=timezone.now())

    assert paid_back() == [(f"flux:{task.pk}:lost:0", 5)]


def test_a_lost_picture_that_turns_up_at_night_is_kept_and_stays_paid_back(alice, work, drawing):
    drawing.add_fault(kind="expired_file", times=4)
    place(alice)
    work()
    image = TaskImage.objects.get()
    store_until_given_up(image)

    assert housekeeping.rearchive() == 1
    work()

    image.refresh_from_db()
    assert (image.stored_at is not None, image.lost_at) == (True, None)
    assert balance(alice) == START


def test_the_member_reads_on_the_card_and_in_the_ledger_what_happened(client, alice, work, drawing):
    drawing.add_fault(kind="expired_file")
    task = place(alice)
    work()
    image = TaskImage.objects.get()
    store_until_given_up(image)
    client.force_login(alice)

    studio = client.get("/").content.decode()
    statement = client.get("/credits").content.decode()

    assert "This picture is lost. Its credits are back." in studio
    assert "Given back: a picture could not be saved and is gone at the provider" in statement
    assert task.prompt in statement
    assert client.get(image.url).status_code == 404


def test_staff_find_lost_pictures(client, staff, alice):
    task = FluxTaskFactory(user=alice, succeeded=True)
    lost = TaskImageFactory(
        task=task, user=alice, storage_key="", stored_at=None, lost_at=timezone.now()
    )
    kept = TaskImageFactory(user=alice)
    client.force_login(staff)

    page = client.get("/admin/generation/taskimage/?lost_at__isempty=0").content.decode()

    assert lost.pk in page
    assert kept.pk not in page


# ---------------------------------------------------------------- blacked out
def test_a_picture_the_provider_blacked_out_is_marked_and_not_charged(alice, work, drawing):
    drawing.add_fault(kind="nsfw_first")
    task = place(alice, num_images=2)

    work()

    task.refresh_from_db()
    assert (task.status, task.cost_charged) == ("SUCCESS", 5)
    flags = TaskImage.objects.order_by("position").values_list("is_nsfw", flat=True)
    assert list(flags) == [True, False]
    assert balance(alice) == START - 5


def test_all_blacked_out_costs_nothing_and_the_card_says_so(client, alice, work, drawing):
    drawing.add_fault(kind="nsfw_black")
    task = place(alice, num_images=2)
    work()
    client.force_login(alice)

    page = client.get("/").content.decode()

    task.refresh_from_db()
    assert (task.status, task.cost_charged, balance(alice)) == ("SUCCESS", 0, START)
    assert "safety checker blacked out 2 pictures. They were not charged." in page


def test_with_the_checker_off_flagged_pictures_are_whole_and_charged(alice, work, drawing):
    drawing.add_fault(kind="nsfw_black")
    task = place(alice, enable_safety_checker=False)

    work()

    task.refresh_from_db()
    assert (task.cost_charged, balance(alice)) == (5, START - 5)
