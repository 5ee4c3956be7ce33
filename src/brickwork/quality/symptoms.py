"""Faults that can be seen on drawn pictures: noise, one colour, grey, colours out of range, all alike, blurred."""

from __future__ import annotations

from typing import Literal

import numpy as np

from brickwork.data.source import Images

Symptom = Literal["noise", "flat", "clipped", "grey", "alike", "blurred"]

SMOOTH = 0.35
"""Correlation of neighbouring pixels below which a picture is noise; digits of 8 pixels have 0.43, photographs 0.9."""
FLAT = 6.0
"""Standard deviation within a picture, of 255, below which it shows one colour."""
CLIPPED = 0.8
"""Share of values at 0 or 255 above which colours are out of range; emoji on white have 0.44."""
GREY = 3.0
"""Mean difference of a pixel's channels, of 255, below which colour pictures are grey."""
ALIKE = 0.3
"""Variance between pictures over that of all their pixels, below which they are all alike."""
BLURRED = 0.1
"""Mean difference of neighbouring pixels over the standard deviation, below which pictures are blurred."""


def symptoms(pictures: Images) -> list[Symptom]:
    """Return the faults that most pictures show, the gravest first.

    Noise, one colour and colours out of range hide all others. What is a fault of photographs may be the style of
    drawings: ask for this only where the reason matters.

    Args:
        pictures: uint8 (N, H, W, C), of one condition each.
    """
    values = pictures.astype(np.float64)
    if float(np.median(values.std(axis=(1, 2, 3)))) < FLAT:
        return ["flat"]
    if smoothness(values) < SMOOTH:
        return ["noise"]
    colour = pictures.shape[3] == 3
    if colour and float(np.isin(pictures, (0, 255)).mean()) > CLIPPED:
        return ["clipped"]
    found: list[Symptom] = []
    if colour and float((values.max(3) - values.min(3)).mean()) < GREY:
        found.append("grey")
    if len(pictures) > 1 and float(values.var(axis=0).mean()) < ALIKE * float(values.var()):
        found.append("alike")
    if sharpness(values) < BLURRED:
        found.append("blurred")
    return found


def smoothness(values: np.ndarray) -> float:
    """Return the median correlation of horizontal neighbours in pictures, float (N, H, W, C): 1 for smooth ones."""
    centred = values - values.mean(axis=(1, 2), keepdims=True)
    products = (centred[:, :, 1:] * centred[:, :, :-1]).mean(axis=(1, 2, 3))
    return float(np.median(products / np.maximum((centred**2).mean(axis=(1, 2, 3)), 1e-9)))


def sharpness(values: np.ndarray) -> float:
    """Return the median over pictures of the mean difference of horizontal neighbours over the standard deviation."""
    steps = np.abs(np.diff(values, axis=2)).mean(axis=(1, 2, 3))
    return float(np.median(steps / np.maximum(values.std(axis=(1, 2, 3)), 1e-9)))
