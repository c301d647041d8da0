"""What the sandbox accepts, and its complaints word for word."""

from __future__ import annotations

import pytest

from generation.sandbox import schemas

ENDPOINTS = schemas.endpoints()
DEV = ENDPOINTS["fal-ai/flux-1/dev"]
SCHNELL = ENDPOINTS["fal-ai/flux-1/schnell"]
KONTEXT = ENDPOINTS["fal-ai/flux-pro/kontext"]
MULTI = ENDPOINTS["fal-ai/flux-pro/kontext/multi"]
ULTRA = ENDPOINTS["fal-ai/flux-pro/v1.1-ultra"]


def complaints(endpoint, **body):
    _, problems = schemas.validate(endpoint, body)
    return [(problem["type"], problem["loc"][1:]) for problem in problems]


def test_a_prompt_alone_brings_every_default():
    arguments, problems = schemas.validate(SCHNELL, {"prompt": "x"})

    assert problems == []
    assert arguments == {
        "prompt": "x",
        "image_size": "landscape_4_3",
        "num_inference_steps": 4,
        "seed": None,
        "guidance_scale": 3.5,
        "sync_mode": False,
        "num_images": 1,
        "enable_safety_checker": True,
        "output_format": "jpeg",
        "acceleration": "regular",
    }


def test_a_missing_field_is_described_in_full():
    body = {"seed": 1}

    _, problems = schemas.validate(DEV, body)

    assert problems == [
        {"type": "missing", "loc": ["body", "prompt"], "msg": "Field required", "input": body}
    ]


def test_a_value_out_of_range_is_described_in_full():
    _, problems = schemas.validate(SCHNELL, {"prompt": "x", "num_inference_steps": 28})

    assert problems == [
        {
            "type": "less_than_equal",
            "loc": ["body", "num_inference_steps"],
            "msg": "Input should be less than or equal to 12",
            "input": 28,
            "ctx": {"le": 12},
        }
    ]


def test_a_safety_tolerance_is_a_string_and_nothing_else():
    body = {"prompt": "x", "image_url": "u", "safety_tolerance": 2}

    _, problems = schemas.validate(KONTEXT, body)

    assert problems == [
        {
            "type": "literal_error",
            "loc": ["body", "safety_tolerance"],
            "msg": "Input should be '1', '2', '3', '4', '5' or '6'",
            "input": 2,
            "ctx": {"expected": "'1', '2', '3', '4', '5' or '6'"},
        }
    ]


@pytest.mark.parametrize(
    ("endpoint", "body", "expected"),
    [
        (DEV, {"prompt": 3}, [("string_type", ["prompt"])]),
        (DEV, {"prompt": None}, [("string_type", ["prompt"])]),
        (DEV, {"prompt": "x", "num_images": 0}, [("greater_than_equal", ["num_images"])]),
        (DEV, {"prompt": "x", "num_images": "two"}, [("int_parsing", ["num_images"])]),
        (DEV, {"prompt": "x", "num_images": 1.5}, [("int_from_float", ["num_images"])]),
        (DEV, {"prompt": "x", "num_images": None}, [("int_type", ["num_images"])]),
        (DEV, {"prompt": "x", "guidance_scale": "hot"}, [("float_parsing", ["guidance_scale"])]),
        (DEV, {"prompt": "x", "guidance_scale": []}, [("float_type", ["guidance_scale"])]),
        (DEV, {"prompt": "x", "sync_mode": "maybe"}, [("bool_parsing", ["sync_mode"])]),
        (DEV, {"prompt": "x", "sync_mode": 2}, [("bool_parsing", ["sync_mode"])]),
        (DEV, {"prompt": "x", "sync_mode": None}, [("bool_type", ["sync_mode"])]),
        (DEV, {"prompt": "x", "output_format": "webp"}, [("literal_error", ["output_format"])]),
        (MULTI, {"prompt": "x", "image_urls": "u"}, [("list_type", ["image_urls"])]),
        (MULTI, {"prompt": "x", "image_urls": ["u", 1]}, [("string_type", ["image_urls", 1])]),
        (MULTI, {"prompt": "x", "image_url": "u"}, [("missing", ["image_urls"])]),
        (KONTEXT, {"prompt": "x"}, [("missing", ["image_url"])]),
        (KONTEXT, {"prompt": "x", "image_url": "u", "aspect_ratio": "5:4"}, [("literal_error", ["aspect_ratio"])]),
        (ULTRA, {"prompt": "x", "aspect_ratio": "wide"}, [("value_error", ["aspect_ratio"])]),
    ],
)  # fmt: skip
def test_each_mistake_has_its_type_and_place(endpoint, body, expected):
    assert complaints(endpoint, **body) == expected


