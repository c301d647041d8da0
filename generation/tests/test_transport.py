"""How reference pictures travel to the provider, and what happens when it cannot fetch them."""

from __future__ import annotations

import base64
import io

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone
from PIL import Image

from credits.models import LedgerEntry
from generation import lifecycle, polling, transport
from generation.models import FluxTask
from generation.providers.base import Progress, Refused
from generation.storage import CannotStore
from generation.tests.factories import FluxTaskFactory, UploadFactory
from generation.tests.test_lifecycle import place

EDIT = "fal-ai/flux-pro/kontext"


def noise(size, mode="RGB"):
    """A picture that hardly compresses."""
    bands = [Image.effect_noise(size, 90) for _band in Image.new(mode, (1, 1)).getbands()]
    return Image.merge(mode, bands)


def upload_of(user, image, kind="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    extension = {"PNG": "png", "JPEG": "jpg"}[kind]
    upload = UploadFactory(
        user=user, width=image.width, height=image.height, content_type=f"image/{kind.lower()}"
    )
    upload.storage_key = f"uploads/{user.pk}/{upload.pixel_hash}.{extension}"
    upload.save()
    default_storage.save(upload.storage_key, ContentFile(buffer.getvalue()))
    return upload


def sent(pictures):
    """Return type, image and number of bytes of each picture as data."""
    parts = []
    for uri in transport.addresses(pictures=pictures, transport="data"):
        header, _comma, data = uri.partition(",")
        content = base64.b64decode(data)
        parts.append((header, Image.open(io.BytesIO(content)), len(content)))
    return parts


def test_a_small_picture_goes_as_it_is(alice):
    upload = UploadFactory(user=alice)

    ((header, image, size),) = sent([upload])

    assert (header, image.size) == ("data:image/png;base64", (96, 64))
    assert size == default_storage.size(upload.storage_key)


def test_a_large_picture_is_made_smaller(alice):
    wide = upload_of(alice, Image.new("RGB", (4000, 1000), "teal"), "JPEG")

    ((header, image, _size),) = sent([wide])

    assert (header, image.size) == ("data:image/jpeg;base64", (2048, 512))


def test_a_heavy_png_goes_as_jpeg_and_a_transparent_one_as_webp(alice):
    heavy = upload_of(alice, noise((1200, 1200)))
    transparent = upload_of(alice, noise((1200, 1200), "RGBA"))

    (opaque, clear) = sent([heavy, transparent])

    assert (opaque[0], opaque[1].size) == ("data:image/jpeg;base64", (1200, 1200))
    assert (clear[0], clear[1].mode) == ("data:image/webp;base64", "RGBA")


def test_many_large_pictures_together_stay_below_the_limit(alice):
    noisy = upload_of(alice, noise((2048, 2048)), "JPEG")

    parts = sent([noisy] * 8)

    assert sum(size for _header, _image, size in parts) <= transport.MAX_DATA_BYTES
    assert max(parts[0][1].size) < 2048


def test_a_missing_file_is_said_to_be_missing(alice):
    upload = UploadFactory(user=alice)
    default_storage.delete(upload.storage_key)

    with pytest.raises(CannotStore, match=f"The file of {upload.pk} cannot be read"):
        transport.addresses(pictures=[upload], transport="data")


@pytest.mark.parametrize(
    ("setting", "storage", "expected"),
    [
        ("auto", "local", "data"),
        ("auto", "cos", "url"),
        ("data", "cos", "data"),
        ("url", "cos", "url"),
    ],
)
def test_the_setting_decides_and_auto_asks_the_storage(settings, setting, storage, expected):
    settings.INPUT_TRANSPORT, settings.STORAGE = setting, storage

    assert transport.preferred() == expected


def test_nothing_of_the_picture_is_kept_with_the_task(alice, work, drawing):
    task = place(alice, EDIT, addresses=[UploadFactory(user=alice).url])

    work()

    row = FluxTask.objects.filter(pk=task.pk).values().get()
    assert (row["status"], row["input_transport"]) == ("SUCCESS", "data")
    assert "base64" not in repr(row)
    assert FluxTask.objects.get(pk=place(alice).pk).input_transport == ""


# ---------------------------------------------------------------- falling back
@pytest.fixture
def by_address(alice, settings):
    """A running task whose picture went as an address."""
    settings.INPUT_TRANSPORT, settings.STORAGE = "auto", "cos"
    return FluxTaskFactory(
        user=alice,
        at_provider=True,
        input_image_url=UploadFactory(user=alice).url,
        input_transport="url",
        request_id="first",
    )


UNREACHABLE = Refused("input_image_unreachable", "Failed to download the file")


def look(task, outcome):
    lifecycle.record_look(task=task, look=lifecycle.Look(outcome=outcome), now=timezone.now())
    return FluxTask.objects.get(pk=task.pk)


def test_a_picture_the_provider_could_not_fetch_is_sent_once_more_as_data(by_address):
    back = look(by_address, UNREACHABLE)

    assert (back.status, back.submission, back.input_transport) == ("PENDING", "UNSENT", "data")
    assert (back.accepted_at, back.deadline_at, back.completed_at) == (None, None, None)
    assert lifecycle.begin_submission(task=back, now=timezone.now())
    assert FluxTask.objects.get(pk=back.pk).input_transport == "data"


def test_the_second_time_it_fails(by_address):
    FluxTask.objects.update(input_transport="data")
    by_address.refresh_from_db()

    failed = look(by_address, UNREACHABLE)

    assert (failed.status, failed.error_code) == ("FAILED", "input_image_unreachable")


@pytest.mark.parametrize("setting", ["url", "data"])
def test_where_the_way_is_prescribed_there_is_no_other(by_address, settings, setting):
    settings.INPUT_TRANSPORT = setting

    assert look(by_address, UNREACHABLE).status == "FAILED"


def test_another_refusal_is_final(by_address):
    assert look(by_address, Refused("content_policy", "no")).status == "FAILED"


def test_a_cancelled_task_is_not_sent_again(by_address):
    lifecycle.cancel(task=by_address, now=timezone.now())

    assert look(by_address, UNREACHABLE).status == "FAILED"


def test_late_news_of_the_first_request_does_not_touch_the_second(by_address):
    stale = FluxTask.objects.get(pk=by_address.pk)
    look(by_address, UNREACHABLE)
    FluxTask.objects.update(submission="ACCEPTED", status="IN_QUEUE", request_id="second")

    for outcome in (UNREACHABLE, Refused("content_policy", "no"), Progress(state="running")):
        task = look(stale, outcome)
        assert (task.status, task.request_id) == ("IN_QUEUE", "second")


def test_a_call_about_the_first_request_does_not_claim_the_second(by_address):
    back = look(by_address, UNREACHABLE)
    lifecycle.begin_submission(task=back, now=timezone.now())

    heard = lifecycle.hear_of(task_id=back.pk, request_id="first", now=timezone.now())

    assert heard is False
    assert FluxTask.objects.get(pk=back.pk).submission == "UNKNOWN"
    assert lifecycle.hear_of(task_id=back.pk, request_id="second", now=timezone.now())


def test_the_credits_stay_reserved_while_it_is_sent_again(alice, drawing, settings):
    task = place(alice, EDIT, addresses=[UploadFactory(user=alice).url])
    settings.STORAGE = "cos"
    FluxTask.objects.update(
        submission="ACCEPTED", status="IN_QUEUE", request_id="first", input_transport="url"
    )
    task.refresh_from_db()

    look(task, UNREACHABLE)

    assert [entry.kind for entry in LedgerEntry.objects.exclude(kind="GRANT")] == ["RESERVE"]
    settings.STORAGE = "local"
    polling.sweep(window=20, idle=0)
    task.refresh_from_db()
    assert (task.status, task.cost_charged) == ("SUCCESS", task.cost_reserved)
