"""Following, cancelling, retrying and listing tasks; the list of models."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from generation import catalogue
from generation.models import FluxTask
from generation.tests.factories import FluxTaskFactory, TaskImageFactory


@pytest.fixture
def api(alice):
    client = APIClient()
    client.force_authenticate(alice)
    return client


def test_a_failed_task_says_why_in_plain_words_and_hides_the_raw_text(api, alice):
    task = FluxTaskFactory(user=alice, failed=True, error_message="HTTP 500 trace")

    answer = api.get(f"/api/flux/task/{task.pk}")

    assert answer.data["error_code"] == "provider_error"
    assert answer.data["error_message"] == (
        "The provider failed while drawing this picture. Try again in a moment."
    )


def test_the_position_counts_everyone_and_the_total_too(api, alice, bob):
    now = timezone.now()
    FluxTaskFactory(user=bob, created_at=now - timedelta(seconds=9))
    mine = FluxTaskFactory(user=alice, created_at=now)
    FluxTaskFactory(user=bob, created_at=now + timedelta(seconds=9))

    answer = api.get(f"/api/flux/task/{mine.pk}")

    assert (answer.data["queue_position"], answer.data["queue_total"]) == (2, 3)


@pytest.mark.parametrize("path", ["", "/cancel", "/retry"])
def test_the_task_of_another_member_is_not_there(api, bob, path):
    task = FluxTaskFactory(user=bob)
    call = api.post if path else api.get

    answer = call(f"/api/flux/task/{task.pk}{path}")

    assert (answer.status_code, answer.data["code"]) == (404, "not_found")


@pytest.mark.parametrize("task_id", ["0" * 32, "nope", "%00", "a" * 300])
def test_a_task_that_never_was_is_not_there(api, task_id):
    answer = api.get(f"/api/flux/task/{task_id}")

    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


def test_a_waiting_task_is_cancelled(api, alice):
    task = FluxTaskFactory(user=alice)

    answer = api.post(f"/api/flux/task/{task.pk}/cancel")

    assert (answer.status_code, answer.data["status"]) == (200, "CANCELLED")


def test_what_has_ended_cannot_be_cancelled(api, alice):
    task = FluxTaskFactory(user=alice, failed=True)

    answer = api.post(f"/api/flux/task/{task.pk}/cancel")

    assert (answer.status_code, answer.data["code"]) == (409, "already_ended")


def test_a_failed_task_is_tried_again_as_a_new_one(api, alice, drawing):
    task = FluxTaskFactory(user=alice, failed=True)

    answer = api.post(f"/api/flux/task/{task.pk}/retry")

    assert answer.status_code == 202
    assert answer.data["id"] != task.pk
    assert (answer.data["retry_of"], answer.data["prompt"]) == (task.pk, task.prompt)


def test_the_same_key_tries_again_once(api, alice, drawing):
    task, other = FluxTaskFactory.create_batch(2, user=alice, failed=True)

    def retry(task):
        return api.post(f"/api/flux/task/{task.pk}/retry", headers={"Idempotency-Key": "k"})

    first, again, conflict = retry(task), retry(task), retry(other)

    assert first.data["id"] == again.data["id"]
    assert conflict.data["code"] == "idempotency_conflict"


def test_a_running_task_is_not_tried_again(api, alice, drawing):
    task = FluxTaskFactory(user=alice, at_provider=True)

    assert api.post(f"/api/flux/task/{task.pk}/retry").data["code"] == "not_ended"


# ---------------------------------------------------------------- history
def test_the_history_lists_ones_own_tasks_newest_first(api, alice, bob):
    now = timezone.now()
    tasks = [
        FluxTaskFactory(user=alice, created_at=now - timedelta(minutes=n), failed=n == 1)
        for n in range(3)
    ]
    FluxTaskFactory(user=bob)

    answer = api.get("/api/flux/history", {"page": 1, "limit": 2})

    assert [row["id"] for row in answer.data["results"]] == [task.pk for task in tasks[:2]]
    assert answer.data["previous"] is None
    following = api.get(answer.data["next"])
    assert [row["id"] for row in following.data["results"]] == [tasks[2].pk]
    assert following.data["next"] is None


def test_trashed_tasks_are_not_listed(api, alice):
    FluxTaskFactory(user=alice, succeeded=True, trashed_at=timezone.now())

    assert api.get("/api/flux/history").data["results"] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("page", "0"), ("page", "x"), ("limit", "101"), ("limit", "-1"), ("cursor", "garbage")],
)
def test_a_bad_page_is_a_400_that_names_the_field(api, name, value):
    answer = api.get("/api/flux/history", {name: value})

    assert answer.status_code == 400
    assert list(answer.data["errors"]) == [name]


@pytest.mark.parametrize("count", [1, 3])
def test_the_history_costs_the_same_queries_for_any_length(
    api, alice, django_assert_num_queries, count
):
    for _index in range(count):
        task = FluxTaskFactory(user=alice, succeeded=True)
        TaskImageFactory(task=task, user=alice)
        FluxTaskFactory(user=alice)

    # The tasks, their pictures, and the line they wait in.
    with django_assert_num_queries(3):
        answer = api.get("/api/flux/history")

    assert len(answer.data["results"]) == 2 * count


# ---------------------------------------------------------------- models
def test_the_models_are_listed_with_what_each_accepts(api):
    answer = api.get("/api/flux/models")

    assert answer.data["default"] == "fal-ai/flux-1/dev"
    assert [model["id"] for model in answer.data["results"]] == [m.id for m in catalogue.MODELS]
    schnell = answer.data["results"][0]["endpoints"][0]
    assert schnell["parameters"]["num_inference_steps"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 12,
        "default": 4,
        "title": "Steps",
        "description": "More steps are slower and finer.",
    }


def test_the_documentation_describes_every_path(client, alice):
    client.force_login(alice)

    schema = client.get("/api/schema", headers={"Accept": "application/json"}).json()

    assert {
        "/api/flux/text-to-image",
        "/api/flux/image-to-image",
        "/api/flux/upload-image",
        "/api/flux/task/{task_id}",
        "/api/flux/history",
        "/api/unified-history",
    } <= set(schema["paths"])
    assert client.get("/api/docs").status_code == 200


def test_watching_a_task_wakes_workers_that_sleep(api, alice):
    from django_q.models import OrmQ

    task = FluxTaskFactory(user=alice)

    api.get(f"/api/flux/task/{task.pk}")

    assert OrmQ.objects.count() == 1
    assert FluxTask.objects.get().status == "PENDING"


def test_a_task_whose_reference_picture_is_not_here_is_not_drawn_without_it(api, alice, drawing):
    task = FluxTaskFactory(
        user=alice, failed=True, task_type="image_to_image", origin="import:old", external_id="1"
    )

    answer = api.post(f"/api/flux/task/{task.pk}/retry")

    assert answer.status_code == 400
    assert answer.data["errors"] == {
        "image_url": ["A reference picture of this task is no longer there."]
    }
    assert FluxTask.objects.count() == 1
