"""How long the models take here, and where it is told."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from django_q.models import Schedule

from generation import cards, pace
from generation.models import TypicalSeconds
from generation.tests.factories import FluxTaskFactory

SCHNELL, DEV = "fal-ai/flux-1/schnell", "fal-ai/flux-1/dev"


def took(user, *seconds, endpoint=SCHNELL, **values):
    for each in seconds:
        FluxTaskFactory(
            user=user, succeeded=True, endpoint=endpoint, generation_time=each, **values
        )


def test_it_is_measured_every_ten_minutes(db):
    schedule = Schedule.objects.get(name="pace")

    assert (schedule.func, schedule.minutes) == ("generation.pace.measure", 10)


def test_it_is_the_middle_of_the_last_fifty(alice, bob):
    took(alice, *[100.0] * 10)
    took(bob, *[2.0] * 26, *[9.0] * 24)

    pace.measure()

    assert pace.typical() == {SCHNELL: 2.0}
    assert TypicalSeconds.objects.get().tasks == 50


def test_a_few_say_nothing_and_neither_do_failures_and_imports(alice):
    took(alice, 1.0, 1.0, 1.0, 1.0)
    for number in range(5):
        took(alice, 3.0, endpoint=DEV, origin="old site", external_id=f"{number}")
    FluxTaskFactory.create_batch(5, user=alice, failed=True, endpoint=DEV, generation_time=1.0)

    assert pace.measure() == 0
    assert pace.typical() == {}


def test_a_figure_stays_while_nothing_newer_is_known(alice, monkeypatch):
    took(alice, *[4.0] * 5)
    pace.measure()
    took(alice, *[7.0] * 5, endpoint=DEV)
    monkeypatch.setattr(pace, "WINDOW", 5)

    pace.measure()

    assert pace.typical() == {SCHNELL: 4.0, DEV: 7.0}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (0.2, "about 1 s"),
        (8.4, "about 8 s"),
        (99.0, "about 99 s"),
        (150, "about 2 min"),
    ],
)
def test_it_is_told_in_round_numbers(seconds, words):
    assert pace.in_words(seconds) == words


def test_the_picker_tells_it_and_the_price(client, alice, drawing):
    TypicalSeconds.objects.create(
        endpoint=SCHNELL, seconds=2.6, tasks=50, measured_at=timezone.now()
    )
    client.force_login(alice)

    models = {each.id: each for each in client.get("/").context["composer"].models}

    assert (models[SCHNELL].price_text, models[SCHNELL].pace_text) == (
        "5 credits a picture",
        "about 3 s",
    )
    assert models[DEV].pace_text == ""


def test_a_running_card_tells_how_far_it_usually_is(alice):
    task = FluxTaskFactory(
        user=alice,
        at_provider=True,
        status="IN_PROGRESS",
        submitted_at=timezone.now() - timedelta(seconds=3),
    )

    [running] = cards.build([task], typical={SCHNELL: 8.2})
    [unknown] = cards.build([task], typical={})

    assert (running.pace_text, running.typical_seconds, running.elapsed) == (
        "usually about 8 s",
        8,
        3,
    )
    assert (running.has_pace, unknown.has_pace) == (True, False)


def test_a_bar_never_outgrows_its_length_and_does_not_grow_while_waiting(alice):
    late = FluxTaskFactory(
        user=alice,
        at_provider=True,
        status="IN_PROGRESS",
        submitted_at=timezone.now() - timedelta(minutes=3),
    )
    waiting = FluxTaskFactory(user=alice)

    built = cards.build([late, waiting], typical={SCHNELL: 8.2})

    assert [card.elapsed for card in built] == [8, 0]
