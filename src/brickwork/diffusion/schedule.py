"""Which noise levels a sampler visits: steps + 1 waist levels, from the process's sigma_max down to 0, in float64."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import inf
from typing import final

import numpy as np

from brickwork.diffusion.process import NoiseProcess
from brickwork.errors import ArgumentError
from brickwork.registry import Registry


class Schedule(ABC):
    """A rule that spaces noise levels."""

    @abstractmethod
    def positive(self, process: NoiseProcess, steps: int) -> np.ndarray:
        """The levels above 0, falling, (steps,) float64."""

    def sigmas(self, process: NoiseProcess, steps: int) -> np.ndarray:
        """All levels, (steps + 1,) float64: the first is process.sigma_max, the last 0.

        Raises:
            ArgumentError: For fewer than one step.
        """
        if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
            raise ArgumentError(f"steps {steps!r}: a sampler takes a whole number of steps, at least 1")
        levels = np.append(self.positive(process, int(steps)), 0.0)
        levels[0] = process.sigma_max
        return levels


@final
@dataclass(frozen=True, kw_only=True)
class Karras(Schedule):
    """Even in sigma^(1/rho), down to sigma_min: the larger rho, the more steps near the image.

    Source: Karras et al., 2206.00364, Eq. 5.
    """

    rho: float = 7.0

    def __post_init__(self) -> None:
        """Refuse what the formula cannot do."""
        if not 0 < self.rho < inf:
            raise ArgumentError(f"rho {self.rho}: it must be a number above 0; 7 is usual")

    def positive(self, process: NoiseProcess, steps: int) -> np.ndarray:
        """(sigma_max^(1/rho) + i / (steps - 1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho."""
        ends = process.sigma_max ** (1 / self.rho), process.sigma_min ** (1 / self.rho)
        return np.linspace(*ends, steps) ** self.rho


@final
@dataclass(frozen=True, kw_only=True)
class LogSnr(Schedule):
    """Even in ln sigma, that is in half the log signal-to-noise ratio, down to sigma_min.

    Source: Lu et al., 2206.00927, Sec. 3.3.
    """

    def positive(self, process: NoiseProcess, steps: int) -> np.ndarray:
        """sigma_max (sigma_min / sigma_max)^(i / (steps - 1))."""
        return np.exp(np.linspace(np.log(process.sigma_max), np.log(process.sigma_min), steps))


@final
@dataclass(frozen=True, kw_only=True)
class LinearTime(Schedule):
    """Even in the process's own time, t_i = t_max (1 - i / steps), down to t = 0."""

    def positive(self, process: NoiseProcess, steps: int) -> np.ndarray:
        """level(t_max (1 - i / steps))."""
        return np.asarray(process.level(process.t_max * (1 - np.arange(steps) / steps)), dtype=np.float64)


SCHEDULES = Registry[type[Schedule]]("schedule", Schedule, {"karras": Karras, "log-snr": LogSnr, "linear": LinearTime})
