"""`import_openwebui`: what becomes of the rows of an Open WebUI fork, once and again."""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from generation.importing.databases import open_database
from generation.importing.engine import BATCH
from generation.models import FluxTask, JimengTask, MidjourneyTask, TaskImage
from generation.tests.factories import FluxTaskFactory, MidjourneyTaskFactory, TaskImageFactory
from generation.tests.foreign_sites import WEBUI, SQLiteSite

DEAD = "https://cdn.discordapp.com/attachments/1/2/x.png?ex=67cefb57&is=67cda9d7&hm=ab"
COS = "https://pictures-1250000000.cos.ap-guangzhou.myqcloud.com/generated/x.png"
PICTURE = "https://mj.example.org/x.png"


@pytest.fixture(autouse=True)
def alice_has_an_address(alice):
    User.objects.filter(pk=alice.pk).update(email="alice@example.COM")


def bring(site, *arguments):
    """Run the command; return its exit code and what it said."""
    source = site if isinstance(site, str) else site.source
    out, code = io.StringIO(), 0
    try:
        call_command("import_openwebui", "--source", source, *arguments, stdout=out)
    except SystemExit as end:
        code = end.code
    return code, out.getvalue()


def add_midjourney(site, **values):
    row = {
        "id": "1320098173412546",
        "user_id": "u-alice",
        "action": "IMAGINE",
        "status": "SUCCESS",
        "prompt": "一只猫 a cat --v 6.1",
        "image_url": PICTURE,
        "finish_time": "2025-03-09 22:46:50.500000",
        "created_at": "2025-03-09 14:46:20.000000",
        **values,
    }
    site.add("mj_tasks", **row)


def add_jimeng(site, **values):
    row = {
        "id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
        "user_id": "u-alice",
        "action": "TEXT_TO_IMAGE",
        "status": "SUCCESS",
        "prompt": "山水",
        "model": "doubao-seedream-3-0-t2i-250415",
        "image_url": "https://p26-aiop-sign.byteimg.com/x.png",
        "created_at": "2025-08-06 03:08:05",
        **values,
    }
    site.add("dreamwork_tasks", **row)


def add_flux(site, **values):
    row = {
        "id": "flux-1",
        "user_id": "u-alice",
        "request_id": "r-1",
        "model": "fal-ai/flux-1/dev",
        "task_type": "text_to_image",
        "status": "SUCCESS",
        "prompt": "a lighthouse",
        "image_url": "https://v3.fal.media/files/a.png",
        "created_at": "2025-08-06 03:08:05",
        "completed_at": "2025-08-06 03:08:09.500000",
        **values,
    }
    site.add("flux_tasks", **row)


# ---------------------------------------------------------------- the three tables
def test_a_midjourney_task_comes_over_with_all_it_tells(webui, alice):
    add_midjourney(
        webui,
        prompt_en="a cat",
        description="done",
        mode="turbo",
        credits_cost=10,
        submit_time="2025-03-09 22:46:18",
        start_time="2025-03-09 22:46:20",
        progress="100%",
        cloud_image_url=COS,
        properties={"finalPrompt": "a cat --ar 2:1", "botType": "MID_JOURNEY"},
        buttons=[{"customId": "MJ::JOB::upsample::1::x"}],
        parent_task_id="1320098173412545",
    )

    code, said = bring(webui, "--tz", "Asia/Shanghai")

    task = MidjourneyTask.objects.get()
    assert code == 0, said
    assert (task.origin, task.external_id, task.user) == ("openwebui", "1320098173412546", alice)
    assert (task.status, task.action, task.mode) == ("SUCCESS", "IMAGINE", "turbo")
    assert (task.model, task.prompt) == ("midjourney-6.1", "一只猫 a cat --v 6.1")
    assert (task.prompt_en, task.description) == ("a cat", "done")
    assert (task.credits_cost, task.progress) == (10, "100%")
    assert task.properties == {"finalPrompt": "a cat --ar 2:1", "botType": "MID_JOURNEY"}
    assert task.buttons == [{"customId": "MJ::JOB::upsample::1::x"}]
    assert task.parent_task_id == "1320098173412545"
    assert (task.image_url, task.cloud_image_url) == (PICTURE, COS)
    # What that site kept in UTC and what it kept by its clock mean the same afternoon.
    assert task.created_at == datetime(2025, 3, 9, 14, 46, 20, tzinfo=UTC)
    assert task.submit_time == datetime(2025, 3, 9, 14, 46, 18, tzinfo=UTC)
    assert task.finish_time == datetime(2025, 3, 9, 14, 46, 50, 500000, tzinfo=UTC)
    image = TaskImage.objects.get()
    assert (image.source, image.task_id, image.user) == ("midjourney", task.pk, alice)
    assert (image.position, image.provider_url, image.created_at) == (0, COS, task.created_at)
    assert (image.stored_at, image.next_action_at, image.lost_at) == (None, None, None)


