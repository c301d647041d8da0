"""The studio page: what it shows, and what its address can ask for."""

from __future__ import annotations

import pytest
from django.test import Client

from generation import lifecycle
from generation.ids import new_id
from generation.models import FluxConfig
from generation.tests.factories import FluxTaskFactory, TaskImageFactory, UploadFactory

pytestmark = pytest.mark.usefixtures("drawing")


@pytest.fixture
def member(client, alice):
    client.force_login(alice)
    return client


def composer(response):
    return response.context["composer"]


def settings_of(response):
    form = composer(response).form
    return {row.name: row.value for row in [*form.basic, *form.advanced]}


def reasons(response):
    return [reason.text for reason in composer(response).reasons]


# ---------------------------------------------------------------- the page
def test_first_visit_shows_examples_that_fill_the_form(member):
    response = member.get("/", headers={"Accept-Language": "zh-CN"})

    examples = response.context["examples"]
    assert len(examples) == 8
    filled = member.get(examples[0].url, headers={"Accept-Language": "zh-CN"})
    assert composer(filled).prompt == "水墨风格，清晨薄雾中的群山，湖上一叶小舟"
    assert composer(filled).model.id == examples[0].model
    assert settings_of(filled)["aspect_ratio"] == "3:2"


def test_examples_are_gone_once_there_is_a_task(member, alice):
    FluxTaskFactory(user=alice)

    assert member.get("/").context["examples"] == ()


def test_only_own_tasks_are_shown_newest_first(member, alice, bob):
    first, second = FluxTaskFactory(user=alice), FluxTaskFactory(user=alice)
    FluxTaskFactory(user=bob)

    cards = member.get("/").context["cards"]

    assert [card.task.pk for card in cards] == [second.pk, first.pk]


def test_a_stranger_is_sent_to_the_login(client, db):
    response = client.get("/")

    assert (response.status_code, response["Location"]) == (302, "/login?next=/")


@pytest.mark.parametrize("method", ["put", "delete", "patch"])
def test_other_methods_are_refused(member, method):
    assert getattr(member, method)("/").status_code == 405


def test_the_page_carries_no_inline_script_or_style(member, alice):
    task = FluxTaskFactory(user=alice, succeeded=True)
    TaskImageFactory(user=alice, task=task)
    FluxTaskFactory(user=alice, failed=True)

    html = member.get("/").content.decode()

    assert "<style" not in html
    assert "style=" not in html
    assert "onclick=" not in html
    assert html.count("<script") == html.count("<script src=")


@pytest.mark.parametrize("count", [1, 3])
def test_page_takes_the_same_queries_for_any_number_of_cards(
    member, alice, count, django_assert_num_queries
):
    for _ in range(count):
        reference = UploadFactory(user=alice)
        task = FluxTaskFactory(user=alice, succeeded=True)
        TaskImageFactory(user=alice, task=task)
        task.inputs.create(position=0, upload=reference)
        waiting = FluxTaskFactory(user=alice)
        waiting.inputs.create(position=0, image=TaskImageFactory(user=alice, task=task, position=1))

    # The session, the member, the tasks, their inputs, uploads and pictures, the
    # configuration, how long models take, what was drawn, the line, the prices, the balance,
    # the budgets and what is being drawn.
    lifecycle.balance_of(user=alice)
    with django_assert_num_queries(14):
        response = member.get("/")

    assert len(response.context["cards"]) == 2 * count


# ---------------------------------------------------------------- paging and one card
@pytest.fixture
def many(alice):
    return [FluxTaskFactory(user=alice) for _ in range(23)]


def test_older_cards_follow_after_the_last_one(member, many):
    first = member.get("/")
    following = first.context["following"]

    second = member.get("/studio/cards", {"before": following})

    assert [card.task for card in first.context["cards"]] == many[:2:-1]
    assert [card.task for card in second.context["cards"]] == many[2::-1]
    assert second.context["following"] == ""


def test_older_cards_are_a_page_without_scripts(member, many):
    following = member.get("/").context["following"]

    response = member.get("/", {"before": following})

    assert [card.task for card in response.context["cards"]] == many[2::-1]


def test_an_address_opens_a_card_however_old(member, many):
    oldest = many[0]

    cards = member.get("/", {"task": oldest.pk}).context["cards"]

    assert (cards[0].task, cards[0].is_open) == (oldest, True)
    assert len(cards) == 21


