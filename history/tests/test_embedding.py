"""Parameters travel inside of pictures, and pixels stay what they are."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime

import pytest
from PIL import Image, ImageCms

from history.embedding import CannotRewrite, MadeWith, Rewritten

TYPES = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}


def made_with(**fields):
    return MadeWith(
        **{
            "source": "flux",
            "id": "t1",
            "model": "fal-ai/flux-1/dev",
            "model_name": "FLUX.1 dev",
            "prompt": "a cat, on a bridge",
            "created_at": datetime(2026, 5, 4, 12, 0, tzinfo=UTC),
            "parameters": {
                "aspect_ratio": "16:9",
                "num_inference_steps": 28,
                "guidance_scale": 3.5,
                "seed": "17454220438242315174",
            },
            "width": 64,
            "height": 48,
            **fields,
        }
    )


def picture(*, mode="RGB", size=(64, 48)):
    """Draw something with more than one colour."""
    image = Image.linear_gradient("L").resize(size).convert(mode)
    image.putpixel((3, 3), 200 if mode == "L" else (200, 30, 90, 128)[: len(mode)])
    return image


def saved(kind, image=None, **options):
    buffer = io.BytesIO()
    (image or picture()).save(buffer, kind, **options)
    return buffer.getvalue()


def rewritten(content, content_type, told=None):
    with Rewritten(io.BytesIO(content), content_type=content_type, made_with=told) as file:
        size, result = file.size, file.read()
    assert len(result) == size
    return result


def opened(content):
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def comment(image):
    raw = image.getexif().get_ifd(0x8769)[0x9286]
    assert raw[:8] == b"UNICODE\0"
    return raw[8:].decode("utf-16-be")


def xmp(image):
    raw = image.info["xmp"].decode()
    description = re.search(r"x-default\">(.*?)</rdf:li>", raw, re.DOTALL)[1]
    parameters = re.search(r"<fluxsite:parameters>(.*?)</", raw, re.DOTALL)[1]
    plain = parameters.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return description, json.loads(plain)


def text_of(image, content_type):
    return image.text["parameters"] if content_type == "image/png" else comment(image)


def json_of(image, content_type):
    if content_type == "image/png":
        return json.loads(image.text["fluxsite"])
    return xmp(image)[1]


# ---------------------------------------------------------------- what is told
def test_the_line_is_what_other_tools_write():
    assert made_with().as_text() == (
        "a cat, on a bridge\n"
        "Steps: 28, CFG scale: 3.5, Seed: 17454220438242315174, Size: 64x48, "
        'Model: FLUX.1 dev, aspect_ratio: "16:9", Version: Fluxsite'
    )


def test_a_picture_without_prompt_has_the_line_alone():
    told = made_with(prompt="", parameters={}, width=None).as_text()

    assert told == "Model: FLUX.1 dev, Version: Fluxsite"


def test_the_json_tells_what_the_api_calls_things():
    assert json.loads(made_with().as_json()) == {
        "source": "flux",
        "id": "t1",
        "model": "fal-ai/flux-1/dev",
        "prompt": "a cat, on a bridge",
        "parameters": {
            "aspect_ratio": "16:9",
            "num_inference_steps": 28,
            "guidance_scale": 3.5,
            "seed": "17454220438242315174",
        },
        "created_at": "2026-05-04T12:00:00+00:00",
    }


# ---------------------------------------------------------------- there and back
@pytest.mark.parametrize("content_type", TYPES)
@pytest.mark.parametrize(
    "prompt",
    [
        "a cat",
        "山间的小茶馆，清晨的薄雾",
        "naïve café",
        "🐈 <b>&amp;</b>]]> \"'\\ \x01\x1f\n\nthird line",
        "猫" * 10_000,
        "🐈" * 10_000,
        "",
    ],
    ids=["plain", "chinese", "latin", "hostile", "long", "long-astral", "none"],
)
def test_the_parameters_are_read_again_by_pillow(content_type, prompt):
    content = saved(TYPES[content_type])
    told = made_with(prompt=prompt)

    image = opened(rewritten(content, content_type, told))

    assert text_of(image, content_type) == told.as_text()
    assert json_of(image, content_type)["prompt"] == prompt
    assert image.tobytes() == opened(content).tobytes()


@pytest.mark.parametrize("content_type", TYPES)
def test_a_prompt_that_fits_in_no_segment_is_cut(content_type):
    told = made_with(prompt="猫" * 200_000)

    image = opened(rewritten(saved(TYPES[content_type]), content_type, told))

    assert json_of(image, content_type)["prompt"] == "猫" * 10_000


def test_photo_software_finds_the_prompt_as_description():
    image = opened(rewritten(saved("JPEG"), "image/jpeg", made_with(prompt="a & b")))

    assert xmp(image)[0] == "a &amp; b"


@pytest.mark.parametrize(
    ("content_type", "options"),
    [
        ("image/png", {"image": picture(mode="RGBA")}),
        ("image/png", {"image": picture().quantize(8)}),
        ("image/jpeg", {"progressive": True}),
        ("image/jpeg", {"quality": 100, "subsampling": 0}),
        ("image/jpeg", {"image": picture(mode="L")}),
        ("image/webp", {"lossless": True}),
        ("image/webp", {"lossless": True, "image": picture(mode="RGBA")}),
        ("image/webp", {"image": picture(mode="RGBA")}),
        ("image/webp", {"image": picture(size=(63, 47))}),
    ],
)
@pytest.mark.parametrize("told", [None, made_with()], ids=["plain", "told"])
def test_every_kind_of_file_keeps_its_pixels(content_type, options, told):
    content = saved(TYPES[content_type], **options)

    before, after = opened(content), opened(rewritten(content, content_type, told))

    assert (after.size, after.mode, after.tobytes()) == (
        before.size,
        before.mode,
        before.tobytes(),
    )


# ---------------------------------------------------------------- what was in it before
@pytest.fixture
def talkative():
    """Return a function that makes a file full of metadata, lying on its side."""

    def make(content_type):
        exif = Image.Exif()
        exif[0x0112], exif[0x010F] = 6, "Spycam"
        icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        options = {"exif": exif, "icc_profile": icc}
        if content_type == "image/png":
            from PIL.PngImagePlugin import PngInfo

            options["pnginfo"] = PngInfo()
            options["pnginfo"].add_text("parameters", "somebody else's")
            options["pnginfo"].add_itxt("Comment", "我")
        else:
            options["xmp"] = b"<x:xmpmeta>secret</x:xmpmeta>"
        if content_type == "image/jpeg":
            options["comment"] = "secret"
        return saved(TYPES[content_type], **options)

    return make


@pytest.mark.parametrize("content_type", TYPES)
def test_plain_leaves_all_out_but_what_the_picture_needs_to_look_right(talkative, content_type):
    content = talkative(content_type)

    plain = rewritten(content, content_type)

    image = opened(plain)
    assert dict(image.getexif()) == {0x0112: 6}
    assert image.info["icc_profile"] == opened(content).info["icc_profile"]
    for secret in (b"Spycam", b"secret", b"somebody", "我".encode()):
        assert secret not in plain
    assert image.tobytes() == opened(content).tobytes()


@pytest.mark.parametrize("content_type", TYPES)
def test_ours_takes_the_place_of_what_was_in_it_before(talkative, content_type):
    told = made_with()

    image = opened(rewritten(talkative(content_type), content_type, told))

    assert text_of(image, content_type) == told.as_text()
    assert image.getexif()[0x0112] == 6
    assert 0x010F not in image.getexif()


@pytest.mark.parametrize("content_type", TYPES)
def test_a_plain_file_without_metadata_is_the_file_itself(content_type):
    content = saved(TYPES[content_type])

    assert rewritten(content, content_type) == content


@pytest.mark.parametrize("content_type", TYPES)
def test_what_hangs_behind_a_picture_does_not_harm_it(content_type):
    content = saved(TYPES[content_type]) + b"trailing"

    assert opened(rewritten(content, content_type, made_with())).size == (64, 48)


# ---------------------------------------------------------------- what is no picture
@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"", "image/png"),
        (b"<html>", "image/jpeg"),
        (saved("PNG")[:60], "image/png"),
        (saved("WEBP"), "image/png"),
        (saved("PNG"), "image/jpeg"),
        (saved("JPEG"), "image/webp"),
        (saved("GIF"), "image/gif"),
        (saved("PNG"), ""),
    ],
)
def test_what_is_not_built_as_its_type_says_is_refused(content, content_type):
    with pytest.raises(CannotRewrite):
        Rewritten(io.BytesIO(content), content_type=content_type, made_with=made_with())


def test_a_file_is_read_in_pieces_of_any_size():
    content = saved("PNG")
    whole = rewritten(content, "image/png", made_with())

    with Rewritten(io.BytesIO(content), content_type="image/png", made_with=made_with()) as file:
        pieces = list(iter(lambda: file.read(7), b""))

    assert b"".join(pieces) == whole


def test_it_closes_the_file_it_was_given():
    inner = io.BytesIO(saved("PNG"))

    Rewritten(inner, content_type="image/png", made_with=None).close()

    assert inner.closed
