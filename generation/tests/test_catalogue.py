"""The catalogue against an independent copy of fal's schemas, kept with the sandbox."""

from __future__ import annotations

import math

import pytest

from generation import catalogue
from generation.sandbox import schemas

ENDPOINTS = [endpoint for model in catalogue.MODELS for endpoint in model.endpoints]
SPECIFIED = [
    "fal-ai/flux-1/dev",
    "fal-ai/flux-1/dev/image-to-image",
    "fal-ai/flux-1/dev/redux",
    "fal-ai/flux-1/schnell",
    "fal-ai/flux-1/schnell/redux",
    "fal-ai/flux-pro/kontext",
    "fal-ai/flux-pro/kontext/max",
    "fal-ai/flux-pro/kontext/max/multi",
    "fal-ai/flux-pro/kontext/max/text-to-image",
    "fal-ai/flux-pro/kontext/multi",
    "fal-ai/flux-pro/kontext/text-to-image",
]


def request(model_id="fal-ai/flux-1/schnell", *, prompt="a cat", images=0, **parameters):
    return catalogue.check(model_id=model_id, prompt=prompt, images=images, parameters=parameters)


def problems(*args, **kwargs):
    with pytest.raises(catalogue.InvalidRequest) as caught:
        request(*args, **kwargs)
    return {problem.field: problem.code for problem in caught.value.problems}


def payload(checked, image_urls=()):
    return catalogue.build_payload(
        endpoint=checked.endpoint,
        prompt=checked.prompt,
        parameters=checked.parameters,
        image_urls=image_urls,
    )


@pytest.mark.parametrize("model_id", SPECIFIED)
def test_every_endpoint_of_the_specification_is_known(model_id):
    assert catalogue.find_endpoint(model_id).id == model_id
    assert catalogue.find_model(model_id) is not None


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.id)
def test_parameters_agree_with_fals_schema(endpoint):
    fields = {field.name: field for field in schemas.endpoints()[endpoint.id].fields}
    wire_names = {p.wire_name or p.name for p in endpoint.parameters}
    inputs = {"prompt"} if endpoint.has_prompt else set()
    inputs |= {endpoint.image_param} if endpoint.image_param else set()

    # Everything is offered but sync_mode, which would lose the pictures for the queue.
    assert wire_names | inputs == set(fields) - {"sync_mode"}

    for parameter in endpoint.parameters:
        field = fields[parameter.wire_name or parameter.name]
        if parameter.name == "aspect_ratio":
            continue  # Compared by value below: our default is the specification's.
        assert parameter.default == field.default, parameter.name
        if parameter.kind == "choice":
            assert parameter.choices == tuple(field.choices), parameter.name
        if parameter.kind in ("integer", "number") and field.minimum is not None:
            assert (parameter.minimum, parameter.maximum) == (field.minimum, field.maximum)


def extremes(parameter):
    if parameter.choices:
        return parameter.choices
    if parameter.kind == "boolean":
        return (True, False)
    return (parameter.minimum, parameter.maximum)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.id)
def test_whatever_we_accept_fal_accepts_too(endpoint):
    images = ["data:image/png;base64,AAAA"] * max(endpoint.min_images, 1)
    images = images if endpoint.image_param else []
    for parameter in endpoint.parameters:
        for value in extremes(parameter):
            cleaned = parameter.clean(value)
            body = catalogue.build_payload(
                endpoint=endpoint,
                prompt="a cat",
                parameters={parameter.name: cleaned},
                image_urls=images,
            )

            _arguments, found = schemas.validate(schemas.endpoints()[endpoint.id], body)
            assert found == []


