"""`/media/<id>`: who sees a picture, and what travels with it."""

from __future__ import annotations

import io
import re
import time

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone
from PIL import Image

from generation.ids import new_id
from generation.models import FluxTask, TaskImage
from generation.tests.factories import FluxTaskFactory, TaskImageFactory, UploadFactory


@pytest.fixture
def get(client):
    """Return a function that fetches an address and keeps the whole answer in `.body`."""

    def fetch(address, **kwargs):
        answer = client.get(address, **kwargs)
        answer.body = b"".join(answer.streaming_content) if answer.streaming else answer.content
        # Not answer.close(): that ends the request for Django, and its connection with it.
        for close in answer._resource_closers:
            close()
        return answer

    return fetch


@pytest.fixture(params=[TaskImageFactory, UploadFactory], ids=["picture", "upload"])
def picture(request, alice):
    return request.param(user=alice)


def test_the_owner_sees_the_picture_as_it_is_stored(client, get, alice, picture):
    client.force_login(alice)

    answer = get(picture.url)

    with default_storage.open(picture.storage_key) as file:
        assert answer.body == file.read()
    assert answer["Content-Type"] == "image/png"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert answer["Cache-Control"] == "private, max-age=86400"


@pytest.mark.parametrize("width", [320, 640])
def test_thumbnails_are_webp(client, get, alice, picture, width):
    client.force_login(alice)

    answer = get(picture.thumbnail_url(width))

    assert answer["Content-Type"] == "image/webp"
    assert Image.open(io.BytesIO(answer.body)).format == "WEBP"


def test_what_the_browser_has_is_not_sent_again(client, get, alice, picture):
    client.force_login(alice)
    etag = get(picture.url)["ETag"]

    answer = get(picture.url, headers={"If-None-Match": etag})

    assert (answer.status_code, answer.body, answer["ETag"]) == (304, b"", etag)


def test_a_picture_and_its_thumbnails_have_tags_of_their_own(client, get, alice, picture):
    client.force_login(alice)
    addresses = [picture.url, picture.thumbnail_url(320), picture.thumbnail_url(640)]

    assert len({get(address)["ETag"] for address in addresses}) == 3


def test_staff_see_every_picture(client, get, staff, picture):
    client.force_login(staff)

    assert get(picture.url).status_code == 200


def test_another_member_does_not_learn_that_it_exists(client, get, bob, picture):
    client.force_login(bob)

    assert get(picture.url).status_code == 404
    assert get(picture.thumbnail_url(320)).status_code == 404


def test_strangers_are_asked_to_sign_in(client, get, picture):
    answer = get(picture.url)

    assert (answer.status_code, answer["Location"]) == (302, f"/login?next={picture.url}")


def test_only_the_thumbnails_there_are_can_be_asked_for(client, get, alice, picture):
    client.force_login(alice)

    assert get(f"{picture.url}/9999").status_code == 404
    assert get(f"/media/{new_id()}").status_code == 404
    assert get("/media/../../secret_key").status_code == 404


def test_nothing_can_be_written_to_a_picture(client, get, alice, picture):
    client.force_login(alice)

    assert client.post(picture.url).status_code == 405


def test_before_our_copy_is_there_the_reader_goes_to_the_providers(client, get, alice):
    picture = TaskImageFactory(user=alice, storage_key="", stored_at=None)
    client.force_login(alice)

    answer = get(picture.url)

    assert (answer.status_code, answer["Location"]) == (302, picture.provider_url)
    assert answer["Cache-Control"] == "no-store"


def test_a_file_that_is_gone_is_a_404_not_a_crash(client, get, alice, picture):
    default_storage.delete(picture.storage_key)
    client.force_login(alice)

    assert get(picture.url).status_code == 404


# ---------------------------------------------------------------- downloads
def test_a_download_is_saved_under_the_pictures_own_name(client, get, alice, picture):
    client.force_login(alice)

    shown, saved = get(picture.url), get(f"{picture.url}?download")

    assert shown["Content-Disposition"] == f'inline; filename="{picture.pk}.png"'
    assert saved["Content-Disposition"] == f'attachment; filename="{picture.pk}.png"'
    assert Image.open(io.BytesIO(saved.body)).tobytes() == (
        Image.open(io.BytesIO(shown.body)).tobytes()
    )


@pytest.fixture
def drawn(alice):
    task = FluxTaskFactory(
        user=alice, succeeded=True, prompt="一只猫", parameters={"num_inference_steps": 4}
    )
    return TaskImageFactory(user=alice, task=task)


@pytest.mark.parametrize("trashed_at", [None, timezone.now()])
def test_a_download_carries_what_the_picture_was_made_with(client, get, alice, drawn, trashed_at):
    FluxTask.objects.update(trashed_at=trashed_at)
    client.force_login(alice)

    answer = get(f"{drawn.url}?download")

    assert Image.open(io.BytesIO(answer.body)).text["parameters"] == (
        "一只猫\nSteps: 4, Seed: 17454220438242315174, Size: 96x64, "
        "Model: FLUX.1 schnell, Version: Fluxsite"
    )
    assert int(answer["Content-Length"]) == len(answer.body)
    assert (answer["Content-Type"], answer["Cache-Control"]) == ("image/png", "private, no-store")
    assert answer["Content-Security-Policy"] == "default-src 'none'; sandbox"


def test_a_plain_download_carries_nothing(client, get, alice, drawn):
    client.force_login(alice)

    answer = get(f"{drawn.url}?download=plain")

    with default_storage.open(drawn.storage_key) as file:
        assert answer.body == file.read()
    assert answer["Content-Disposition"].startswith("attachment;")


