"""The whole way of a picture with Tencent COS as the storage: drawn, kept, shown, used again."""

from __future__ import annotations

import hashlib
import io

import pytest
import requests
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.utils import timezone

from generation import housekeeping, polling
from generation.models import FluxTask, TaskImage
from generation.tests.factories import UploadFactory
from generation.tests.test_lifecycle import place

EDIT = "fal-ai/flux-pro/kontext"


@pytest.fixture
def bucket(settings, cos):
    """Pictures are kept in the emulated bucket, below a location of their own."""
    place = {
        "BACKEND": "fluxsite.cos.COSStorage",
        "OPTIONS": {**cos.options(), "location": "studio"},
    }
    settings.STORAGE = "cos"
    settings.STORAGES = {**settings.STORAGES, "default": place, "cos": place}
    return cos


def sent_pictures(drawing):
    """Return what stood for the reference picture in each request."""
    bodies = [request.body for request in drawing.log.entries() if request.stage == "submit"]
    return [body["image_url"] for body in bodies]


def test_a_drawn_picture_is_in_the_bucket_as_the_provider_sent_it(alice, work, bucket):
    place(alice)

    work()

    image = TaskImage.objects.get()
    stem = image.storage_key.rpartition(".")[0]
    names = [f"studio/{stem}{ending}" for ending in ("-320.webp", "-640.webp", ".jpg")]
    assert sorted(bucket.objects()) == names
    with default_storage.open(image.storage_key) as file:
        assert hashlib.sha256(file.read()).hexdigest() == image.sha256


def test_its_address_leads_the_owner_to_the_bucket_and_nobody_else(
    client, alice, bob, work, bucket
):
    place(alice)
    work()
    image = TaskImage.objects.get()
    client.force_login(alice)

    shown = requests.get(client.get(image.url)["Location"], timeout=5)
    saved = client.get(f"{image.url}?download")
    client.force_login(bob)

    assert (shown.status_code, len(shown.content)) == (200, image.byte_size)
    assert shown.headers["Content-Type"] == "image/jpeg"
    # What it was made with is written into it on the way, so this one passes through us.
    assert len(b"".join(saved)) > image.byte_size
    assert client.get(image.url).status_code == 404


def test_pictures_may_pass_through_the_site_instead(client, alice, work, bucket, settings):
    settings.MEDIA_PROXY = True
    place(alice)
    work()
    image = TaskImage.objects.get()
    client.force_login(alice)

    answer = client.get(image.url)

    assert (answer.status_code, len(b"".join(answer))) == (200, image.byte_size)
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_a_storage_that_says_yes_and_keeps_nothing_is_found_out(alice, work, bucket):
    """Row 26 of docs/faults.md."""
    bucket.add_fault("lie", method="PUT", times=1)
    place(alice)
    work()

    image = TaskImage.objects.get()
    assert (image.stored_at, image.store_attempts) == (None, 1)
    polling.store(image.pk)

    image.refresh_from_db()
    assert image.stored_at is not None
    assert f"studio/{image.storage_key}" in bucket.objects()


def test_a_bucket_that_is_away_is_waited_for_and_nothing_is_lost(alice, work, bucket):
    bucket.add_fault("status_503")
    place(alice)
    work()
    image = TaskImage.objects.get()
    assert (image.stored_at, image.lost_at, image.store_attempts) == (None, None, 1)
    assert image.next_action_at is not None

    bucket.faults.clear()
    polling.store(image.pk)

    image.refresh_from_db()
    assert image.stored_at is not None


# ---------------------------------------------------------------- towards the provider
def test_a_reference_picture_goes_as_an_address_that_is_kept_nowhere(alice, work, drawing, bucket):
    task = place(alice, EDIT, addresses=[UploadFactory(user=alice).url])

    work()

    task.refresh_from_db()
    (address,) = sent_pictures(drawing)
    assert (task.status, task.input_transport) == ("SUCCESS", "url")
    assert address.startswith(f"{bucket.url}/studio/uploads/{alice.pk}/")
    assert "q-signature" in address
    assert "q-sign" not in repr(FluxTask.objects.filter(pk=task.pk).values().get())


def test_what_the_provider_cannot_download_it_gets_as_data(alice, work, drawing, bucket, caplog):
    # Only the provider asks for it before it is sent as data.
    bucket.add_fault("status_403", method="GET", path="uploads/", times=1)
    task = place(alice, EDIT, addresses=[UploadFactory(user=alice).url])

    work()

    task.refresh_from_db()
    first, second = sent_pictures(drawing)
    assert (task.status, task.input_transport) == ("SUCCESS", "data")
    assert first.startswith(bucket.url)
    assert second.startswith("data:image/png;base64,")
    assert task.cost_charged == task.cost_reserved
    assert "q-sign" not in caplog.text


def test_where_only_addresses_are_allowed_it_fails_unpaid(alice, work, drawing, bucket, settings):
    settings.INPUT_TRANSPORT = "url"
    bucket.add_fault("status_403", method="GET", path="uploads/")
    task = place(alice, EDIT, addresses=[UploadFactory(user=alice).url])

    work()

    task.refresh_from_db()
    assert (task.status, task.error_code) == ("FAILED", "input_image_unreachable")
    assert (len(sent_pictures(drawing)), task.cost_charged) == (1, 0)


# ---------------------------------------------------------------- looked after
def test_pictures_move_from_the_disk_to_the_bucket(alice, work, cos, settings, tmp_path):
    disk = {
        "BACKEND": "fluxsite.disk.DiskStorage",
        "OPTIONS": {"location": tmp_path, "allow_overwrite": True},
    }
    there = {"BACKEND": "fluxsite.cos.COSStorage", "OPTIONS": cos.options()}
    settings.STORAGES = {**settings.STORAGES, "default": disk, "local": disk, "cos": there}
    place(alice, num_images=2)
    work()
    cos.add_fault("drop", method="PUT", times=1)
    cos.add_fault("status_503", method="PUT", after=2, times=8)

    with pytest.raises(SystemExit):
        call_command("migrate_storage", to="cos", stdout=io.StringIO())
    cos.faults.clear()
    out = io.StringIO()
    call_command("migrate_storage", to="cos", stdout=out)

    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert set(cos.objects()) == files
    assert "All is there. Start the site with STORAGE=cos now." in out.getvalue()
    settings.STORAGE, settings.STORAGES = "cos", {**settings.STORAGES, "default": there}
    for image in TaskImage.objects.all():
        assert housekeeping.verify(image) == []


def test_orphans_and_damage_are_found_in_a_bucket_too(alice, work, bucket, time_machine):
    place(alice)
    work()
    image = TaskImage.objects.get()
    orphan = default_storage.save(f"generated/2026/11/{'0' * 32}/0.jpg", io.BytesIO(b"left over"))
    time_machine.move_to(timezone.now() + housekeeping.GRACE * 2)

    found = housekeeping.remove_orphans()

    assert (found.seen, found.removed, found.names) == (4, 1, [orphan])
    assert housekeeping.verify(image) == []
    default_storage.save(image.storage_key, io.BytesIO(b"something else"))
    assert [damage.what for damage in housekeeping.verify(image)] == ["changed"]