@pytest.mark.parametrize(
    ("model_id", "images", "endpoint_id"),
    [
        ("fal-ai/flux-pro/kontext", 0, "fal-ai/flux-pro/kontext/text-to-image"),
        ("fal-ai/flux-pro/kontext", 1, "fal-ai/flux-pro/kontext"),
        ("fal-ai/flux-pro/kontext", 2, "fal-ai/flux-pro/kontext/multi"),
        ("fal-ai/flux-pro/kontext/max", 0, "fal-ai/flux-pro/kontext/max/text-to-image"),
        ("fal-ai/flux-pro/kontext/max", 1, "fal-ai/flux-pro/kontext/max"),
        ("fal-ai/flux-pro/kontext/max", 4, "fal-ai/flux-pro/kontext/max/multi"),
        ("fal-ai/flux-pro/kontext/multi", 1, "fal-ai/flux-pro/kontext/multi"),
        ("fal-ai/flux-1/dev", 0, "fal-ai/flux-1/dev"),
        ("fal-ai/flux-1/dev", 1, "fal-ai/flux-1/dev/image-to-image"),
        ("fal-ai/flux-2-pro", 3, "fal-ai/flux-2-pro/edit"),
        ("fal-ai/flux-2", 0, "fal-ai/flux-2"),
        ("fal-ai/flux-pro/v1.1-ultra", 1, "fal-ai/flux-pro/v1.1-ultra"),
    ],
)
def test_the_number_of_pictures_picks_the_endpoint(model_id, images, endpoint_id):
    assert request(model_id, images=images).endpoint.id == endpoint_id


@pytest.mark.parametrize(
    ("model_id", "images", "expected"),
    [
        ("fal-ai/flux-1/schnell", 1, {"image_url": "too_many"}),
        ("fal-ai/flux-1/dev", 2, {"image_urls": "too_many"}),
        ("fal-ai/flux-1/dev/redux", 0, {"image_url": "required"}),
        ("fal-ai/flux-1/dev/image-to-image", 0, {"image_url": "required"}),
        ("fal-ai/flux-pro/kontext/multi", 0, {"image_urls": "required"}),
        ("fal-ai/flux-pro/kontext/text-to-image", 1, {"image_url": "too_many"}),
        ("fal-ai/flux-pro/kontext", 5, {"image_urls": "too_many"}),
        ("fal-ai/stable-diffusion", 0, {"model": "unknown_model"}),
        (None, 0, {"model": "unknown_model"}),
        (["a"], 0, {"model": "unknown_model"}),
    ],
)
def test_a_wrong_combination_is_told_at_the_right_field(model_id, images, expected):
    assert problems(model_id, images=images) == expected


def test_defaults_are_those_of_the_endpoint():
    schnell = request("fal-ai/flux-1/schnell").parameters
    edit = request("fal-ai/flux-1/dev", images=1).parameters

    assert (schnell["num_inference_steps"], schnell["aspect_ratio"]) == (4, "1:1")
    assert (edit["num_inference_steps"], edit["strength"]) == (40, 0.95)


def test_the_shape_reaches_flux_1_as_image_size_and_kontext_as_it_is():
    flux = payload(request("fal-ai/flux-1/dev", aspect_ratio="3:2"))
    kontext = payload(request("fal-ai/flux-pro/kontext", aspect_ratio="3:2"))

    assert flux["image_size"] == {"width": 1248, "height": 832}
    assert "aspect_ratio" not in flux
    assert kontext["aspect_ratio"] == "3:2"


def test_custom_sizes_are_billed_as_one_megapixel():
    for size in catalogue.IMAGE_SIZES.values():
        if isinstance(size, dict):
            assert size["width"] * size["height"] <= 2**20


def test_an_edit_without_a_shape_follows_the_picture():
    body = payload(request("fal-ai/flux-pro/kontext", images=1), ["data:a"])

    assert "aspect_ratio" not in body
    assert body["image_url"] == "data:a"


def test_several_pictures_travel_in_their_order():
    body = payload(request("fal-ai/flux-pro/kontext/max", images=2), ["data:a", "data:b"])

    assert body["image_urls"] == ["data:a", "data:b"]
    assert "image_url" not in body


def test_safety_tolerance_is_text_even_when_given_as_a_number():
    assert (
        payload(request("fal-ai/flux-pro/kontext", safety_tolerance=5))["safety_tolerance"] == "5"
    )


