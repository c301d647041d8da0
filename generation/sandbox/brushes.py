"""Drawing with Pillow alone: gradients, smooth shapes, light, mist, water, paper.

Shapes are drawn at twice the size into a mask of just their bounding box and reduced,
which gives clean edges at a fraction of the cost of a whole oversized picture.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from generation.sandbox.palettes import Colour

Point = tuple[float, float]

_OVERSAMPLING = 2


class Shape:
    """Primitives that are filled together, in canvas pixels."""

    def __init__(self) -> None:
        self._polygons: list[list[Point]] = []
        self._ellipses: list[tuple[float, float, float, float]] = []
        self._lines: list[tuple[list[Point], float]] = []

    def polygon(self, points: Iterable[Point]) -> Shape:
        self._polygons.append(list(points))
        return self

    def ellipse(self, x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> Shape:
        """Add an ellipse around x, y; ``turn`` is in radians."""
        if not turn:
            self._ellipses.append((x - rx, y - ry, x + rx, y + ry))
            return self
        cos, sin = math.cos(turn), math.sin(turn)
        points = []
        for step in range(24):
            across = math.cos(step * math.tau / 24) * rx
            down = math.sin(step * math.tau / 24) * ry
            points.append((x + across * cos - down * sin, y + across * sin + down * cos))
        return self.polygon(points)

    def line(self, points: Iterable[Point], width: float) -> Shape:
        self._lines.append((list(points), width))
        return self

    def box(self) -> tuple[float, float, float, float]:
        xs: list[float] = []
        ys: list[float] = []
        for polygon in self._polygons:
            xs += [x for x, _ in polygon]
            ys += [y for _, y in polygon]
        for left, top, right, bottom in self._ellipses:
            xs += [left, right]
            ys += [top, bottom]
        for points, width in self._lines:
            xs += [x + side for x, _ in points for side in (-width, width)]
            ys += [y + side for _, y in points for side in (-width, width)]
        return min(xs), min(ys), max(xs), max(ys)

    def mask(self, left: int, top: int, width: int, height: int) -> Image.Image:
        scale = _OVERSAMPLING
        mask = Image.new("L", (width * scale, height * scale))
        draw = ImageDraw.Draw(mask)
        for polygon in self._polygons:
            draw.polygon([((x - left) * scale, (y - top) * scale) for x, y in polygon], fill=255)
        for x0, y0, x1, y1 in self._ellipses:
            corners = [(x0 - left) * scale, (y0 - top) * scale]
            corners += [(x1 - left) * scale, (y1 - top) * scale]
            draw.ellipse(corners, fill=255)
        for points, thickness in self._lines:
            scaled = [((x - left) * scale, (y - top) * scale) for x, y in points]
            draw.line(scaled, fill=255, width=max(1, round(thickness * scale)), joint="curve")
        return mask.reduce(scale)


class Canvas:
    """The picture in progress. ``unit`` is its shorter side: sizes scale with it."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self.unit = min(width, height)
        self.image = Image.new("RGB", (width, height))

    def sky(self, stops: Sequence[Colour], bottom: float | None = None) -> None:
        """Fill with a vertical gradient that reaches its last stop at ``bottom``."""
        until = round(self.height if bottom is None else bottom)
        self.image.paste(stops[-1], (0, 0, self.width, self.height))
        self.image.paste(gradient(self.width, max(1, until), stops), (0, 0))

    def fill(
        self,
        shape: Shape,
        colour: Colour,
        *,
        to: Colour | None = None,
        opacity: float = 1.0,
        soft: float = 0.0,
    ) -> None:
        """Fill the shape, with a gradient down to colour ``to``; ``soft`` blurs the edge."""
        x0, y0, x1, y1 = shape.box()
        margin = 2 + math.ceil(soft * 2.5)
        left, top = max(0, math.floor(x0) - margin), max(0, math.floor(y0) - margin)
        right = min(self.width, math.ceil(x1) + margin)
        bottom = min(self.height, math.ceil(y1) + margin)
        if right <= left or bottom <= top:
            return
        mask = shape.mask(left, top, right - left, bottom - top)
        if soft:
            mask = mask.filter(ImageFilter.BoxBlur(soft)).filter(ImageFilter.BoxBlur(soft))
        if opacity < 1:
            mask = faded(mask, opacity)
        box = (left, top, right, bottom)
        if to is None:
            self.image.paste(colour, box, mask)
        else:
            self.image.paste(gradient(right - left, bottom - top, (colour, to)), box, mask)

    def glow(self, x: float, y: float, radius: float, colour: Colour, opacity: float) -> None:
        side = max(2, round(radius * 2))
        mask = faded(_halo().resize((side, side)), opacity)
        self.image.paste(colour, (round(x - radius), round(y - radius)), mask)

    def mist(
        self, top: float, bottom: float, colour: Colour, opacity: float, chance: random.Random
    ) -> None:
        """Lay a drifting band of mist whose heart is halfway between top and bottom."""
        first, last = max(0, round(top)), min(self.height, round(bottom))
        if last - first < 2:
            return
        band = Image.new("L", (1, 9))
        band.putdata([round(255 * math.sin(math.pi * step / 8) ** 2) for step in range(9)])
        mask = band.resize((self.width, last - first), Image.Resampling.BICUBIC)
        drift = noise(self.width, last - first, 5, 3, chance).point(lambda v: 90 + v * 165 // 255)
        mask = faded(ImageChops.multiply(mask, drift), opacity)
        self.image.paste(colour, (0, first, self.width, last), mask)

    def clouds(self, bottom: float, colour: Colour, opacity: float, chance: random.Random) -> None:
        """Draw long soft clouds from the top of the picture down to ``bottom``."""
        height = max(2, round(bottom))
        mask = noise(self.width, height, 6, 9, chance)
        fine = noise(self.width, height, 17, 30, chance)
        mask = Image.blend(mask, fine, 0.3).point(_cloud_curve())
        fade = gradient(self.width, height, ((255,) * 3, (255,) * 3, (0,) * 3)).convert("L")
        self.image.paste(
            colour, (0, 0, self.width, height), faded(ImageChops.multiply(mask, fade), opacity)
        )

    def water(self, level: float, tint: Colour, share: float, chance: random.Random) -> None:
        """Mirror what lies above ``level`` below it, rippled and tinted by ``share``."""
        top = round(level)
        depth = self.height - top
        if depth < 4 or top < 4:
            return
        source = self.image.crop((0, max(0, top - round(depth * 1.6)), self.width, top))
        mirror = source.transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize((self.width, depth))
        mirror = mirror.filter(ImageFilter.BoxBlur((0.6, 1.6)))
        mirror = Image.blend(mirror, Image.new("RGB", mirror.size, tint), share)
        phase, row = chance.uniform(0, math.tau), 0
        while row < depth:
            reach = row / depth
            step = max(1, round(1 + reach * self.unit * 0.008))
            sway = math.sin(phase + 90 * math.log1p(4 * reach)) + chance.uniform(-0.5, 0.5)
            shift = round(sway * self.unit * (0.002 + 0.009 * reach))
            strip = mirror.crop((0, row, self.width, min(depth, row + step)))
            self.image.paste(strip, (0, top + row))
            self.image.paste(strip, (shift, top + row))
            row += step

    def paper(self) -> None:
        """Give the flat colours the tooth of paper."""
        self.image = ImageChops.soft_light(self.image, _paper(self.width, self.height))

    def vignette(self, strength: float) -> None:
        mask = _corners().resize((self.width, self.height))
        self.image.paste((12, 10, 24), (0, 0), faded(mask, strength))


def gradient(width: int, height: int, stops: Sequence[Colour]) -> Image.Image:
    column = Image.new("RGB", (1, 64))
    column.putdata([_stop_at(stops, step / 63) for step in range(64)])
    return column.resize((width, height), Image.Resampling.BICUBIC)


def _stop_at(stops: Sequence[Colour], share: float) -> Colour:
    place = share * (len(stops) - 1)
    index = min(int(place), len(stops) - 2)
    rest = place - index
    first, second = stops[index], stops[index + 1]
    return (
        round(first[0] + (second[0] - first[0]) * rest),
        round(first[1] + (second[1] - first[1]) * rest),
        round(first[2] + (second[2] - first[2]) * rest),
    )


def faded(mask: Image.Image, opacity: float) -> Image.Image:
    return mask.point([round(value * opacity) for value in range(256)])


def noise(width: int, height: int, across: int, down: int, chance: random.Random) -> Image.Image:
    """Return smooth grey noise with so many bumps across and down."""
    size = (across + 3, down + 3)
    small = Image.frombytes("L", size, chance.randbytes(size[0] * size[1]))
    return small.resize((width, height), Image.Resampling.BICUBIC, box=(1, 1, across + 2, down + 2))


def smooth(points: Sequence[Point], steps: int = 8) -> list[Point]:
    """Return a curve through the points (Catmull-Rom)."""
    curve: list[Point] = []
    padded = [points[0], *points, points[-1]]
    for index in range(1, len(padded) - 2):
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = padded[index - 1 : index + 3]
        for step in range(steps):
            t = step / steps
            weights = (
                -t + 2 * t * t - t**3,
                2 - 5 * t * t + 3 * t**3,
                t + 4 * t * t - 3 * t**3,
                -t * t + t**3,
            )
            x = ax * weights[0] + bx * weights[1] + cx * weights[2] + dx * weights[3]
            y = ay * weights[0] + by * weights[1] + cy * weights[2] + dy * weights[3]
            curve.append((x / 2, y / 2))
    curve.append(points[-1])
    return curve


def ridge(
    width: int, base: float, height: float, rough: float, chance: random.Random
) -> list[Point]:
    """Return a skyline from left to right around ``base``; ``rough`` 0 rolls, 1 is jagged."""
    heights = [chance.uniform(-1, 1) for _ in range(5)]
    reach = 0.55 + 0.35 * rough
    swing = 1.0
    while len(heights) < 220:
        swing *= reach * 0.62
        between: list[float] = []
        for first, second in pairwise(heights):
            between += [first, (first + second) / 2 + chance.uniform(-swing, swing)]
        heights = [*between, heights[-1]]
    if rough < 0.5:
        for _ in range(6):
            heights = [
                (heights[max(0, n - 2)] + heights[n] + heights[min(len(heights) - 1, n + 2)]) / 3
                for n in range(len(heights))
            ]
    last = len(heights) - 1
    return [(n * width / last, base - value * height) for n, value in enumerate(heights)]


def under(line: Sequence[Point], bottom: float) -> Shape:
    """Return everything below a skyline."""
    outer = (line[-1][0] + 4, bottom), (line[0][0] - 4, bottom)
    return Shape().polygon([(line[0][0] - 4, line[0][1]), *line, *outer])


def height_at(line: Sequence[Point], x: float) -> float:
    step = line[1][0] - line[0][0]
    index = min(len(line) - 1, max(0, round((x - line[0][0]) / step)))
    return line[index][1]


@cache
def _halo() -> Image.Image:
    fall = [round(255 * max(0.0, 1 - value / 255) ** 2.2) for value in range(256)]
    return Image.radial_gradient("L").point(fall)


@cache
def _corners() -> Image.Image:
    fall = [round(255 * max(0.0, (value - 100) / 155) ** 1.5) for value in range(256)]
    # The inner square: its corners are where the gradient ends, its sides well before.
    return Image.radial_gradient("L").crop((38, 38, 218, 218)).point(fall)


@cache
def _cloud_curve() -> list[int]:
    return [round(255 * min(1.0, max(0.0, (value - 120) / 110)) ** 1.4) for value in range(256)]


@cache
def _grain() -> Image.Image:
    side = 512
    fixed = random.Random(20)
    fine = Image.frombytes("L", (side, side), fixed.randbytes(side * side))
    fine = fine.filter(ImageFilter.BoxBlur(0.7)).point(lambda v: 128 + (v - 128) * 34 // 100)
    fibre = noise(side, side, 90, 60, fixed).point(lambda v: 128 + (v - 128) * 12 // 100)
    return Image.blend(fine, fibre, 0.5)


def _paper(width: int, height: int) -> Image.Image:
    tile = _grain()
    sheet = Image.new("L", (width, height))
    for y in range(0, height, tile.height):
        for x in range(0, width, tile.width):
            sheet.paste(tile, (x, y))
    return Image.merge("RGB", (sheet, sheet, sheet))