@pytest.mark.parametrize(
    ("prompt", "bot", "model"),
    [
        ("a cat", None, "midjourney"),
        ("a cat --niji 6", None, "niji-6"),
        ("a cat --v 5.2", "NIJI_JOURNEY", "niji-5.2"),
        ("a cat --version 7", "MID_JOURNEY", "midjourney-7"),
        ("a cat --vibe 3", None, "midjourney"),
    ],
)
def test_the_prompt_and_the_bot_name_the_model(webui, prompt, bot, model):
    add_midjourney(webui, prompt=prompt, properties={"botType": bot})

    bring(webui)

    assert MidjourneyTask.objects.get().model == model


def test_a_jimeng_task_comes_over_without_its_reference_picture(webui, alice):
    add_jimeng(
        webui,
        size="1024x1024",
        guidance_scale=2.5,
        seed=2**53 + 1,
        watermark=True,
        credits_cost=10,
        input_image="data:image/png;base64," + "A" * 10000,
        properties={"created": 1754449685},
    )

    code, said = bring(webui)

    task = JimengTask.objects.get()
    assert code == 0, said
    assert (task.user, task.model, task.action) == (
        alice,
        "doubao-seedream-3-0-t2i-250415",
        "TEXT_TO_IMAGE",
    )
    assert (task.size, task.guidance_scale, task.seed) == ("1024x1024", 2.5, "9007199254740993")
    assert (task.watermark, task.input_image, task.credits_cost) == (True, "", 10)
    assert task.properties == {"created": 1754449685}
    assert "columns that are not brought over: input_image" in said


def test_a_flux_task_comes_over_with_all_its_pictures(webui, alice):
    add_flux(
        webui,
        cloud_image_url=COS,
        num_images=2,
        seed=7,
        output_format="png",
        enable_safety_checker=False,
        image_size='"landscape_16_9"',
        flux_response={
            "seed": 17454220438242315174,
            "images": [
                {"url": "https://v3.fal.media/files/a.png", "width": 1024, "height": 576},
                {"url": "https://v3.fal.media/files/b.png", "width": "wide", "height": -1},
            ],
            "has_nsfw_concepts": [False, True],
        },
    )

    code, said = bring(webui)

    task = FluxTask.objects.get()
    assert code == 0, said
    assert (task.user, task.origin, task.external_id) == (alice, "openwebui", "flux-1")
    assert (task.status, task.submission, task.request_id) == ("SUCCESS", "ACCEPTED", "r-1")
    assert (task.model, task.endpoint) == ("fal-ai/flux-1/dev", "fal-ai/flux-1/dev")
    assert (task.seed, task.result_seed) == ("7", "17454220438242315174")
    # The other column holds a default, and FLUX.1 has no strength without a picture.
    assert task.aspect_ratio == "16:9"
    assert task.parameters == {
        "num_images": 2,
        "aspect_ratio": "16:9",
        "guidance_scale": 3.5,
        "num_inference_steps": 28,
        "seed": "7",
        "output_format": "png",
        "enable_safety_checker": False,
    }
    assert (task.generation_time, task.error_code) == (4.5, "")
    assert (task.cost_reserved, task.cost_charged) == (0, 0)
    assert task.completed_at == datetime(2025, 8, 6, 3, 8, 9, 500000, tzinfo=UTC)
    first, second = TaskImage.objects.order_by("position")
    assert (first.provider_url, first.width, first.height) == (COS, 1024, 576)
    assert (second.provider_url, second.width) == ("https://v3.fal.media/files/b.png", None)
    assert (first.is_nsfw, second.is_nsfw) == (False, True)


def test_a_size_that_is_no_shape_of_ours_is_told_as_it_was(webui):
    add_flux(webui, image_size={"width": 640, "height": 480})

    bring(webui)

    task = FluxTask.objects.get()
    assert task.aspect_ratio == ""
    assert task.parameters["image_size"] == {"width": 640, "height": 480}


