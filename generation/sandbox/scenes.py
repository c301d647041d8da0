"""The motifs: each paints a whole picture onto a canvas.

Everything is placed relative to the canvas, so one seed gives one composition in any
format.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from generation.sandbox.brushes import Canvas, Point, Shape, height_at, ridge, smooth, under
from generation.sandbox.palettes import WHITE, Colour, Palette, mix
from generation.sandbox.scenery import (
    birds,
    glitter,
    land,
    leafy_tree,
    open_sky,
    pine,
    pines,
    shore,
    stars,
)
from generation.sandbox.still_life import still_life


def paint_motif(name: str, canvas: Canvas, palette: Palette, chance: random.Random) -> None:
    _MOTIFS[name](canvas, palette, chance)


def _mountains(canvas: Canvas, palette: Palette, chance: random.Random) -> None:
    lake = chance.random() < 0.55
    floor = canvas.height * (chance.uniform(0.68, 0.76) if lake else 1.0)
    horizon = canvas.height * (0.66 if lake else 0.74)
    light = open_sky(canvas, palette, chance, horizon)
    layers = 4 if lake else 6
    first = canvas.height * chance.uniform(0.36, 0.44)
    for index in range(layers):
        depth = index / (layers - 1)
        base = first + (floor * 0.97 - first) * depth**1.15
        tall = canvas.height * (0.15 - 0.085 * depth)
        line = ridge(canvas.width, base, tall, 0.95 - 0.75 * depth, chance)
        colour = land(palette, 0.08 + depth * (0.72 if lake else 0.92))
        foot = mix(colour, palette.horizon, 0.42 * (1 - depth))
        canvas.fill(under(line, floor + 2), colour, to=foot)
        if index < layers - 1:
            canvas.mist(
                base, base + canvas.height * 0.17, mix(palette.horizon, WHITE, 0.25),
                0.62 * (1 - depth * 0.75), chance,
            )  # fmt: skip
        if index >= layers - 2:
            size = canvas.unit * (0.055 if index == layers - 2 else 0.1)
            pines(canvas, line, mix(colour, palette.near, 0.65), size, chance)
    if lake:
        shore(canvas, palette, chance, floor, light)
    if chance.random() < 0.75:
        birds(canvas, palette, chance, first)


def _sea(canvas: Canvas, palette: Palette, chance: random.Random) -> None:
    level = canvas.height * chance.uniform(0.52, 0.62)
    light = open_sky(canvas, palette, chance, level, low=True)
    for index in range(chance.randint(1, 3)):
        middle = chance.uniform(0.05, 0.95) * canvas.width
        reach = canvas.width * chance.uniform(0.12, 0.3)
        tall = canvas.unit * chance.uniform(0.03, 0.085)
        line = ridge(round(reach * 2), 0, tall * 0.35, 0.7, chance)
        points = []
        for x, y in line:
            share = x / (reach * 2)
            points.append((middle - reach + x, level - (tall - y) * math.sin(math.pi * share)))
        canvas.fill(under(points, level + 1), land(palette, 0.25 + 0.18 * index))
    canvas.water(level, mix(palette.sky[0], palette.near, 0.25), 0.42, chance)
    _waves(canvas, palette, chance, level)
    glitter(canvas, palette, chance, level, light[0], 0.9)
    canvas.mist(
        level - canvas.height * 0.03, level + canvas.height * 0.03, palette.horizon, 0.5, chance
    )
    for _ in range(chance.randint(1, 2)):
        _sail(canvas, palette, chance, level)
    if chance.random() < 0.8:
        birds(canvas, palette, chance, level)


def _waves(canvas: Canvas, palette: Palette, chance: random.Random, level: float) -> None:
    depth = canvas.height - level
    pale, deep = mix(palette.horizon, WHITE, 0.35), mix(palette.near, palette.sky[0], 0.4)
    for colour, opacity in ((deep, 0.2), (pale, 0.2)):
        crests = Shape()
        for _ in range(70):
            reach = chance.random() ** 0.8
            x, y = chance.uniform(-0.1, 1.0) * canvas.width, level + depth * (0.03 + 0.97 * reach)
            span = canvas.width * (0.02 + 0.13 * reach) * chance.uniform(0.5, 1.2)
            rise = canvas.unit * 0.005 * reach
            curve = smooth(
                [
                    (x, y),
                    (x + span * 0.3, y - rise),
                    (x + span * 0.65, y + rise * 0.5),
                    (x + span, y),
                ],
                4,
            )
            crests.line(curve, 0.7 + canvas.unit * 0.004 * reach)
        canvas.fill(crests, colour, opacity=opacity, soft=0.6)


def _sail(canvas: Canvas, palette: Palette, chance: random.Random, level: float) -> None:
    near = chance.random()
    size = canvas.unit * (0.06 + 0.13 * near)
    x = canvas.width * chance.uniform(0.15, 0.85)
    y = level + (canvas.height - level) * (0.06 + 0.4 * near)
    hull = smooth(
        [
            (x - size * 0.5, y - size * 0.1),
            (x, y + size * 0.05),
            (x + size * 0.55, y - size * 0.13),
        ],
        6,
    )
    canvas.fill(
        Shape().ellipse(x, y + size * 0.12, size * 0.5, size * 0.05), palette.near, opacity=0.35,
        soft=1.5,
    )  # fmt: skip
    cloth = mix(chance.choice(palette.accents), WHITE, chance.choice((0.1, 0.75)))
    main = [
        (x + size * 0.02, y - size * 1.1),
        (x + size * 0.46, y - size * 0.2),
        (x + size * 0.02, y - size * 0.16),
    ]
    jib = [
        (x - size * 0.03, y - size * 0.95),
        (x - size * 0.4, y - size * 0.18),
        (x - size * 0.03, y - size * 0.16),
    ]
    canvas.fill(Shape().polygon(main), mix(cloth, WHITE, 0.2), to=cloth)
    canvas.fill(Shape().polygon(jib), cloth, to=mix(cloth, palette.near, 0.25))
    canvas.fill(Shape().line([(x, y), (x, y - size * 1.14)], size * 0.022), palette.near)
    canvas.fill(Shape().polygon([*hull, (x + size * 0.5, y - size * 0.14)]), palette.near)


def _city(canvas: Canvas, palette: Palette, chance: random.Random) -> None:
    river = canvas.height * chance.uniform(0.72, 0.8)
    light = open_sky(canvas, palette, chance, river)
    lamp = (255, 214, 140)
    for index, depth in enumerate((0.22, 0.45, 0.78)):
        colour = land(palette, depth)
        x = -chance.uniform(0, 0.08) * canvas.width
        blocks, windows = Shape(), Shape()
        while x < canvas.width:
            wide = canvas.unit * chance.uniform(0.05, 0.12) * (0.8 + index * 0.25)
            tall = canvas.height * (0.12 + 0.34 * chance.random() ** 1.8) * (1.18 - 0.2 * index)
            _tower(canvas, blocks, x, river, wide, tall, chance)
            if index:
                _windows(
                    windows, x, river, wide, tall, canvas.unit * (0.009 + 0.004 * index), chance
                )
            x += wide * chance.uniform(0.92, 1.25)
        canvas.fill(
            blocks, mix(colour, palette.sky[1], 0.12), to=mix(colour, palette.horizon, 0.25)
        )
        lit = 0.9 if palette.dark else 0.5
        if index:
            canvas.fill(windows, lamp, opacity=lit * (0.55 + 0.2 * index))
        canvas.mist(
            river - canvas.height * 0.16, river + canvas.height * 0.02, palette.horizon,
            0.5 - 0.14 * index, chance,
        )  # fmt: skip
    quay = Shape().polygon(
        [(0, river - canvas.unit * 0.012), (canvas.width, river - canvas.unit * 0.012),
         (canvas.width, river + 2), (0, river + 2)]
    )  # fmt: skip
    canvas.fill(quay, palette.near)
    canvas.water(river, mix(palette.sky[0], palette.near, 0.5), 0.3, chance)
    glitter(canvas, palette, chance, river, light[0], 0.4)
    if chance.random() < 0.5:
        birds(canvas, palette, chance, river * 0.7)


def _tower(
    canvas: Canvas, blocks: Shape, x: float, foot: float, wide: float, tall: float,
    chance: random.Random,
) -> None:  # fmt: skip
    top = foot - tall
    blocks.polygon([(x, foot), (x, top), (x + wide, top), (x + wide, foot)])
    crown = chance.random()
    if crown < 0.25:
        inset = wide * 0.22
        step = canvas.unit * 0.03
        blocks.polygon(
            [(x + inset, top), (x + inset, top - step), (x + wide - inset, top - step),
             (x + wide - inset, top)]
        )  # fmt: skip
        blocks.line([(x + wide / 2, top - step), (x + wide / 2, top - step * 3)], wide * 0.04)
    elif crown < 0.42:
        blocks.polygon([(x, top + 1), (x + wide / 2, top - wide * 0.55), (x + wide, top + 1)])
    elif crown < 0.55:
        blocks.ellipse(x + wide / 2, top, wide / 2, wide * 0.38)
    elif crown < 0.7:
        blocks.polygon([(x, top + 1), (x, top - wide * 0.4), (x + wide, top + 1)])


def _windows(
    windows: Shape, x: float, foot: float, wide: float, tall: float, step: float,
    chance: random.Random,
) -> None:  # fmt: skip
    columns = max(1, int(wide * 0.8 / step))
    inset = (wide - columns * step) / 2
    share = chance.uniform(0.12, 0.5)
    for row in range(int(tall * 0.92 / (step * 1.25))):
        for column in range(columns):
            if chance.random() < share:
                left = x + inset + column * step + step * 0.22
                top = foot - tall + step * 0.7 + row * step * 1.25
                right, bottom = left + step * 0.5, top + step * 0.62
                windows.polygon([(left, top), (right, top), (right, bottom), (left, bottom)])


def _flowers(canvas: Canvas, palette: Palette, chance: random.Random) -> None:
    sky = [mix(colour, palette.horizon, 0.35) for colour in palette.sky]
    green = mix(land(palette, 0.7), (60, 120, 80), 0.35)
    canvas.sky([*sky, mix(green, palette.horizon, 0.35), green])
    canvas.glow(
        canvas.width * chance.uniform(0.2, 0.8),
        canvas.height * 0.15,
        canvas.unit * 0.8,
        palette.light,
        0.6,
    )
    for _ in range(22):
        radius = canvas.unit * chance.uniform(0.02, 0.09)
        colour = mix(chance.choice((*palette.accents, palette.light)), palette.horizon, 0.3)
        spot = Shape().ellipse(
            chance.uniform(0, canvas.width),
            chance.uniform(0.1, 0.95) * canvas.height,
            radius,
            radius,
        )
        canvas.fill(spot, colour, opacity=chance.uniform(0.12, 0.34), soft=radius * 0.12)
    for row in range(3):
        near = row / 2
        _grass(
            canvas,
            mix(mix(green, palette.horizon, 0.45), mix(green, palette.near, 0.55), near),
            near,
            chance,
        )
        count = (15, 9, 5)[row]
        for place in range(count):
            x = (place + chance.uniform(0.1, 0.9)) / count * canvas.width
            size = canvas.unit * (0.028 + 0.035 * near + 0.04 * near**2) * chance.uniform(0.8, 1.25)
            y = canvas.height * (0.58 - 0.1 * near + chance.uniform(-0.16, 0.2))
            _flower(canvas, palette, (x, y), size, green, near, chance)


def _grass(canvas: Canvas, colour: Colour, near: float, chance: random.Random) -> None:
    blades = Shape()
    top = canvas.height * (0.72 + 0.16 * near)
    for _ in range(130):
        x = chance.uniform(-0.02, 1.02) * canvas.width
        tall = canvas.unit * (0.08 + 0.16 * near) * chance.uniform(0.4, 1.2)
        lean, half = chance.uniform(-0.5, 0.5) * tall, canvas.unit * (0.003 + 0.005 * near)
        foot = top + tall * 0.75
        blades.polygon([(x - half, foot), (x + lean * 0.4, foot - tall * 0.55), (x + lean, foot - tall), (x + lean * 0.4 + half, foot - tall * 0.5), (x + half, foot)])  # fmt: skip
    line = ridge(canvas.width, top + canvas.unit * 0.05, canvas.unit * 0.015, 0.2, chance)
    canvas.fill(blades, colour, opacity=0.9)
    canvas.fill(under(line, canvas.height + 4), colour, to=mix(colour, (10, 30, 20), 0.35 * near))


def _flower(
    canvas: Canvas, palette: Palette, head: Point, size: float, green: Colour, near: float,
    chance: random.Random,
) -> None:  # fmt: skip
    x, y = head
    foot = (x + chance.uniform(-0.1, 0.1) * canvas.unit, canvas.height * 1.02)
    bend = (x + chance.uniform(-0.05, 0.05) * canvas.unit, (y + foot[1]) / 2)
    stem = smooth([head, bend, foot], 10)
    stalk = mix(mix(green, palette.horizon, 0.25), mix(green, palette.near, 0.4), near)
    canvas.fill(Shape().line(stem, max(1.0, size * 0.1)), stalk)
    leaf_x, leaf_y = stem[len(stem) // 2]
    turn = chance.choice((-0.7, math.pi + 0.7))
    leaf = Shape().ellipse(leaf_x + math.cos(turn) * size * 0.6, leaf_y + math.sin(turn) * size * 0.6, size * 0.75, size * 0.17, turn)  # fmt: skip
    canvas.fill(leaf, mix(stalk, palette.light, 0.1))
    colour = mix(chance.choice(palette.accents), palette.horizon, 0.35 * (1 - near))
    petals, start = chance.choice((5, 6, 8, 13)), chance.uniform(0, 1)
    slim = {5: 0.5, 6: 0.42, 8: 0.31, 13: 0.2}[petals]
    squash = chance.uniform(0.62, 0.95)
    for ring, (reach, tone) in enumerate(((0.62, 0.0), (0.46, 0.28))):
        for petal in range(petals):
            angle = (petal + start + ring * 0.5) * math.tau / petals
            cx = x + math.cos(angle) * size * reach
            cy = y + math.sin(angle) * size * reach * squash
            turned = math.atan2(math.sin(angle) * squash, math.cos(angle))
            shape = Shape().ellipse(
                cx, cy, size * reach * 0.9, size * slim * (1 - 0.2 * ring), turned
            )
            shade = mix(mix(colour, WHITE, tone), palette.near, 0.1 * (petal % 2))
            canvas.fill(shape, shade, opacity=0.93)
    heart = mix((242, 190, 70), palette.near, 0.12)
    canvas.fill(
        Shape().ellipse(x, y, size * 0.24, size * 0.24 * squash), mix(heart, palette.near, 0.3)
    )
    canvas.fill(
        Shape().ellipse(x - size * 0.03, y - size * 0.05, size * 0.17, size * 0.16 * squash), heart
    )


def _forest(canvas: Canvas, palette: Palette, chance: random.Random) -> None:
    pale = mix(palette.horizon, WHITE, 0.2)
    canvas.sky([mix(palette.sky[1], pale, 0.25), pale, mix(pale, palette.far, 0.5)])
    x = canvas.width * chance.uniform(0.3, 0.7)
    canvas.glow(x, canvas.height * 0.32, canvas.unit * 0.75, palette.light, 0.85)
    canvas.fill(
        Shape().ellipse(x, canvas.height * 0.3, canvas.unit * 0.06, canvas.unit * 0.06),
        palette.light,
        opacity=0.85,
        soft=1.5,
    )
    bare = chance.random() < 0.5
    for row in range(5):
        depth = row / 4
        colour = land(palette, 0.12 + 0.88 * depth)
        floor = canvas.height * (0.66 + 0.24 * depth)
        line = ridge(canvas.width, floor, canvas.unit * 0.025, 0.2, chance)
        trees = Shape()
        for _ in range((20, 15, 10, 6, 4)[row]):
            tree_x = chance.uniform(-0.04, 1.04) * canvas.width
            if row == 4 and 0.28 < tree_x / canvas.width < 0.72:
                tree_x = canvas.width * (
                    0.5 + math.copysign(chance.uniform(0.3, 0.5), tree_x - canvas.width / 2)
                )
            foot = height_at(line, tree_x) + 4
            if bare:
                _trunk(canvas, trees, tree_x, foot, depth, chance)
            else:
                pine(
                    trees,
                    tree_x,
                    foot,
                    canvas.height * (0.22 + 0.5 * depth) * chance.uniform(0.75, 1.2),
                    chance,
                )
        canvas.fill(trees, mix(colour, palette.horizon, 0.06), to=colour)
        canvas.fill(under(line, canvas.height + 4), colour, to=mix(colour, palette.near, 0.25))
        canvas.mist(
            floor - canvas.height * 0.24,
            floor + canvas.height * 0.08,
            pale,
            0.75 * (1 - depth) + 0.05,
            chance,
        )
    if chance.random() < 0.6:
        birds(canvas, palette, chance, canvas.height * 0.5)


def _trunk(
    canvas: Canvas, trees: Shape, x: float, foot: float, depth: float, chance: random.Random
) -> None:
    half = canvas.unit * (0.004 + 0.02 * depth**1.4) * chance.uniform(0.7, 1.3)
    lean = chance.uniform(-0.03, 0.03) * canvas.height
    trees.polygon([(x - half * 1.5, foot), (x - half, foot - canvas.height * 0.08), (x + lean - half * 0.7, -4), (x + lean + half * 0.7, -4), (x + half, foot - canvas.height * 0.08), (x + half * 1.6, foot)])  # fmt: skip
    for _ in range(chance.randint(3, 6)):
        share = chance.uniform(0.35, 0.95)
        start = (x + lean * share, foot * (1 - share))
        way = chance.choice((-1, 1))
        reach = canvas.unit * (0.04 + 0.13 * depth) * chance.uniform(0.5, 1.1)
        tip = (start[0] + way * reach, start[1] - reach * chance.uniform(0.15, 0.7))
        knee = (start[0] + way * reach * 0.5, start[1] - reach * 0.12)
        trees.line(smooth([start, knee, tip], 5), half * 0.42)


def _meadow(canvas: Canvas, palette: Palette, chance: random.Random) -> None:
    horizon = canvas.height * chance.uniform(0.5, 0.58)
    open_sky(canvas, palette, chance, horizon * 1.08)
    line = ridge(canvas.width, horizon, canvas.height * 0.045, 0.75, chance)
    canvas.fill(under(line, canvas.height + 4), land(palette, 0.18), to=land(palette, 0.3))
    canvas.mist(horizon, horizon + canvas.height * 0.14, palette.horizon, 0.6, chance)
    layers = 5
    for index in range(layers):
        depth = (index + 1) / layers
        base = horizon + (canvas.height - horizon) * (0.08 + 0.72 * depth**1.3)
        line = ridge(canvas.width, base, canvas.height * (0.03 + 0.035 * depth), 0.05, chance)
        crop = mix(chance.choice(palette.accents), palette.light, 0.2)
        field = mix(land(palette, 0.25 + 0.6 * depth), crop, chance.choice((0.0, 0.0, 0.4)))
        canvas.fill(
            under(line, canvas.height + 4),
            mix(field, palette.light, 0.12),
            to=mix(field, palette.near, 0.3),
        )
        if index < layers - 1:
            _furrows(canvas, line, mix(field, palette.near, 0.4), depth, chance)
        for _ in range(chance.randint(1, 3)):
            x = chance.uniform(0.05, 0.95) * canvas.width
            leaf = mix(chance.choice(palette.accents), field, 0.25)
            colours = (palette.near, mix(field, palette.near, 0.6), leaf)
            leafy_tree(
                canvas,
                x,
                height_at(line, x) + 3,
                canvas.unit * (0.08 + 0.2 * depth),
                colours,
                chance,
            )
        if index == 2:
            _cottage(canvas, palette, line, chance)
    if chance.random() < 0.7:
        birds(canvas, palette, chance, horizon)


def _furrows(
    canvas: Canvas, line: list[Point], colour: Colour, depth: float, chance: random.Random
) -> None:
    rows = Shape()
    vanish = canvas.width * chance.uniform(-0.2, 1.2)
    for n in range(24):
        x = n / 23 * canvas.width
        top = height_at(line, x)
        end = x + (x - vanish) * 0.6
        rows.line(
            [(x, top + 2), (end, top + canvas.height * 0.2)], 0.5 + canvas.unit * 0.002 * depth
        )
    canvas.fill(rows, colour, opacity=0.22)


def _cottage(canvas: Canvas, palette: Palette, line: list[Point], chance: random.Random) -> None:
    x = canvas.width * chance.uniform(0.2, 0.8)
    size = canvas.unit * 0.085
    foot = height_at(line, x) + size * 0.12
    wall, roof = mix(palette.light, palette.far, 0.3), mix(palette.accents[0], palette.near, 0.3)
    eaves, gable = foot - size * 0.5, foot - size * 1.0
    canvas.fill(Shape().polygon([(x - size * 0.7, foot), (x - size * 0.7, eaves), (x + size * 0.7, eaves), (x + size * 0.7, foot)]), wall, to=mix(wall, palette.near, 0.25))  # fmt: skip
    canvas.fill(Shape().polygon([(x + size * 0.32, gable), (x + size * 0.32, gable - size * 0.2), (x + size * 0.46, gable - size * 0.2), (x + size * 0.46, gable + size * 0.2)]), mix(roof, palette.near, 0.4))  # fmt: skip
    canvas.fill(Shape().polygon([(x - size * 0.85, eaves + size * 0.04), (x - size * 0.5, gable), (x + size * 0.5, gable), (x + size * 0.85, eaves + size * 0.04)]), roof)  # fmt: skip
    for side in (-0.38, 0.2):
        left = x + size * side
        canvas.fill(Shape().polygon([(left, eaves + size * 0.15), (left + size * 0.2, eaves + size * 0.15), (left + size * 0.2, eaves + size * 0.36), (left, eaves + size * 0.36)]), (255, 216, 138))  # fmt: skip


def _cat(canvas: Canvas, palette: Palette, chance: random.Random) -> None:
    horizon = canvas.height * 0.78
    canvas.sky(palette.sky, horizon)
    if palette.dark:
        stars(canvas, chance, horizon)
    x = canvas.width * chance.uniform(0.38, 0.62)
    radius = canvas.unit * chance.uniform(0.24, 0.3)
    y = canvas.height * 0.44
    canvas.glow(x, y, radius * 2.6, palette.light, 0.6)
    canvas.fill(
        Shape().ellipse(x, y, radius, radius),
        palette.light,
        to=mix(palette.light, palette.horizon, 0.3),
    )
    cloud = mix(palette.light, palette.horizon, 0.6)
    canvas.clouds(horizon, cloud, 0.4, chance)
    for depth in (0.2, 0.45):
        base = canvas.height * (0.62 + 0.2 * depth)
        line = ridge(canvas.width, base, canvas.height * 0.05, 0.5, chance)
        canvas.fill(
            under(line, canvas.height + 4), land(palette, depth), to=land(palette, depth * 0.6)
        )
        canvas.mist(base, base + canvas.height * 0.14, palette.horizon, 0.5, chance)
    knoll = ridge(canvas.width, canvas.height * 0.83, canvas.height * 0.03, 0.05, chance)
    size = canvas.unit * chance.uniform(0.4, 0.46)
    cat_x = x + canvas.unit * chance.uniform(-0.12, 0.12)
    foot = height_at(knoll, cat_x) + size * 0.04
    ink = mix(palette.near, (8, 8, 16), 0.35)
    grass = Shape()
    for _ in range(170):
        blade = chance.uniform(0, 1) * canvas.width
        tall = canvas.unit * chance.uniform(0.015, 0.065)
        base = height_at(knoll, blade) + 3
        lean = chance.uniform(-0.5, 0.5) * tall
        grass.line(
            [(blade, base), (blade + lean * 0.4, base - tall * 0.6), (blade + lean, base - tall)],
            canvas.unit * 0.0022,
        )
    _sitting_cat(
        canvas, cat_x, foot, size, ink, mix(ink, palette.light, 0.3), chance.choice((-1, 1))
    )
    canvas.fill(grass, ink)
    canvas.fill(under(knoll, canvas.height + 4), ink, to=mix(ink, palette.far, 0.16))
    for _ in range(chance.randint(5, 9)):
        bloom = chance.uniform(0.03, 0.97) * canvas.width
        if abs(bloom - cat_x) > size * 0.42:
            tall = canvas.unit * chance.uniform(0.04, 0.11)
            base = height_at(knoll, bloom)
            canvas.fill(
                Shape().line(
                    [(bloom, base + 3), (bloom + tall * 0.1, base - tall)], canvas.unit * 0.003
                ),
                ink,
            )
            petal = canvas.unit * chance.uniform(0.008, 0.014)
            canvas.fill(
                Shape().ellipse(bloom + tall * 0.1, base - tall, petal, petal),
                chance.choice(palette.accents),
            )


def _sitting_cat(
    canvas: Canvas, x: float, foot: float, size: float, ink: Colour, rim: Colour, way: int
) -> None:
    """Paint a cat from behind, ``size`` tall, its tail on the side ``way`` points to."""

    def at(across: float, up: float) -> Point:
        return x + across * size * way, foot - up * size

    half = [(0.0, 0.62), (0.1, 0.61), (0.15, 0.52), (0.2, 0.4), (0.26, 0.24), (0.27, 0.12),
            (0.23, 0.03), (0.12, 0.0), (0.0, 0.0)]  # fmt: skip
    outline = smooth([at(a, u) for a, u in half], 6)
    outline += smooth([at(-a, u) for a, u in reversed(half)], 6)
    tail = smooth([at(0.18, 0.04), at(0.36, 0.0), at(0.47, 0.1), at(0.44, 0.26), at(0.5, 0.36)], 8)
    cat = Shape().polygon(outline)
    for index, (tail_x, tail_y) in enumerate(tail):
        thick = size * (0.042 - 0.014 * index / len(tail))
        cat.ellipse(tail_x, tail_y, thick, thick)
    turn = 0.02
    cat.ellipse(*at(turn, 0.71), size * 0.165, size * 0.135)
    for side in (-1, 1):
        ear = [(0.155, 0.73), (0.158, 0.83), (0.138, 0.93), (0.085, 0.875), (0.03, 0.835)]
        cat.polygon(smooth([at(turn + side * across, up) for across, up in ear], 5))
    canvas.fill(cat, rim, opacity=0.5, soft=size * 0.012)
    canvas.fill(cat, ink)


_MOTIFS: dict[str, Callable[[Canvas, Palette, random.Random], None]] = {
    "cat": _cat,
    "flowers": _flowers,
    "city": _city,
    "forest": _forest,
    "sea": _sea,
    "mountains": _mountains,
    "meadow": _meadow,
    "still_life": still_life,
}
