"""POST /api/flux/text-to-image and image-to-image."""

from __future__ import annotations

import json

import pytest
from django.utils import translation
from rest_framework.test import APIClient

from generation.api import serializers
from generation.models import FluxTask
from generation.tests.factories import TaskImageFactory, UploadFactory

TEXT = "/api/flux/text-to-image"
IMAGE = "/api/flux/image-to-image"


@pytest.fixture
def api(alice):
    client = APIClient()
    client.force_authenticate(alice)
    return client


def create(api, path=TEXT, headers=None, **body):
    # Encoded here as ASCII: the test client's own encoder stumbles over what we send below.
    content = json.dumps(body)
    return api.post(path, content, content_type="application/json", headers=headers or {})


def test_a_prompt_is_accepted_and_answered_with_its_task(api, drawing):
    answer = create(api, model="fal-ai/flux-1/schnell", prompt="一只猫", num_images=2)

    assert answer.status_code == 202
    task = FluxTask.objects.get()
    expected = {
        "id": task.pk,
        "source": "flux",
        "status": "PENDING",
        "submission": "UNSENT",
        "model": "fal-ai/flux-1/schnell",
        "endpoint": "fal-ai/flux-1/schnell",
        "task_type": "text_to_image",
        "prompt": "一只猫",
        "images": [],
        "image_url": None,
        "queue_position": 1,
        "queue_total": 1,
        "cost": 10,
        "error_code": None,
        "error_message": None,
        "seed": None,
        "generation_time": None,
    }
    assert {name: answer.data[name] for name in expected} == expected
    assert answer.data["parameters"]["num_images"] == 2


def test_the_answer_is_what_the_schema_describes(api, drawing):
    answer = create(api, prompt="一只猫")

    assert set(answer.data) == set(serializers.TaskSerializer().fields)


def test_a_finished_task_shows_its_pictures(api, alice, drawing, work):
    task_id = create(api, model="fal-ai/flux-1/schnell", prompt="一只猫", seed=3).data["id"]
    work()

    answer = api.get(f"/api/flux/task/{task_id}")

    (image,) = answer.data["images"]
    assert answer.data["status"] == "SUCCESS"
    assert answer.data["seed"] == "3"
    assert answer.data["image_url"] == image["image_url"] == f"/media/{image['id']}"
    assert image["thumb_url"] == f"/media/{image['id']}/640"
    assert (image["width"], image["height"], image["nsfw"]) == (1024, 1024, False)
    assert set(image) == set(serializers.ImageSerializer().fields)


def test_without_a_model_the_sites_default_draws(api, drawing):
    assert create(api, prompt="x").data["model"] == "fal-ai/flux-1/dev"


def test_a_picture_of_ones_own_is_edited(api, alice, drawing):
    upload = UploadFactory(user=alice)

    answer = create(
        api, IMAGE, model="fal-ai/flux-pro/kontext", prompt="sunny", image_url=upload.url
    )

    assert answer.status_code == 202
    assert answer.data["endpoint"] == "fal-ai/flux-pro/kontext"


def test_several_pictures_go_to_the_multi_endpoint_in_order(api, alice, drawing):
    pictures = [UploadFactory(user=alice), TaskImageFactory(user=alice)]

    answer = create(
        api,
        IMAGE,
        model="fal-ai/flux-pro/kontext/max",
        prompt="both",
        image_urls=[f"https://site.example{picture.url}" for picture in pictures],
    )

    task = FluxTask.objects.get()
    assert answer.data["endpoint"] == "fal-ai/flux-pro/kontext/max/multi"
    assert [item.picture for item in task.inputs.all()] == pictures


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x", "model": "fal-ai/none"}, "model"),
        ({"prompt": "x", "model": ["a"]}, "model"),
        ({"prompt": "x", "strength": 0.5}, "strength"),
        ({"prompt": "x", "num_images": 5}, "num_images"),
        ({"prompt": "x", "num_images": 10**30}, "num_images"),
        ({"prompt": "x", "num_images": {"$gt": 0}}, "num_images"),
        ({"prompt": "x", "seed": 2**64}, "seed"),
        ({"prompt": "x\x00"}, "prompt"),
        ({"prompt": "\ud800"}, "prompt"),
        ({"prompt": "x", "\ud800": 1}, "?"),
        ({"prompt": "x", "image_url": "/media/" + "0" * 32}, "image_url"),
        ({"prompt": "x", "image_urls": []}, "image_urls"),
    ],
)
def test_bad_input_is_a_400_that_names_the_field_and_creates_nothing(api, drawing, body, field):
    answer = create(api, **body)

    assert answer.status_code == 400
    assert answer.data["code"] == "invalid"
    assert list(answer.data["errors"]) == [field]
    assert answer.data["request_id"] == answer["X-Request-ID"]
    answer.render()
    assert FluxTask.objects.count() == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "image_url"),
        ({"image_url": ""}, "image_url"),
        ({"image_url": "https://elsewhere.example/cat.png"}, "image_url"),
        ({"image_url": "/media/" + "0" * 32}, "image_url"),
        ({"image_url": "/media/" + "0" * 32 + "?x=/media/"}, "image_url"),
        ({"image_url": 7}, "image_url"),
        ({"image_url": {"a": 1}}, "image_url"),
        ({"image_urls": "abc"}, "image_urls"),
        ({"image_urls": []}, "image_urls"),
        ({"image_urls": [None]}, "image_urls"),
        ({"image_url": "x", "image_urls": ["x"]}, "image_urls"),
    ],
)
def test_a_bad_reference_picture_is_told_at_its_field(api, drawing, body, field):
    answer = create(api, IMAGE, model="fal-ai/flux-pro/kontext", prompt="x", **body)

    assert answer.status_code == 400
    assert list(answer.data["errors"]) == [field]


