"""The log of a run as a picture, drawn while it goes on: training loss over images, held-out loss by noise level."""

from __future__ import annotations

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

    Args:
        draw: Makes the picture from the lines of the log.
        every: Steps between two pictures, for each of several measurements; 0 for one at the end.
    """

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
    losses = [(float(r["images"]), float(r["loss"])) for r in records if "loss" in r]
    held = [[(float(level), float(loss)) for level, loss in r["held_out"].items()] for r in records if "held_out" in r]
    left = [Line(points=losses, colour=FADED, width=1), Line(points=_running_mean(losses))]
    right = [Line(points=points, colour=FADED, width=1) for points in held[-8:-1]] + [Line(points=p) for p in held[-1:]]
    panels = [
        panel(left, title="training loss", axis="images seen", log_x=False),
        panel(right, title="held-out loss by noise level (latest strong)", axis="noise level", log_x=True),
    ]
    return np.concatenate(panels, axis=1)


def _running_mean(points: Sequence[Point]) -> list[Point]:
    span = max(1, len(points) // 20)
    values = np.cumsum([0.0, *(y for _, y in points)])
    return [(points[i][0], (values[i + 1] - values[i + 1 - span]) / span) for i in range(span - 1, len(points))]
