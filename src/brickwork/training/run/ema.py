"""The moving average of the weights; its half-life is counted in images seen."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def ema_rate(*, images_seen: int, batch: int, half_life: float, rampup: float) -> float:
    """Return the share of the way to the weights by which one step moves the average, 0 to 1.

    ``1 - 2^(-batch / h)`` with ``h = min(half_life, rampup * images_seen)``: after h images half of the old average is
    left. The ramp lets the average forget the start early on. EDM, https://arxiv.org/abs/2206.00364, appendix F.2.

    Args:
        images_seen: Images seen before this step.
        batch: Images in this step.
        half_life: Half-life in images; 0 for no average (the weights themselves).
        rampup: Largest half-life as a share of the images seen; 0 for no ramp.
    """
    half_life = ramped(half_life, rampup, images_seen)
    return -math.expm1(-math.log(2) * batch / half_life) if half_life > 0 else 1.0


def ramped(half_life: float, rampup: float, images_seen: float) -> float:
    """Return the half-life in images after so many of them; see :func:`ema_rate`."""
    return min(half_life, rampup * images_seen) if rampup else half_life


@torch.no_grad()
def move_average(average: Sequence[Tensor], weights: Sequence[Tensor], rate: float) -> None:
    """Move the average towards the weights in place: average += rate * (weights - average)."""
    torch._foreach_lerp_(list(average), list(weights), rate)  # pyright: ignore[reportPrivateImportUsage]
