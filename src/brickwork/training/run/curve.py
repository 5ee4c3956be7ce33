"""The log of a run as a picture, drawn while it goes on: training loss over images, held-out loss by noise level."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from brickwork.files.picture import save_png
from brickwork.training.run.folder import CURVE_FILE
from brickwork.training.run.observer import Findings, Observer, RunView

WIDTH, HEIGHT = 560, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 16, 34, 48
INK, GRID, FADED, STRONG = (40, 40, 40), (225, 225, 225), (170, 195, 225), (20, 90, 180)

Point = tuple[float, float]


@final
@dataclass(frozen=True, kw_only=True)
class Line:
    """Points of one curve, x rising."""

    points: Sequence[Point]
    colour: tuple[int, int, int] = STRONG
    width: int = 2


@final
class Curve(Observer[Any]):
    """Draws the log as ``curve.png`` after every measurement and when a run ends, interrupted or not.

    Args:
        draw: Makes the picture from the lines of the log.
        every: Steps between two pictures, for each of several measurements; 0 for one at the end.
    """

    def __init__(self, draw: Callable[[Sequence[Mapping[str, Any]]], np.ndarray], *every: int) -> None:
        self.draw, self.cadences = draw, every

    def due(self, step: int) -> bool:
        """Return True where one of the measurements was due."""
        return any(every > 0 and step % every == 0 for every in self.cadences)

    def measure(self, run: RunView[Any]) -> Findings | None:
        """Draw the log."""
        save_png(self.draw(run.lines()), run.folder / CURVE_FILE)

    def on_end(self, run: RunView[Any]) -> Findings | None:
        """Draw the log."""
        self.measure(run)


def draw_curve(records: Iterable[Mapping[str, Any]]) -> np.ndarray:
    """Draw both panels side by side, uint8 (H, W, 3), from the lines of ``log.jsonl``.

    Left: each line's training loss, and a running mean over a twentieth of them. Right: the held-out loss by level, the
    latest strong, earlier ones faded.
    """
    records = list(records)
    losses = [(float(r["images"]), float(r["loss"])) for r in records if "loss" in r]
    held = [[(float(level), float(loss)) for level, loss in r["held_out"].items()] for r in records if "held_out" in r]
    left = [Line(points=losses, colour=FADED, width=1), Line(points=_running_mean(losses))]
    right = [Line(points=points, colour=FADED, width=1) for points in held[-8:-1]] + [Line(points=p) for p in held[-1:]]
    panels = [
        panel(left, title="training loss", axis="images seen", log_x=False),
        panel(right, title="held-out loss by noise level (latest strong)", axis="noise level", log_x=True),
    ]
    return np.concatenate(panels, axis=1)


def panel(lines: Sequence[Line], *, title: str, axis: str, log_x: bool) -> np.ndarray:
    """Draw one diagram with a logarithmic height axis, uint8 (HEIGHT, WIDTH, 3); points not above 0 are left out."""
    canvas = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=13)
    draw.text((LEFT, 8), title, fill=INK, font=font)
    kept = [[p for p in line.points if p[1] > 0 and math.isfinite(p[1]) and (p[0] > 0 or not log_x)] for line in lines]
    points = [p for line in kept for p in line]
    if not points:
        draw.text((WIDTH // 2 - 40, HEIGHT // 2), "nothing yet", fill=INK, font=font)
        return np.asarray(canvas)
    across = _Scale.over([p[0] for p in points], log_x, LEFT, WIDTH - RIGHT)
    up = _Scale.over([p[1] for p in points], True, HEIGHT - BOTTOM, TOP)
    for value in across.ticks():
        x = across(value)
        draw.line([(x, TOP), (x, HEIGHT - BOTTOM)], fill=GRID)
        draw.text((x, HEIGHT - BOTTOM + 6), _short(value), fill=INK, font=font, anchor="mt")
    for value in up.ticks():
        draw.line([(LEFT, up(value)), (WIDTH - RIGHT, up(value))], fill=GRID)
        draw.text((LEFT - 6, up(value)), _short(value), fill=INK, font=font, anchor="rm")
    draw.text(((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8), axis, fill=INK, font=font, anchor="mb")
    for line, shown in zip(lines, kept, strict=True):
        places = [(across(x), up(y)) for x, y in shown]
        if len(places) == 1:
            (x, y), r = places[0], line.width + 1
            draw.ellipse([x - r, y - r, x + r, y + r], fill=line.colour)
        else:
            draw.line(places, fill=line.colour, width=line.width, joint="curve")
    return np.asarray(canvas)


@final
@dataclass(frozen=True)
class _Scale:
    """Values to pixels, linear or logarithmic."""

    low: float
    high: float
    log: bool
    first: float
    last: float

    @classmethod
    def over(cls, values: Sequence[float], log: bool, first: float, last: float) -> _Scale:
        low, high = min(values), max(values)
        if log:
            low, high = (low / 1.05, high * 1.05) if high < 1.2 * low else (low, high)
        else:
            low, high = min(low, 0.0), max(high, 1.0)
        return cls(low, high, log, first, last)

    def __call__(self, value: float) -> float:
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.first + (value - low) / (high - low) * (self.last - self.first)

    def ticks(self) -> list[float]:
        """Round values inside the range: 1, 2, 5 times powers of ten, or plain steps of such a size."""
        steps = [m * 10.0**e for e in range(-8, 13) for m in (1, 2, 5)]
        if self.log and self.high > 8 * self.low:
            return [v for v in steps if self.low <= v <= self.high]
        step = next(s for s in steps if s >= (self.high - self.low) / 6)
        return [i * step for i in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def _running_mean(points: Sequence[Point]) -> list[Point]:
    span = max(1, len(points) // 20)
    values = np.cumsum([0.0, *(y for _, y in points)])
    return [(points[i][0], (values[i + 1] - values[i + 1 - span]) / span) for i in range(span - 1, len(points))]


def _short(value: float) -> str:
    """A tick's label: 2k, 1.5M, 0.02."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:.4g}"
