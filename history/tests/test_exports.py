"""Entries become a ZIP file: what is in it, who gets it, and what happens when a worker dies."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import zipfile
from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.utils import timezone
from django_q.models import OrmQ
from PIL import Image
from rest_framework.test import APIClient

from history import exports, manifest
from history.manifest import slug
from history.marks import Name
from history.models import Export
from history.tests import rows

URL = "/api/unified-history/exports"


@pytest.fixture
def api(alice):
    client = APIClient()
    client.force_authenticate(alice)
    return client


@pytest.fixture
def member(client, alice):
    client.force_login(alice)
    return client


def image_bytes(kind="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), "teal").save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def make(alice):
    """Return a function that makes an entry with stored pictures."""

    def entry(source="flux", *, pictures=1, user=alice, **fields):
        task = rows.task(source, user, **fields)
        for position in range(pictures):
            image = rows.picture(source, task, position)
            default_storage.save(image.storage_key, ContentFile(image_bytes()))
        return Name(source, task.pk)

    return entry


def packed(export):
    """Return an export after packing, and its opened archive."""
    exports.pack(export.pk)
    export.refresh_from_db()
    assert export.status == "READY", export.error_code
    with default_storage.open(export.storage_key) as file:
        archive = zipfile.ZipFile(io.BytesIO(file.read()))
    assert archive.testzip() is None
    return archive


def told(archive):
    return json.loads(archive.read("manifest.json"))["entries"]


def lines(archive):
    text = archive.read("manifest.csv").decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def ask(user, *names):
    return exports.ask(user=user, names=names)


# ---------------------------------------------------------------- what is in it
def test_the_file_holds_pictures_with_their_parameters_and_two_lists(alice, make):
    name = make(
        prompt="一只猫 on a bridge",
        pictures=2,
        parameters={"num_inference_steps": 4, "aspect_ratio": "1:1"},
        result_seed="17454220438242315174",
        generation_time=1.5,
        is_favourite=True,
    )

    archive = packed(ask(alice, name))

    first, second = (
        "2026-05-04_12-00-00_一只猫-on-a-bridge.png",
        ("2026-05-04_12-00-00_一只猫-on-a-bridge_2.png"),
    )
    assert archive.namelist() == [first, second, "manifest.json", "manifest.csv"]
    image = Image.open(io.BytesIO(archive.read(first)))
    assert image.text["parameters"].startswith("一只猫 on a bridge\nSteps: 4, Seed: 1745")
    [entry] = told(archive)
    assert entry == {
        "source": "flux",
        "id": name.id,
        "model": "fal-ai/flux-1/schnell",
        "model_name": "FLUX.1 schnell",
        "prompt": "一只猫 on a bridge",
        "seed": "17454220438242315174",
        "parameters": {
            "aspect_ratio": "1:1",
            "num_inference_steps": 4,
            "seed": "17454220438242315174",
        },
        "seconds": 1.5,
        "created_at": "2026-05-04T12:00:00+00:00",
        "is_favourite": True,
        "pictures": [
            {"id": f"p{n}-{name.id}", "file": f, "problem": None, "width": 1024, "height": 768}
            for n, f in enumerate([first, second])
        ],
    }
    assert [(line["file"], line["seed"], line["width"]) for line in lines(archive)] == [
        (first, "17454220438242315174", "1024"),
        (second, "17454220438242315174", "1024"),
    ]


def test_entries_of_all_sources_come_in_the_order_they_were_named(alice, make):
    names = [make("jimeng"), make("flux", minutes=5), make("midjourney", minutes=1)]

    archive = packed(ask(alice, *names, names[0]))

    assert [(entry["source"], entry["id"]) for entry in told(archive)] == names


def test_a_picture_that_is_not_here_is_named_in_the_lists(alice, make):
    whole = make()
    task = rows.task("midjourney", alice, id="elsewhere")
    lost = rows.task("flux", alice, id="lost")
    rows.picture("flux", lost)

    archive = packed(ask(alice, whole, Name("midjourney", task.pk), Name("flux", lost.pk)))

    problems = {line["id"]: (line["file"], line["problem"]) for line in lines(archive)}
    assert problems["elsewhere"] == ("", "not stored")
    assert problems["lost"] == ("", "missing")
    assert len(archive.namelist()) == 3


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("../../etc/passwd", "etc-passwd"),
        ("C:\\windows\\system32", "C-windows-system32"),
        ('a\0b\r\n<script>|*?":.exe', "a-b-script-exe"),
        ("\u202egnp.exe", "gnp-exe"),
        ("🐈🐈", "FLUX-1-schnell"),
        ("   ", "FLUX-1-schnell"),
        ("CON", "CON"),
        ("e\u0301te\u0301", "été"),
        ("word " * 100, "-".join(["word"] * 16)),
        ("猫" * 100, "猫" * 26),
    ],
)
def test_a_prompt_becomes_a_name_that_is_safe_everywhere(alice, make, prompt, name):
    archive = packed(ask(alice, make(prompt=prompt.replace("\0", ""))))

    file = archive.namelist()[0]

    assert file == f"2026-05-04_12-00-00_{name.replace('a-b', 'ab')}.png"
    assert len(file.encode()) < 120


def test_names_differ_where_capitals_do_not_count(alice, make):
    archive = packed(ask(alice, make(prompt="Cat"), make(prompt="cat"), make(prompt="CAT")))

    names = [name.casefold() for name in archive.namelist()]
    assert len(set(names)) == len(names) == 5


def test_a_word_longer_than_a_name_is_cut():
    assert slug("x" * 500) == "x" * manifest.MAX_NAME_BYTES


@pytest.mark.parametrize(
    "prompt", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "＝1＋1", "＠x"]
)
def test_no_spreadsheet_takes_a_prompt_for_a_formula(alice, make, prompt):
    archive = packed(ask(alice, make(prompt=prompt)))

    [line] = lines(archive)
    assert line["prompt"] == f"'{prompt}"
    # Programs get it as it was.
    assert told(archive)[0]["prompt"] == prompt


def test_quotes_and_line_breaks_stay_in_their_cell(alice, make):
    prompt = 'she said "hello",\nand\r\nleft'

    [line] = lines(packed(ask(alice, make(prompt=prompt))))

    assert line["prompt"] == prompt


def test_what_was_thrown_away_meanwhile_is_left_out(alice, make):
    kept, thrown = make(), make()
    export = ask(alice, kept, thrown)
    rows.model("flux").objects.filter(pk=thrown.id).update(trashed_at=rows.NOON)

    assert [entry["id"] for entry in told(packed(export))] == [kept.id]


@pytest.mark.parametrize("count", [1, 3])
def test_packing_takes_the_same_queries_for_any_number_of_entries(
    alice, make, count, django_assert_num_queries
):
    export = ask(alice, *(make() for _ in range(count)))

    # Who packs, the claim, the row; entries, pictures, details; two of the lease, who is next.
    with django_assert_num_queries(9):
        exports.pack(export.pk)


# ---------------------------------------------------------------- who asks, and for what
def test_the_api_takes_an_export_and_tells_how_it_stands(
    api, make, django_capture_on_commit_callbacks
):
    name = make(pictures=2)
    with django_capture_on_commit_callbacks(execute=True):
        answer = api.post(URL, {"entries": [name._asdict()]}, format="json")

    assert answer.status_code == 202
    body = answer.json()
    assert (body["status"], body["entry_count"], body["url"]) == ("QUEUED", 1, None)
    [message] = OrmQ.objects.all()
    assert (message.task["func"], message.task["args"]) == ("history.exports.pack", (body["id"],))

    exports.pack(body["id"])
    after = api.get(f"{URL}/{body['id']}").json()

    assert (after["status"], after["picture_count"]) == ("READY", 2)
    assert after["byte_size"] == default_storage.size(Export.objects.get().storage_key)
    assert after["url"] == f"/history/exports/{body['id']}/file"


def test_only_ones_own_entries_are_packed(api, make, bob):
    mine, his = make(), make(user=bob)

    refused = api.post(URL, {"entries": [his._asdict()]}, format="json")
    api.post(URL, {"entries": [mine._asdict(), his._asdict()]}, format="json")

    assert refused.status_code == 404
    assert Export.objects.get().entries == [list(mine)]


@pytest.mark.parametrize(
    "entries", [[], None, "x", [{"source": "flux"}], [{"source": "flux", "id": "t"}] * 501]
)
def test_what_makes_no_sense_is_refused(api, entries):
    answer = api.post(URL, {"entries": entries}, format="json")

    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["entries"])


def test_a_fourth_at_once_has_to_wait(api, make):
    body = {"entries": [make()._asdict()]}
    for _ in range(3):
        assert api.post(URL, body, format="json").status_code == 202

    answer = api.post(URL, body, format="json")

    assert (answer.status_code, answer.json()["code"]) == (409, "exports_running")


def test_an_export_is_its_owners_alone(api, client, make, bob, staff):
    export = ask(bob, make(user=bob))
    exports.pack(export.pk)

    assert api.get(f"{URL}/{export.pk}").status_code == 404
    client.force_login(staff)
    assert client.get(f"/history/exports/{export.pk}/file").status_code == 404


def test_strangers_get_nothing(client, db):
    assert APIClient().post(URL, {}, format="json").status_code == 401
    assert APIClient().get(f"{URL}/x").status_code == 401
    assert client.get("/history/exports").status_code == 302
    assert client.get("/history/exports/x/file").status_code == 302


def test_other_methods_are_refused(api, member):
    assert api.get(URL).status_code == 405
    assert api.post(f"{URL}/x").status_code == 405
    assert member.post("/history/exports").status_code == 405
    assert member.post("/history/exports/x/file").status_code == 405


# ---------------------------------------------------------------- the pages
def test_the_form_has_what_was_ticked_packed(member, make):
    name = make()

    response = member.post("/history/marks", {"do": "zip", "entry": [str(name)]})

    assert response["Location"] == "/history/exports"
    [export] = member.get("/history/exports").context["exports"]
    assert (export.status, export.entries) == ("QUEUED", [list(name)])


def test_the_form_says_why_nothing_is_packed(member, make):
    response = member.post("/history/marks", {"do": "zip", "entry": ["flux:none"]}, follow=True)
    assert "These entries are no longer there." in response.content.decode()

    for _ in range(4):
        fields = {"do": "zip", "entry": [str(make())]}
        response = member.post("/history/marks", fields, follow=True)
    assert "Your other files are still being packed." in response.content.decode()


def fetched(client, export):
    response = client.get(f"/history/exports/{export.pk}/file")
    body = b"".join(response.streaming_content) if response.streaming else response.content
    for close in response._resource_closers:
        close()
    return response, body


def test_the_owner_fetches_the_file(member, alice, make):
    export = ask(alice, make())
    packed(export)

    response, body = fetched(member, export)

    assert response["Content-Type"] == "application/zip"
    assert response["Content-Disposition"].startswith('attachment; filename="fluxsite-20')
    assert response["Cache-Control"] == "private, no-store"
    assert zipfile.ZipFile(io.BytesIO(body)).testzip() is None


def test_a_file_that_is_not_ready_or_over_or_gone_is_not_found(member, alice, make):
    export = ask(alice, make())
    assert fetched(member, export)[0].status_code == 404

    packed(export)
    default_storage.delete(Export.objects.get().storage_key)
    assert fetched(member, export)[0].status_code == 404

    Export.objects.update(expires_at=timezone.now())
    assert fetched(member, export)[0].status_code == 404
    assert member.get("/history/exports").context["exports"] == []


def test_a_proxy_sends_the_file(member, alice, make, settings):
    settings.MEDIA_X_ACCEL = "/protected"
    export = ask(alice, make())
    packed(export)

    response, _body = fetched(member, export)

    assert response["X-Accel-Redirect"] == f"/protected/exports/{alice.pk}/{export.pk}.zip"


@pytest.mark.parametrize("count", [1, 3])
def test_the_page_takes_the_same_queries_for_any_number_of_exports(
    member, alice, make, count, django_assert_num_queries
):
    for _ in range(count):
        ask(alice, make())

    # The session, the member, those nobody works on, the exports, and the head.
    with django_assert_num_queries(5):
        assert len(member.get("/history/exports").context["exports"]) == count


# ---------------------------------------------------------------- limits
def test_too_much_for_one_file_says_so(alice, make, settings):
    settings.MAX_EXPORT_BYTES = 200
    export = ask(alice, make(pictures=4))

    exports.pack(export.pk)

    export.refresh_from_db()
    assert (export.status, export.error_code) == ("FAILED", "too_large")
    assert not default_storage.exists(f"exports/{alice.pk}/{export.pk}.zip")


def test_taking_too_long_says_so(alice, make, monkeypatch):
    monkeypatch.setattr(exports, "PACKING_SECONDS", -1.0)
    export = ask(alice, make())

    exports.pack(export.pk)

    export.refresh_from_db()
    assert (export.status, export.error_code) == ("FAILED", "too_slow")


def test_entries_without_any_picture_here_make_no_file(api, alice):
    task = rows.task("midjourney", alice)
    export = ask(alice, Name("midjourney", task.pk))

    exports.pack(export.pk)

    body = api.get(f"{URL}/{export.pk}").json()
    assert (body["status"], body["error_code"]) == ("FAILED", "empty")
    assert body["error_message"] == "None of these entries has a picture that is stored here."


def test_one_is_packed_at_a_time_and_then_the_next_is_called(alice, make):
    first, second = ask(alice, make()), ask(alice, make())
    Export.objects.filter(pk=first.pk).update(
        status="RUNNING", lease_until=timezone.now() + timedelta(minutes=1)
    )
    exports.pack(second.pk)
    assert Export.objects.get(pk=second.pk).status == "QUEUED"

    Export.objects.filter(pk=first.pk).update(status="QUEUED")
    OrmQ.objects.all().delete()
    exports.pack(first.pk)

    assert [message.task["args"] for message in OrmQ.objects.all()] == [(second.pk,)]


# ---------------------------------------------------------------- workers that die
@pytest.fixture
def dead(alice, make):
    """An export whose worker was killed a while ago."""
    export = ask(alice, make())
    Export.objects.update(
        status="RUNNING",
        attempts=1,
        lease_token="of the dead",
        lease_until=timezone.now() - timedelta(seconds=1),
    )
    OrmQ.objects.all().delete()
    return export


def test_a_killed_workers_export_is_taken_up_again_by_who_looks(api, dead):
    api.get(f"{URL}/{dead.pk}")
    api.get(f"{URL}/{dead.pk}")

    # Called once, however often somebody looks.
    assert [message.task["args"] for message in OrmQ.objects.all()] == [(dead.pk,)]
    packed(dead)


def test_a_message_that_was_lost_is_sent_again(api, alice, make, time_machine):
    export = ask(alice, make())
    OrmQ.objects.all().delete()
    api.get(f"{URL}/{export.pk}")
    assert OrmQ.objects.count() == 0

    time_machine.move_to(timezone.now() + timedelta(seconds=21))
    api.get(f"{URL}/{export.pk}")

    assert OrmQ.objects.count() == 1


def test_an_export_that_kills_its_workers_is_given_up(api, dead):
    Export.objects.update(attempts=3)

    body = api.get(f"{URL}/{dead.pk}").json()

    assert (body["status"], body["error_code"]) == ("FAILED", "interrupted")
    assert OrmQ.objects.count() == 0


def test_a_worker_that_comes_back_from_the_dead_changes_nothing(dead):
    packed(dead)

    exports._end(dead, "of the dead", status="FAILED", error_code="storage")
    with pytest.raises(exports._LeaseLost):
        exports._hold(dead, "of the dead")

    assert Export.objects.get().status == "READY"


def test_a_second_message_does_not_pack_twice(alice, make):
    export = ask(alice, make())
    packed(export)

    exports.pack(export.pk)

    assert Export.objects.get().attempts == 1


def test_a_storage_in_trouble_is_tried_again_and_in_the_end_said(alice, make, settings):
    export = ask(alice, make())
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            **settings.STORAGES["default"],
            "BACKEND": "history.tests.test_exports.StorageInTrouble",
        },
    }

    for _ in range(3):
        exports.pack(export.pk)

    export.refresh_from_db()
    assert (export.status, export.error_code, export.attempts) == ("FAILED", "storage", 3)


class StorageInTrouble(default_storage.__class__):
    def open(self, name, mode="rb"):
        raise OSError(5, "the bucket does not answer")


#: Packs an export up to its first picture, says so, and waits to be killed.
WORKER = """
import sys, time, django
django.setup()
from history import exports

