"""Held-out loss by noise level, on fixed (image, noise, level) triples: comparable between steps and targets."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from brickwork.model import Model
from brickwork.sampling.denoiser import Condition
from brickwork.sampling.gaussian import TRAINING, normals

LEVELS = np.geomspace(0.05, 10.0, 8)
"""Waist levels that every process reaches."""

SIGMA_DATA = 0.5


@torch.no_grad()
def loss_by_level(
    model: Model,
    x0: Tensor,
    labels: Tensor | None,
    levels: np.ndarray = LEVELS,
    *,
    seed: int = 0,
    batch_size: int = 128,
) -> np.ndarray:
    """Mean squared error of D(x, level) at each level, as a share of what is lost when only the data's size is known.

    ``(level^2 + s^2) / (level s)^2 * mean (D(x0 + level z) - x0)^2`` with s = 0.5: EDM's weighting
    (https://arxiv.org/abs/2206.00364, Table 1). The best denoiser of white Gaussian data of standard deviation s
    scores 1 at every level.

    Args:
        model: A denoiser in torch.
        x0: Images in model space, (N, C, H, W).
        labels: Their classes, (N,), or None.
        levels: Waist levels, (K,).
        seed: Of the noise; image i has the same noise at every level.
        batch_size: Images at once.

    Returns:
        float64 (K,).
    """
    noise = model.asarray(normals(range(seed, seed + len(x0)), 0, x0.shape[1:], stream=TRAINING))
    totals = np.zeros(len(levels))
    for start in range(0, len(x0), batch_size):
        rows = slice(start, start + batch_size)
        clean, condition = x0[rows], Condition(labels=None if labels is None else labels[rows])
        for k, level in enumerate(levels):
            sigma = clean.new_full((len(clean),), float(level))
            error = model(clean + float(level) * noise[rows], sigma, condition) - clean
            totals[k] += float(error.square().mean(dim=(1, 2, 3)).sum())
    return totals / len(x0) * (levels**-2.0 + SIGMA_DATA**-2.0)