# ---------------------------------------------------------------- ends
@pytest.mark.parametrize(
    ("theirs", "ours", "code"),
    [
        ("SUCCESS", "SUCCESS", ""),
        ("FAILED", "FAILED", "imported_failed"),
        ("CANCELLED", "CANCELLED", "cancelled"),
        ("PENDING", "FAILED", "imported_unfinished"),
        ("IN_QUEUE", "FAILED", "imported_unfinished"),
        ("IN_PROGRESS", "FAILED", "imported_unfinished"),
        (None, "FAILED", "imported_unfinished"),
        ("", "FAILED", "imported_unfinished"),
        ("success", "SUCCESS", ""),
    ],
)
@pytest.mark.parametrize("request_id", ["r-1", None])
def test_every_flux_task_has_ended(webui, theirs, ours, code, request_id):
    add_flux(webui, status=theirs, request_id=request_id, completed_at=None, error_message="no")

    exit_code, said = bring(webui)

    task = FluxTask.objects.get()
    assert exit_code == 0, said
    assert (task.status, task.error_code, task.error_message) == (ours, code, "no")
    assert (task.next_action_at, task.completed_at) == (None, task.created_at)
    assert TaskImage.objects.count() == (ours == "SUCCESS")


@pytest.mark.parametrize(
    ("theirs", "ours", "reason"),
    [
        ("SUCCESS", "SUCCESS", ""),
        ("FAILURE", "FAILED", "banned"),
        ("IN_PROGRESS", "FAILED", "imported_unfinished"),
        ("NOT_START", "FAILED", "imported_unfinished"),
    ],
)
def test_every_midjourney_task_has_ended(webui, theirs, ours, reason):
    add_midjourney(webui, status=theirs, fail_reason="banned" if theirs == "FAILURE" else None)

    bring(webui)

    task = MidjourneyTask.objects.get()
    assert (task.status, task.fail_reason) == (ours, reason)
    assert TaskImage.objects.count() == (ours == "SUCCESS")


@pytest.mark.parametrize("address", [None, "", "/cache/x.png", "data:image/png;base64,AA"])
def test_a_success_without_a_picture_is_none(webui, address):
    add_midjourney(webui, image_url=address)
    add_flux(webui, image_url=address)

    code, said = bring(webui)

    assert code == 0
    assert MidjourneyTask.objects.get().status == "FAILED"
    assert MidjourneyTask.objects.get().fail_reason == "no_media_generated"
    assert FluxTask.objects.get().error_code == "no_media_generated"
    assert said.count("in 1: success without a picture: failed here") == 2
    assert not TaskImage.objects.exists()


def test_what_may_be_a_preview_is_counted(webui):
    add_midjourney(webui, finish_time=None)

    _code, said = bring(webui)

    assert "in 1: perhaps a preview only" in said


# ---------------------------------------------------------------- times
def test_a_row_without_a_creation_time_has_that_of_its_submit(webui):
    add_midjourney(webui, created_at=None, submit_time="2025-03-09 22:46:18")

    bring(webui, "--tz", "Asia/Shanghai")

    assert MidjourneyTask.objects.get().created_at == datetime(2025, 3, 9, 14, 46, 18, tzinfo=UTC)


def test_clocks_of_the_other_site_are_the_sites_own_unless_said(webui, settings):
    settings.TIME_ZONE = "Asia/Shanghai"
    add_midjourney(webui)

    bring(webui)

    assert MidjourneyTask.objects.get().finish_time.hour == 14


def test_since_leaves_older_rows_out(webui):
    add_midjourney(webui, id="old", created_at="2025-03-09 00:00:00")
    add_midjourney(webui, id="new", created_at="2025-03-10 00:00:00")

    _code, said = bring(webui, "--since", "2025-03-10")

    assert MidjourneyTask.objects.get().external_id == "new"
    assert "skipped 1 older than --since" in said


def test_ids_sort_by_the_time_of_the_row(webui):
    add_midjourney(webui, id="b", created_at="2025-03-09 14:46:21")
    add_midjourney(webui, id="a", created_at="2025-03-09 14:46:20")
    add_midjourney(webui, id="c", created_at="2025-03-09 14:46:22")

    bring(webui)

    by_id = MidjourneyTask.objects.order_by("id").values_list("external_id", flat=True)
    assert list(by_id) == ["a", "b", "c"]


# ---------------------------------------------------------------- users
def test_an_unknown_user_becomes_a_member_who_cannot_sign_in(webui):
    webui.add("auth", id="u-bob", email="bob@example.com", password="$2b$12$secret")
    add_midjourney(webui, user_id="u-bob")

    _code, said = bring(webui)

    bob = MidjourneyTask.objects.get().user
    assert (bob.username, bob.email, bob.first_name) == (
        "bob@example.com",
        "bob@example.com",
        "Bob",
    )
    assert not bob.is_active
    assert not bob.is_staff
    assert not bob.has_usable_password()
    assert "users created, inactive: 1" in said


