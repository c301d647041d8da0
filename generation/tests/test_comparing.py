"""Comparing: the same words for several models, all of them asked or none."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from credits import ledger
from generation import cards, lifecycle
from generation.models import FluxTask
from generation.tests.factories import FluxTaskFactory, UploadFactory

pytestmark = pytest.mark.usefixtures("drawing")

SCHNELL, DEV, PRO = "fal-ai/flux-1/schnell", "fal-ai/flux-1/dev", "fal-ai/flux-2-pro"
KONTEXT, REDUX = "fal-ai/flux-pro/kontext", "fal-ai/flux-1/dev/redux"
KEY = "0123456789abcdef0123456789abcdef"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def member(client, alice, settings):
    settings.CREDITS_STARTING_GRANT = 100
    client.force_login(alice)
    return client


def form(*models, **changes):
    return {
        "key": KEY,
        "model": DEV,
        "shown": "",
        "compare": "on",
        "models": list(models),
        "prompt": "一只猫",
        "aspect_ratio": "3:2",
        "num_images": "2",
        "seed": "42",
        **changes,
    }


def problems(response):
    return {name: list(texts) for name, texts in response.context["composer"].form.errors.items()}


def composer(member, **query):
    query = {"model": DEV, "compare": "on", "models": [SCHNELL, DEV, PRO], **query}
    return member.get("/studio/parameters", query).context["composer"]


# ---------------------------------------------------------------- asking
def test_one_click_asks_each_model_for_what_it_can(member, alice):
    response = member.post("/", form(SCHNELL, PRO))

    tasks = list(FluxTask.objects.order_by("comparison_position"))
    assert response["Location"] == f"/?task={tasks[0].pk}#task-{tasks[0].pk}"
    assert [(t.model, t.num_images, t.seed, t.aspect_ratio) for t in tasks] == [
        (SCHNELL, 2, "42", "3:2"),
        (PRO, 1, "42", "3:2"),
    ]
    assert tasks[0].parameters["num_inference_steps"] == 4
    assert tasks[0].comparison == tasks[1].comparison != ""
    assert ledger.account_for(user=alice).credits_balance == 100 - 2 * 5 - 20


def test_the_same_click_twice_is_one_comparison(member, alice):
    for _ in range(2):
        response = member.post("/", form(SCHNELL, DEV), headers=HTMX)

    [group] = response.context["groups"]
    assert FluxTask.objects.count() == 2
    assert [card.task.model for card in group.cards] == [SCHNELL, DEV]
    assert ledger.account_for(user=alice).credits_balance == 100 - 10 - 20


@pytest.mark.django_db(transaction=True)
def test_clicks_at_the_same_moment_are_one_comparison(alice, race, settings):
    settings.CREDITS_STARTING_GRANT = 100
    ledger.account_for(user=alice)

    def click(_number):
        client = Client()
        client.force_login(alice)
        return client.post("/", form(SCHNELL, DEV), headers=HTMX).status_code

    assert race(click, [0, 1, 2]) == [200, 200, 200]
    assert FluxTask.objects.count() == 2
    assert ledger.account_for(user=alice).credits_balance == 70


def test_who_cannot_pay_for_all_gets_none(member, alice):
    response = member.post("/", form(SCHNELL, DEV, PRO, num_images="4"), headers=HTMX)

    assert response.status_code == 200
    second = member.post("/", form(DEV, PRO, num_images="4"), headers=HTMX)

    assert problems(second) == {"__all__": ["This needs 60 credits and you have 20."]}
    assert FluxTask.objects.count() == 3
    assert ledger.account_for(user=alice).credits_balance == 20


@pytest.mark.parametrize("models", [[], [DEV], [SCHNELL, DEV, KONTEXT, PRO, "fal-ai/flux-2"]])
def test_one_model_is_no_comparison_and_five_are_too_many(member, models):
    response = member.post("/", form(*models), headers=HTMX)

    assert problems(response) == {"__all__": ["Choose 2 to 4 models to compare."]}
    assert FluxTask.objects.count() == 0


def test_names_nobody_knows_and_repeated_ones_do_not_count(member):
    response = member.post("/", form(DEV, DEV, "dalle", "\x00"), headers=HTMX)

    assert response.status_code == 422
    assert FluxTask.objects.count() == 0


def test_a_model_without_prompt_refuses_the_words_for_all(member, alice):
    picture = UploadFactory(user=alice)

    response = member.post("/", form(REDUX, DEV, image=picture.url), headers=HTMX)

    assert problems(response) == {"prompt": ["This model takes no prompt; leave it empty."]}
    assert FluxTask.objects.count() == 0


def test_a_problem_that_all_share_is_told_once(member):
    response = member.post("/", form(SCHNELL, DEV, prompt=""), headers=HTMX)

    assert problems(response) == {"prompt": ["Write what you want to see."]}


def test_reference_pictures_go_to_every_model(member, alice):
    pictures = [UploadFactory(user=alice), UploadFactory(user=alice)]

    member.post(
        "/", form(KONTEXT, PRO, image=[picture.url for picture in pictures], num_images="1")
    )

    tasks = FluxTask.objects.order_by("comparison_position")
    assert [task.endpoint for task in tasks] == [f"{KONTEXT}/multi", f"{PRO}/edit"]
    assert [task.inputs.count() for task in tasks] == [2, 2]


def test_nothing_is_asked_while_there_is_no_provider(member, settings):
    settings.SANDBOX_URL = ""

    response = member.post("/", form(SCHNELL, DEV), headers=HTMX)

    assert response.status_code == 422
    assert FluxTask.objects.count() == 0


def test_a_worker_of_the_version_before_goes_on_inserting(alice):
    """It knows nothing of the new columns."""
    task = FluxTaskFactory(user=alice)
    new = {"comparison", "comparison_position"}
    columns = [field.column for field in FluxTask._meta.fields if field.column not in new]
    values = ["%s" if column == "id" else column for column in columns]

    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO flux_tasks ({', '.join(columns)})"
            f" SELECT {', '.join(values)} FROM flux_tasks WHERE id = %s",
            ["a" * 32, task.pk],
        )

    inserted = FluxTask.objects.get(pk="a" * 32)
    assert (inserted.comparison, lifecycle.compared_with(inserted)) == (None, [inserted])


# ---------------------------------------------------------------- the button
def test_the_button_names_the_total(member):
    shown = composer(member)

    assert shown.labels == [
        "Generate 3 images with 3 models · 35\u00a0credits (65 left after)",
        "Generate 5 images with 3 models · 50\u00a0credits (50 left after)",
        "Generate 7 images with 3 models · 65\u00a0credits (35 left after)",
        "Generate 9 images with 3 models · 80\u00a0credits (20 left after)",
    ]
    assert shown.reasons == []


def test_too_few_models_and_too_few_credits_are_reasons(member, alice):
    ledger.adjust(user=alice, amount=-80, reference="x", reason="x", actor="x")

    few, dear = composer(member, models=[DEV]), composer(member)

    assert [r.text for r in few.reasons] == ["Choose 2 to 4 models to compare."]
    assert few.label == "Compare models"
    assert [(r.text, r.link, r.url) for r in dear.reasons] == [
        (
            "This costs 35 credits and you have 20. An administrator can give you more.",
            "Redeem a code",
            "/credits",
        )
    ]


def test_settings_are_those_the_models_have_in_common(member):
    shown = composer(member)

    names = [row.name for row in [*shown.form.basic, *shown.form.advanced]]
    assert names == ["aspect_ratio", "num_images", "seed"]


def test_models_that_cannot_take_part_say_why(member):
    shown = composer(member, images="2")

    misfits = {choice.name: choice.compare_misfit for choice in shown.models}
    assert misfits["FLUX.1 dev"] == "Takes at most 1 picture"
    assert misfits["FLUX.1 schnell"] == "Takes no picture"
    assert misfits["FLUX.1 dev Redux"] == "Works without a prompt"
    assert misfits["FLUX.1 Kontext pro"] == ""


# ---------------------------------------------------------------- the cards
def compared(alice, *models):
    now = timezone.now()
    return [
        FluxTaskFactory(
            user=alice,
            model=model,
            endpoint=model,
            created_at=now,
            comparison="c" * 32,
            comparison_position=position,
        )
        for position, model in enumerate(models)
    ]


def models_of(groups):
    return [[card.task.model for card in group.cards] for group in groups]


def test_a_comparison_is_one_group_after_a_refresh(member, alice):
    FluxTaskFactory(user=alice)
    compared(alice, SCHNELL, DEV, PRO)

    groups = member.get("/").context["groups"]

    assert models_of(groups) == [[SCHNELL, DEV, PRO], [SCHNELL]]
    assert [group.is_comparison for group in groups] == [True, False]


def test_a_page_does_not_end_inside_a_comparison(member, alice):
    compared(alice, SCHNELL, DEV, PRO)
    for _ in range(19):
        FluxTaskFactory(user=alice)

    response = member.get("/")

    assert models_of(response.context["groups"])[-1] == [SCHNELL, DEV, PRO]
    assert response.context["following"] == ""


def test_an_address_opens_the_whole_comparison(member, alice):
    [_first, second, _third] = compared(alice, SCHNELL, DEV, PRO)
    for _ in range(23):
        FluxTaskFactory(user=alice)

    groups = member.get("/", {"task": second.pk}).context["groups"]

    assert models_of(groups[:1]) == [[SCHNELL, DEV, PRO]]
    assert [card.is_open for card in groups[0].cards] == [False, True, False]


def test_what_is_left_of_a_comparison_is_a_card_like_others(alice):
    [task] = compared(alice, DEV)

    [group] = cards.grouped(cards.build([task]))

    assert group.is_comparison is False


def test_one_of_a_comparison_is_cancelled_without_the_others(member, alice, work):
    member.post("/", form(SCHNELL, DEV, num_images="1"))
    first, _second = FluxTask.objects.order_by("comparison_position")

    lifecycle.cancel(task=first, now=timezone.now())
    work()

    states = FluxTask.objects.order_by("comparison_position").values_list("status", flat=True)
    assert list(states) == ["CANCELLED", "SUCCESS"]
    assert ledger.account_for(user=alice).credits_balance == 90