@pytest.mark.parametrize("name", ["task", "before", "like", "reference"])
def test_what_is_not_ones_own_is_not_found(member, bob, name):
    task = FluxTaskFactory(user=bob, succeeded=True)
    picture = TaskImageFactory(user=bob, task=task)
    theirs = picture.pk if name == "reference" else task.pk

    assert member.get("/", {name: theirs}).status_code == 404


@pytest.mark.parametrize("name", ["task", "before", "like", "reference"])
@pytest.mark.parametrize("value", ["none", "%00", "\x00", "ffffffffffffffffffffffffffffffff"])
def test_what_is_not_there_is_not_found(member, name, value):
    assert member.get("/", {name: value}).status_code == 404


# ---------------------------------------------------------------- what an address asks for
def test_reference_fills_the_tray_and_picks_a_model_that_takes_it(member, alice):
    FluxTaskFactory(user=alice, model="fal-ai/flux-1/schnell")
    picture = UploadFactory(user=alice)

    shown = composer(member.get("/", {"reference": picture.pk}))

    assert [each.pk for each in shown.pictures] == [picture.pk]
    assert shown.endpoint.id == "fal-ai/flux-1/dev/image-to-image"


@pytest.fixture
def drawn(alice):
    task = FluxTaskFactory(
        user=alice,
        succeeded=True,
        model="fal-ai/flux-1/dev",
        endpoint="fal-ai/flux-1/dev",
        prompt="a harbour",
        parameters={"aspect_ratio": "3:2", "num_images": 2, "num_inference_steps": 33},
    )
    TaskImageFactory(user=alice, task=task)
    return task


@pytest.mark.parametrize(
    ("keep", "steps", "seed"),
    [
        ("all", "33", "17454220438242315174"),
        ("no-seed", "33", ""),
        ("prompt", "28", ""),
    ],
)
def test_like_takes_over_as_much_as_was_asked(member, drawn, keep, steps, seed):
    response = member.get("/", {"like": drawn.pk, "keep": keep})

    settings = settings_of(response)
    assert composer(response).prompt == "a harbour"
    assert (settings["num_inference_steps"], settings["seed"]) == (steps, seed)


def test_like_takes_the_reference_pictures_over(member, drawn, alice):
    picture = UploadFactory(user=alice)
    drawn.inputs.create(position=0, upload=picture)

    shown = composer(member.get("/", {"like": drawn.pk}))

    assert [each.pk for each in shown.pictures] == [picture.pk]


def test_like_keeps_nothing_unknown(member, drawn):
    assert member.get("/", {"like": drawn.pk, "keep": "half"}).status_code == 404


@pytest.mark.usefixtures("drawn")
def test_without_a_query_the_settings_are_those_of_the_newest_task(member):
    response = member.get("/")

    settings = settings_of(response)
    assert composer(response).model.id == "fal-ai/flux-1/dev"
    assert (settings["num_inference_steps"], settings["num_images"]) == ("33", "2")
    assert (settings["seed"], composer(response).prompt) == ("", "")


def test_an_endpoint_asked_for_by_name_shows_as_its_model(member):
    shown = composer(member.get("/", {"model": "fal-ai/flux-pro/kontext/multi"}))

    assert shown.model.id == "fal-ai/flux-pro/kontext"


def test_an_unknown_model_is_the_sites_default(member):
    FluxConfig.objects.update_or_create(
        pk="default", defaults={"default_model": "fal-ai/flux-2-pro"}
    )

    assert composer(member.get("/", {"model": "dalle"})).model.id == "fal-ai/flux-2-pro"


# ---------------------------------------------------------------- the state of the channel
def test_the_sandbox_is_named_and_staff_are_led_to_the_key(client, member, staff):
    badge = b"Drawing with the built-in sandbox: no key yet."
    link = b"/admin/generation/fluxconfig/default/change/"
    for_member = member.get("/").content
    staff_client = Client()
    staff_client.force_login(staff)

    for_staff = staff_client.get("/").content

    assert (badge in for_member, link in for_member) == (True, False)
    assert (badge in for_staff, link in for_staff) == (True, True)


def test_without_a_provider_the_page_says_whom_to_ask(member, settings):
    settings.SANDBOX_URL = ""

    response = member.get("/")

    assert b"Please ask an administrator." in response.content
    assert reasons(response) == [
        "No image provider is set up on this site. An administrator has to enter a fal key."
    ]