def test_a_name_that_is_taken_is_not_taken_over(webui):
    other = User.objects.create_user("bob@example.com", email="robert@example.com")
    add_midjourney(webui, user_id="u-bob")

    bring(webui)

    bob = MidjourneyTask.objects.get().user
    assert bob != other
    assert bob.username.startswith("bob@example.com-")


def test_unknown_users_may_be_skipped(webui, alice):
    add_midjourney(webui, id="1", user_id="u-bob")
    add_midjourney(webui, id="2", user_id="u-alice")

    _code, said = bring(webui, "--unknown-users", "skip")

    assert MidjourneyTask.objects.get().user == alice
    assert "skipped 1 whose user is not a member here" in said
    assert User.objects.count() == 1


def test_rows_that_belong_to_nobody_are_skipped_and_counted(webui):
    add_midjourney(webui, id="1", user_id=None)
    add_midjourney(webui, id="2", user_id="u-deleted")

    code, said = bring(webui)

    assert (code, MidjourneyTask.objects.count()) == (0, 0)
    assert "skipped 1 without a user" in said
    assert "skipped 1 whose user is not there any more" in said


def test_an_address_two_members_share_decides_nothing(webui):
    User.objects.create_user("bob", email="bob@example.com")
    User.objects.create_user("rob", email="BOB@example.com")
    add_midjourney(webui, user_id="u-bob")

    _code, said = bring(webui)

    assert not MidjourneyTask.objects.exists()
    assert "skipped 1 whose user has the e-mail address of several members here" in said


