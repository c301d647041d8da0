"""How much a member may bring, how fast, and how much of it is read at all."""

from __future__ import annotations

import errno
import re
import socket
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from rest_framework.test import APIClient

from generation import uploads
from generation.models import RateWindow, Upload
from generation.tests.factories import UploadFactory, image_bytes
from generation.tests.hostile import PAYLOAD, jpeg

PATH = "/api/flux/upload-image"
MEGABYTE = 1024 * 1024
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


class FullDisk(FileSystemStorage):
    """Has no room for the last of an upload's files."""

    def _save(self, name, content):
        if name.endswith("-640.webp"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return super()._save(name, content)


@pytest.fixture
def media(settings, tmp_path):
    """A storage that nobody else writes to."""
    return use_storage(settings, tmp_path, settings.STORAGES["default"]["BACKEND"])


def use_storage(settings, directory, backend):
    options = {"location": directory, "allow_overwrite": True}
    default = {"BACKEND": backend, "OPTIONS": options}
    settings.STORAGES = {**settings.STORAGES, "default": default}
    return directory


def files(directory):
    return sorted(path.name for path in directory.rglob("*.*"))


@pytest.fixture
def api(alice, media):
    client = APIClient()
    client.force_authenticate(alice)
    return client


def bring(api, colour="teal"):
    file = SimpleUploadedFile("a.png", image_bytes((100, 100), colour=colour), "image/png")
    return api.post(PATH, {"file": file}, format="multipart")


def leave_room_for(alice, size):
    """Let Alice have pictures of such a size that `size` bytes are left of 1 MB."""
    UploadFactory(user=alice, byte_size=MEGABYTE - size - 100, thumbnails_size=100, storage_key="")


def size_of(answer):
    upload = Upload.objects.get(pk=answer.data["id"])
    return upload.byte_size + upload.thumbnails_size


# ---------------------------------------------------------------- the quota
def test_a_picture_that_does_not_fit_any_more_is_refused_and_leaves_no_file(
    api, alice, media, settings
):
    settings.UPLOAD_QUOTA_MB = 1
    taken = size_of(bring(api, "red"))
    before = files(media)
    leave_room_for(alice, taken + 1)

    answer = bring(api, "blue")

    assert (answer.status_code, answer.data["code"]) == (403, "quota_exceeded")
    assert answer.data["errors"]["file"] == [answer.data["detail"]]
    assert "1 MB" in answer.data["detail"]
    assert "ask an administrator" in answer.data["detail"]
    assert Upload.objects.count() == 2
    assert files(media) == before


def test_a_picture_that_just_fits_is_taken(api, alice, settings):
    settings.UPLOAD_QUOTA_MB = 1
    size = size_of(bring(api, "red"))
    Upload.objects.all().delete()
    leave_room_for(alice, size)

    answers = [bring(api, colour).status_code for colour in ("red", "blue")]

    assert answers == [201, 403]
    assert uploads.used_bytes(alice) == MEGABYTE


def test_a_picture_that_is_there_already_needs_no_room(api, alice, settings):
    settings.UPLOAD_QUOTA_MB = 1
    first = bring(api, "red")
    leave_room_for(alice, size_of(first))

    again = bring(api, "red")

    assert (again.status_code, again.data["id"]) == (201, first.data["id"])
    assert bring(api, "blue").status_code == 403


def test_what_others_have_does_not_count(api, bob, settings):
    settings.UPLOAD_QUOTA_MB = 1
    UploadFactory(user=bob, byte_size=MEGABYTE, storage_key="")

    assert bring(api).status_code == 201


def test_rows_from_before_thumbnails_were_counted_count(api, alice, settings):
    settings.UPLOAD_QUOTA_MB = 1
    UploadFactory(user=alice, byte_size=MEGABYTE - 50, thumbnails_size=None, storage_key="")

    assert uploads.used_bytes(alice) == MEGABYTE - 50
    assert bring(api).status_code == 403


def test_without_a_quota_there_is_no_end(api, alice, settings):
    settings.UPLOAD_QUOTA_MB = 0
    UploadFactory(user=alice, byte_size=10**13, storage_key="")

    assert bring(api).status_code == 201


@pytest.mark.django_db(transaction=True)
def test_the_quota_holds_however_many_come_at_once(alice, media, settings, race, monkeypatch):
    monkeypatch.setattr(uploads, "_one_at_a_time", threading.BoundedSemaphore(12))
    settings.UPLOAD_QUOTA_MB = 1
    client = APIClient()
    client.force_authenticate(alice)
    one = size_of(bring(client, (0, 0, 255)))
    leave_room_for(alice, 6 * one)

    def race_in(n):
        client = APIClient()
        client.force_authenticate(alice)
        return bring(client, (n, 0, 255)).status_code

    answers = race(race_in, list(range(1, 13)))

    used, kept = uploads.used_bytes(alice), Counter(answers)[201]
    assert Counter(answers).keys() == {201, 403}
    assert MEGABYTE - one - 20 < used <= MEGABYTE
    assert len(files(media)) == 3 * (1 + kept)


@pytest.mark.django_db(transaction=True)
def test_the_same_picture_at_once_is_one_upload_with_one_set_of_files(
    alice, media, race, monkeypatch
):
    monkeypatch.setattr(uploads, "_one_at_a_time", threading.BoundedSemaphore(8))

    def race_in(_n):
        client = APIClient()
        client.force_authenticate(alice)
        return bring(client).data["id"]

    answers = race(race_in, list(range(8)))

    upload = Upload.objects.get()
    assert set(answers) == {upload.pk}
    assert files(media) == sorted(
        key.rpartition("/")[2]
        for key in (upload.storage_key, upload.thumbnail_key(320), upload.thumbnail_key(640))
    )


# ---------------------------------------------------------------- the rate
def test_after_so_many_in_an_hour_one_has_to_wait(api, settings):
    settings.UPLOADS_PER_HOUR = 2
    with time_machine.travel(NOON + timedelta(minutes=50), tick=False) as clock:
        answers = [bring(api, colour) for colour in ("red", "blue", "lime")]
        clock.shift(timedelta(minutes=10))
        later = bring(api, "lime")

    assert [answer.status_code for answer in (*answers, later)] == [201, 201, 429, 201]
    assert answers[2].data["code"] == "too_often"
    assert answers[2]["Retry-After"] == "600"
    assert answers[2].data["detail"] == (
        "You have brought 2 pictures in this hour, which is all that is allowed. "
        "Try again in 10 minutes."
    )
    assert answers[2].data["errors"]["file"] == [answers[2].data["detail"]]


def test_what_is_refused_or_known_counts_as_well(api, settings):
    settings.UPLOADS_PER_HOUR = 3
    broken = SimpleUploadedFile("a.jpg", jpeg()[:500], "image/jpeg")

    answers = [
        api.post(PATH, {"file": broken}, format="multipart"),
        bring(api),
        bring(api),
        bring(api),
    ]

    assert [answer.status_code for answer in answers] == [400, 201, 201, 429]


def test_a_file_that_is_too_large_is_not_even_counted(api, settings):
    settings.MAX_UPLOAD_BYTES = 100

    assert bring(api).status_code == 413
    assert RateWindow.objects.count() == 0


def test_without_a_rate_nothing_is_counted(api, settings):
    settings.UPLOADS_PER_HOUR = 0

    assert bring(api).status_code == 201
    assert RateWindow.objects.count() == 0


# ---------------------------------------------------------------- when the machine cannot
def test_a_disk_that_fills_up_leaves_nothing_behind(api, media, settings, caplog):
    use_storage(settings, media, f"{__name__}.FullDisk")

    answer = bring(api)

    assert (answer.status_code, answer.data["code"]) == (503, "storage_unavailable")
    assert answer["Retry-After"] == "60"
    assert Upload.objects.count() == 0
    assert files(media) == []
    assert "No space left on device" in caplog.text


def test_who_has_waited_too_long_for_a_turn_is_sent_away(api, monkeypatch):
    monkeypatch.setattr(uploads, "WAIT_SECONDS", 0.01)
    with uploads._turn():
        answer = bring(api)

    assert (answer.status_code, answer.data["code"]) == (503, "busy")
    assert bring(api).status_code == 201


# ---------------------------------------------------------------- the page
@pytest.fixture
def member(client, alice, media, drawing):
    client.force_login(alice)
    return client


def send_form(member, *pictures, **fields):
    form = {"model": "fal-ai/flux-1/dev", "prompt": "一只猫", "files": list(pictures), **fields}
    return member.post(reverse("generation:studio"), form)


def test_the_page_says_the_same_beside_the_pictures(member, alice, settings):
    settings.UPLOADS_PER_HOUR = 1
    good = SimpleUploadedFile("good.png", image_bytes((100, 100)))
    late = SimpleUploadedFile("late.png", image_bytes((100, 100), colour="red"))

    answer = send_form(member, good, late)

    assert answer.status_code == 429
    assert 0 < int(answer["Retry-After"]) <= 3600
    [problem] = answer.context["composer"].reference_problems
    assert re.match(r"late\.png: You have brought 1 pictures in this hour", problem)
    assert [picture.user for picture in answer.context["composer"].pictures] == [alice]


def test_a_file_with_html_in_its_name_is_named_harmlessly(member):
    evil = SimpleUploadedFile("<script>alert(1)</script>.jpg", b"no picture")

    answer = send_form(member, evil)

    assert answer.status_code == 400
    assert b"script&gt;.jpg: This is not a JPEG" in answer.content
    assert b"<script>alert(1)" not in answer.content


def test_a_file_that_is_too_large_is_cut_off_while_it_arrives(member, settings):
    settings.MAX_UPLOAD_BYTES = 200_000
    large = SimpleUploadedFile("large.jpg", jpeg() + bytes(3 * MEGABYTE))

    answer = send_form(member, large, prompt="the words stay")

    assert answer.status_code == 413
    assert answer.wsgi_request.FILES["files"].size == 200_001
    assert answer.context["composer"].prompt == "the words stay"
    assert "large.jpg: The file is larger than" in answer.context["composer"].reference_problems[0]


def test_what_is_refused_while_pictures_are_put_in_order_is_told(member):
    broken = SimpleUploadedFile("broken.jpg", jpeg()[:500])

    answer = send_form(member, broken, edit="remove:0")

    assert answer.status_code == 200
    assert [str(message) for message in answer.context["messages"]] == [
        "broken.jpg: The picture is damaged or cut off. Save it again and try once more."
    ]


def test_more_pictures_than_a_form_takes_are_not_dropped_silently(member):
    pictures = [SimpleUploadedFile(f"{n}.png", image_bytes((99, 90 + n))) for n in range(9)]

    answer = send_form(member, *pictures)

    assert "At most 8 pictures can be brought at once." in (
        answer.context["composer"].reference_problems
    )
    assert Upload.objects.count() == 8


# ---------------------------------------------------------------- unread
BOUNDARY = "frontier"


def announce(live_server, path, *, length, headers=(), body=b""):
    """Begin to send a form, and return the answer to it. Nothing more is ever sent."""
    host, port = live_server.thread.host, live_server.thread.port
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        f"Content-Length: {length}",
        *headers,
    ]
    with socket.create_connection((host, port), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65536)
    return int(answer.split()[1]), answer.partition(b"\r\n\r\n")


