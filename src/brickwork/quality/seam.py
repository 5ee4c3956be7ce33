"""Seams: the gradient's jump where windows meet, compared with its jump elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np

from brickwork.errors import ArgumentError


def seam(images: np.ndarray, borders: Sequence[int], *, axis: int) -> float:
    """Return the mean jump of the gradient at borders divided by that elsewhere; 1 without a seam, more with one.

    The gradient lies between neighbouring pixels, its jump |I[k+1] - 2 I[k] + I[k-1]| at pixel k. A border before pixel
    b shows in the jumps at b - 1 and b. Means are over all images, channels and pixels of a kind. Below 1, pictures
    are smoother at borders than elsewhere, which is a seam too.

    Args:
        images: (N, H, W, C), any numbers; at least a few dozen, so that their content evens out.
        borders: The first pixel after each border, 1 to side - 1; ``Canvas.borders`` gives them.
        axis: 1 for borders that are rows, 2 for columns.

    Raises:
        ArgumentError: The images have another shape, a border lies outside, or all pixels or none are at a border.
    """
    if images.ndim != 4 or axis not in (1, 2):
        raise ArgumentError(f"images of shape {images.shape}, axis {axis}: give (N, H, W, C), and axis 1 or 2 of them")
    side = images.shape[axis]
    for border in borders:
        if not 0 < border < side:
            raise ArgumentError(f"border {border} in images of side {side}: it must be from 1 to {side - 1}")
    values = np.moveaxis(np.asarray(images, dtype=np.float32), axis, 0)
    jumps = np.abs(values[2:] - 2 * values[1:-1] + values[:-2]).mean(axis=(1, 2, 3), dtype=np.float64)
    near = np.isin(np.arange(1, side - 1), [k for border in borders for k in (border - 1, border)])
    if near.all() or not near.any():
        raise ArgumentError(f"borders {list(borders)} in images of side {side}: there must be pixels with and without")
    there, elsewhere = float(jumps[near].mean()), float(jumps[~near].mean())
    if elsewhere == 0:
        return 1.0 if there == 0 else inf
    return there / elsewhere