def test_the_administrators_list_says_who_is_who(webui, alice, bob, staff, tmp_path):
    add_midjourney(webui, id="1", user_id="u-bob")
    add_midjourney(webui, id="2", user_id="u-deleted")
    add_midjourney(webui, id="3", user_id="u-alice")
    path = tmp_path / "users.csv"
    path.write_text(
        "\ufeffu-deleted, bob\nBob@example.com,staff\n\nalice@example.com,bob\n", encoding="utf-8"
    )

    _code, said = bring(webui, "--user-map", str(path))

    owners = dict(MidjourneyTask.objects.values_list("external_id", "user__username"))
    # It goes before what an address says: how else could that be put right?
    assert owners == {"1": "staff", "2": "bob", "3": "bob"}
    assert "created" not in said


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("u-bob,nobody\n", "names members who do not exist here: nobody"),
        ("u-bob\n", "should have two cells a line"),
        (b"\xff\xfe", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_list_with_a_mistake_stops_before_anything_is_written(webui, tmp_path, content, problem):
    add_midjourney(webui)
    path = tmp_path / "users.csv"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(CommandError, match=problem):
        bring(webui, "--user-map", str(path))

    assert not MidjourneyTask.objects.exists()


def test_users_without_an_address_are_known_again(webui):
    webui.add("user", id="u-phone", name="王 小明/", email="")
    add_midjourney(webui, id="1", user_id="u-phone")
    bring(webui)
    add_midjourney(webui, id="2", user_id="u-phone")

    bring(webui)

    owner, again = (task.user for task in MidjourneyTask.objects.all())
    assert owner == again
    assert (owner.username, owner.first_name) == ("王_小明_", "王 小明/")
    assert owner.email.endswith("@openwebui.invalid")


# ---------------------------------------------------------------- again
def test_running_again_changes_nothing(webui):
    add_midjourney(webui)
    add_jimeng(webui)
    add_flux(webui)
    bring(webui)
    before = everything()

    code, said = bring(webui)

    assert code == 0
    assert everything() == before
    assert said.count("new 0, already there 1, filled 0") == 3


def everything():
    models = (MidjourneyTask, JimengTask, FluxTask, TaskImage, User)
    return [list(model.objects.order_by("pk").values()) for model in models]


def test_a_members_own_tasks_are_not_touched(webui, alice):
    own = FluxTaskFactory(user=alice, external_id="flux-1", prompt="mine")
    foreign = MidjourneyTaskFactory(user=alice, external_id="1320098173412546", prompt="mine")
    picture = TaskImageFactory(user=alice, task=own)
    before = [FluxTask.objects.values().get(), MidjourneyTask.objects.values().get()]
    add_midjourney(webui, prompt="theirs")
    add_flux(webui, prompt="theirs")

    for arguments in ([], ["--rehost"]):
        bring(webui, *arguments)

    assert [
        FluxTask.objects.values().get(pk=own.pk),
        MidjourneyTask.objects.values().get(pk=foreign.pk),
    ] == before
    assert TaskImage.objects.filter(task_id=own.pk).get() == picture
    assert FluxTask.objects.count() == MidjourneyTask.objects.count() == 2


def test_what_a_member_did_with_an_imported_task_stays(webui):
    add_midjourney(webui)
    bring(webui)
    thrown = timezone.now()
    MidjourneyTask.objects.update(is_favourite=True, trashed_at=thrown, prompt="changed")

    bring(webui, "--rehost")

    task = MidjourneyTask.objects.get()
    assert (task.is_favourite, task.trashed_at, task.prompt) == (True, thrown, "changed")


def test_two_sites_may_use_the_same_ids(webui):
    add_midjourney(webui)

    bring(webui)
    bring(webui, "--origin", "other")

    assert set(MidjourneyTask.objects.values_list("origin", flat=True)) == {"openwebui", "other"}


def test_what_has_ended_there_since_ends_here(webui, alice):
    add_midjourney(webui, status="IN_PROGRESS", image_url=None)
    add_flux(webui, status="IN_QUEUE", image_url=None)
    bring(webui)
    ids = [MidjourneyTask.objects.get().pk, FluxTask.objects.get().pk]
    FluxTask.objects.update(is_favourite=True)
    webui.execute("UPDATE mj_tasks SET status = 'SUCCESS', image_url = 'https://a.example/1.png'")
    webui.execute("UPDATE flux_tasks SET status = 'SUCCESS', image_url = 'https://a.example/2.png'")

    _code, said = bring(webui)

    midjourney, flux = MidjourneyTask.objects.get(), FluxTask.objects.get()
    assert [midjourney.pk, flux.pk] == ids
    assert (midjourney.status, midjourney.fail_reason) == ("SUCCESS", "")
    assert (flux.status, flux.error_code, flux.is_favourite) == ("SUCCESS", "", True)
    assert (flux.user, flux.origin) == (alice, "openwebui")
    assert set(TaskImage.objects.values_list("task_id", "provider_url", "user")) == {
        (midjourney.pk, "https://a.example/1.png", alice.pk),
        (flux.pk, "https://a.example/2.png", alice.pk),
    }
    assert said.count("filled 1") == 2


def test_an_older_install_without_some_columns_is_read_all_the_same(webui):
    webui.execute("ALTER TABLE mj_tasks DROP COLUMN cloud_image_url")
    webui.execute("DROP TABLE dreamwork_tasks")
    add_midjourney(webui)

    code, said = bring(webui)

    assert code == 0
    assert MidjourneyTask.objects.count() == 1
    assert "columns that are not there: cloud_image_url" in said
    assert "dreamwork_tasks: not there" in said


def test_a_database_of_something_else_is_refused(webui):
    for table in ("mj_tasks", "dreamwork_tasks", "flux_tasks"):
        webui.execute(f"DROP TABLE {table}")

    with pytest.raises(CommandError, match="None of these tables is there: mj_tasks"):
        bring(webui)


# ---------------------------------------------------------------- dry runs
def test_a_dry_run_says_the_same_and_writes_nothing(webui):
    add_midjourney(webui, image_url=DEAD)
    add_jimeng(webui, user_id="u-bob")
    add_flux(webui, user_id=None)
    before = everything()

    _code, dry = bring(webui, "--dry-run", "--rehost")

    assert everything() == before
    _code, said = bring(webui, "--rehost")
    assert dry == said + "This was a dry run: nothing was written.\n"
    _code, dry = bring(webui, "--dry-run")
    assert dry.count("new 0, already there 1") == 2


# ---------------------------------------------------------------- hostile rows
def test_hostile_rows_are_cleaned_and_keep_nobody_else_out(webui):
    add_midjourney(webui, id="good")
    long_id = "x" * 50
    add_midjourney(
        webui,
        id=long_id,
        prompt="a" * 100_000,
        mode="x" * 50,
        progress="y" * 20,
        credits_cost=-1,
        properties='{"finalPrompt": "a\\u0000b\\ud800"}',
        buttons="[1e400]",
        created_at="2999-01-01 00:00:00",
        finish_time="0001-01-01 00:00:00",
    )
    add_flux(webui, guidance_scale="NaN" if connection.vendor == "postgresql" else "nan")

    code, said = bring(webui)

    assert code == 0, said
    assert MidjourneyTask.objects.count() == 2
    task = MidjourneyTask.objects.get(external_id=long_id)
    assert (len(task.prompt), task.credits_cost, task.finish_time) == (100_000, 0, None)
    assert task.properties == {"finalPrompt": "ab\ufffd"}
    assert task.buttons == []
    assert task.created_at <= timezone.now()
    for remark in (
        "buttons is broken JSON, left out",
        "created_at is no possible time, left out",
        "finish_time is no possible time, left out",
        "credits_cost out of range, left out",
        "without any time: made now",
    ):
        assert f"in 1: {remark}" in said
    assert FluxTask.objects.get().guidance_scale is None


def test_sqlite_holds_anything_in_any_column(db, tmp_path):
    site = SQLiteSite(tmp_path / "webui.db")
    site.script(WEBUI)
    site.add("user", id="u-alice", email="alice@example.com")
    site.add(
        "flux_tasks",
        id="f",
        user_id="u-alice",
        status="SUCCESS",
        image_url=PICTURE,
        prompt=b"\xff\x00\xfe",
        seed=17454220438242315174.0,
        num_images="many",
        guidance_scale=float("inf"),
        created_at=1741521600000,
        flux_response="{broken",
        model="m" * 200,
        request_id="r" * 300,
        aspect_ratio=b"1:1",
    )
    site.add("mj_tasks", id="i" * 300, user_id="u-alice")
    site.add("mj_tasks", id="", user_id="u-alice")
    site.add("mj_tasks", id=7, user_id="u-alice", status="FAILURE", created_at=b"\x00")

    code, said = bring(site)

    task = FluxTask.objects.get()
    assert code == 0, said
    assert (task.prompt, task.seed, task.num_images) == ("\ufffd\ufffd", "", 1)
    assert (task.guidance_scale, task.model, task.aspect_ratio) == (None, "m" * 100, "1:1")
    assert task.request_id == "f"
    assert task.created_at == datetime(2025, 3, 9, 12, 0, tzinfo=UTC)
    assert MidjourneyTask.objects.get().external_id == "7"
    assert "skipped 1 whose id is too long" in said
    assert "skipped 1 without an id" in said


def test_a_damaged_database_is_read_as_far_as_it_goes(db, tmp_path):
    site = SQLiteSite(tmp_path / "webui.db")
    site.script(WEBUI)
    site.add("user", id="u-alice", email="alice@example.com")
    with closing(sqlite3.connect(site.path)) as own, own:
        own.executemany(
            "INSERT INTO mj_tasks (id, user_id, status, image_url, prompt, created_at) "
            "VALUES (?, 'u-alice', 'SUCCESS', 'https://a.example/1.png', ?, '2025-03-09 00:00:00')",
            [(f"t{number:05}", "x" * 500) for number in range(3000)],
        )
        own.execute(
            "INSERT INTO flux_tasks (id, user_id, status) VALUES ('f', 'u-alice', 'FAILED')"
        )
    damage(site.path)

    code, said = bring(site)

    assert code == 2
    assert "mj_tasks: reading broke off" in said
    assert MidjourneyTask.objects.count() < 3000
    assert FluxTask.objects.count() == 1


def damage(path):
    """Overwrite a leaf in the middle of the rows of mj_tasks."""
    raw = path.read_bytes()
    page = 4096
    hits = [n for n in range(1, len(raw) // page) if raw[n * page :][:page].count(b"x" * 500) >= 5]
    with path.open("r+b") as file:
        for number in hits[len(hits) // 2 :]:
            file.seek(number * page)
            file.write(b"\xa5" * page)


# ---------------------------------------------------------------- reading only
def test_nothing_is_written_at_the_other_site(webui):
    reader = open_database(webui.source, people_table="user")

    with closing(reader), pytest.raises(Exception, match=r"read-?only"):
        reader._connection.execute('DELETE FROM "user"')


def test_a_site_that_runs_on_is_not_held_up(db, tmp_path):
    site = SQLiteSite(tmp_path / "webui.db")
    site.script(WEBUI)
    for number in range(3):
        add_midjourney(site, id=str(number))
    with closing(open_database(site.source, people_table="user")) as reader:
        rows = reader.rows("mj_tasks", columns=["id"], order=["created_at"])
        next(rows)
        with closing(sqlite3.connect(site.path, timeout=0)) as own, own:
            own.execute("DELETE FROM mj_tasks WHERE id = '0'")


def test_a_copy_without_its_journal_is_read_where_nothing_can_be_written(alice, tmp_path):
    site = SQLiteSite(tmp_path / "read only" / "web#ui?.db")
    site.path.parent.mkdir()
    with closing(sqlite3.connect(site.path)) as own:
        own.execute("PRAGMA journal_mode=WAL")
    site.script(WEBUI)
    site.add("user", id="u-alice", email="alice@example.com")
    add_midjourney(site)
    before = sorted(path.name for path in site.path.parent.iterdir())
    site.path.chmod(stat.S_IRUSR)
    site.path.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        code, said = bring(site)
        after = sorted(path.name for path in site.path.parent.iterdir())
    finally:
        site.path.parent.chmod(stat.S_IRWXU)

    assert code == 0, said
    assert MidjourneyTask.objects.count() == 1
    if os.geteuid() != 0:
        assert after == before


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("/nowhere/webui.db", "There is no file"),
        ("sqlite:////nowhere/webui.db", "There is no file"),
        ("mysql://root@127.0.0.1/webui", "mysql is neither SQLite nor PostgreSQL"),
    ],
)
def test_a_source_that_is_not_there_is_named(db, source, problem):
    with pytest.raises(CommandError, match=problem):
        bring(source)


def test_a_file_that_is_no_database_is_refused(db, tmp_path):
    path = tmp_path / "webui.db"
    path.write_text("a database" * 1000)

    with pytest.raises(CommandError, match="cannot be read as an SQLite database"):
        bring(str(path))


def test_postgresql_that_does_not_answer_is_named(db):
    pytest.importorskip("psycopg")

    with pytest.raises(CommandError, match="does not let us in"):
        bring("postgresql://nobody@127.0.0.1:9/nothing")


@pytest.mark.parametrize("form", ["sqlite:///{}", "sqlite:////{}", "sqlite+pysqlite:///{}"])
def test_addresses_are_read_as_the_other_site_writes_them(alice, tmp_path, form):
    site = SQLiteSite(tmp_path / "webui.db")
    site.script(WEBUI)
    site.add("user", id="u-alice", email="alice@example.com")
    add_midjourney(site)

    bring(form.format(str(site.path).lstrip("/") if "////" in form else site.path))

    assert MidjourneyTask.objects.count() == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--tz", "Mars/Olympus"], "no time zone"),
        (["--since", "yesterday"], "no date"),
        (["--origin", "A B"], "up to 60 of"),
        (["--origin", ""], "up to 60 of"),
    ],
)
def test_a_mistake_in_the_options_is_told(webui, arguments, problem):
    with pytest.raises(CommandError, match=problem):
        bring(webui, *arguments)


