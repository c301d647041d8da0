"""The form of the studio: what a click makes, and what comes back when it cannot."""

from __future__ import annotations

import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from generation import lifecycle
from generation.models import FluxTask, Upload
from generation.tests.factories import FluxTaskFactory, TaskImageFactory, UploadFactory, image_bytes

pytestmark = pytest.mark.usefixtures("drawing")

HTMX = {"HX-Request": "true"}
KEY = "0123456789abcdef0123456789abcdef"
DEV = "fal-ai/flux-1/dev"


@pytest.fixture
def member(client, alice):
    client.force_login(alice)
    return client


def form(**changes):
    return {
        "key": KEY,
        "model": DEV,
        "shown": DEV,
        "prompt": "一只猫",
        "aspect_ratio": "3:2",
        "num_images": "2",
        "num_inference_steps": "28",
        "guidance_scale": "3.5",
        "seed": "",
        "output_format": "jpeg",
        "enable_safety_checker": ["false", "true"],
        "acceleration": "regular",
        **changes,
    }


def problems(response):
    return {name: list(texts) for name, texts in response.context["composer"].form.errors.items()}


# ---------------------------------------------------------------- a task is made
def test_a_click_makes_a_task_and_leads_to_its_card(member, alice):
    response = member.post("/", form())

    task = FluxTask.objects.get()
    assert response.status_code == 302
    assert response["Location"] == f"/?task={task.pk}#task-{task.pk}"
    assert (task.user, task.model, task.prompt) == (alice, DEV, "一只猫")
    assert task.parameters == {
        "aspect_ratio": "3:2",
        "num_images": 2,
        "num_inference_steps": 28,
        "guidance_scale": 3.5,
        "seed": None,
        "output_format": "jpeg",
        "enable_safety_checker": True,
        "acceleration": "regular",
    }


def test_the_words_stay_on_the_page_a_click_leads_to(member):
    response = member.post("/", form(), follow=True)

    assert response.context["composer"].prompt == "一只猫"


def test_with_htmx_a_click_brings_the_card_and_a_fresh_key(member):
    response = member.post("/", form(), headers=HTMX)

    assert response.status_code == 200
    assert response.templates[0].name == "generation/_created.html"
    assert response.context["card"].task == FluxTask.objects.get()
    assert response.context["key"] != KEY


def test_an_unchecked_box_means_no(member):
    member.post("/", form(enable_safety_checker="false"))

    assert FluxTask.objects.get().parameters["enable_safety_checker"] is False


def test_the_same_click_twice_is_one_task(member):
    first = member.post("/", form())
    second = member.post("/", form())

    assert FluxTask.objects.count() == 1
    assert first["Location"] == second["Location"]


def test_the_form_changed_after_going_back_is_another_task(member):
    member.post("/", form())
    member.post("/", form(prompt="一只狗"))
    member.post("/", form(prompt="一只狗"))

    assert FluxTask.objects.count() == 2


@pytest.mark.parametrize("key", ["", "short", "\x00" * 32, "x" * 500])
def test_a_form_without_a_proper_key_still_works(member, key):
    assert member.post("/", form(key=key)).status_code == 302


def test_reference_pictures_keep_their_order(member, alice):
    first, second = UploadFactory(user=alice), TaskImageFactory(user=alice)
    asked = form(
        model="fal-ai/flux-pro/kontext",
        shown="fal-ai/flux-pro/kontext/multi",
        image=[second.url, first.url],
    )

    member.post("/", asked)

    task = FluxTask.objects.get()
    assert task.endpoint == "fal-ai/flux-pro/kontext/multi"
    assert [item.picture for item in task.inputs.all()] == [second, first]


def test_files_are_taken_from_the_form_itself(member, alice):
    file = SimpleUploadedFile("sun.png", image_bytes(), "image/png")

    member.post("/", form(files=file))

    task = FluxTask.objects.get()
    assert task.endpoint == "fal-ai/flux-1/dev/image-to-image"
    assert [item.picture for item in task.inputs.all()] == [Upload.objects.get(user=alice)]