def test_the_picture_of_another_member_is_not_ones_own(api, bob, drawing):
    foreign = UploadFactory(user=bob)

    answer = create(api, IMAGE, model="fal-ai/flux-pro/kontext", prompt="x", image_url=foreign.url)

    assert answer.status_code == 400
    assert list(answer.data["errors"]) == ["image_url"]


def test_a_model_without_pictures_refuses_one_by_field(api, alice, drawing):
    upload = UploadFactory(user=alice)

    answer = create(api, IMAGE, model="fal-ai/flux-1/schnell", prompt="x", image_url=upload.url)

    assert answer.status_code == 400
    assert list(answer.data["errors"]) == ["image_url"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"not json",
        b'{"prompt": NaN}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"prompt":' * 50 + b"1" + b"}" * 50,
        b'"text"',
    ],
    ids=["empty", "list", "text", "nan", "bytes", "deep", "nested", "string"],
)
def test_a_body_that_is_no_json_object_is_a_400(api, drawing, content):
    answer = api.post(TEXT, content, content_type="application/json")

    assert answer.status_code == 400
    assert answer.json()["code"] in ("parse_error", "invalid")
    assert FluxTask.objects.count() == 0


def test_a_body_that_is_too_large_is_a_413(api, drawing):
    answer = api.post(TEXT, b'"' + b"x" * 1_100_000 + b'"', content_type="application/json")

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert FluxTask.objects.count() == 0


def test_another_content_type_is_refused(api, drawing):
    assert api.post(TEXT, "prompt=x", content_type="text/plain").status_code == 415


def test_problems_are_told_in_the_readers_language(api, drawing):
    with translation.override("zh-hans"):
        answer = api.post(
            TEXT, {"prompt": ""}, format="json", headers={"Accept-Language": "zh-hans"}
        )

    assert any("\u4e00" <= char <= "\u9fff" for char in answer.data["errors"]["prompt"][0])


# ---------------------------------------------------------------- idempotency
def test_the_same_key_answers_with_the_same_task(api, drawing):
    first = create(api, prompt="x", headers={"Idempotency-Key": "k1"})
    again = create(api, prompt="x", headers={"Idempotency-Key": "k1"})

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.data["id"] == again.data["id"]
    assert FluxTask.objects.count() == 1


def test_the_same_key_for_another_body_is_a_conflict(api, drawing):
    create(api, prompt="x", headers={"Idempotency-Key": "k1"})

    answer = create(api, prompt="y", headers={"Idempotency-Key": "k1"})

    assert (answer.status_code, answer.data["code"]) == (409, "idempotency_conflict")


def test_a_key_of_absurd_length_is_refused(api, drawing):
    answer = create(api, prompt="x", headers={"Idempotency-Key": "k" * 256})

    assert list(answer.data["errors"]) == ["Idempotency-Key"]


# ---------------------------------------------------------------- doors
def test_without_a_provider_the_answer_says_what_is_missing(api):
    answer = create(api, prompt="x")

    assert (answer.status_code, answer.data["code"]) == (503, "not_configured")
    assert FluxTask.objects.count() == 0


@pytest.mark.parametrize("path", [TEXT, IMAGE])
def test_strangers_are_not_let_in(path, db):
    answer = APIClient().post(path, {"prompt": "x"}, format="json")

    assert (answer.status_code, answer.data["code"]) == (401, "not_authenticated")


def test_a_session_needs_its_csrf_token(alice, drawing):
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(alice)

    answer = client.post(TEXT, {"prompt": "x"}, format="json")

    assert (answer.status_code, answer.data["code"]) == (403, "permission_denied")


def test_another_method_is_refused(api):
    assert api.get(TEXT).status_code == 405
