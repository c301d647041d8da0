"""What was brought over, on the site: shown in the history, fetched if asked for, else let be."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.utils import timezone
from django_q.models import OrmQ

from credits.models import LedgerEntry
from generation import errors, housekeeping, lifecycle, polling
from generation.admin import NEXT_STEPS
from generation.importing import engine, mapping
from generation.importing.databases import open_database
from generation.importing.members import Members
from generation.models import FluxTask, JimengTask, MidjourneyTask, TaskImage
from generation.tests.factories import TaskImageFactory, image_bytes
from generation.tests.strangers import Stranger, ok
from history.models import HistoryEntry

DEAD = "https://cdn.discordapp.com/attachments/1/2/x.png?ex=67cefb57"
PICTURE = "https://mj.example.org/x.png"


@pytest.fixture(autouse=True)
def alice_has_an_address(alice):
    User.objects.filter(pk=alice.pk).update(email="alice@example.com")


def bring(site, *arguments):
    out = io.StringIO()
    call_command("import_openwebui", "--source", site.source, *arguments, stdout=out)
    return out.getvalue()


def add(site, table="mj_tasks", **values):
    row = {
        "id": "t1",
        "user_id": "u-alice",
        "status": "SUCCESS",
        "prompt": "a lighthouse",
        "image_url": PICTURE,
        "created_at": "2025-03-09 14:46:20",
        **values,
    }
    site.add(table, **row)


@pytest.fixture
def member(client, alice):
    client.force_login(alice)
    return client


# ---------------------------------------------------------------- in the history
def test_imported_tasks_are_entries_among_the_others(webui, member, alice, bob):
    add(webui, id="m", properties={"finalPrompt": "a lighthouse --ar 2:1"})
    add(webui, "dreamwork_tasks", id="j", size="1024x1024", created_at="2025-03-10 00:00:00")
    add(
        webui,
        "flux_tasks",
        id="f",
        model="fal-ai/flux-1/dev",
        seed=7,
        created_at="2025-03-11 00:00:00",
    )
    add(webui, id="failed", status="FAILURE")
    bring(webui)

    found = member.get("/api/unified-history").json()["results"]

    assert [entry["source"] for entry in found] == ["flux", "jimeng", "midjourney"]
    assert [entry["image_url"] for entry in found] == [PICTURE] * 3
    assert [entry["images"][0]["image_url"] for entry in found] == [PICTURE] * 3
    assert found[0]["created_at"] == "2025-03-11T00:00:00Z"
    assert not HistoryEntry.objects.for_user(bob).exists()
    page = member.get("/history").content.decode()
    assert page.count(f'src="{PICTURE}"') == 3
    assert "Saving" not in page
    for entry, detail in zip(found, ("Seed", "Size", "Final prompt"), strict=True):
        shown = member.get(f"/history/{entry['source']}/{entry['id']}").content.decode()
        assert f'src="{PICTURE}"' in shown
        assert detail in shown


def test_pictures_without_a_copy_cannot_be_taken_as_reference(webui, member):
    add(webui)
    bring(webui)
    task, image = MidjourneyTask.objects.get(), TaskImage.objects.get()

    shown = member.get(f"/history/midjourney/{task.pk}").content.decode()

    assert f"?reference={image.pk}" not in shown
    # The address they will have for ever leads to where they are until then.
    assert member.get(image.url)["Location"] == PICTURE


def test_a_lost_picture_says_so_and_promises_no_credits(webui, member):
    add(webui, image_url=DEAD)
    bring(webui)

    shown = member.get(f"/history/midjourney/{MidjourneyTask.objects.get().pk}").content.decode()

    assert "Lost" in shown
    assert "credits are back" not in shown


def test_the_studio_shows_imported_tasks_and_offers_no_second_try(webui, member, drawing):
    model = "fal-ai/flux-pro/kontext"
    add(webui, "flux_tasks", id="1", model=model, status="IN_QUEUE")
    add(webui, "flux_tasks", id="2", model=model, status="CANCELLED")
    add(webui, "flux_tasks", id="3", model=model, request_id="r-3")
    bring(webui)

    page = member.get("/").content.decode()

    assert "It was not finished when it was brought over from another site." in page
    assert "/retry" not in page
    assert f'src="{PICTURE}"' in page
    assert "Could not be saved here" not in page
    # Its settings can be used for a new one.
    like = member.get(f"/?like={FluxTask.objects.get(external_id='3').pk}")
    assert "a lighthouse" in like.content.decode()


def test_the_studio_does_not_watch_pictures_that_may_take_hours(webui, member, drawing):
    add(webui, "flux_tasks", id="1", request_id="r-1")
    add(webui, "flux_tasks", id="2", request_id="r-2", image_url=DEAD)
    bring(webui, "--rehost")

    page = member.get("/").content.decode()

    assert page.count('data-state="done"') == 2
    assert page.count(f'src="{PICTURE}"') == 1
    assert "credits are back" not in page


@pytest.mark.parametrize("code", ["imported_unfinished", "imported_failed"])
def test_why_an_imported_task_failed_is_explained_to_members(code):
    assert errors.explain(code) is not errors.explain("internal")
    assert errors.explain(code).action == "edit"


# ---------------------------------------------------------------- let be
def test_imported_tasks_are_never_sent_asked_about_or_charged(webui, drawing, work):
    for number, status in enumerate(
        ("SUCCESS", "FAILED", "CANCELLED", "PENDING", "IN_QUEUE", "IN_PROGRESS")
    ):
        add(webui, "flux_tasks", id=str(number), status=status, request_id=f"r-{number}")
    bring(webui)
    before = list(FluxTask.objects.order_by("pk").values())

    polling.sweep(window=1, idle=0)
    polling._end_what_waited_too_long()
    housekeeping.rearchive()

    assert list(FluxTask.objects.order_by("pk").values()) == before
    assert (drawing.jobs, LedgerEntry.objects.count()) == ({}, 0)
    assert not FluxTask.objects.unfinished().exists()
    now = timezone.now()
    for task in FluxTask.objects.all():
        assert not lifecycle.is_recoverable(task=task, now=now)
        assert not lifecycle.recover(task=task, now=now)
        assert not lifecycle.cancel(task=task, now=now)
        assert not lifecycle.hear_of(task_id=task.pk, request_id="r-x", now=now)
        assert task.error_code not in NEXT_STEPS
    assert list(FluxTask.objects.order_by("pk").values()) == before


def test_even_a_late_code_does_not_make_an_imported_task_recoverable(webui):
    add(webui, "flux_tasks", status="FAILED", request_id="r-1")
    bring(webui)
    FluxTask.objects.update(error_code="timeout", created_at=timezone.now())

    assert not lifecycle.is_recoverable(task=FluxTask.objects.get(), now=timezone.now())


def test_pictures_to_be_shown_from_where_they_are_are_not_fetched_at_night(webui):
    add(webui, created_at=str(timezone.now() - timedelta(days=1))[:19])
    add(webui, id="dead", image_url=DEAD, created_at=str(timezone.now())[:19])
    bring(webui)

    assert housekeeping.rearchive() == 0
    assert not TaskImage.objects.to_store(now=timezone.now()).exists()


# ---------------------------------------------------------------- fetched
@pytest.mark.parametrize(
    ("table", "model"),
    [
        ("mj_tasks", MidjourneyTask),
        ("dreamwork_tasks", JimengTask),
        ("flux_tasks", FluxTask),
    ],
)
def test_rehosted_pictures_are_ours(webui, member, work, drawing, settings, table, model):
    settings.RESULT_HOSTS = ["127.0.0.1"]
    address = a_picture_at(drawing)
    add(webui, table, image_url=address)
    bring(webui, "--rehost")

    work(window=0.1)

    image, task = TaskImage.objects.get(), model.objects.get()
    assert image.stored_at is not None, image.store_error
    assert image.storage_key == f"generated/2025/03/{task.pk}/0.png"
    assert (task.cloud_image_url, task.image_url) == (image.url, address)
    entry = member.get("/api/unified-history").json()["results"][0]
    assert entry["image_url"] == entry["images"][0]["image_url"] == image.url
    assert b"".join(member.get(image.url)) == image_bytes()


def a_picture_at(server):
    """Have the server keep a picture; return its address."""
    file = server.files.reserve_upload(file_name="x.png", content_type="image/png")
    server.files.put_upload(file.name, image_bytes())
    return f"{server.url}/files/{file.name}"


def test_the_workers_are_called_for_pictures_to_fetch(webui, drawing):
    add(webui)

    bring(webui)
    assert not OrmQ.objects.exists()
    bring(webui, "--rehost")

    assert [message.task["func"] for message in OrmQ.objects.all()] == ["generation.polling.sweep"]


def test_what_is_drawn_here_does_not_wait_behind_what_was_brought_over(webui, alice, drawing):
    for number in range(5):
        add(webui, id=str(number), image_url=f"{PICTURE}?{number}")
    bring(webui, "--rehost")
    fresh = TaskImageFactory(
        user=alice, storage_key="", stored_at=None, next_action_at=timezone.now()
    )

    polling._announce_pictures(timezone.now())

    asked = [message.task for message in OrmQ.objects.order_by("id")]
    first = next(task for task in asked if task["func"] == "generation.polling.store")
    assert first["args"] == (fresh.pk,)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_imported_address_does_not_lead_into_our_network(webui, drawing, host):
    with Stranger({"/latest/meta-data/": ok(image_bytes())}) as inside:
        add(webui, image_url=inside.url("/latest/meta-data/", host=host))
        bring(webui, "--rehost")

        polling.store(TaskImage.objects.get().pk)

        assert inside.connections == 0
    image = TaskImage.objects.get()
    assert image.stored_at is None
    assert image.store_error.startswith(f"{host} is at ")
    assert image.store_error.endswith("which is not on the public internet.")


def test_not_even_to_the_provider_of_this_site(webui, drawing):
    """The sandbox is allowed for what it drew, and for nothing else."""
    add(webui, "flux_tasks", image_url=f"{drawing.url}/files/x.png", request_id="r-1")
    bring(webui, "--rehost")

    polling.store(TaskImage.objects.get().pk)

    assert "is not on the public internet" in TaskImage.objects.get().store_error
    # Nor is it asked about a request it never had.
    assert drawing.jobs == {}


# ---------------------------------------------------------------- what a database refuses
@pytest.mark.django_db(transaction=True)
def test_a_row_the_database_refuses_keeps_no_other_out(webui, alice):
    for number in range(5):
        add(webui, id=str(number))
    add(webui, id="5", user_id="u-bob")
    tally = engine.Tally(name="mj_tasks")
    reader = open_database(webui.source, people_table="user")
    # A member who was deleted after the list had been read.
    members = Members(
        origin="here",
        user_map={"u-bob": 10**6},
        people=reader.people,
        may_create=True,
        dry_run=False,
    )
    columns = engine.wanted(kind=mapping.MIDJOURNEY, there=reader.columns("mj_tasks"))

    engine.bring_over(
        rows=reader.rows("mj_tasks", columns=columns, order=["created_at"]),
        kind=mapping.MIDJOURNEY,
        members=members,
        options=engine.Options(origin="here", zone=timezone.get_default_timezone()),
        tally=tally,
    )
    reader.close()

    assert (tally.new, tally.unreadable) == (5, 1)
    assert "mj_tasks, 5: the database refuses it" in tally.problems[0]
    assert MidjourneyTask.objects.count() == TaskImage.objects.count() == 5