def test_a_size_that_is_neither_preset_nor_object_gets_a_complaint_from_each():
    found = complaints(DEV, prompt="x", image_size="huge")

    presets = ",".join(f"'{name}'" for name in schemas.presets())
    assert found == [
        ("model_attributes_type", ["image_size", "ImageSize"]),
        ("literal_error", ["image_size", f"literal[{presets}]"]),
    ]


@pytest.mark.parametrize(("width", "kind"), [(0, "greater_than"), (14143, "less_than_equal")])
def test_a_side_has_bounds(width, kind):
    found = complaints(DEV, prompt="x", image_size={"width": width, "height": 512})
    assert found[0] == (kind, ["image_size", "ImageSize", "width"])


@pytest.mark.parametrize(
    "body",
    [
        {"num_inference_steps": "28"},
        {"num_inference_steps": 28.0},
        {"guidance_scale": "3.5"},
        {"sync_mode": "no", "enable_safety_checker": 1},
        {"seed": None},
        {"seed": 2**64 - 1},
        {"unknown": {"fields": ["are", "ignored"]}, "strength": 9},
        {"image_size": {}},
    ],
)
def test_what_the_vendor_lets_pass_passes(body):
    assert complaints(DEV, prompt="", **body) == []


def test_an_empty_list_of_pictures_and_a_null_ratio_pass():
    assert complaints(MULTI, prompt="x", image_urls=[], aspect_ratio=None) == []


@pytest.mark.parametrize("body", [[], "x", 3, None])
def test_a_body_that_is_no_object_is_one_problem(body):
    _, problems = schemas.validate(DEV, body)
    assert [(problem["type"], problem["loc"]) for problem in problems] == [
        ("model_attributes_type", ["body"])
    ]


@pytest.mark.parametrize(
    ("endpoint", "given", "first_input", "size"),
    [
        (DEV, {}, None, (1024, 768)),
        (DEV, {"image_size": "portrait_4_3"}, None, (768, 1024)),
        (DEV, {"image_size": {"width": 832, "height": 1248}}, None, (832, 1248)),
        (KONTEXT, {"image_url": "u"}, (4000, 3000), (1184, 880)),
        (KONTEXT, {"image_url": "u"}, (10, 4000), (512, 2048)),
        (KONTEXT, {"image_url": "u", "aspect_ratio": "1:1"}, (4000, 3000), (1024, 1024)),
        (ULTRA, {}, None, (2720, 1536)),
        (ENDPOINTS["fal-ai/flux-2-pro/edit"], {"image_urls": ["u"]}, (1000, 1000), (1024, 1024)),
    ],
)
def test_the_size_follows_arguments_then_input(endpoint, given, first_input, size):
    arguments, problems = schemas.validate(endpoint, {"prompt": "x", **given})
    assert problems == []
    assert schemas.promised_size(endpoint, arguments, first_input) == size


def test_every_endpoint_belongs_to_an_app_of_two_parts():
    assert sorted(schemas.apps()) == [
        "fal-ai/flux-1",
        "fal-ai/flux-2",
        "fal-ai/flux-2-pro",
        "fal-ai/flux-pro",
    ]
    assert {endpoint.app for endpoint in ENDPOINTS.values()} == schemas.apps()
