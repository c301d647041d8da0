"""Charts as plain SVG: no script, no style of their own, the same on a screen and on paper.

A chart is drawn in a box of HEIGHT units, one unit of width a step, and stretched to the room
there is. So no text is in it: the scale, the times and the legend stand around it, as text that
keeps its size on a phone. Colours are classes (static/css/dashboard.css).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

HEIGHT = 100.0
#: What of a step a bar takes.
BAR = 0.76


@dataclass(frozen=True, kw_only=True)
class Series:
    """One row of values, a value for each step; None where there is nothing to draw."""

    name: str
    #: The last word of its CSS class: done, failed, other, first or second.
    look: str
    values: Sequence[float | None]
    #: What stands beside its name: a sum, say.
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Rect:
    x: str
    y: str
    width: str
    height: str
    look: str


@dataclass(frozen=True, kw_only=True)
class Line:
    points: str
    look: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is told of one step: where the pointer rests on it, and in the table."""

    x: str
    label: str
    cells: list[str]
    told: str


@dataclass(kw_only=True)
class Chart:
    """Everything a template needs to draw a chart."""

    name: str
    title: str
    series: Sequence[Series]
    steps: list[Step]
    top: float
    write: Callable[[float], str]
    rects: list[Rect] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    has_area: bool = False

    @property
    def width(self) -> int:
        return len(self.steps)

    @property
    def is_empty(self) -> bool:
        return not any(value for each in self.series for value in each.values)

    @property
    def scale(self) -> list[str]:
        """What stands beside the lines of the grid, from the top."""
        return [self.write(self.top), self.write(self.top / 2), self.write(0)]

    @property
    def times(self) -> list[str]:
        """What stands below: the first, the middle and the last step."""
        return [self.steps[place].label for place in (0, len(self.steps) // 2, -1)]


def bars(
    *,
    name: str,
    title: str,
    labels: Sequence[str],
    series: Sequence[Series],
    write: Callable[[float], str],
) -> Chart:
    """Draw values on top of each other, the first series at the bottom."""
    heights = [sum(each.values[step] or 0 for each in series) for step in range(len(labels))]
    top = nice_top(max(heights, default=0))
    chart = _chart(name=name, title=title, labels=labels, series=series, top=top, write=write)
    for step in range(len(labels)):
        floor = HEIGHT
        for each in series:
            height = HEIGHT * (each.values[step] or 0) / top
            if height:
                floor -= height
                chart.rects.append(
                    Rect(
                        x=_number(step + (1 - BAR) / 2),
                        y=_number(floor),
                        width=_number(BAR),
                        height=_number(height),
                        look=each.look,
                    )
                )
    return chart


def lines(
    *,
    name: str,
    title: str,
    labels: Sequence[str],
    series: Sequence[Series],
    write: Callable[[float], str],
    has_area: bool = False,
    nice: Callable[[float], float] | None = None,
) -> Chart:
    """Draw each series as a line that breaks where there is nothing to draw."""
    values = [value for each in series for value in each.values if value is not None]
    top = (nice or nice_top)(max(values, default=0))
    chart = _chart(name=name, title=title, labels=labels, series=series, top=top, write=write)
    chart.has_area = has_area
    for each in series:
        for run in _runs(each.values):
            heights = [(step, HEIGHT * (1 - min(value, top) / top)) for step, value in run]
            # A line of one point would not be seen.
            first, last = heights[0], heights[-1]
            placed = [(first[0] + 0.12, first[1])] if len(run) == 1 else []
            placed += [(step + 0.5, y) for step, y in heights] if len(run) > 1 else []
            placed += [(last[0] + 0.88, last[1])] if len(run) == 1 else []
            points = " ".join(f"{_number(x)},{_number(y)}" for x, y in placed)
            if has_area:
                left, right = _number(placed[0][0]), _number(placed[-1][0])
                chart.lines.append(
                    Line(points=f"{left},100 {points} {right},100", look=f"{each.look} area")
                )
            chart.lines.append(Line(points=points, look=each.look))
    return chart


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """Return what hangs together: steps and values without a gap."""
    runs: list[list[tuple[int, float]]] = [[]]
    for step, value in enumerate(values):
        if value is not None:
            runs[-1].append((step, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _chart(
    *,
    name: str,
    title: str,
    labels: Sequence[str],
    series: Sequence[Series],
    top: float,
    write: Callable[[float], str],
) -> Chart:
    steps = []
    for number, label in enumerate(labels):
        cells = [_cell(each.values[number], write) for each in series]
        told = ", ".join(
            f"{each.name} {cell}" for each, cell in zip(series, cells, strict=True) if cell != "–"
        )
        steps.append(Step(x=str(number), label=label, cells=cells, told=f"{label}: {told or '–'}"))
    return Chart(name=name, title=title, series=series, steps=steps, top=top, write=write)


def _cell(value: float | None, write: Callable[[float], str]) -> str:
    return "–" if value is None else write(value)


def nice_top(highest: float) -> float:
    """Return where the scale ends: 2, 4, 6, 8 or 10 times a power of ten, so that the half of it
    is a round number as well."""
    if highest <= 2:
        return 2.0
    size = 10.0 ** math.floor(math.log10(highest))
    for step in (1, 2, 4, 6, 8, 10):
        if highest <= step * size and (step > 1 or size > 1):
            return step * size
    return 10 * size


def nice_bytes(highest: float) -> float:
    """The same for bytes, which are counted by 1024."""
    unit = 1024.0 ** max(0, math.floor(math.log(max(highest, 1), 1024)))
    return nice_top(highest / unit) * unit


def _number(value: float) -> str:
    """Write a number of SVG: short, and with a point in every language."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