def test_staff_are_told_what_to_do_when_drawing_is_off(client, staff):
    FluxConfig.objects.update_or_create(pk="default", defaults={"enabled": False})
    client.force_login(staff)

    html = client.get("/").content

    assert b"Nothing new is accepted until you switch it on again." in html
    assert b"/admin/generation/fluxconfig/default/change/" in html


def test_a_key_that_cannot_be_read_is_named(member):
    FluxConfig.objects.update_or_create(pk="default", defaults={"api_key": "gAAAAbroken"})

    assert b"key cannot be read" in member.get("/").content


# ---------------------------------------------------------------- settings of a model
def test_settings_are_those_of_the_model_and_the_number_of_pictures(member):
    one = member.get("/studio/parameters", {"model": "fal-ai/flux-1/dev", "images": "1"})
    none = member.get("/studio/parameters", {"model": "fal-ai/flux-1/dev", "images": "0"})

    assert ("strength" in settings_of(one), "aspect_ratio" in settings_of(one)) == (True, False)
    assert ("strength" in settings_of(none), "aspect_ratio" in settings_of(none)) == (False, True)


def test_what_was_changed_stays_and_what_was_not_follows_the_new_default(member):
    query = {
        "model": "fal-ai/flux-1/dev",
        "shown": "fal-ai/flux-1/schnell",
        "num_inference_steps": "4",
        "num_images": "3",
        "aspect_ratio": "16:9",
        "enable_safety_checker": ["false", "false"],
    }

    settings = settings_of(member.get("/studio/parameters", query))

    assert settings["num_inference_steps"] == "28"
    assert (settings["num_images"], settings["aspect_ratio"]) == ("3", "16:9")
    assert settings["enable_safety_checker"] == "false"


def test_a_value_the_new_model_refuses_is_left_behind(member):
    query = {
        "model": "fal-ai/flux-1/schnell",
        "shown": "fal-ai/flux-1/dev",
        "num_inference_steps": "40",
    }

    response = member.get("/studio/parameters", query)

    assert settings_of(response)["num_inference_steps"] == "4"


def test_a_wrong_number_of_pictures_is_a_reason(member):
    query = {"model": "fal-ai/flux-1/schnell", "images": "1"}

    response = member.get("/studio/parameters", query)

    assert reasons(response) == [
        "FLUX.1 schnell draws from the prompt alone; remove the reference picture."
    ]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"model": "fal-ai/flux-1/dev", "images": "-1"}, 400),
        ({"model": "fal-ai/flux-1/dev", "images": "many"}, 400),
        ({"model": "fal-ai/flux-1/dev", "images": "99"}, 400),
        ({"model": "dalle"}, 404),
        ({}, 404),
    ],
)
def test_settings_of_nothing_known_are_refused(member, query, status):
    assert member.get("/studio/parameters", query).status_code == status


# ---------------------------------------------------------------- picking a picture
def test_own_stored_pictures_can_be_picked(member, alice, bob):
    mine = TaskImageFactory(user=alice)
    TaskImageFactory(user=alice, stored_at=None, storage_key="")
    TaskImageFactory(user=bob)

    assert list(member.get("/studio/pictures").context["pictures"]) == [mine]


@pytest.mark.parametrize("path", ["/studio/parameters", "/studio/cards", "/studio/pictures"])
def test_fragments_are_for_members_and_only_read(client, alice, path):
    assert client.get(path).status_code == 302
    client.force_login(alice)
    assert client.post(path).status_code == 405


def test_a_form_from_a_stale_page_is_answered_with_advice(alice):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(alice)

    response = strict.post("/", {"prompt": "a cat"})

    assert response.status_code == 403
    assert b"Go back, reload the page and send the form once more." in response.content


def test_pages_that_fail_are_pages(member):
    response = member.get(f"/media/{new_id()}", headers={"Accept-Language": "zh-CN"})

    assert response.status_code == 404
    assert "这里什么也没有" in response.content.decode()


# ---------------------------------------------------------------- nothing to draw with
def test_without_key_and_sandbox_a_member_learns_whom_to_ask(member, settings):
    settings.SANDBOX_URL = ""
    page = member.get("/").content.decode()

    assert "no image provider is set up. Please ask an administrator." in page
    assert "/admin/generation/fluxconfig/" not in page


def test_without_key_and_sandbox_an_administrator_learns_what_to_do(client, staff, settings):
    settings.SANDBOX_URL = ""
    client.force_login(staff)

    page = client.get("/").content.decode()

    assert "no image provider is set up. Enter a fal key to begin." in page
    assert 'href="/admin/generation/fluxconfig/default/change/"' in page
