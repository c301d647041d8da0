"""`import_tasks` and `import_newapi`: other tables, through the same engine."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from generation.models import FluxTask, JimengTask, MidjourneyTask, TaskImage
from generation.tests.foreign_sites import NEW_API, SQLiteSite

PICTURE = "https://a.example/1.png"


@pytest.fixture(autouse=True)
def alice_has_an_address(alice):
    User.objects.filter(pk=alice.pk).update(email="alice@example.com")


def run(*arguments):
    out, code = io.StringIO(), 0
    try:
        call_command(*arguments, stdout=out)
    except SystemExit as end:
        code = end.code
    return code, out.getvalue()


@pytest.fixture
def file(tmp_path):
    """Return a function that brings over the lines of a file."""

    def bring(kind, content, *arguments, name="tasks.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return run("import_tasks", str(path), "--kind", kind, *arguments)

    return bring


def lines_of(rows):
    out = io.StringIO()
    writer = csv.DictWriter(out, sorted({name for row in rows for name in row}))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


# ---------------------------------------------------------------- files
def test_a_csv_brings_tasks_with_all_their_pictures(file, alice):
    row = {
        "id": "42",
        "user_email": "Alice@example.com",
        "status": "SUCCESS",
        "prompt": '山水, "quoted"\nand a second line',
        "model": "jimeng-4.0",
        "seed": "17454220438242315174",
        "watermark": "true",
        "image_url": PICTURE,
        "image_urls": json.dumps([PICTURE, "https://a.example/2.png"]),
        "created_at": "2025-08-06T03:08:05Z",
        "finish_time": "2025-08-06 11:08:35",
    }

    code, said = file("jimeng", b"\xef\xbb\xbf" + lines_of([row]).encode(), "--tz", "Asia/Shanghai")

    task = JimengTask.objects.get()
    assert code == 0, said
    assert (task.origin, task.external_id, task.user) == ("file", "42", alice)
    assert (task.prompt, task.model) == ('山水, "quoted"\nand a second line', "jimeng-4.0")
    assert (task.seed, task.watermark) == ("17454220438242315174", True)
    assert task.finish_time == datetime(2025, 8, 6, 3, 8, 35, tzinfo=UTC)
    assert list(TaskImage.objects.order_by("position").values_list("provider_url", flat=True)) == [
        PICTURE,
        "https://a.example/2.png",
    ]


def test_json_lines_hold_the_same_with_values_of_their_own(file, alice):
    row = {
        "id": 42,
        "user": "alice@example.com",
        "status": "SUCCESS",
        "model": "fal-ai/flux-1/dev",
        "num_images": 1,
        "seed": 17454220438242315174,
        "image_urls": [PICTURE],
        "prompt": "half a pair: \ud83d",
        "created_at": 1754449685123,
    }

    code, said = file("flux", "\n" + json.dumps(row) + "\r\n\n", name="tasks.jsonl")

    task = FluxTask.objects.get()
    assert code == 0, said
    assert (task.external_id, task.user, task.seed) == ("42", alice, "17454220438242315174")
    assert (task.prompt, task.image_url) == ("half a pair: \ufffd", PICTURE)
    assert task.created_at == datetime(2025, 8, 6, 3, 8, 5, 123000, tzinfo=UTC)


def test_a_line_that_cannot_be_read_is_told_and_the_others_come_over(file, alice):
    good = {"id": "1", "user": "alice@example.com", "status": "FAILURE"}
    content = "\n".join([json.dumps(good), "{", "[1]", json.dumps({**good, "id": "2"})])

    code, said = file("midjourney", content, name="tasks.jsonl")

    assert code == 2
    assert MidjourneyTask.objects.count() == 2
    assert "mj_tasks, line 2: is no JSON" in said
    assert "mj_tasks, line 3: is no JSON object" in said
    assert "unreadable 2" in said


def test_a_line_that_was_cut_short_is_not_taken_for_a_task(file):
    code, said = file("midjourney", "id,user,status\n1,alice@example.com,FAILURE\n\n2,ali")

    assert code == 2
    assert MidjourneyTask.objects.get().external_id == "1"
    assert "line 4: has 2 cells, not 3" in said


def test_a_row_that_occurs_twice_comes_over_once(file):
    row = "1,alice@example.com,FAILURE\n"

    code, said = file("midjourney", "id,user,status\n" + row + row)

    assert (code, MidjourneyTask.objects.count()) == (0, 1)
    assert "skipped 1 that occur twice" in said


def test_an_unknown_address_in_a_file_becomes_a_member_once(file):
    file("midjourney", "id,user,status\n1,New@example.com,FAILURE\n2,new@Example.com,FAILURE\n")

    new = User.objects.get(email="new@example.com")
    assert MidjourneyTask.objects.filter(user=new).count() == 2
    assert not new.is_active


def test_two_users_with_the_same_name_are_two_members(file):
    file("midjourney", "id,user,status\n1,a'b@example.com,FAILURE\n2,a_b@example.com,FAILURE\n")

    names = User.objects.filter(is_active=False).values_list("username", flat=True)
    assert len(set(names)) == 2
    assert "a_b@example.com" in names


def test_what_is_no_address_becomes_nobody(file):
    code, said = file("midjourney", "id,user,status\n1,u-42,FAILURE\n")

    assert (code, MidjourneyTask.objects.count()) == (0, 0)
    assert "skipped 1 whose user is not there any more" in said


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("tasks.xlsx", "", r"should end in \.csv or \.jsonl"),
        ("tasks.csv", "", "should name its columns, `id` among them"),
        ("tasks.csv", "1,2,3\n", "should name its columns, `id` among them"),
        ("tasks.jsonl", "", "None of these tables is there"),
    ],
)
def test_a_file_of_another_kind_is_refused(file, name, content, problem):
    with pytest.raises(CommandError, match=problem):
        file("flux", content, name=name)


def test_a_file_that_is_not_there_is_named(db, tmp_path):
    with pytest.raises(CommandError, match="cannot be read"):
        run("import_tasks", str(tmp_path / "none.csv"), "--kind", "flux")


# ---------------------------------------------------------------- new-api
@pytest.fixture
def relay(tmp_path):
    site = SQLiteSite(tmp_path / "one-api.db")
    site.script(NEW_API)
    site.add("users", id=1, username="alice", email="alice@example.com", password="$2a$secret")
    site.add("users", id=2, username="root", email="", password="$2a$secret")
    return site


def test_new_api_brings_its_midjourney_tasks(relay, alice, staff):
    relay.add(
        "midjourneys",
        id=1,
        user_id=1,
        mj_id="1320098173412546",
        action="IMAGINE",
        status="SUCCESS",
        progress="100%",
        prompt="a cat",
        submit_time=1741531578038,
        start_time=1741531579000,
        finish_time=1741531608566,
        image_url=PICTURE,
        quota=50000,
        buttons=[{"customId": "a"}],
        properties={"finalPrompt": "a cat --v 6"},
    )
    # A submit that failed has neither an id at Midjourney nor a start.
    relay.add("midjourneys", id=2, user_id=2, mj_id="", status="", submit_time=1741531578038)

    code, said = run("import_newapi", "--source", relay.source)

    task, failed = MidjourneyTask.objects.order_by("-status")
    assert code == 0, said
    assert (task.origin, task.external_id, task.user) == ("newapi", "1320098173412546", alice)
    assert (task.created_at, task.submit_time) == (
        datetime(2025, 3, 9, 14, 46, 18, 38000, tzinfo=UTC),
        datetime(2025, 3, 9, 14, 46, 18, 38000, tzinfo=UTC),
    )
    assert task.finish_time == datetime(2025, 3, 9, 14, 46, 48, 566000, tzinfo=UTC)
    assert (task.credits_cost, task.buttons) == (50000, [{"customId": "a"}])
    assert (failed.external_id, failed.status) == ("2", "FAILED")
    # Whoever is called root there is nobody special here.
    assert failed.user.username == "root"
    assert (failed.user.is_active, failed.user.is_staff) == (False, False)
    assert "video_url" in said


def test_new_api_may_be_brought_over_again(relay):
    relay.add("midjourneys", id=2, user_id=2, mj_id="", status="FAILURE", submit_time=1741531578038)

    run("import_newapi", "--source", relay.source)
    _code, said = run("import_newapi", "--source", relay.source)

    assert "new 0, already there 1" in said
    assert User.objects.filter(is_active=False).count() == 1
