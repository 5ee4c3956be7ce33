"""Distributions of the training times t, each a map from uniform numbers to times."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, final

import numpy as np
import torch

from brickwork.bounds import above, check_fields
from brickwork.diffusion.process import NoiseProcess
from brickwork.registry import Registry


@dataclass(frozen=True, kw_only=True)
class TimeSampling(ABC):
    """A distribution of training times, defined by its quantile function."""

    stratified: bool = False
    """Spread the times of a batch evenly: the i-th of B falls into the i-th of B equal shares."""

    @abstractmethod
    def quantile(self, u: np.ndarray, process: NoiseProcess) -> np.ndarray:
        """Return the time below which a share u of all draws lie, float64 (B,).

        Args:
            u: float64 (B,), in (0, 1).
            process: The noise process; the result lies in its [t_min, t_max].
        """

    def draw(self, u: np.ndarray, process: NoiseProcess) -> np.ndarray:
        """Return times, float64 (B,), from independent uniform numbers u, float64 (B,) in (0, 1)."""
        if self.stratified:
            u = (np.arange(len(u)) + u) / len(u)
        return np.clip(self.quantile(u, process), process.t_min, process.t_max)


@final
@dataclass(frozen=True, kw_only=True)
class Uniform(TimeSampling):
    """Uniform times, as U-ViT and DDPM train. Bao et al. 2023, https://arxiv.org/abs/2209.12152."""

    def quantile(self, u: np.ndarray, process: NoiseProcess) -> np.ndarray:
        """Return t_min + (t_max - t_min) u."""
        return process.t_min + (process.t_max - process.t_min) * u


@final
@dataclass(frozen=True, kw_only=True)
class LogitNormal(TimeSampling):
    """Times with more weight in the middle: the share of the time range is sigmoid(mean + std n), n normal.

    Esser et al. 2024, https://arxiv.org/abs/2403.03206, section 3.1.
    """

    mean: float = 0.0
    """Mean of the logit; above 0 for more noise."""
    std: Annotated[float, above(0)] = 1.0
    """Standard deviation of the logit."""

    def __post_init__(self) -> None:
        check_fields(self, "times.")

    def quantile(self, u: np.ndarray, process: NoiseProcess) -> np.ndarray:
        """Return t_min + (t_max - t_min) sigmoid(mean + std Phi^-1(u))."""
        share = 1 / (1 + np.exp(-self.mean - self.std * normal_quantile(u)))
        return process.t_min + (process.t_max - process.t_min) * share


@final
@dataclass(frozen=True, kw_only=True)
class LogNormal(TimeSampling):
    """Times whose noise level is log-normal. Karras et al. 2022, https://arxiv.org/abs/2206.00364, Table 1."""

    mean: float = -1.2
    """Mean of ln(level)."""
    std: Annotated[float, above(0)] = 1.2
    """Standard deviation of ln(level)."""

    def __post_init__(self) -> None:
        check_fields(self, "times.")

    def quantile(self, u: np.ndarray, process: NoiseProcess) -> np.ndarray:
        """Return the time whose level is exp(mean + std Phi^-1(u)), clipped to the process's own levels."""
        level = np.exp(self.mean + self.std * normal_quantile(u))
        return np.asarray(process.t_of(np.clip(level, process.sigma_min, process.sigma_max)))


TIMES = Registry[type[TimeSampling]](
    "times", TimeSampling, {"uniform": Uniform, "logit-normal": LogitNormal, "log-normal": LogNormal}
)


def normal_quantile(u: np.ndarray) -> np.ndarray:
    """Return Phi^-1(u), the standard normal's quantile function, in float64."""
    return torch.special.ndtri(torch.from_numpy(np.asarray(u, dtype=np.float64))).numpy()