def test_a_seed_of_64_bits_survives():
    checked = request(seed="17454220438242315174")

    assert checked.parameters["seed"] == "17454220438242315174"
    assert payload(checked)["seed"] == 17454220438242315174


def test_unset_settings_are_not_sent_and_sync_mode_never():
    body = payload(request())

    assert "seed" not in body
    assert "sync_mode" not in body


def test_a_setting_of_another_model_is_refused_by_name():
    assert problems(strength=0.5) == {"strength": "unknown_parameter"}
    assert problems("fal-ai/flux-pro/kontext", num_inference_steps=10) == {
        "num_inference_steps": "unknown_parameter"
    }


def test_a_name_that_cannot_be_written_down_is_still_named():
    assert problems(**{"\ud800x": 1}) == {"?x": "unknown_parameter"}


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("num_images", 0, "out_of_range"),
        ("num_images", 5, "out_of_range"),
        ("num_images", 10**400, "out_of_range"),
        ("num_images", 1.5, "invalid"),
        ("num_images", True, "invalid"),
        ("num_images", "two", "invalid"),
        ("num_images", "9" * 100_000, "invalid"),
        ("num_images", [1], "invalid"),
        ("num_inference_steps", 13, "out_of_range"),
        ("guidance_scale", "nan", "invalid"),
        ("guidance_scale", math.inf, "invalid"),
        ("guidance_scale", 20.5, "out_of_range"),
        ("guidance_scale", {}, "invalid"),
        ("seed", -1, "out_of_range"),
        ("seed", 2**64, "out_of_range"),
        ("aspect_ratio", "5:4", "invalid_choice"),
        ("aspect_ratio", ["1:1"], "invalid_choice"),
        ("enable_safety_checker", "maybe", "invalid"),
        ("enable_safety_checker", 1, "invalid"),
        ("output_format", "webp", "invalid_choice"),
    ],
)
def test_a_bad_value_is_refused_at_its_field(name, value, code):
    assert problems(**{name: value}) == {name: code}


@pytest.mark.parametrize(
    ("name", "value", "cleaned"),
    [
        ("num_images", "2", 2),
        ("num_images", 2.0, 2),
        ("guidance_scale", "2.5", 2.5),
        ("enable_safety_checker", "false", False),
        ("seed", 42, "42"),
        ("num_images", None, 1),
        ("num_images", "", 1),
    ],
)
def test_a_form_may_send_text_and_leave_fields_empty(name, value, cleaned):
    assert request(**{name: value}).parameters[name] == cleaned


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        ("", "required"),
        (" \n\t", "required"),
        ("\u200b\u2060", "required"),
        (None, "required"),
        ("a\x00b", "invalid_characters"),
        ("\ud800", "invalid_characters"),
        ("猫" * 10_001, "too_long"),
        (["a cat"], "invalid"),
    ],
)
def test_a_bad_prompt_is_refused(prompt, code):
    assert problems(prompt=prompt) == {"prompt": code}


def test_a_prompt_is_normalised_and_trimmed():
    assert request(prompt=" cafe\u0301 猫 ").prompt == "café 猫"


def test_a_variation_takes_no_prompt():
    assert problems("fal-ai/flux-1/dev/redux", images=1, prompt="x") == {"prompt": "not_used"}
    body = payload(request("fal-ai/flux-1/dev/redux", images=1, prompt=""), ["data:a"])
    assert "prompt" not in body


def test_every_problem_is_named_at_once():
    assert problems(prompt="", num_images=9, strength=1) == {
        "prompt": "required",
        "num_images": "out_of_range",
        "strength": "unknown_parameter",
    }


def test_the_kind_of_task_follows_from_its_pictures():
    assert request("fal-ai/flux-pro/kontext").task_type == "text_to_image"
    assert request("fal-ai/flux-pro/kontext", images=1).task_type == "image_to_image"
    assert request("fal-ai/flux-2", images=2).task_type == "multi_image"
    assert request("fal-ai/flux-1/dev/redux", images=1, prompt="").task_type == "redux"