def stop(*args, **kwargs):
    print("packing", flush=True)
    time.sleep(60)

exports.Rewritten = stop
exports.pack(sys.argv[1])
"""


@pytest.mark.django_db(transaction=True)
def test_an_export_outlives_a_worker_that_is_killed(api, alice, make, time_machine):
    export = ask(alice, make())
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, export.pk],
        env={**os.environ, "DATABASE_URL": database_url()},
        stdout=subprocess.PIPE,
        text=True,
    ) as worker:
        assert worker.stdout.readline() == "packing\n"
        worker.kill()
    # Nobody takes it from a worker that may be alive.
    exports.pack(export.pk)
    assert api.get(f"{URL}/{export.pk}").json()["status"] == "RUNNING"

    time_machine.move_to(timezone.now() + timedelta(seconds=61))
    assert api.get(f"{URL}/{export.pk}").json()["status"] == "QUEUED"

    assert len(packed(export).namelist()) == 3
    assert Export.objects.get().attempts == 2


def database_url():
    """Return the address of the test database for another process."""
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{database['NAME']}"
    return "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format_map(database)


# ---------------------------------------------------------------- the night
def test_after_a_day_row_and_file_are_gone(alice, make, time_machine):
    export = ask(alice, make())
    packed(export)
    key = Export.objects.get().storage_key

    time_machine.move_to(timezone.now() + timedelta(hours=23))
    exports.nightly()
    assert default_storage.exists(key)
    time_machine.move_to(timezone.now() + timedelta(hours=25))
    exports.nightly()

    assert (Export.objects.count(), default_storage.exists(key)) == (0, False)


def test_a_file_nobody_knows_goes_once_it_is_old(db, time_machine):
    default_storage.save("exports/1/unknown.zip", ContentFile(b"x"))

    exports.nightly()
    assert default_storage.exists("exports/1/unknown.zip")
    time_machine.move_to(timezone.now() + timedelta(hours=25))
    exports.nightly()

    assert not default_storage.exists("exports/1/unknown.zip")


def test_what_a_killed_worker_stored_goes_with_its_row(dead, alice, time_machine):
    key = f"exports/{alice.pk}/{dead.pk}.zip"
    default_storage.save(key, ContentFile(b"x"))

    time_machine.move_to(timezone.now() + timedelta(hours=25))
    exports.nightly()

    assert (Export.objects.count(), default_storage.exists(key)) == (0, False)