# ---------------------------------------------------------------- pictures
def test_a_link_that_has_run_out_is_lost_and_a_copy_of_it_is_not(webui):
    add_midjourney(webui, id="dead", image_url=DEAD)
    add_midjourney(webui, id="copied", image_url=DEAD, cloud_image_url=COS)
    add_midjourney(webui, id="copy dead", image_url=PICTURE, cloud_image_url=DEAD)

    _code, said = bring(webui, "--rehost")

    found = {
        task.external_id: TaskImage.objects.get(task_id=task.pk)
        for task in MidjourneyTask.objects.all()
    }
    assert found["dead"].lost_at is not None
    assert found["dead"].next_action_at is None
    for name, address in (("copied", COS), ("copy dead", PICTURE)):
        assert (found[name].provider_url, found[name].lost_at) == (address, None)
        assert found[name].next_action_at is not None
    assert MidjourneyTask.objects.get(external_id="copy dead").cloud_image_url == ""
    assert "pictures: 3 new, 2 to be fetched, 1 lost because their links have run out" in said


def test_pictures_are_fetched_only_when_it_is_asked_for_and_then_also_later(webui):
    add_midjourney(webui, id="1")
    add_midjourney(webui, id="2", image_url=DEAD)
    bring(webui)
    assert not TaskImage.objects.to_store(now=timezone.now()).exists()

    _code, said = bring(webui, "--rehost")

    due = TaskImage.objects.to_store(now=timezone.now()).get()
    assert due.provider_url == PICTURE
    assert "filled 1" in said
    assert "1 to be fetched" in said
    _code, said = bring(webui, "--rehost")
    assert "filled 0" in said