def test_settings_shown_for_another_endpoint_are_carried_over(member):
    asked = form(model="fal-ai/flux-1/schnell", aspect_ratio="16:9")

    member.post("/", asked)

    parameters = FluxTask.objects.get().parameters
    assert parameters["num_inference_steps"] == 4
    assert (parameters["aspect_ratio"], parameters["num_images"]) == ("16:9", 2)


# ---------------------------------------------------------------- it cannot run
def test_problems_come_back_beside_their_fields_and_nothing_is_lost(member):
    asked = form(prompt=" ", num_inference_steps="99", seed="12ab")

    response = member.post("/", asked)

    assert response.status_code == 422
    assert problems(response) == {
        "prompt": ["Write what you want to see."],
        "num_inference_steps": ["Must be between 1 and 50."],
        "seed": ["A whole number is needed."],
    }
    rows = {row.name: row for row in response.context["composer"].form.advanced}
    assert (rows["num_inference_steps"].value, rows["seed"].value) == ("99", "12ab")
    assert response.context["composer"].form.advanced_is_open is True
    assert FluxTask.objects.count() == 0


def test_problems_are_told_in_the_readers_language(member):
    response = member.post("/", form(prompt=""), headers={"Accept-Language": "zh-CN"})

    assert problems(response) == {"prompt": ["先写下你想看到的画面。"]}


def test_with_htmx_only_the_settings_and_the_problems_come_back(member):
    response = member.post("/", form(prompt=""), headers=HTMX)

    assert response.status_code == 422
    assert (response["HX-Retarget"], response["HX-Reswap"]) == ("#parameters", "outerHTML")
    html = response.content.decode()
    assert "Write what you want to see." in html
    assert "<textarea" not in html


def test_a_picture_of_another_member_is_refused(member, bob):
    theirs = UploadFactory(user=bob)

    response = member.post("/", form(image=theirs.url))

    assert problems(response) == {
        "references": [
            "This is not one of your pictures. Upload it first, or take one from your history."
        ]
    }


def test_too_many_pictures_are_refused_and_stay_on_the_page(member, alice):
    pictures = [UploadFactory(user=alice), UploadFactory(user=alice)]

    response = member.post("/", form(image=[picture.url for picture in pictures]))

    assert problems(response) == {"references": ["FLUX.1 dev takes at most 1 reference pictures."]}
    assert response.context["composer"].pictures == pictures


def test_a_file_that_is_no_picture_is_named(member):
    file = SimpleUploadedFile("notes.png", b"hello", "image/png")

    response = member.post("/", form(files=file))

    assert problems(response) == {
        "references": [
            "notes.png: This is not a JPEG, PNG or WebP picture. Save it as one of these."
        ]
    }


def test_nothing_is_accepted_while_there_is_no_provider(member, settings):
    settings.SANDBOX_URL = ""

    response = member.post("/", form(), headers=HTMX)

    assert response.status_code == 422
    assert problems(response) == {
        "__all__": [
            "No image provider is set up on this site. An administrator has to enter a fal key."
        ]
    }
    assert FluxTask.objects.count() == 0


def test_a_stranger_makes_nothing(client, db):
    assert client.post("/", form()).status_code == 302
    assert FluxTask.objects.count() == 0


# ---------------------------------------------------------------- editing without scripts
@pytest.mark.parametrize(
    ("command", "order"),
    [
        ("remove:0", [1]),
        ("earlier:1", [1, 0]),
        ("earlier:0", [0, 1]),
        ("remove:7", [0, 1]),
        ("remove:", [0, 1]),
        ("settings", [0, 1]),
        ("explode:1", [0, 1]),
    ],
)
def test_pictures_are_ordered_and_removed_by_buttons(member, alice, command, order):
    pictures = [UploadFactory(user=alice), UploadFactory(user=alice)]
    asked = form(image=[picture.url for picture in pictures], edit=command)

    response = member.post("/", asked)

    assert response.status_code == 200
    assert response.context["composer"].pictures == [pictures[index] for index in order]
    assert response.context["composer"].prompt == "一只猫"
    assert FluxTask.objects.count() == 0


