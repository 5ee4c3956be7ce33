"""Distance of drawn pictures to the nearest training picture: a small one, beside that to others, betrays a copy."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32
from PIL import Image

from brickwork.data.source import Images

SIDE = 16
"""Side in pixels at which pictures are compared."""
NEIGHBOURS = 50
"""Training pictures whose mean distance is the usual one."""
ROWS = 2048
"""Training pictures that are compared at once."""
MAX_TRAINED = 20_000
"""Largest training set that is compared: more take longer than drawing."""

Rows = Float32[np.ndarray, "N D"]


def nearest_ratios(drawn: Images, trained: Images, *, mirrored: bool = False) -> np.ndarray:
    """Return each drawn picture's distance to the nearest training picture over that to the 50 nearest, float (M,).

    Pictures are compared at 16x16 pixels, by the root of the mean squared difference. 0 is a copy, 1 a picture that is
    as near to many. N. Carlini et al., Extracting Training Data from Diffusion Models, 2023, section 3, n = 50.

    Args:
        drawn: uint8 (M, H, W, C).
        trained: uint8 (N, H, W, C), N at least 2.
        mirrored: Training pictures count mirrored, too.
    """
    wanted = small(np.asarray(drawn))
    distances = []
    for start in range(0, len(trained), ROWS):
        some = np.asarray(trained[start : start + ROWS])
        found = between(wanted, small(some))
        if mirrored:
            found = np.minimum(found, between(wanted, small(some[:, :, ::-1])))
        distances.append(found)
    ordered = np.sort(np.concatenate(distances, axis=1), axis=1)
    usual = ordered[:, : NEIGHBOURS + 1].mean(axis=1)
    return ordered[:, 0] / np.maximum(usual, 1e-9)


def small(images: Images) -> Rows:
    """Return pictures at 16x16 pixels as rows of numbers from 0 to 255."""
    grey = images.shape[3] == 1
    pictures = [Image.fromarray(image[:, :, 0] if grey else image) for image in images]
    shrunk = [np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX)) for picture in pictures]
    return np.stack(shrunk).reshape(len(images), -1).astype(np.float32)


def between(some: Rows, others: Rows) -> np.ndarray:
    """Return the root of the mean squared difference of each pair, (M, N)."""
    squares = (some**2).sum(1)[:, None] + (others**2).sum(1) - 2 * some @ others.T
    return np.sqrt(np.maximum(squares, 0) / some.shape[1])
