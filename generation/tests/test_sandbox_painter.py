"""The sandbox's pictures: real, of the promised size, repeatable and telling apart."""

from __future__ import annotations

import io
import random
from dataclasses import replace

import pytest
from PIL import Image, ImageChops, ImageStat

from generation.sandbox.painter import Recipe, paint
from generation.sandbox.palettes import MOTIFS, PALETTES, choose_motif, choose_palette
from generation.sandbox.schemas import presets

PLAIN = Recipe(
    endpoint="fal-ai/flux-1/dev", kind="text", prompt="x", seed=1, index=0, width=320, height=240
)


def opened(recipe):
    return Image.open(io.BytesIO(paint(recipe)))


def distance(first, second):
    """Return the mean difference of two pictures, 0 to 255 a channel."""
    difference = ImageChops.difference(first.convert("RGB"), second.convert("RGB"))
    return sum(ImageStat.Stat(difference).mean) / 3


def jpeg(colour, size=(300, 300)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("width", "height"), [*presets().values(), (1, 1), (2048, 16), (1537, 641)]
)
def test_a_picture_has_exactly_the_promised_size(width, height):
    picture = opened(replace(PLAIN, width=width, height=height))
    picture.load()
    assert (picture.size, picture.mode) == ((width, height), "RGB")


@pytest.mark.parametrize(("name", "expected"), [("jpeg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")])
def test_a_picture_is_of_the_asked_format(name, expected):
    picture = opened(replace(PLAIN, format=name))
    picture.load()
    assert picture.format == expected


@pytest.mark.parametrize("motif", MOTIFS)
def test_every_motif_repeats_to_the_byte(motif):
    recipe = replace(PLAIN, prompt=motif.replace("_", " "))
    assert paint(recipe) == paint(recipe)


@pytest.mark.parametrize(
    "change",
    [{"seed": 2}, {"prompt": "y"}, {"index": 1}, {"endpoint": "fal-ai/flux-1/schnell"}],
)
def test_anything_else_is_clearly_another_picture(change):
    assert distance(opened(PLAIN), opened(replace(PLAIN, **change))) > 15


def test_seeds_are_told_apart_for_one_motif_too():
    pictures = [opened(replace(PLAIN, prompt="猫", seed=seed)) for seed in range(4)]
    pairs = [(a, b) for n, a in enumerate(pictures) for b in pictures[n + 1 :]]
    assert min(distance(a, b) for a, b in pairs) > 8


@pytest.mark.parametrize(
    ("prompt", "motif", "palette"),
    [
        ("A cat at night", "cat", "night"),
        ("夜晚的城市", "city", "night"),
        ("日落时的大海", "sea", "dusk"),
        ("snowy mountains in winter", "mountains", "snow"),
        ("水墨山水", "mountains", "ink"),
        ("A Cathedral of Flowers", "flowers", None),
        ("樱花", "flowers", "spring"),
    ],
)
def test_words_steer_motif_and_palette(prompt, motif, palette):
    chance = random.Random(0)
    assert choose_motif(prompt, chance) == motif
    if palette:
        assert choose_palette(prompt, chance) == PALETTES[palette]


@pytest.mark.parametrize("prompt", ["", "\ud800 lone surrogate", "\0", "很" * 5000, "🦊"])
def test_no_prompt_is_too_strange_to_paint(prompt):
    assert opened(replace(PLAIN, prompt=prompt)).size == (320, 240)


def test_what_the_checker_blocks_is_black():
    assert opened(replace(PLAIN, black=True)).convert("L").getextrema() == (0, 0)


@pytest.mark.parametrize("kind", ["repaint", "edit", "collage", "variation"])
def test_input_pictures_leave_their_mark(kind):
    red = replace(PLAIN, kind=kind, inputs=(jpeg("red"),), strength=0.4)
    blue = replace(red, inputs=(jpeg("blue"),))

    redness = ImageStat.Stat(opened(red)).mean[0] - ImageStat.Stat(opened(blue)).mean[0]

    if kind == "variation":  # re-coloured: what must survive is light and shade
        half = Image.new("RGB", (300, 300))
        half.paste("white", (0, 0, 300, 150))
        buffer = io.BytesIO()
        half.save(buffer, "JPEG")
        tones = opened(replace(red, inputs=(buffer.getvalue(),))).convert("L")
        upper, lower = tones.crop((0, 0, 320, 100)), tones.crop((0, 140, 320, 240))
        assert ImageStat.Stat(upper).mean[0] - ImageStat.Stat(lower).mean[0] > 60
    else:
        assert redness > 20


def test_the_strength_of_a_repaint_decides_how_much_of_the_input_stays():
    half = Image.new("RGB", (320, 240), "white")
    half.paste("black", (0, 0, 160, 240))
    buffer = io.BytesIO()
    half.save(buffer, "JPEG")
    recipe = replace(PLAIN, kind="repaint", inputs=(buffer.getvalue(),))

    faithful, free = (opened(replace(recipe, strength=strength)) for strength in (0.05, 1.0))

    assert distance(faithful, half) + 20 < distance(free, half)


def test_a_collage_shows_every_input():
    inputs = tuple(jpeg(colour) for colour in ("red", "blue"))
    picture = opened(replace(PLAIN, kind="collage", inputs=inputs)).convert("RGB")

    left, right = (ImageStat.Stat(picture.crop((x - 20, 100, x + 20, 140))).mean for x in (80, 240))

    assert left[0] > left[2] + 60
    assert right[2] > right[0] + 60
