"""Presets: saved, shared, deleted and brought back, and what a changed catalogue leaves of them."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from generation import presets
from generation.ids import new_id
from generation.models import Preset
from generation.tests.factories import UploadFactory, image_bytes

pytestmark = pytest.mark.usefixtures("drawing")

DEV = "fal-ai/flux-1/dev"
KONTEXT = "fal-ai/flux-pro/kontext"
PATH = "/api/flux/presets"
HTMX = {"HX-Request": "true"}


def preset(owner, name="Wide", **values):
    values = {"model": DEV, "parameters": {"aspect_ratio": "21:9"}, **values}
    return Preset.objects.create(owner=owner, name=name, **values)


@pytest.fixture
def api(alice):
    client = APIClient()
    client.force_authenticate(alice)
    return client


@pytest.fixture
def member(client, alice):
    client.force_login(alice)
    return client


def create(api, **body):
    body = {"name": "Wide", "model": DEV, **body}
    return api.post(PATH, json.dumps(body), content_type="application/json")


# ---------------------------------------------------------------- by API
def test_a_preset_is_saved_with_its_values_in_their_own_types(api, alice):
    parameters = {"aspect_ratio": "16:9", "num_inference_steps": "30", "seed": 7}

    response = create(api, name="  Wide   screen ", parameters=parameters, prompt=" 远山 ")

    kept = Preset.objects.get()
    assert response.status_code == 201
    assert response.json() == {
        "id": kept.pk,
        "name": "Wide screen",
        "model": DEV,
        "parameters": {"aspect_ratio": "16:9", "num_inference_steps": 30, "seed": "7"},
        "prompt": "远山",
        "shared": False,
        "own": True,
        "created_at": response.json()["created_at"],
    }
    assert (kept.owner, kept.is_shared) == (alice, False)


def test_an_endpoints_name_is_saved_as_its_model(api):
    response = create(api, model="fal-ai/flux-pro/kontext/multi")

    assert response.json()["model"] == "fal-ai/flux-pro/kontext"


@pytest.mark.parametrize(
    ("body", "field", "text"),
    [
        ({"name": ""}, "name", "A name is needed."),
        ({"name": " \t "}, "name", "A name is needed."),
        ({"name": None}, "name", "A name is needed."),
        ({"name": "a\x00b"}, "name", "The name contains characters that are not text."),
        ({"name": "\ud800"}, "name", "The name contains characters that are not text."),
        ({"name": "x" * 61}, "name", "At most 60 characters, please."),
        ({"model": "dalle"}, "model", "This model is not known."),
        ({"model": ["x"]}, "model", "This model is not known."),
        ({"parameters": {"cfg": 1}}, "cfg", "FLUX.1 dev has no such setting here."),
        ({"parameters": {"seed": "x"}}, "seed", "A whole number is needed."),
        (
            {"parameters": {"num_inference_steps": 99}},
            "num_inference_steps",
            "Must be between 1 and 50.",
        ),
        ({"parameters": [1]}, "parameters", "An object is needed."),
        ({"prompt": "a\x00"}, "prompt", "The prompt contains characters that are not text."),
        ({"prompt": "\udfff"}, "prompt", "The prompt contains characters that are not text."),
        ({"prompt": "x" * 10_001}, "prompt", "At most 10000 characters, please."),
        ({"prompt": 7}, "prompt", "The prompt must be text."),
        ({"shared": "yes"}, "shared", "Must be true or false."),
        ({"shared": True}, "shared", "Only staff can share a preset."),
        ({"owner": "bob"}, "owner", "A preset has no such field."),
    ],
)
def test_what_cannot_be_saved_is_refused_by_name(api, body, field, text):
    response = create(api, **body)

    assert response.status_code == 400
    assert response.json()["errors"] == {field: [text]}
    assert Preset.objects.count() == 0


def test_a_body_that_is_no_object_is_refused(api):
    assert api.post(PATH, "[1]", content_type="application/json").status_code == 400


def test_a_name_is_taken_once_per_member(api, alice, bob):
    preset(bob)

    first, second = create(api), create(api)

    assert (first.status_code, second.status_code) == (201, 400)
    assert second.json()["errors"] == {"name": ["You have a preset of this name."]}


def test_a_member_has_so_many_presets_at_most(api, alice):
    for number in range(presets.MOST_PER_MEMBER):
        preset(alice, name=f"n{number}")

    response = create(api)

    assert response.json()["errors"] == {"name": ["You have 50 presets; delete one first."]}


def test_own_and_shared_ones_are_listed_and_nobody_elses(api, alice, bob, staff):
    preset(bob, name="Theirs")
    preset(staff, name="A shared one", is_shared=True)
    preset(alice, name="Mine")
    preset(alice, name="Gone", deleted_at=timezone.now())

    rows = api.get(PATH).json()["results"]

    assert [(row["name"], row["own"], row["shared"]) for row in rows] == [
        ("Mine", True, False),
        ("A shared one", False, True),
    ]


@pytest.mark.parametrize("count", [1, 3])
def test_the_list_takes_the_same_queries_for_any_number(
    api, alice, count, django_assert_num_queries
):
    for number in range(count):
        preset(alice, name=f"n{number}")

    with django_assert_num_queries(1):
        assert len(api.get(PATH).json()["results"]) == count


def test_only_the_owner_deletes(api, alice, bob, staff):
    mine, theirs = preset(alice), preset(bob)
    shared = preset(staff, is_shared=True)

    codes = [
        api.delete(f"{PATH}/{pk}").status_code
        for pk in (mine.pk, mine.pk, theirs.pk, shared.pk, new_id(), "x" * 500)
    ]

    assert codes == [204, 404, 404, 404, 404, 404]
    assert list(Preset.objects.kept().order_by("created_at")) == [theirs, shared]


def test_strangers_get_nothing(db):
    assert APIClient().get(PATH).status_code == 401
    assert APIClient().delete(f"{PATH}/{new_id()}").status_code == 401
    assert Client().get("/presets")["Location"] == "/login?next=/presets"


def test_the_schema_describes_what_is_answered(api, alice):
    schema = api.get("/api/schema?format=json").json()
    described = schema["components"]["schemas"]["Preset"]["properties"]

    assert set(described) == set(create(api).json())
    assert {"get", "post"} <= set(schema["paths"]["/api/flux/presets"])
    assert "delete" in schema["paths"]["/api/flux/presets/{preset_id}"]


# ---------------------------------------------------------------- opening one
def settings_of(response):
    form = response.context["composer"].form
    return {row.name: row.value for row in [*form.basic, *form.advanced]}


def test_a_preset_opens_in_the_studio(member, alice):
    kept = preset(alice, parameters={"aspect_ratio": "9:16", "num_inference_steps": 33})

    response = member.get("/", {"preset": kept.pk})

    assert response.context["composer"].model.id == DEV
    assert settings_of(response)["aspect_ratio"] == "9:16"
    assert settings_of(response)["num_inference_steps"] == "33"
    assert response.context["keeps_draft"] is True


def test_the_words_of_a_preset_go_before_the_draft(member, alice):
    kept = preset(alice, prompt="远山")

    response = member.get("/", {"preset": kept.pk})

    assert response.context["composer"].prompt == "远山"
    assert response.context["keeps_draft"] is False


def test_a_preset_whose_model_is_gone_opens_with_what_is_valid(member, alice):
    kept = preset(alice, model="fal-ai/flux-0", parameters={"aspect_ratio": "9:16", "cfg": 3})

    response = member.get("/", {"preset": kept.pk})

    assert response.context["composer"].model.id == DEV
    assert settings_of(response)["aspect_ratio"] == "9:16"
    assert [str(each) for each in response.context["messages"]] == [
        "The model of this preset is no longer offered here."
    ]


def test_a_value_the_catalogue_no_longer_takes_is_left_out(member, alice):
    kept = preset(alice, parameters={"num_inference_steps": 500, "aspect_ratio": "5:4"})

    settings = settings_of(member.get("/", {"preset": kept.pk}))

    assert (settings["num_inference_steps"], settings["aspect_ratio"]) == ("28", "1:1")


def test_a_preset_fills_the_form_for_the_pictures_that_are_attached(member, alice):
    kept = preset(alice, parameters={"strength": 0.5}, prompt="远山")

    response = member.get("/studio/parameters", {"preset": kept.pk, "images": "1"})

    assert settings_of(response)["strength"] == "0.5"
    assert 'data-words="远山"' in response.content.decode()


def test_a_preset_keeps_the_pictures_of_the_address(member, alice):
    picture = UploadFactory(user=alice)

    response = member.get("/", {"preset": preset(alice).pk, "image": picture.url})

    assert response.context["composer"].pictures == [picture]


@pytest.mark.parametrize("path", ["/", "/studio/parameters"])
def test_the_presets_of_others_do_not_open_unless_shared(member, bob, staff, path):
    theirs, shared = preset(bob), preset(staff, is_shared=True)

    assert member.get(path, {"preset": theirs.pk}).status_code == 404
    assert member.get(path, {"preset": "\x00"}).status_code == 404
    assert member.get(path, {"preset": shared.pk}).status_code == 200


# ---------------------------------------------------------------- saving what the form shows
def form(**changes):
    return {
        "model": DEV,
        "shown": DEV,
        "prompt": "一只猫",
        "aspect_ratio": "3:2",
        "num_images": "2",
        "num_inference_steps": "28",
        "seed": "",
        "enable_safety_checker": ["false", "true"],
        "preset_name": "Cats",
        **changes,
    }


def test_what_the_form_shows_is_saved(member, alice):
    member.post("/studio/presets/save", form())

    kept = Preset.objects.get()
    assert (kept.owner, kept.name, kept.prompt) == (alice, "Cats", "")
    assert kept.parameters == {
        "aspect_ratio": "3:2",
        "num_images": 2,
        "num_inference_steps": 28,
        "enable_safety_checker": True,
    }


def test_the_prompt_is_saved_when_it_is_asked_for(member):
    member.post("/studio/presets/save", form(preset_prompt="on"))

    assert Preset.objects.get().prompt == "一只猫"


def test_with_htmx_the_menu_answers(member):
    saved = member.post("/studio/presets/save", form(), headers=HTMX)
    again = member.post("/studio/presets/save", form(num_inference_steps="99"), headers=HTMX)

    assert (saved.status_code, saved["HX-Trigger"]) == (200, "presets")
    assert again.status_code == 422
    assert again.context["problems"] == ["Steps: Must be between 1 and 50."]


def test_without_scripts_a_refusal_is_a_message(member):
    response = member.post("/studio/presets/save", form(preset_name=""))

    assert response.status_code == 422
    assert [str(each) for each in response.context["messages"]] == ["A name is needed."]


@pytest.mark.parametrize(
    ("taken", "status", "text", "name"),
    [
        (False, 200, "“Cats” is saved.", ""),
        (True, 422, "You have a preset of this name.", "Cats"),
    ],
)
def test_without_scripts_nothing_in_the_form_is_lost(member, alice, taken, status, text, name):
    if taken:
        preset(alice, name="Cats")
    first, second = UploadFactory.create_batch(2, user=alice)
    file = SimpleUploadedFile("day.png", image_bytes((300, 200)))

    response = member.post(
        "/studio/presets/save",
        form(model=KONTEXT, shown=KONTEXT, image=[first.url, second.url], files=[file], seed="7"),
    )

    assert response.status_code == status
    assert [str(each) for each in response.context["messages"]] == [text]
    shown = response.context["composer"]
    values = {row.name: row.value for row in [*shown.form.basic, *shown.form.advanced]}
    assert [picture.url for picture in shown.pictures[:2]] == [first.url, second.url]
    assert len(shown.pictures) == 3
    assert (shown.prompt, values["aspect_ratio"], values["seed"]) == ("一只猫", "3:2", "7")
    assert f'name="preset_name"\n      value="{name}"' in response.content.decode()


@pytest.mark.parametrize(
    ("path", "place"),
    [("/studio/presets/save", "/"), ("/presets/{id}/change", "/presets")],
)
def test_the_address_of_a_refusal_leads_on_when_it_is_opened(member, alice, path, place):
    """Where the buttons for language and theme lead from a page that answers a form."""
    response = member.get(path.format(id=preset(alice).pk))

    assert (response.status_code, response["Location"]) == (302, place)


def test_staff_share_with_everybody_and_members_cannot(client, member, staff):
    refused = member.post("/studio/presets/save", form(preset_shared="on"), headers=HTMX)
    client.force_login(staff)
    client.post("/studio/presets/save", form(preset_shared="on"))

    assert refused.status_code == 422
    assert Preset.objects.get().is_shared is True


# ---------------------------------------------------------------- the page
def test_the_page_renames_and_deletes_and_brings_back(member, alice):
    kept = preset(alice)

    member.post(f"/presets/{kept.pk}/change", {"name": "Broad"})
    gone = member.post(f"/presets/{kept.pk}/delete", follow=True)
    back = member.post(f"/presets/{kept.pk}/restore", follow=True)

    kept.refresh_from_db()
    assert gone.context["deleted"] == kept
    assert gone.context["own"] == []
    assert [each.preset for each in back.context["own"]] == [kept]
    assert (kept.name, kept.deleted_at) == ("Broad", None)


def test_a_name_that_is_taken_is_named_beside_its_preset(member, alice):
    preset(alice, name="Wide")
    other = preset(alice, name="Tall")

    response = member.post(f"/presets/{other.pk}/change", {"name": "Wide"})

    assert response.status_code == 422
    assert response.context["wrong_id"] == other.pk
    assert "You have a preset of this name." in response.content.decode()


def test_a_preset_whose_name_was_taken_meanwhile_is_not_brought_back(member, alice):
    gone = preset(alice, deleted_at=timezone.now())
    preset(alice)

    response = member.post(f"/presets/{gone.pk}/restore", follow=True)

    assert [str(each) for each in response.context["messages"]] == [
        "You have a preset of this name."
    ]


@pytest.mark.parametrize("verb", ["change", "delete", "restore"])
def test_nobody_touches_the_preset_of_another(member, bob, staff, verb):
    theirs, shared = preset(bob), preset(staff, is_shared=True)

    for pk in (theirs.pk, shared.pk, new_id()):
        assert member.post(f"/presets/{pk}/{verb}", {"name": "x"}).status_code == 404
    assert member.get(f"/presets/{theirs.pk}/{verb}").status_code == (
        302 if verb == "change" else 405
    )
    assert sorted(Preset.objects.values_list("name", "deleted_at")) == [("Wide", None)] * 2


@pytest.mark.parametrize("value", ["\x00", "none", "x" * 5000])
def test_the_page_bears_any_address(member, value):
    assert member.get("/presets", {"deleted": value}).context["deleted"] is None


@pytest.mark.parametrize("count", [1, 3])
def test_the_page_takes_the_same_queries_for_any_number(
    member, alice, staff, count, django_assert_num_queries
):
    for number in range(count):
        preset(alice, name=f"n{number}")
        preset(staff, name=f"s{number}", is_shared=True)

    # The session, the member, the presets, what was deleted, and the configuration.
    with django_assert_num_queries(5):
        member.get("/presets")


# ---------------------------------------------------------------- what was deleted
def test_deleted_ones_are_kept_for_a_day_and_only_the_last(alice):
    now = timezone.now()
    preset(alice, name="old", deleted_at=now - timedelta(days=2))
    for number in range(presets.MOST_DELETED + 2):
        kept = preset(alice, name=f"n{number}")
        presets.delete(user=alice, preset_id=kept.pk, now=now + timedelta(seconds=number))
    bounded = Preset.objects.count()
    forgotten = presets.forget(now=now + timedelta(days=1, seconds=5))

    assert (bounded, forgotten) == (presets.MOST_DELETED, 3)


def test_the_admin_lists_presets_and_shares_them(client, staff, alice):
    kept = preset(alice)
    client.force_login(staff)
    listed = client.get("/admin/generation/preset/", {"q": "wide"})

    client.post(f"/admin/generation/preset/{kept.pk}/change/", {"name": "Wide", "is_shared": "on"})

    kept.refresh_from_db()
    assert listed.status_code == 200
    assert kept.is_shared is True


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Tall ", "The member has a preset of this name."),
        ("a\u202eb", "The name contains characters that are not text."),
    ],
)
def test_the_admin_refuses_a_name_the_pages_would_refuse(client, staff, alice, name, text):
    kept = preset(alice)
    preset(alice, name="Tall")
    client.force_login(staff)

    response = client.post(f"/admin/generation/preset/{kept.pk}/change/", {"name": name})

    kept.refresh_from_db()
    assert response.context["adminform"].form.errors == {"name": [text]}
    assert kept.name == "Wide"


def test_the_admin_takes_a_name_of_anothers_preset_or_of_a_deleted_one(client, staff, alice, bob):
    kept = preset(alice)
    preset(bob, name="Tall")
    preset(alice, name="Tall", deleted_at=timezone.now())
    client.force_login(staff)

    client.post(f"/admin/generation/preset/{kept.pk}/change/", {"name": " Tall  "})

    kept.refresh_from_db()
    assert kept.name == "Tall"
