"""The log of a run as a picture, drawn while it goes on: training loss over images, held-out loss by noise level."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, final

import numpy as np

from brickwork.errors import MissingExtraError
from brickwork.files.picture import save_png
from brickwork.training.run.folder import CURVE_FILE
from brickwork.training.run.observer import Findings, Observer, RunView
from brickwork.training.run.panel import FADED, Line, Point, panel


@final
class Curve(Observer[Any]):
    """Observer that draws the log as ``curve.png`` after every measurement and when a run ends, interrupted or not.

    It comes behind the observers that measure.

    Args:
        draw: Makes the picture from the lines of the log.
        every: Steps between two pictures, for each of several measurements; 0 for one at the end.
    """

    by_clock = True

    def __init__(self, draw: Callable[[Sequence[Mapping[str, Any]]], np.ndarray], *every: int) -> None:
        self.draw, self.cadences, self.refused = draw, every, False

    def due(self, step: int) -> bool:
        """Return True where one of the measurements was due."""
        return any(every > 0 and step % every == 0 for every in self.cadences)

    def measure(self, run: RunView[Any]) -> Findings | None:
        """Draw the log; without matplotlib the run goes on, and one message names the extra that draws the curve."""
        try:
            save_png(self.draw(run.lines()), run.folder / CURVE_FILE)
        except MissingExtraError as error:
            if not self.refused:
                run.say(f"no {CURVE_FILE}: {error}")
            self.refused = True

    def on_end(self, run: RunView[Any]) -> Findings | None:
        """Draw the log."""
        self.measure(run)


def draw_curve(records: Iterable[Mapping[str, Any]]) -> np.ndarray:
    """Draw both panels side by side, uint8 (H, W, 3), from the lines of ``log.jsonl``.

    Left: each line's training loss, and a running mean over a twentieth of them. Right: the held-out loss by level, the
    latest strong, earlier ones faded.
    """
    records = list(records)
    losses = points_of(records, "loss")
    held = points_by_level(records)
    left = [Line(points=losses, colour=FADED, width=1), Line(points=_running_mean(losses))]
    right = [Line(points=points, colour=FADED, width=1) for points in held[-8:-1]] + [Line(points=p) for p in held[-1:]]
    panels = [
        panel(left, title="training loss", axis="images seen", log_x=False),
        panel(right, title="held-out loss by noise level (latest strong)", axis="noise level", log_x=True),
    ]
    return np.concatenate(panels, axis=1)


def points_of(records: Iterable[Mapping[str, Any]], name: str) -> list[Point]:
    """Return images seen and the number of a name, of all lines in which both are numbers."""
    pairs = ((record.get("images"), record.get(name)) for record in records)
    return [(float(x), float(y)) for x, y in pairs if isinstance(x, int | float) and isinstance(y, int | float)]


def points_by_level(records: Iterable[Mapping[str, Any]]) -> list[list[Point]]:
    """Return level and loss, for each line that has held-out losses."""
    return [points for record in records if (points := _by_level(record.get("held_out")))]


def _by_level(losses: Any) -> list[Point]:
    """Return level and loss of a line's table; nothing where it has none."""
    pairs = losses.items() if isinstance(losses, Mapping) else ()
    return [(_number(level), loss) for level, loss in pairs if isinstance(loss, int | float)]


def _number(text: str) -> float:
    """Return the number that a text says; NaN, which is not drawn, for none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _running_mean(points: Sequence[Point]) -> list[Point]:
    span = max(1, len(points) // 20)
    values = np.cumsum([0.0, *(y for _, y in points)])
    return [(points[i][0], (values[i + 1] - values[i + 1 - span]) / span) for i in range(span - 1, len(points))]
