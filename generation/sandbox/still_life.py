"""The still life: a niche, a table, and things that stand on it in another order each time."""

from __future__ import annotations

import random
from collections.abc import Callable

from generation.sandbox.brushes import Canvas, Point, Shape, smooth
from generation.sandbox.palettes import WHITE, Colour, Palette, mix


def still_life(canvas: Canvas, palette: Palette, chance: random.Random) -> None:
    table = canvas.height * chance.uniform(0.66, 0.72)
    wall = mix(palette.horizon, chance.choice(palette.accents), 0.16)
    if palette.dark:
        wall = mix(palette.sky[2], palette.sky[1], 0.3)
    canvas.sky([mix(wall, palette.sky[0], 0.28), wall, mix(wall, palette.light, 0.3)])
    middle = canvas.width * chance.uniform(0.36, 0.64)
    arch = canvas.unit * chance.uniform(0.32, 0.38)
    niche = mix(chance.choice(palette.accents), wall, 0.3)
    spring = table - canvas.height * 0.3
    alcove = Shape().ellipse(middle, spring, arch, arch).polygon(
        [(middle - arch, spring), (middle + arch, spring), (middle + arch, table), (middle - arch, table)]
    )  # fmt: skip
    canvas.fill(alcove, mix(niche, palette.light, 0.25), to=niche)
    sun = canvas.unit * chance.uniform(0.09, 0.14)
    canvas.fill(
        Shape().ellipse(middle + arch * chance.uniform(-0.5, 0.5), spring - arch * 0.15, sun, sun),
        mix(palette.light, niche, 0.12),
    )
    cloth = mix(palette.far, palette.near, 0.35)
    top = Shape().polygon(
        [
            (-4, table),
            (canvas.width + 4, table),
            (canvas.width + 4, canvas.height + 4),
            (-4, canvas.height + 4),
        ]
    )
    canvas.fill(top, mix(cloth, palette.light, 0.35), to=mix(cloth, palette.near, 0.15))
    x = middle - canvas.unit * 0.5
    order = ["vase", "bottle", "bowl", "fruit", "fruit"]
    chance.shuffle(order)
    for index, item in enumerate(order):
        x += canvas.unit * chance.uniform(0.14, 0.2)
        foot = table + canvas.unit * (0.045 + 0.06 * (index % 2) + chance.uniform(0, 0.03))
        colour = mix(palette.accents[index % len(palette.accents)], palette.far, 0.12)
        _STILL[item](canvas, palette, (x, foot), colour, chance)


def _shadow(canvas: Canvas, palette: Palette, x: float, foot: float, reach: float) -> None:
    shade = Shape().ellipse(x + reach * 0.5, foot, reach * 1.3, reach * 0.2)
    canvas.fill(shade, palette.near, opacity=0.38, soft=reach * 0.1)


