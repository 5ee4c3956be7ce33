"""One diagram as a picture, by matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from brickwork.errors import MissingExtraError

WIDTH, HEIGHT, DOTS_PER_INCH = 560, 400, 100
FADED, STRONG = (170, 195, 225), (20, 90, 180)

Point = tuple[float, float]


@final
@dataclass(frozen=True, kw_only=True)
class Line:
    """Points of one curve, x rising; its colour is red, green and blue from 0 to 255, its width is in pixels."""

    points: Sequence[Point]
    colour: tuple[int, int, int] = STRONG
    width: int = 2


def panel(lines: Sequence[Line], *, title: str, axis: str, log_x: bool) -> np.ndarray:
    """Draw lines over a logarithmic height axis; points that are not above 0 are left out.

    Args:
        lines: The lines; later ones are drawn on top.
        title: Text above the diagram.
        axis: Text below the axis of x.
        log_x: Make the axis of x logarithmic too.

    Returns:
        uint8 (400, 560, 3).

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("plots", "matplotlib", "drawing a curve") from error

    figure = Figure(figsize=(WIDTH / DOTS_PER_INCH, HEIGHT / DOTS_PER_INCH), dpi=DOTS_PER_INCH, layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    axes.set_title(title)
    axes.set_xlabel(axis)
    axes.grid(visible=True, which="both", alpha=0.3)
    shown = False
    for line in lines:
        points = [(x, y) for x, y in line.points if y > 0 and math.isfinite(y) and (x > 0 or not log_x)]
        if points:
            axes.plot(
                *zip(*points, strict=True),
                color=tuple(part / 255 for part in line.colour),
                linewidth=line.width * 72 / DOTS_PER_INCH,
                marker="o" if len(points) == 1 else None,
                markersize=2 * line.width,
            )
        shown = shown or bool(points)
    if shown:
        axes.set_yscale("log")
        axes.set_xscale("log" if log_x else "linear")
    else:
        axes.text(0.5, 0.5, "nothing yet", ha="center", transform=axes.transAxes)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
