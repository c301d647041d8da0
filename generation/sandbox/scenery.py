"""What several scenes share: sky and light, birds, trees, the colour of distance, water."""

from __future__ import annotations

import math
import random

from generation.sandbox.brushes import Canvas, Point, Shape, height_at, smooth, under
from generation.sandbox.palettes import WHITE, Colour, Palette, mix


def open_sky(
    canvas: Canvas, palette: Palette, chance: random.Random, horizon: float, *, low: bool = False
) -> Point:
    """Paint sky, stars, sun or moon and clouds; return where the light stands."""
    canvas.sky(palette.sky, horizon)
    x = canvas.width * chance.choice((chance.uniform(0.16, 0.4), chance.uniform(0.6, 0.84)))
    y = horizon * (chance.uniform(0.62, 0.8) if low else chance.uniform(0.24, 0.5))
    radius = canvas.unit * chance.uniform(0.05, 0.085)
    if palette.dark:
        stars(canvas, chance, horizon)
    canvas.glow(x, y, radius * 6.5, palette.light, 0.55)
    canvas.glow(x, y, radius * 2.4, palette.light, 0.6)
    if palette.dark and chance.random() < 0.5:
        canvas.fill(_crescent(x, y, radius), palette.light)
    else:
        canvas.fill(Shape().ellipse(x, y, radius, radius), palette.light)
    cloud = mix(palette.light, palette.horizon, 0.45 if palette.name != "ink" else 1.0)
    canvas.clouds(horizon * 0.95, cloud, 0.3 if palette.dark else 0.62, chance)
    return x, y


def _crescent(x: float, y: float, radius: float) -> Shape:
    steps = [math.pi * (0.32 + 1.36 * step / 30) for step in range(31)]
    outer = [(math.cos(angle), math.sin(angle)) for angle in steps]
    # The inner edge is the same arc, drawn flatter between the same two horns.
    horn = outer[0][0]
    inner = [(horn + (across - horn) * 0.45, down) for across, down in reversed(outer)]
    tilt = -0.45
    cos, sin = math.cos(tilt), math.sin(tilt)
    return Shape().polygon(
        (x + radius * (across * cos - down * sin), y + radius * (across * sin + down * cos))
        for across, down in [*outer, *inner]
    )


def stars(canvas: Canvas, chance: random.Random, horizon: float) -> None:
    for _ in range(130):
        x, y = chance.uniform(0, canvas.width), horizon * chance.random() ** 1.4
        size = canvas.unit * 0.0009 * (1 + 2.2 * chance.random() ** 6)
        star = Shape().ellipse(x, y, size + 0.35, size + 0.35)
        canvas.fill(star, (255, 248, 230), opacity=chance.uniform(0.35, 0.95))


def birds(canvas: Canvas, palette: Palette, chance: random.Random, top: float) -> None:
    x = canvas.width * chance.uniform(0.15, 0.75)
    y = top * chance.uniform(0.35, 0.6)
    flock = Shape()
    for _ in range(chance.randint(3, 7)):
        span = canvas.unit * chance.uniform(0.009, 0.018)
        left, right = (x - span, y - span * 0.45), (x + span, y - span * 0.5)
        mid_left, mid_right = (x - span * 0.4, y - span * 0.62), (x + span * 0.4, y - span * 0.66)
        flock.line(smooth([left, mid_left, (x, y), mid_right, right], 5), canvas.unit * 0.0022)
        x += canvas.unit * chance.uniform(0.025, 0.055)
        y += canvas.unit * chance.uniform(-0.03, 0.025)
    canvas.fill(flock, mix(palette.near, palette.horizon, 0.15), opacity=0.8)


def pine(shape: Shape, x: float, foot: float, height: float, chance: random.Random) -> None:
    tiers = 5
    for tier in range(tiers):
        top = foot - height * (1 - tier * 0.17)
        bottom = foot - height * (0.66 - tier * 0.15)
        half = height * (0.08 + 0.045 * tier) * chance.uniform(0.9, 1.1)
        droop = height * 0.035
        shape.polygon(
            [(x, top), (x + half, bottom + droop), (x, bottom - droop), (x - half, bottom + droop)]
        )
    shape.line([(x, foot - height * 0.2), (x, foot + height * 0.06)], height * 0.035)