def _turned(
    canvas: Canvas, palette: Palette, spot: Point, profile: list[Point], colour: Colour
) -> None:
    """Paint a vessel from its profile (half width, height), lit from the left."""
    x, foot = spot
    half = smooth(profile, 6)
    right = [(x + across, foot - up) for across, up in half]
    left = [(x - across, foot - up) for across, up in reversed(half)]
    canvas.fill(
        Shape().polygon([*right, *left]),
        mix(colour, WHITE, 0.12),
        to=mix(colour, palette.near, 0.12),
    )
    dark = [(x + across * 0.35, foot - up) for across, up in reversed(half)]
    canvas.fill(Shape().polygon([*right, *dark]), palette.near, opacity=0.2, soft=2)
    gleam = [
        (x - across * 0.62, foot - up) for across, up in half[len(half) // 5 : -len(half) // 4]
    ]
    canvas.fill(Shape().line(gleam, canvas.unit * 0.007), WHITE, opacity=0.45, soft=1)


def _vase(
    canvas: Canvas, palette: Palette, spot: Point, colour: Colour, chance: random.Random
) -> None:
    x, foot = spot
    size = canvas.unit * chance.uniform(0.31, 0.38)
    _shadow(canvas, palette, x, foot, size * 0.32)
    sprig = mix(palette.near, (70, 110, 80), 0.4)
    for _ in range(5):
        tip = (x + chance.uniform(-0.5, 0.5) * size, foot - size * chance.uniform(1.35, 1.8))
        stem = smooth([(x, foot - size * 0.9), ((x + tip[0]) / 2, foot - size * 1.3), tip], 7)
        canvas.fill(Shape().line(stem, canvas.unit * 0.004), sprig)
        bud = chance.choice(palette.accents)
        for bud_x, bud_y in stem[6::3]:
            side = chance.choice((-1, 1))
            canvas.fill(
                Shape().ellipse(
                    bud_x + side * size * 0.06, bud_y, size * 0.065, size * 0.028, side * -0.6
                ),
                sprig,
            )
        canvas.fill(Shape().ellipse(*tip, size * 0.06, size * 0.06), mix(bud, WHITE, 0.2))
        canvas.fill(
            Shape().ellipse(tip[0] - size * 0.01, tip[1] - size * 0.012, size * 0.032, size * 0.03),
            mix(bud, WHITE, 0.5),
        )
    profile = [
        (size * a, size * u)
        for a, u in (
            (0.14, 0),
            (0.23, 0.1),
            (0.29, 0.25),
            (0.3, 0.4),
            (0.25, 0.57),
            (0.15, 0.71),
            (0.095, 0.81),
            (0.095, 0.88),
            (0.13, 0.96),
        )
    ]
    _turned(canvas, palette, spot, profile, colour)


def _bottle(
    canvas: Canvas, palette: Palette, spot: Point, colour: Colour, chance: random.Random
) -> None:
    size = canvas.unit * chance.uniform(0.38, 0.46)
    _shadow(canvas, palette, spot[0], spot[1], size * 0.2)
    profile = [
        (size * a, size * u)
        for a, u in (
            (0.13, 0),
            (0.15, 0.03),
            (0.15, 0.25),
            (0.15, 0.48),
            (0.135, 0.57),
            (0.085, 0.66),
            (0.05, 0.74),
            (0.045, 0.94),
            (0.056, 0.95),
            (0.056, 1.0),
        )
    ]
    _turned(canvas, palette, spot, profile, mix(colour, palette.near, 0.35))


def _bowl(
    canvas: Canvas, palette: Palette, spot: Point, colour: Colour, chance: random.Random
) -> None:
    x, foot = spot
    size = canvas.unit * chance.uniform(0.19, 0.24)
    _shadow(canvas, palette, x, foot, size * 0.7)
    for offset in (-0.42, 0.05, 0.45):
        _fruit(
            canvas,
            palette,
            (x + offset * size, foot - size * 0.5),
            chance.choice(palette.accents),
            chance,
        )
    profile = [
        (size * a, size * u)
        for a, u in ((0.3, 0), (0.33, 0.05), (0.5, 0.12), (0.68, 0.26), (0.81, 0.44), (0.88, 0.62))
    ]
    _turned(canvas, palette, spot, profile, mix(colour, WHITE, 0.25))


def _fruit(
    canvas: Canvas, palette: Palette, spot: Point, colour: Colour, chance: random.Random
) -> None:
    x, foot = spot
    radius = canvas.unit * chance.uniform(0.055, 0.072)
    y = foot - radius * 0.9
    _shadow(canvas, palette, x, foot, radius * 0.8)
    canvas.fill(Shape().ellipse(x, y, radius, radius * 0.93), mix(colour, palette.near, 0.18))
    canvas.fill(
        Shape().ellipse(x - radius * 0.14, y - radius * 0.12, radius * 0.8, radius * 0.76),
        colour,
        soft=radius * 0.08,
    )
    canvas.fill(
        Shape().ellipse(x - radius * 0.36, y - radius * 0.38, radius * 0.2, radius * 0.15),
        WHITE,
        opacity=0.55,
        soft=1,
    )
    canvas.fill(
        Shape().line(
            [(x, y - radius * 0.8), (x + radius * 0.12, y - radius * 1.25)], canvas.unit * 0.005
        ),
        palette.near,
    )
    leaf = Shape().ellipse(
        x + radius * 0.42, y - radius * 1.12, radius * 0.34, radius * 0.13, -0.35
    )
    canvas.fill(leaf, mix((84, 130, 82), palette.near, 0.2))


_STILL: dict[str, Callable[[Canvas, Palette, Point, Colour, random.Random], None]] = {
    "vase": _vase,
    "bottle": _bottle,
    "bowl": _bowl,
    "fruit": _fruit,
}