@pytest.mark.django_db(transaction=True)
def test_a_large_body_is_refused_by_its_announced_length(live_server, alice):
    _token, secret = alice.api_tokens.model.objects.issue(user=alice, name="test")
    headers = [f"Authorization: Bearer {secret}"]

    status, _rest = announce(live_server, PATH, length=50 * 1024**3, headers=headers)

    assert status == 413


@pytest.mark.django_db(transaction=True)
def test_a_stranger_is_sent_away_without_reading_the_body(live_server):
    status, _rest = announce(live_server, PATH, length=50 * 1024**3)

    assert status == 401


@pytest.mark.django_db(transaction=True)
def test_a_large_form_of_a_stranger_is_refused_before_it_fills_the_disk(live_server):
    headers = [f"Cookie: csrftoken={'a' * 32}"]

    status, _rest = announce(live_server, "/login", length=50 * 1024**3, headers=headers)

    assert status == 413


def test_the_page_for_large_forms_is_a_page(client, db):
    client.cookies["csrftoken"] = "a" * 32
    client.handler.enforce_csrf_checks = True
    body = b"--frontier\r\n" + PAYLOAD

    answer = client.generic(
        "POST",
        "/login",
        body,
        content_type="multipart/form-data; boundary=frontier",
        CONTENT_LENGTH=str(100 * MEGABYTE),
    )

    assert answer.status_code == 413
    assert b"Bring fewer pictures at a time" in answer.content


def test_a_body_of_unknown_length_has_to_tell_it(api):
    answer = api.generic(
        "POST",
        PATH,
        b"",
        content_type="multipart/form-data; boundary=frontier",
        HTTP_TRANSFER_ENCODING="chunked",
    )

    assert (answer.status_code, answer.data["code"]) == (411, "length_required")


@pytest.mark.parametrize("length", ["-1", "nonsense", "9" * 30])
def test_an_impossible_length_is_an_error_of_the_caller(api, length):
    answer = api.generic(
        "POST",
        PATH,
        b"x",
        content_type="multipart/form-data; boundary=frontier",
        CONTENT_LENGTH=length,
    )

    assert answer.status_code in (400, 413)
    assert answer.data["code"] in ("invalid", "parse_error", "too_large")