# ---------------------------------------------------------------- again
def test_retry_asks_for_the_same_again(member, alice):
    failed = FluxTaskFactory(user=alice, failed=True)

    response = member.post(f"/studio/task/{failed.pk}/retry")

    again = FluxTask.objects.get(retry_of=failed)
    assert response["Location"] == f"/?task={again.pk}#task-{again.pk}"
    assert again.prompt == failed.prompt


def test_retry_clicked_twice_is_one_task(member, alice):
    failed = FluxTaskFactory(user=alice, failed=True)

    for _ in range(2):
        member.post(f"/studio/task/{failed.pk}/retry", headers=HTMX)

    assert FluxTask.objects.filter(retry_of=failed).count() == 1


def test_a_retry_form_sent_again_after_its_task_has_ended_is_still_that_task(member, alice):
    failed = FluxTaskFactory(user=alice, failed=True)
    page = member.get("/").content.decode()
    form = page[page.index(f"/studio/task/{failed.pk}/retry") :]
    key = re.search(r'name="key" value="([0-9a-f]{32})"', form)[1]

    for _ in range(2):
        member.post(f"/studio/task/{failed.pk}/retry", {"key": key}, headers=HTMX)
        again = FluxTask.objects.get(retry_of=failed)
        lifecycle.cancel(task=again, now=timezone.now())

    assert FluxTask.objects.filter(retry_of=failed).count() == 1


def test_retry_of_a_running_task_is_refused(member, alice):
    running = FluxTaskFactory(user=alice, at_provider=True)

    response = member.post(f"/studio/task/{running.pk}/retry", headers=HTMX)

    assert response.status_code == 422
    assert FluxTask.objects.count() == 1


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_retry_without_a_provider_says_why(member, alice, settings, headers):
    failed = FluxTaskFactory(user=alice, failed=True)
    settings.SANDBOX_URL = ""

    response = member.post(f"/studio/task/{failed.pk}/retry", headers=headers, follow=True)

    assert response.status_code == (422 if headers else 200)
    assert "No image provider is set up on this site." in response.content.decode()


def test_retry_of_a_model_that_is_gone_says_why(member, alice):
    failed = FluxTaskFactory(user=alice, failed=True, model="fal-ai/flux-0")

    response = member.post(f"/studio/task/{failed.pk}/retry", headers=HTMX)

    assert response.status_code == 422
    assert "This model is not known." in response.content.decode()


# ---------------------------------------------------------------- cancel
def test_cancel_ends_a_waiting_task(member, alice):
    task = FluxTaskFactory(user=alice)

    response = member.post(f"/studio/task/{task.pk}/cancel", headers=HTMX)

    assert [card.state for card in response.context["cards"]] == ["cancelled"]


def test_cancel_works_without_scripts(member, alice):
    task = FluxTaskFactory(user=alice, at_provider=True)

    response = member.post(f"/studio/task/{task.pk}/cancel", follow=True)

    [card] = response.context["cards"]
    assert (card.status_text, card.can_cancel) == ("Cancelling", False)


def test_cancel_of_a_task_that_has_ended_shows_how(member, alice):
    task = FluxTaskFactory(user=alice, failed=True)

    response = member.post(f"/studio/task/{task.pk}/cancel", headers=HTMX)

    assert [card.state for card in response.context["cards"]] == ["failed"]


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_nobody_touches_the_task_of_another(client, member, bob, verb):
    task = FluxTaskFactory(user=bob, failed=True)
    path = f"/studio/task/{task.pk}/{verb}"

    assert member.post(path).status_code == 404
    assert member.get(path).status_code == 405
    assert member.post(f"/studio/task/none/{verb}").status_code == 404
    client.logout()
    assert client.post(path).status_code == 302
    assert FluxTask.objects.count() == 1
