"""A task's life, told with the sandbox as the provider and real pictures."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone

from fluxsite.paging import Asked
from generation import catalogue, channel, intake, lifecycle, polling
from generation.fetching import Hosts
from generation.models import FluxTask, TaskImage
from generation.providers.base import (
    PictureLink,
    Progress,
    Result,
    Submitted,
    Unavailable,
)
from generation.tests.factories import FluxTaskFactory, TaskImageFactory, UploadFactory
from history import filters

SCHNELL = "fal-ai/flux-1/schnell"


def order(model_id=SCHNELL, *, prompt="一只猫", addresses=(), **parameters):
    return intake.Order(
        model_id=model_id, prompt=prompt, addresses=list(addresses), parameters=parameters
    )


def place(user, *args, idempotency_key="", **kwargs):
    return intake.place(
        user=user,
        order=order(*args, **kwargs),
        idempotency_key=idempotency_key,
        now=timezone.now(),
    )


def result(*, pictures=1):
    links = tuple(
        PictureLink(url=f"https://v3.fal.media/{n}.png", width=8, height=8) for n in range(pictures)
    )
    return Result(pictures=links, seed="7", billable_units="1")


# ---------------------------------------------------------------- the whole way
def test_a_prompt_becomes_stored_pictures(alice, work):
    task = place(alice, num_images=2, seed=5)
    assert (task.status, task.submission) == ("PENDING", "UNSENT")

    work()

    task.refresh_from_db()
    images = TaskImage.objects.of_tasks(source="flux", ids=[task.pk])
    assert (task.status, task.submission, task.result_seed) == ("SUCCESS", "ACCEPTED", "5")
    assert task.billable_units == "2"
    assert task.cloud_image_url == f"/media/{images[0].pk}"
    assert task.next_action_at is None
    assert [(i.position, i.width, i.height, i.content_type) for i in images] == [
        (0, 1024, 1024, "image/jpeg"),
        (1, 1024, 1024, "image/jpeg"),
    ]
    for image in images:
        assert default_storage.size(image.storage_key) == image.byte_size
        assert image.thumbnails_size == sum(
            default_storage.size(image.thumbnail_key(width)) for width in (320, 640)
        )


def test_an_upload_and_pictures_of_the_history_become_one(alice, work):
    place(alice, num_images=2)
    work()
    upload = UploadFactory(user=alice)
    addresses = [upload.url, *(image.url for image in TaskImage.objects.all())]

    merged = place(alice, "fal-ai/flux-pro/kontext/max", addresses=addresses)
    work()

    merged.refresh_from_db()
    assert merged.endpoint == "fal-ai/flux-pro/kontext/max/multi"
    assert merged.task_type == "multi_image"
    assert (merged.status, merged.error_code) == ("SUCCESS", "")
    assert [item.picture.url for item in merged.inputs.all()] == addresses
    assert (merged.input_image_url, merged.uploaded_image_url) == (upload.url, upload.url)


def test_the_columns_of_the_specification_hold_what_was_asked(alice, drawing):
    upload = UploadFactory(user=alice)

    task = place(
        alice, "fal-ai/flux-1/dev", addresses=[upload.url], strength="0.5", guidance_scale=2, seed=9
    )

    task.refresh_from_db()
    assert task.endpoint == "fal-ai/flux-1/dev/image-to-image"
    assert (task.strength, task.guidance_scale, task.num_inference_steps) == (0.5, 2.0, 40)
    assert (task.seed, task.num_images, task.aspect_ratio) == ("9", 1, "")
    assert task.parameters["acceleration"] == "regular"


# ---------------------------------------------------------------- create
def test_nothing_is_created_when_the_request_cannot_run(alice, drawing):
    with pytest.raises(catalogue.InvalidRequest):
        place(alice, num_images=9)

    assert FluxTask.objects.count() == 0


def test_nothing_is_created_when_nothing_can_be_drawn(alice):
    with pytest.raises(channel.ChannelClosed) as caught:
        place(alice)

    assert caught.value.mode == "not_configured"
    assert FluxTask.objects.count() == 0


def test_another_members_picture_cannot_be_used(alice, bob, drawing):
    foreign = UploadFactory(user=bob)

    with pytest.raises(catalogue.InvalidRequest) as caught:
        place(alice, "fal-ai/flux-pro/kontext", addresses=[foreign.url])

    assert caught.value.problems[0].code == "not_your_picture"


def test_the_same_key_and_body_make_one_task(alice, bob, drawing):
    first = place(alice, idempotency_key="k")
    again = place(alice, idempotency_key="k")
    other = place(bob, idempotency_key="k")

    assert first.pk == again.pk
    assert other.pk != first.pk


def test_the_same_key_with_another_body_is_refused(alice, drawing):
    place(alice, idempotency_key="k")

    with pytest.raises(lifecycle.IdempotencyConflict):
        place(alice, idempotency_key="k", prompt="一只狗")

    assert FluxTask.objects.count() == 1


def test_a_retry_is_a_new_task_linked_to_the_old(alice, drawing):
    upload = UploadFactory(user=alice)
    old = place(alice, "fal-ai/flux-pro/kontext", addresses=[upload.url], guidance_scale=2)
    lifecycle.cancel(task=old, now=timezone.now())

    new = lifecycle.retry(task=old, now=timezone.now())

    assert new.retry_of == old
    assert new.parameters == old.parameters
    assert [item.upload for item in new.inputs.all()] == [upload]


# ---------------------------------------------------------------- submit
def test_a_task_is_written_down_as_unknown_before_it_is_sent(alice, drawing):
    task = place(alice)

    assert lifecycle.begin_submission(task=task, now=timezone.now())

    task.refresh_from_db()
    assert (task.status, task.submission) == ("PENDING", "UNKNOWN")


def test_two_workers_cannot_both_send_a_task(alice, drawing):
    task = place(alice)
    now = timezone.now()

    assert lifecycle.begin_submission(task=task, now=now)
    assert not lifecycle.begin_submission(task=task, now=now)


def test_a_lost_answer_is_never_sent_again(alice, work, drawing):
    drawing.add_fault(kind="drop_after_accept", on="submit", times=1)
    task = place(alice)

    work()

    task.refresh_from_db()
    assert (task.status, task.error_code) == ("FAILED", "submit_unknown")
    assert len(drawing.jobs) == 1


def test_a_worker_that_died_while_sending_leaves_a_failed_task_and_no_copy(alice, work, drawing):
    task = place(alice)
    lifecycle.begin_submission(task=task, now=timezone.now() - lifecycle.SUBMIT_LEASE)

    work()

    task.refresh_from_db()
    assert (task.status, task.error_code) == ("FAILED", "submit_unknown")
    assert drawing.jobs == {}


def test_a_throttled_task_goes_back_in_line_and_is_sent_later(alice, work, drawing):
    drawing.add_fault(kind="status_429", on="submit", times=1, retry_after=1)
    task = place(alice)

    work()

    task.refresh_from_db()
    assert (task.status, task.retry_count) == ("SUCCESS", 1)


def test_a_refused_submit_ends_the_task_and_says_why(alice, work, drawing):
    drawing.add_fault(kind="status_404", on="submit")
    task = place(alice)

    work()

    task.refresh_from_db()
    assert (task.status, task.error_code) == ("FAILED", "unknown_model")


def test_a_reference_picture_whose_file_is_gone_costs_no_request(alice, work, drawing):
    upload = UploadFactory(user=alice)
    default_storage.delete(upload.storage_key)
    task = place(alice, "fal-ai/flux-pro/kontext", addresses=[upload.url])

    work()

    task.refresh_from_db()
    assert (task.status, task.error_code) == ("FAILED", "input_missing")
    assert drawing.jobs == {}


# ---------------------------------------------------------------- look
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("content_policy", "content_policy"),
        ("completed_with_error", "provider_error"),
        ("model_crash", "provider_error"),
        ("no_images", "no_media_generated"),
        ("wrong_path", "unknown_model"),
    ],
)
def test_completed_without_pictures_is_a_failure_with_its_reason(alice, work, drawing, fault, code):
    drawing.add_fault(kind=fault)
    task = place(alice)

    work()

    task.refresh_from_db()
    assert (task.status, task.error_code) == ("FAILED", code)
    assert TaskImage.objects.count() == 0


@pytest.mark.parametrize("fault", ["status_500", "status_502", "reset", "non_json"])
def test_failed_polls_do_not_fail_a_task(alice, work, drawing, fault, monkeypatch):
    drawing.add_fault(kind=fault, on="status", times=1)
    task = place(alice)

    work()

    task.refresh_from_db()
    assert task.status == "SUCCESS"


def test_progress_is_written_down_and_no_news_is_not(alice, django_assert_num_queries):
    task = FluxTaskFactory(user=alice, at_provider=True)
    now = timezone.now()

    queued = lifecycle.Look(outcome=Progress(state="queued", queue_position=3))
    lifecycle.record_look(task=task, look=queued, now=now)
    task.refresh_from_db()
    assert (task.status, task.queue_position) == ("IN_QUEUE", 3)
    with django_assert_num_queries(0):
        lifecycle.record_look(task=task, look=queued, now=now)

    lifecycle.record_look(
        task=task, look=lifecycle.Look(outcome=Progress(state="running")), now=now
    )
    task.refresh_from_db()
    assert (task.status, task.queue_position) == ("IN_PROGRESS", None)


def test_a_request_unknown_to_fal_is_lost_only_after_some_patience(alice, work, drawing):
    task = place(alice)
    lifecycle.begin_submission(task=task, now=timezone.now())
    lifecycle.record_submission(
        task=task,
        outcome=Submitted(request_id="never-heard-of"),
        timeout=timedelta(seconds=300),
        now=timezone.now(),
    )

    polling.sweep(window=1, idle=0)
    task.refresh_from_db()
    assert task.status == "IN_QUEUE"
    assert task.missing_since is not None

    FluxTask.objects.update(
        missing_since=timezone.now() - lifecycle.MISSING_PATIENCE, next_action_at=timezone.now()
    )
    work()
    task.refresh_from_db()
    assert (task.status, task.error_code) == ("FAILED", "request_lost")


def test_a_task_past_its_deadline_is_cancelled_at_fal_and_fails(alice, work, drawing):
    drawing.add_fault(kind="never_completes")
    drawing.add_fault(kind="ignores_cancel")
    channel.load_config()
    task = place(alice)
    polling.sweep(window=0.5, idle=0)
    FluxTask.objects.update(deadline_at=timezone.now(), next_action_at=timezone.now())

    work()

    task.refresh_from_db()
    assert (task.status, task.error_code) == ("FAILED", "timeout")
    assert task.cancel_sent_at is not None
    assert [r.path for r in drawing.requests if r.method == "PUT"] == [
        f"/fal-ai/flux-1/requests/{task.request_id}/cancel"
    ]


def test_a_picture_that_is_ready_at_the_deadline_is_still_taken(alice, work, drawing):
    task = place(alice)
    polling.sweep(window=0.05, idle=0)
    task.refresh_from_db()
    job = drawing.jobs[task.request_id]
    assert job is not None
    polling.time.sleep(0.4)
    FluxTask.objects.update(deadline_at=timezone.now(), next_action_at=timezone.now())

    work()

    task.refresh_from_db()
    assert task.status == "SUCCESS"


# ---------------------------------------------------------------- found again
def test_a_task_is_found_by_its_words_as_soon_as_its_picture_is_stored(alice, bob, work):
    task = place(alice, prompt="雪山 and a fox")
    words = filters.Filters(text="fox 雪山")

    def found(user):
        page = filters.page_of(user=user, filters=words, asked=Asked())
        return [row.source_id for row in page.rows]

    assert found(alice) == []
    work()

    assert (found(alice), found(bob)) == ([task.pk], [])


def test_a_delivery_takes_the_same_statements_for_any_prompt(alice, django_assert_num_queries):
    # The task and its pictures, and a transaction around them. The prompt is not even read.
    for prompt in ("fox", "雪山 and a fox " * 50):
        made = FluxTaskFactory(user=alice, at_provider=True, prompt=prompt)
        task = FluxTask.objects.defer("prompt", "parameters").get(pk=made.pk)
        with django_assert_num_queries(4):
            lifecycle.deliver(task=task, result=result(), now=timezone.now())


# ---------------------------------------------------------------- ends
def test_news_for_a_task_that_has_ended_is_dropped(alice):
    task = FluxTaskFactory(user=alice, at_provider=True)
    now = timezone.now()

    assert lifecycle.deliver(task=task, result=result(), now=now)
    assert not lifecycle.deliver(task=task, result=result(pictures=2), now=now)
    assert not lifecycle.fail(task=task, code="timeout", now=now)

    task.refresh_from_db()
    assert (task.status, task.error_code) == ("SUCCESS", "")
    assert TaskImage.objects.count() == 1


def test_a_waiting_task_is_cancelled_at_once(alice, drawing, work):
    task = place(alice)

    assert lifecycle.cancel(task=task, now=timezone.now())

    task.refresh_from_db()
    assert task.status == "CANCELLED"
    work()
    assert drawing.jobs == {}


def test_a_running_task_is_cancelled_once_fal_has_stopped(alice, drawing, work):
    drawing.add_fault(kind="never_completes")
    task = place(alice)
    polling.sweep(window=0.5, idle=0)

    assert lifecycle.cancel(task=task, now=timezone.now())
    task.refresh_from_db()
    assert task.status in ("IN_QUEUE", "IN_PROGRESS")

    work()
    task.refresh_from_db()
    assert (task.status, task.error_code) == ("CANCELLED", "cancelled")


def test_a_task_fal_finishes_in_spite_of_the_wish_is_delivered(alice, drawing, work):
    drawing.add_fault(kind="late_cancel")
    task = place(alice)
    polling.sweep(window=0.05, idle=0)
    lifecycle.cancel(task=task, now=timezone.now())

    work()

    task.refresh_from_db()
    assert task.status == "SUCCESS"


def test_an_ended_task_cannot_be_cancelled(alice):
    task = FluxTaskFactory(user=alice, failed=True)

    assert not lifecycle.cancel(task=task, now=timezone.now())


# ---------------------------------------------------------------- pictures
def unstored(task, url):
    return TaskImageFactory(
        task=task,
        user=task.user,
        provider_url=url,
        storage_key="",
        stored_at=None,
        next_action_at=timezone.now(),
        width=None,
        height=None,
    )


@pytest.mark.parametrize(
    "fault",
    ["truncated_download", "html_instead_of_image", "expired_file", "bomb_file", "gzip_bomb"],
)
def test_a_bad_download_is_tried_again_and_leaves_the_task_alone(alice, work, drawing, fault):
    drawing.add_fault(kind=fault, times=1)
    task = place(alice)

    work()

    image = TaskImage.objects.get()
    task.refresh_from_db()
    assert (task.status, task.cloud_image_url) == ("SUCCESS", "")
    assert (image.stored_at, image.store_attempts) == (None, 1)
    assert image.store_error != ""

    polling.store(image.pk)
    image.refresh_from_db()
    assert image.stored_at is not None


def test_a_picture_on_a_strange_host_is_not_fetched(alice, work, drawing):
    drawing.add_fault(kind="foreign_host", host="localhost:9", where="images")
    place(alice)

    work()

    assert TaskImage.objects.get().store_error == "localhost is not among RESULT_HOSTS."


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1\\@evil.example/x",
        "http://evil.example\\@127.0.0.1/x",
        "http://127.0.0.1@evil.example/x",
        "http://127%2e0%2e0%2e1/x",
        "ftp://127.0.0.1/x",
        "http:///x",
    ],
)
def test_an_address_two_parsers_read_differently_is_not_fetched(alice, drawing, url):
    image = unstored(FluxTaskFactory(user=alice, succeeded=True), url)

    assert not lifecycle.store(
        image=image, allowed_hosts=Hosts(trusted=("127.0.0.1",)), now=timezone.now()
    )

    image.refresh_from_db()
    assert image.stored_at is None


def test_storing_twice_writes_the_same_object(alice, work, drawing):
    place(alice)
    work()
    image = TaskImage.objects.get()
    before = (image.storage_key, image.sha256)

    TaskImage.objects.update(stored_at=None)
    polling.store(image.pk)

    image.refresh_from_db()
    assert (image.storage_key, image.sha256) == before
    assert len(default_storage.listdir(image.storage_key.rpartition("/")[0])[1]) == 3


def test_a_picture_that_never_comes_waits_for_staff_in_the_end(alice, drawing):
    image = unstored(FluxTaskFactory(user=alice, succeeded=True), f"{drawing.url}/files/none")

    for _attempt in range(4):
        image.refresh_from_db()
        lifecycle.store(
            image=image, allowed_hosts=Hosts(trusted=("127.0.0.1",)), now=timezone.now()
        )

    image.refresh_from_db()
    assert (image.store_attempts, image.next_action_at) == (4, None)


def test_a_cancel_that_does_not_get_through_does_not_lose_the_pictures(alice, drawing, work):
    task = place(alice)
    polling.sweep(window=0.05, idle=0)
    polling.time.sleep(0.4)
    drawing.add_fault(kind="status_503", on="cancel")
    lifecycle.cancel(task=task, now=timezone.now())

    work()

    task.refresh_from_db()
    assert (task.status, task.cancel_sent_at) == ("SUCCESS", None)


def test_a_task_cancelled_while_it_was_refused_for_now_is_not_sent_again(alice, drawing, work):
    task = place(alice)
    now = timezone.now()
    lifecycle.begin_submission(task=task, now=now)
    lifecycle.cancel(task=task, now=now)

    lifecycle.record_submission(
        task=task,
        outcome=Unavailable("provider_unavailable"),
        timeout=timedelta(seconds=300),
        now=now,
    )
    work()

    task.refresh_from_db()
    assert (task.status, drawing.jobs) == ("CANCELLED", {})


def test_an_address_no_parser_understands_is_counted_and_given_up(alice, drawing):
    image = unstored(FluxTaskFactory(user=alice, succeeded=True), "http://[")

    lifecycle.store(image=image, allowed_hosts=Hosts(trusted=("127.0.0.1",)), now=timezone.now())

    image.refresh_from_db()
    assert (image.store_attempts, image.store_error) == (1, "The provider's address is malformed.")