def test_a_picture_whose_task_is_gone_is_saved_as_it_is(client, get, alice):
    picture = TaskImageFactory(user=alice)
    client.force_login(alice)

    answer = get(f"{picture.url}?download")

    with default_storage.open(picture.storage_key) as file:
        assert answer.body == file.read()


def test_a_file_that_cannot_be_rewritten_is_saved_as_it_is(client, get, alice, drawn):
    TaskImage.objects.update(content_type="image/jpeg")
    client.force_login(alice)

    answer = get(f"{drawn.url}?download")

    with default_storage.open(drawn.storage_key) as file:
        assert answer.body == file.read()


def test_a_download_of_a_file_that_is_gone_is_a_404(client, get, alice, drawn):
    default_storage.delete(drawn.storage_key)
    client.force_login(alice)

    assert get(f"{drawn.url}?download").status_code == 404


def test_a_download_asked_for_by_head_has_its_size_and_no_body(client, alice, drawn):
    client.force_login(alice)

    answer = client.head(f"{drawn.url}?download")
    for close in answer._resource_closers:
        close()

    assert int(answer["Content-Length"]) > 0


def test_a_download_is_for_its_owner(client, get, bob, drawn):
    client.force_login(bob)

    assert get(f"{drawn.url}?download").status_code == 404


@pytest.mark.parametrize("query", ["?download", "?download=plain"])
def test_a_download_takes_few_queries(
    client, get, alice, drawn, query, django_assert_max_num_queries
):
    client.force_login(alice)

    # The session, the member, the picture, its task and what that was made with.
    with django_assert_max_num_queries(5):
        get(f"{drawn.url}{query}")


def test_a_proxy_does_not_send_what_passes_through_us(client, get, alice, drawn, settings):
    settings.MEDIA_X_ACCEL = "/protected"
    client.force_login(alice)

    answer = get(f"{drawn.url}?download")

    assert "X-Accel-Redirect" not in answer
    assert "parameters" in Image.open(io.BytesIO(answer.body)).text


# ---------------------------------------------------------------- behind a proxy
def test_a_proxy_is_told_which_file_to_send(client, get, alice, picture, settings):
    settings.MEDIA_X_ACCEL = "/protected"
    client.force_login(alice)

    answer = get(picture.url)
    small = get(picture.thumbnail_url(320))

    assert answer["X-Accel-Redirect"] == f"/protected/{picture.storage_key}"
    assert (answer.body, answer["Content-Type"]) == (b"", "image/png")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert small["X-Accel-Redirect"] == f"/protected/{picture.thumbnail_key(320)}"
    assert small["Content-Type"] == "image/webp"


def test_the_proxy_is_not_told_before_the_reader_was_checked(client, get, bob, picture, settings):
    settings.MEDIA_X_ACCEL = "/protected"
    client.force_login(bob)

    answer = get(picture.url)

    assert (answer.status_code, "X-Accel-Redirect" in answer) == (404, False)


# ---------------------------------------------------------------- in a bucket
@pytest.fixture
def bucket(settings, picture):
    """Pictures lie in a bucket that nobody can reach: addresses are signed without asking it.
    The picture's files were written to the disk before."""
    cos = {
        "BACKEND": "fluxsite.cos.COSStorage",
        "OPTIONS": {
            "secret_id": "AKIDexample",
            "secret_key": "secret",
            "region": "ap-guangzhou",
            "bucket_name": "pictures-1250000000",
        },
    }
    settings.STORAGE = "cos"
    settings.STORAGES = {**settings.STORAGES, "default": cos}
    return "https://pictures-1250000000.cos.ap-guangzhou.myqcloud.com"


def test_a_bucket_is_redirected_to_with_a_signed_address(client, get, alice, picture, bucket):
    client.force_login(alice)

    answer, again = get(picture.url), get(picture.url)

    address = answer["Location"]
    assert (answer.status_code, answer.body) == (302, b"")
    assert address.startswith(f"{bucket}/{picture.storage_key}?")
    assert "q-signature=" in address
    assert "secret" not in address
    # The same for hours, so that the browser finds what it has loaded.
    assert again["Location"] == address


def test_the_redirect_is_not_kept_for_longer_than_its_address_is_good(
    client, get, alice, picture, bucket, settings, time_machine
):
    time_machine.move_to("2026-11-01T12:00:00+00:00", tick=False)
    client.force_login(alice)

    answer = get(picture.thumbnail_url(640))

    good_until = int(re.search(r"q-sign-time=\d+%3B(\d+)", answer["Location"])[1])
    kept = re.fullmatch(r"private, max-age=(\d+)", answer["Cache-Control"])
    assert time.time() + int(kept[1]) == good_until - 300
    assert int(kept[1]) >= 6 * 3600 - 300


@pytest.mark.parametrize("picture", [UploadFactory], indirect=True, ids=["upload"])
def test_an_upload_from_a_bucket_has_its_name_signed_with_it(client, get, alice, picture, bucket):
    client.force_login(alice)

    address = get(f"{picture.url}?download")["Location"]

    assert f"response-content-disposition=attachment%3B%20filename%3D%22{picture.pk}" in address
    assert "q-url-param-list=response-content-disposition" in address


def test_somebody_elses_picture_has_no_address_in_the_bucket(client, get, bob, picture, bucket):
    client.force_login(bob)

    assert get(picture.url).status_code == 404


def test_a_lost_picture_is_not_looked_for_at_the_provider(client, get, alice):
    picture = TaskImageFactory(user=alice, storage_key="", stored_at=None, lost_at=timezone.now())
    client.force_login(alice)

    assert get(picture.url).status_code == 404