def test_what_was_stored_or_given_up_meanwhile_is_let_be(webui):
    for number in range(3):
        add_midjourney(webui, id=str(number), image_url=f"https://a.example/{number}.png")
    bring(webui, "--rehost")
    stored, lost, waiting = TaskImage.objects.order_by("provider_url")
    now = timezone.now()
    TaskImage.objects.filter(pk=stored.pk).update(
        stored_at=now, storage_key="k", next_action_at=None
    )
    TaskImage.objects.filter(pk=lost.pk).update(lost_at=now, next_action_at=None, store_attempts=4)
    TaskImage.objects.filter(pk=waiting.pk).update(store_attempts=2)
    before = everything()

    bring(webui, "--rehost")

    assert everything() == before


def test_a_copy_made_there_since_takes_the_place_of_a_dead_link(webui):
    add_midjourney(webui, image_url=DEAD)
    bring(webui)
    webui.execute(f"UPDATE mj_tasks SET cloud_image_url = '{COS}'")

    _code, said = bring(webui)

    image, task = TaskImage.objects.get(), MidjourneyTask.objects.get()
    assert (image.provider_url, image.lost_at) == (COS, None)
    assert task.cloud_image_url == COS
    assert "filled 1" in said


def test_hosts_that_pages_may_not_load_from_are_named(webui, settings):
    add_midjourney(webui)
    add_flux(webui)
    add_jimeng(webui, image_url="https://p26.byteimg.com:8443/a.png")

    _code, said = bring(webui)

    lines = said.splitlines()
    assert "Browsers will not show pictures from here; add to IMAGE_ORIGINS:" in lines
    assert set(lines[-1].split()) == {"https://mj.example.org", "https://p26.byteimg.com:8443"}
    settings.SECURE_CSP = {"img-src": ["https:"]}
    assert "IMAGE_ORIGINS" not in bring(webui)[1]


