"""Admin: the key goes in and never comes out; what happened can only be looked at."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from generation import channel
from generation.models import FluxConfig, FluxTask
from generation.tests.factories import (
    FluxTaskFactory,
    JimengTaskFactory,
    MidjourneyTaskFactory,
    TaskImageFactory,
    UploadFactory,
)

CONFIG = "/admin/generation/fluxconfig/default/change/"


@pytest.fixture
def admin(client, staff):
    client.force_login(staff)
    return client


def form(**changes):
    return {
        "enabled": "on",
        "base_url": "https://queue.fal.run",
        "auth_scheme": "Key",
        "timeout": "300",
        "max_concurrent_tasks": "5",
        "default_model": "fal-ai/flux-1/dev",
        "new_api_key": "",
        **changes,
    }


def test_the_configuration_is_one_page(admin):
    answer = admin.get("/admin/generation/fluxconfig/")

    assert (answer.status_code, answer["Location"]) == (302, CONFIG)
    assert "nothing can be drawn" in admin.get(CONFIG).content.decode()


def test_a_key_is_saved_and_never_shown(admin):
    answer = admin.post(CONFIG, form(new_api_key=" key-id:key-secret\n"))

    assert answer.status_code == 302
    assert FluxConfig.objects.get().get_api_key() == "key-id:key-secret"
    page = admin.get(CONFIG).content.decode()
    assert "••••cret" in page
    assert "key-secret" not in page


def test_saving_without_a_key_keeps_the_one_there_is(admin):
    admin.post(CONFIG, form(new_api_key="a:b"))

    admin.post(CONFIG, form(timeout="60"))

    config = FluxConfig.objects.get()
    assert (config.get_api_key(), config.timeout) == ("a:b", 60)


def test_the_key_can_be_removed(admin):
    admin.post(CONFIG, form(new_api_key="a:b"))

    admin.post(CONFIG, form(remove_api_key="on"))

    assert not channel.has_key()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base_url", "queue.fal.run"),
        ("base_url", "ftp://queue.fal.run"),
        ("base_url", "https:///x"),
        ("base_url", "http://["),
        ("base_url", "http://host:99999999"),
        ("base_url", "https://user:pw@queue.fal.run"),
        ("base_url", "https://queue.fal.run#x"),
        ("new_api_key", "钥匙"),
        ("max_concurrent_tasks", "0"),
        ("timeout", "-1"),
        ("timeout", "0"),
        ("default_model", "nope"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_at_its_field(admin, field, value):
    answer = admin.post(CONFIG, form(**{field: value}))

    assert answer.status_code == 200
    assert list(answer.context["adminform"].form.errors) == [field]


def test_there_is_no_second_configuration_and_no_way_to_delete_the_first(admin):
    assert admin.get("/admin/generation/fluxconfig/add/").status_code == 403
    assert admin.post("/admin/generation/fluxconfig/default/delete/").status_code == 403


@pytest.mark.parametrize(
    "make",
    [
        lambda user: FluxTaskFactory(user=user, succeeded=True),
        lambda user: MidjourneyTaskFactory(user=user),
        lambda user: JimengTaskFactory(user=user),
        lambda user: TaskImageFactory(user=user, task=FluxTaskFactory(user=user)),
        lambda user: UploadFactory(user=user),
    ],
    ids=["flux", "midjourney", "jimeng", "picture", "upload"],
)
def test_what_happened_is_shown_and_cannot_be_changed(admin, alice, make):
    row = make(alice)
    name = f"admin:generation_{row._meta.model_name}"

    listing = admin.get(reverse(f"{name}_changelist"))
    page = admin.get(reverse(f"{name}_change", args=[row.pk]))

    assert row.pk in listing.content.decode()
    assert page.status_code == 200
    assert not re.search(r'<input type="submit"[^>]*name="_save"', page.content.decode())
    assert admin.post(reverse(f"{name}_change", args=[row.pk]), {"status": "x"}).status_code == 403
    assert admin.post(reverse(f"{name}_delete", args=[row.pk])).status_code == 403


def test_a_task_links_to_its_pictures_and_inputs(admin, alice):
    task = FluxTaskFactory(user=alice, succeeded=True)
    image = TaskImageFactory(user=alice, task=task)
    upload = UploadFactory(user=alice)
    task.inputs.create(position=0, upload=upload)

    page = admin.get(f"/admin/generation/fluxtask/{task.pk}/change/").content.decode()

    assert f'href="{image.url}"' in page
    assert f'href="{upload.url}"' in page


def test_a_picture_links_to_its_task(admin, alice):
    task = FluxTaskFactory(user=alice, succeeded=True)
    image = TaskImageFactory(user=alice, task=task)

    page = admin.get(f"/admin/generation/taskimage/{image.pk}/change/").content.decode()

    assert f'href="/admin/generation/fluxtask/{task.pk}/change/"' in page


def test_staff_cancel_what_waits(admin, alice):
    task = FluxTaskFactory(user=alice)

    admin.post("/admin/generation/fluxtask/", {"action": "cancel", "_selected_action": [task.pk]})

    assert FluxTask.objects.get().status == "CANCELLED"


def test_staff_have_a_picture_saved_again(admin, alice):
    image = TaskImageFactory(user=alice, stored_at=None, storage_key="", store_attempts=9)

    admin.post(
        "/admin/generation/taskimage/", {"action": "store_again", "_selected_action": [image.pk]}
    )

    image.refresh_from_db()
    assert (image.store_attempts, image.next_action_at is not None) == (0, True)


@pytest.mark.parametrize("count", [1, 3])
def test_the_list_of_tasks_costs_the_same_queries_for_any_length(
    admin, alice, django_assert_max_num_queries, count
):
    for _index in range(count):
        FluxTaskFactory(succeeded=True)

    with django_assert_max_num_queries(11):
        admin.get("/admin/generation/fluxtask/")


def test_staff_find_what_only_a_person_can_decide_and_what_to_do(admin_client, alice):
    unknown = FluxTaskFactory(user=alice, failed=True, error_code="submit_unknown")
    refused = FluxTaskFactory(user=alice, failed=True, error_code="content_policy")

    page = admin_client.get("/admin/generation/fluxtask/?attention=yes").content.decode()

    assert unknown.pk in page
    assert refused.pk not in page
    assert "Nobody knows whether the provider drew it" in page
