"""The sources in the settings, and what the three tables of tasks tell about an entry."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.utils import translation

from history import sources
from history.entries import compose
from history.models import HistoryEntry
from history.sources import Details, Parameter
from history.tests import rows

FLUX = "generation.history_sources.FluxSource"


# ---------------------------------------------------------------- finding them
def test_sources_are_those_of_the_settings_in_their_order():
    assert list(sources.load()) == ["flux", "midjourney", "jimeng"]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], "HISTORY_SOURCES is empty: the history needs at least one source."),
        (
            [FLUX, FLUX],
            "HISTORY_SOURCES has two sources called flux.",
        ),
        (
            ["history.sources.Nowhere"],
            "HISTORY_SOURCES names history.sources.Nowhere, which cannot be imported",
        ),
    ],
)
def test_a_mistake_in_the_settings_is_told(settings, paths, message):
    settings.HISTORY_SOURCES = paths

    with pytest.raises(ImproperlyConfigured) as caught:
        sources.load()

    assert str(caught.value).partition(": Module")[0] == message


def test_entries_of_a_source_taken_out_of_the_settings_are_left_out(alice, settings):
    rows.task("flux", alice, id="f")
    rows.task("jimeng", alice, id="j")
    settings.HISTORY_SOURCES = [FLUX]

    assert [entry.key for entry in compose(HistoryEntry.objects.all())] == ["flux:f"]


# ---------------------------------------------------------------- parameters
def test_flux_tells_every_parameter_and_the_seed_that_was_drawn(alice):
    rows.task(
        "flux",
        alice,
        id="t1",
        parameters={"aspect_ratio": "16:9", "num_images": 1, "seed": "7", "acceleration": None},
        result_seed="8",
        generation_time=2.25,
    )

    assert sources.load()["flux"].details("t1") == Details(
        parameters=(
            Parameter(name="aspect_ratio", label="Shape", value="16:9"),
            Parameter(name="num_images", label="Pictures", value=1),
            Parameter(name="seed", label="Seed", value="8"),
        ),
        seconds=2.25,
    )


def test_flux_of_an_endpoint_that_is_gone_names_parameters_as_they_are(alice):
    rows.task("flux", alice, id="t1", endpoint="fal-ai/gone", parameters={"steps": 4})

    assert sources.load()["flux"].details("t1") == Details(
        parameters=(Parameter(name="steps", label="steps", value=4),), seconds=None
    )


def test_midjourney_tells_what_the_proxy_told(alice):
    rows.task(
        "midjourney",
        alice,
        id="t1",
        action="UPSCALE",
        mode="turbo",
        prompt_en="a lighthouse",
        properties={"finalPrompt": "a lighthouse --ar 2:1"},
        start_time=rows.NOON,
        finish_time=rows.NOON + timedelta(seconds=30.5),
    )

    assert sources.load()["midjourney"].details("t1") == Details(
        parameters=(
            Parameter(name="action", label="Action", value="UPSCALE"),
            Parameter(name="mode", label="Speed", value="turbo"),
            Parameter(name="prompt_en", label="Prompt in English", value="a lighthouse"),
            Parameter(name="final_prompt", label="Final prompt", value="a lighthouse --ar 2:1"),
        ),
        seconds=30.5,
    )


@pytest.mark.parametrize("properties", [[], None, {"finalPrompt": 7}, "text", {}])
def test_midjourney_bears_any_properties(alice, properties):
    rows.task("midjourney", alice, id="t1", properties=properties or {})
    rows.model("midjourney").objects.update(properties=properties or [])

    details = sources.load()["midjourney"].details("t1")

    assert [parameter.name for parameter in details.parameters] == ["action", "mode"]


def test_jimeng_tells_its_columns(alice):
    rows.task(
        "jimeng",
        alice,
        id="t1",
        size="2048x2048",
        guidance_scale=2.5,
        seed="11",
        submit_time=rows.NOON,
        finish_time=rows.NOON + timedelta(seconds=4),
    )

    assert sources.load()["jimeng"].details("t1") == Details(
        parameters=(
            Parameter(name="size", label="Size", value="2048x2048"),
            Parameter(name="guidance_scale", label="Guidance", value=2.5),
            Parameter(name="seed", label="Seed", value="11"),
            Parameter(name="watermark", label="Watermark", value=False),
        ),
        seconds=4.0,
    )


@pytest.mark.parametrize("finish_time", [None, rows.NOON - timedelta(hours=8)])
def test_clocks_that_make_no_sense_give_no_seconds(alice, finish_time):
    rows.task("jimeng", alice, id="t1", start_time=rows.NOON, finish_time=finish_time)

    assert sources.load()["jimeng"].details("t1").seconds is None


@pytest.mark.parametrize(
    ("value", "text"), [(True, "Yes"), (False, "No"), (3.5, "3.5"), ("16:9", "16:9")]
)
def test_a_value_is_written_for_people(value, text):
    with translation.override("en"):
        assert Parameter(name="x", label="X", value=value).text == text


# ---------------------------------------------------------------- names
@pytest.mark.parametrize(
    ("source", "model", "name"),
    [
        ("flux", "fal-ai/flux-1/schnell", "FLUX.1 schnell"),
        ("flux", "fal-ai/gone", "fal-ai/gone"),
        ("midjourney", "midjourney", "Midjourney"),
        ("midjourney", "", "Midjourney"),
        ("midjourney", "niji", "niji"),
        ("jimeng", "jimeng-4.0", "jimeng-4.0"),
    ],
)
def test_models_are_called_what_people_call_them(source, model, name):
    assert sources.load()[source].model_name(model) == name