# ---------------------------------------------------------------- many rows
def fill_with_many(site, number):
    """Put so many tasks of twenty users into an SQLite site, in one statement."""
    with closing(sqlite3.connect(site.path)) as own, own:
        own.executemany(
            'INSERT INTO "user" (id, email) VALUES (?, ?)',
            [(f"u{n}", f"u{n}@example.com") for n in range(20)],
        )
        own.executemany(
            "INSERT INTO mj_tasks (id, user_id, status, image_url, properties, created_at) "
            "VALUES (?, ?, 'SUCCESS', ?, ?, ?)",
            [
                (
                    str(n),
                    f"u{n % 20}",
                    f"https://a.example/{n}.png",
                    json.dumps({"finalPrompt": "a cat"}),
                    str(datetime(2025, 3, 9) + timedelta(seconds=n)),  # noqa: DTZ001
                )
                for n in range(number)
            ],
        )


def test_ten_thousand_rows_come_over_whole(db, tmp_path):
    site = SQLiteSite(tmp_path / "webui.db")
    site.script(WEBUI)
    fill_with_many(site, 10_000)

    code, said = bring(site)

    assert code == 0, said
    assert MidjourneyTask.objects.count() == TaskImage.objects.count() == 10_000
    assert User.objects.filter(is_active=False).count() == 20
    newest = MidjourneyTask.objects.order_by("-created_at", "-id")[:3]
    assert [task.external_id for task in newest] == ["9999", "9998", "9997"]


@pytest.mark.parametrize("arguments", [[], ["--rehost"]])
def test_the_number_of_queries_grows_with_batches_and_not_with_rows(webui, arguments):
    def queries(number):
        for each in range(number):
            name = f"{number}-{each}-{arguments}"
            webui.add("user", id=name, email=f"{number}{each}{len(arguments)}@example.com")
            add_midjourney(webui, id=name[:50], user_id=name)
        with CaptureQueriesContext(connection) as seen:
            bring(webui, "--since", "2025-01-01", *arguments)
        return len(seen)

    first = queries(1)

    # From the second run on it looks at those that are there as well, and at their pictures.
    extra = 3
    assert queries(3) <= first + extra
    assert queries(6) <= first + extra


# ---------------------------------------------------------------- interrupted
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_leaves_whole_batches_and_the_next_goes_on(alice, tmp_path, how):
    site = SQLiteSite(tmp_path / "webui.db")
    site.script(WEBUI)
    total = 20 * BATCH
    fill_with_many(site, total)
    running = subprocess.Popen(
        [sys.executable, "manage.py", "import_openwebui", "--source", site.source],
        cwd=django_settings.BASE_DIR,
        env={**os.environ, "DATABASE_URL": url_of_the_test_database()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while running.poll() is None and not MidjourneyTask.objects.exists():
            time.sleep(0.02)
    finally:
        running.send_signal(how)
        _out, complaint = running.communicate(timeout=60)

    if how == signal.SIGINT:
        assert running.returncode == 130
        assert "call it again to go on" in complaint
    some = MidjourneyTask.objects.count()
    assert 0 < some < total
    assert some % BATCH == 0
    assert TaskImage.objects.count() == some

    code, said = bring(site)

    assert code == 0
    assert f"new {total - some}, already there {some}" in said
    assert MidjourneyTask.objects.count() == TaskImage.objects.count() == total


def url_of_the_test_database():
    told = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{told['NAME']}"
    return f"postgres://{told['USER']}@{told['HOST']}:{told['PORT'] or 5432}/{told['NAME']}"
