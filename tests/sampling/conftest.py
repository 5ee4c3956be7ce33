"""A data distribution with everything known: mixtures of Gaussians on the line, in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest


@dataclass(frozen=True)
class Mixture:
    """Weights, means and standard deviations; its exact denoiser, and the exact solution of the flow ODE."""

    weights: tuple[float, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]

    def denoise(self, x: np.ndarray, s: float) -> np.ndarray:
        """E[x0 | x0 + s * noise = x], elementwise."""
        weights, means, variances = np.array(self.weights), np.array(self.means), np.array(self.stds) ** 2
        total = variances + s * s
        logs = np.log(weights) - 0.5 * np.log(total) - 0.5 * (x[..., None] - means) ** 2 / total
        shares = np.exp(logs - logs.max(-1, keepdims=True))
        each = (variances * x[..., None] + s * s * means) / total
        return (shares * each).sum(-1) / shares.sum(-1)

    def mean(self) -> float:
        return sum(w * m for w, m in zip(self.weights, self.means, strict=True))

    def variance(self) -> float:
        second = sum(w * (m * m + d * d) for w, m, d in zip(self.weights, self.means, self.stds, strict=True))
        return second - self.mean() ** 2

    def cdf(self, x: float, s: float) -> float:
        parts = zip(self.weights, self.means, self.stds, strict=True)
        return sum(0.5 * w * math.erfc((m - x) / math.sqrt(2 * (d * d + s * s))) for w, m, d in parts)

    def flow(self, x: np.ndarray, s: float, s_next: float) -> np.ndarray:
        """Where the ODE takes x: on the line its map keeps order, so it keeps the share of mass to the left."""
        return np.array([self._quantile(self.cdf(float(v), s), s_next) for v in x])

    def _quantile(self, share: float, s: float) -> float:
        low, high = -1e3, 1e3
        for _ in range(80):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self.cdf(middle, s) < share else (low, middle)
        return 0.5 * (low + high)


@pytest.fixture
def mixture() -> Mixture:
    return Mixture(weights=(0.4, 0.6), means=(-1.0, 1.0), stds=(0.3, 0.4))


@pytest.fixture
def gaussian() -> Mixture:
    return Mixture(weights=(1.0,), means=(0.7,), stds=(0.5,))