def pines(
    canvas: Canvas, line: list[Point], colour: Colour, size: float, chance: random.Random
) -> None:
    grove = Shape()
    for _ in range(chance.randint(2, 4)):
        middle = chance.uniform(-0.05, 1.05) * canvas.width
        for _ in range(chance.randint(4, 11)):
            x = middle + chance.gauss(0, 0.07) * canvas.width
            height = size * chance.uniform(0.5, 1.15)
            pine(grove, x, height_at(line, x) + height * 0.05, height, chance)
    canvas.fill(grove, colour)


def leafy_tree(
    canvas: Canvas, x: float, foot: float, size: float, colours: tuple[Colour, Colour, Colour],
    chance: random.Random,
) -> None:  # fmt: skip
    bark, shade, leaf = colours
    trunk = [(x - size * 0.05, foot), (x - size * 0.02, foot - size * 0.5)]
    trunk += [(x + size * 0.02, foot - size * 0.5), (x + size * 0.05, foot)]
    canvas.fill(Shape().polygon(trunk), bark)
    spots = []
    for _ in range(26):
        angle, reach = chance.uniform(0, math.tau), math.sqrt(chance.random()) * 0.3
        spots.append((x + math.cos(angle) * reach * size, math.sin(angle) * reach * 0.8 * size))
    spots.sort(key=lambda spot: -spot[1])
    middle = foot - size * 0.68
    for index, (spot_x, offset) in enumerate(spots):
        radius = size * chance.uniform(0.075, 0.13)
        blob = Shape().ellipse(spot_x, middle + offset, radius, radius * 0.85)
        canvas.fill(blob, mix(shade, leaf, index / len(spots)), opacity=0.92)


def land(palette: Palette, depth: float) -> Colour:
    """Return the colour of land: depth 0 melts into the horizon, 1 stands before us."""
    if depth < 0.35:
        return mix(mix(palette.horizon, palette.far, 0.55), palette.far, depth / 0.35)
    return mix(palette.far, palette.near, (depth - 0.35) / 0.65)


def shore(
    canvas: Canvas, palette: Palette, chance: random.Random, level: float, light: Point
) -> None:
    """Turn everything below ``level`` into still water with a near bank."""
    canvas.water(level, mix(palette.sky[0], palette.near, 0.3), 0.26, chance)
    canvas.mist(
        level - canvas.height * 0.035, level + canvas.height * 0.03,
        mix(palette.horizon, WHITE, 0.4), 0.6, chance,
    )  # fmt: skip
    glitter(canvas, palette, chance, level, light[0], 0.55)
    if chance.random() < 0.7:
        side = chance.choice((0.0, 1.0))
        bank = [
            (n / 40 * canvas.width, canvas.height * (1.02 - 0.13 * abs(1 - side - n / 40) ** 2.2))
            for n in range(41)
        ]
        reeds = Shape()
        for _ in range(46):
            x = abs(side - chance.random() ** 1.7 * 0.5) * canvas.width
            foot, tall = height_at(bank, x) + 4, canvas.unit * chance.uniform(0.03, 0.13)
            lean = chance.uniform(-0.3, 0.3) * tall
            stalk = [(x, foot), (x + lean * 0.3, foot - tall * 0.6), (x + lean, foot - tall)]
            reeds.line(smooth(stalk, 4), canvas.unit * 0.0028)
        canvas.fill(reeds, palette.near)
        canvas.fill(under(bank, canvas.height + 4), palette.near)


def glitter(
    canvas: Canvas, palette: Palette, chance: random.Random, level: float, x: float, strength: float
) -> None:
    depth = canvas.height - level
    for opacity in (0.35, 0.6, 0.9):
        path = Shape()
        for _ in range(34):
            reach = chance.random() ** 1.5
            y = level + 2 + depth * reach * 0.92
            sway = chance.gauss(0, 0.016 + 0.05 * reach) * canvas.width
            half = canvas.unit * (0.006 + 0.03 * reach) * chance.uniform(0.4, 1.2)
            path.ellipse(x + sway, y, half, max(0.5, canvas.unit * 0.0022 * (0.5 + reach)))
        canvas.fill(path, palette.light, opacity=opacity * strength)
