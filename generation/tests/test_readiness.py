"""Why a click cannot run, what else the page says before one, and what it offers to write."""

from __future__ import annotations

import pytest
from django.utils import timezone

from credits import ledger
from credits.models import Budget
from generation import recent
from generation.models import FluxConfig
from generation.tests.factories import FluxTaskFactory

pytestmark = pytest.mark.usefixtures("drawing")

SCHNELL = "fal-ai/flux-1/schnell"


@pytest.fixture
def member(client, alice, settings):
    settings.CREDITS_STARTING_GRANT = 100
    client.force_login(alice)
    return client


def composer(client, **query):
    query = {"model": SCHNELL, **query}
    return client.get("/studio/parameters", query).context["composer"]


def texts(client, **query):
    return [reason.text for reason in composer(client, **query).reasons]


# ---------------------------------------------------------------- reasons
def test_nothing_hinders_who_has_credits(member):
    shown = composer(member)

    assert (shown.reasons, shown.affordable, shown.affordable_text) == ([], 4, "")


def test_staff_are_led_to_the_configuration_and_members_are_not(client, member, staff, settings):
    settings.SANDBOX_URL = ""
    [for_member] = composer(member).reasons
    client.force_login(staff)
    [for_staff] = composer(client).reasons

    assert for_member.url == ""
    assert for_staff.text == for_member.text
    assert (for_staff.link, for_staff.url) == (
        "Open the configuration",
        "/admin/generation/fluxconfig/default/change/",
    )


@pytest.mark.parametrize(
    ("balance", "affordable", "text"),
    [
        (4, 0, ""),
        (5, 1, "Your credits are enough for 1 picture here."),
        (19, 3, "Your credits are enough for 3 pictures here."),
        (20, 4, ""),
    ],
)
def test_the_page_knows_how_many_pictures_can_be_paid_for(member, alice, balance, affordable, text):
    ledger.adjust(user=alice, amount=balance - 100, reference="x", reason="x", actor="x")

    shown = composer(member)

    assert (shown.affordable, shown.affordable_text) == (affordable, text)
    assert [reason.url for reason in shown.reasons] == ([] if affordable else ["/credits"])


def test_more_than_can_be_paid_for_is_beyond_means(member, alice):
    ledger.adjust(user=alice, amount=-90, reference="x", reason="x", actor="x")

    chosen = [composer(member, num_images=str(n)).is_beyond_means for n in (1, 2, 3)]

    assert chosen == [False, False, True]


def test_a_budget_that_is_used_up_says_when_it_starts_anew(member, alice, time_machine):
    time_machine.move_to("2026-11-25T10:00:00Z", tick=False)
    Budget.objects.create(user=alice, per_day=12)
    ledger.reserve(user=alice, amount=10, reference="flux:x")

    assert texts(member) == [
        "Your budget of 12 credits has 2 left; it starts anew on Nov. 26, 2026, midnight."
    ]
    time_machine.move_to("2026-11-26T10:00:00Z", tick=False)
    assert texts(member) == []
    assert composer(member).affordable == 2


def test_without_credits_there_is_no_price_and_no_budget(member, settings):
    settings.CREDITS_ENABLED = False

    shown = composer(member)

    assert (shown.label, shown.reasons, shown.affordable) == ("Generate 1 image", [], 4)
    assert shown.models[0].price_text == ""


# ---------------------------------------------------------------- how the member stands
def test_the_header_tells_credits_and_what_runs(member, alice, bob):
    FluxConfig.objects.update_or_create(pk="default", defaults={"max_concurrent_per_member": 3})
    FluxTaskFactory(user=alice, at_provider=True)
    FluxTaskFactory(user=alice)
    FluxTaskFactory(user=alice, succeeded=True)
    FluxTaskFactory(user=bob, at_provider=True)

    html = member.get("/studio/status").content.decode()

    assert "100 credits" in html
    assert "1 of 3 running" in html
    assert "1 of 3 running" in member.get("/").content.decode()


def test_who_has_as_many_running_as_allowed_waits_but_may_ask(member, alice):
    FluxConfig.objects.update_or_create(pk="default", defaults={"max_concurrent_tasks": 1})
    before = composer(member).standing.turn_notice
    FluxTaskFactory(user=alice, at_provider=True)

    shown = composer(member)

    assert before == ""
    assert shown.standing.turn_notice == "1 of 1 running: the next one waits for its turn."
    assert shown.reasons == []


# ---------------------------------------------------------------- prompts of before
def test_recent_prompts_are_ones_own_newest_first_and_each_once(member, alice, bob):
    for words in ("first", "second", "first", "", "third"):
        FluxTaskFactory(user=alice, failed=True, prompt=words)
    FluxTaskFactory(user=alice, prompt="thrown away", trashed_at=timezone.now())
    FluxTaskFactory(user=bob, prompt="theirs")

    response = member.get("/studio/prompts")

    assert response.context["prompts"] == ["third", "first", "second"]


def test_recent_prompts_are_bounded(alice, django_assert_num_queries):
    for number in range(recent.PROMPTS + 5):
        FluxTaskFactory(user=alice, prompt=f"{number}")
    for letter in "abcdefgh":
        FluxTaskFactory(user=alice, prompt=letter * 10_000)

    with django_assert_num_queries(1):
        found = recent.prompts(alice)

    assert [each[0] for each in found] == ["h", "g", "f", "e"]


def test_a_prompt_is_shown_as_it_was_written(member, alice):
    FluxTaskFactory(user=alice, prompt="a <b> &\n“c”")

    html = member.get("/studio/prompts").content.decode()

    assert "data-prompt>a &lt;b&gt; &amp;\n“c”</button>" in html


# ---------------------------------------------------------------- ideas
def test_ideas_are_found_again_by_who_has_drawn(member, alice):
    FluxTaskFactory(user=alice)

    assert member.get("/").context["examples"] == ()
    assert len(member.get("/?ideas").context["examples"]) == 8
    assert len(member.get("/studio/ideas").context["examples"]) == 8


def test_every_model_and_example_has_its_drawing(settings):
    from generation import catalogue
    from generation.examples import EXAMPLES

    drawings = [f"img/models/{model.picture}.svg" for model in catalogue.MODELS]
    drawings += [example.image for example in EXAMPLES]

    missing = [name for name in drawings if not (settings.BASE_DIR / "static" / name).exists()]
    assert (missing, len(set(drawings))) == ([], len(drawings))


@pytest.mark.parametrize("path", ["prompts", "ideas", "presets", "status"])
def test_fragments_are_for_members_and_only_read(client, alice, path):
    assert client.get(f"/studio/{path}").status_code == 302
    client.force_login(alice)
    assert client.post(f"/studio/{path}").status_code == 405
