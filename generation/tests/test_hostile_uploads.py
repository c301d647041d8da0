"""Whatever a stranger brings: an answer, nothing stored that was not checked, still serving."""

from __future__ import annotations

import io
import logging

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from PIL import Image
from rest_framework.test import APIClient

from credits import ledger
from credits.models import LedgerEntry
from generation import fileformats, storage, uploads
from generation.models import FluxTask, TaskImage, Upload
from generation.tests import hostile
from generation.tests.factories import image_bytes

PATH = "/api/flux/upload-image"


@pytest.fixture
def media(settings, tmp_path):
    """A storage that nobody else writes to."""
    options = {"location": tmp_path, "allow_overwrite": True}
    default = {**settings.STORAGES["default"], "OPTIONS": options}
    settings.STORAGES = {**settings.STORAGES, "default": default}
    return tmp_path


@pytest.fixture
def door(alice, media, settings):
    """Alice at the API, who has brought one picture before."""
    settings.UPLOADS_PER_HOUR = 0
    client = APIClient(raise_request_exception=False)
    client.force_authenticate(alice)
    assert bring_normal(client).status_code == 201
    return client


def bring_normal(client):
    file = SimpleUploadedFile("normal.png", image_bytes((80, 80), colour="olive"), "image/png")
    return client.post(PATH, {"file": file}, format="multipart")


def state(alice, media):
    """All that a refusal must leave as it was."""
    return {
        "balance": ledger.account_for(user=alice).credits_balance,
        "entries": LedgerEntry.objects.count(),
        "uploads": sorted(Upload.objects.values_list("pk", "sha256")),
        "tasks": FluxTask.objects.count() + TaskImage.objects.count(),
        "files": sorted((str(path), path.stat().st_size) for path in media.rglob("*.*")),
    }


def check(answer, expected, *, before, alice, media):
    body = answer.json()
    if isinstance(expected, hostile.Refused):
        assert (answer.status_code, body["code"]) == (expected.status, expected.code), body
        assert set(body) <= {"code", "detail", "errors", "request_id"}
        assert state(alice, media) == before
        return
    assert answer.status_code == 201, body
    upload = Upload.objects.get(pk=body["id"])
    files = [read(upload.storage_key), *map(read, map(upload.thumbnail_key, (320, 640)))]
    for content in files:
        assert b"HOSTILE" not in content
        assert b"<script" not in content
        assert b"<?php" not in content
    check_picture(files[0], expected)
    assert (upload.width, upload.height) == expected.size == (body["width"], body["height"])
    assert upload.content_type == storage.FORMATS[expected.kind][0]
    assert state(alice, media)["entries"] == before["entries"]


def read(key):
    with default_storage.open(key) as file:
        return file.read()


def check_picture(content, expected):
    image = Image.open(io.BytesIO(content))
    image.load()
    assert (image.format, image.mode, image.size) == (expected.kind, expected.mode, expected.size)
    assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert dict(image.getexif()) == {}
    if expected.corners is not None:
        across, down = image.width // 4, image.height // 4
        places = [(across, down), (3 * across, down), (across, 3 * down), (3 * across, 3 * down)]
        seen = [image.getpixel(place) for place in places]
        for colour, wanted in zip(seen, expected.corners, strict=True):
            assert len(colour) == len(wanted)
            assert all(abs(a - b) <= 12 for a, b in zip(colour, wanted, strict=True)), seen


@pytest.mark.parametrize("case", hostile.FILES, ids=lambda case: case.name)
def test_a_file(door, alice, media, caplog, case):
    before = state(alice, media)
    content = case.make()
    caplog.set_level(logging.DEBUG)
    file = SimpleUploadedFile(case.file_name, content, case.content_type)

    answer = door.post(PATH, {"file": file}, format="multipart")

    check(answer, case.expected, before=before, alice=alice, media=media)
    assert "HOSTILE" not in caplog.text
    assert bring_normal(door).status_code == 201


@pytest.mark.parametrize("case", hostile.FORMS, ids=lambda case: case.name)
def test_a_form(door, alice, media, case):
    before = state(alice, media)

    answer = door.generic("POST", PATH, case.make(), content_type=case.content_type)

    check(answer, case.expected, before=before, alice=alice, media=media)
    assert bring_normal(door).status_code == 201


def test_names_of_entries_are_unique():
    names = [case.name for case in (*hostile.FILES, *hostile.FORMS)]

    assert len(names) == len(set(names))


def test_files_are_the_same_every_time():
    for case in hostile.FILES:
        if case.name.startswith(("jpeg and zip", "apng", "mpo", "png in seven")):
            assert case.make() == case.make()


# ---------------------------------------------------------------- damage of any kind
SAMPLES = [
    case.make()
    for case in hostile.FILES
    if isinstance(case.expected, hostile.Kept)
    and case.name.startswith(
        ("animated", "mpo", "apng", "progressive", "png with a p", "webp with a")
    )
    and "MB" not in case.name
]


@given(st.sampled_from(SAMPLES), st.data())
@examples(max_examples=300, derandomize=True, deadline=None, database=None)
def test_whatever_is_damaged_is_refused_or_made_good(content, data):
    damaged = bytearray(content)
    # Most of what decides is at the beginning.
    end = data.draw(st.sampled_from([64, 600, len(content)]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(end, len(damaged))))
        new = data.draw(st.binary(max_size=4))
        damaged[at : at + data.draw(st.integers(0, 4))] = new

    try:
        picture, kind = uploads.clean(bytes(damaged))
    except uploads.UploadRefused:
        return
    assert picture.mode in ("RGB", "RGBA")
    assert kind in ("JPEG", "PNG")
    assert max(picture.size) <= uploads.MAX_SIDE


@given(
    st.sampled_from([b"\xff\xd8\xff", fileformats.PNG_SIGNATURE, b"RIFF\x40\0\0\0WEBPVP8X", b""]),
    st.binary(),
)
@examples(max_examples=300, derandomize=True, deadline=None, database=None)
def test_noise_is_no_picture(beginning, noise):
    with pytest.raises(uploads.UploadRefused):
        uploads.clean(beginning + noise)
