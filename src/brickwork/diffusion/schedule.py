"""Noise schedules: the steps + 1 noise levels of a sampler, from the process's sigma_max down to 0, in float64."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Annotated, final

import numpy as np

from brickwork.bounds import above, check_fields
from brickwork.diffusion.process import NoiseProcess
from brickwork.errors import ArgumentError
from brickwork.registry import Registry


class Schedule(ABC):
    """Rule that spaces noise levels."""

    @property
    def num_steps(self) -> int | None:
        """The one number of steps that the rule has levels for; None if any number will do."""
        return None

    @abstractmethod
    def positive(self, process: NoiseProcess, steps: int) -> np.ndarray:
        """Return the levels above 0, falling, (steps,) float64."""

    def sigmas(self, process: NoiseProcess, steps: int) -> np.ndarray:
        """Return all levels, (steps + 1,) float64: the first is process.sigma_max, the last 0.

        Raises:
            ArgumentError: The number of steps is no whole number above 0.
        """
        if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
            raise ArgumentError(f"steps {steps!r}: a sampler takes a whole number of steps, at least 1")
        levels = np.append(self.positive(process, int(steps)), 0.0)
        levels[0] = process.sigma_max
        return levels


@final
@dataclass(frozen=True, kw_only=True)
class Karras(Schedule):
    """Schedule even in sigma^(1/rho), down to sigma_min: the larger rho, the more steps at low noise.

    Source: Karras et al., 2206.00364, Eq. 5.
    """

    rho: Annotated[float, above(0)] = 7.0

    def __post_init__(self) -> None:
        """Refuse a rho that is not a number above 0."""
        check_fields(self, error=ArgumentError)

    def positive(self, process: NoiseProcess, steps: int) -> np.ndarray:
        """Return (sigma_max^(1/rho) + i / (steps - 1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho."""
        try:
            ends = process.sigma_max ** (1 / self.rho), process.sigma_min ** (1 / self.rho)
        except OverflowError:
            raise ArgumentError(f"rho {self.rho}: it is too near 0 for these noise levels; 7 is usual") from None
        return np.linspace(*ends, steps) ** self.rho


@final
@dataclass(frozen=True, kw_only=True)
class LogSnr(Schedule):
    """Schedule even in ln sigma, which is -1/2 of the log signal-to-noise ratio, down to sigma_min.

    Source: Lu et al., 2206.00927, Sec. 3.3.
    """

    def positive(self, process: NoiseProcess, steps: int) -> np.ndarray:
        """Return sigma_max (sigma_min / sigma_max)^(i / (steps - 1))."""
        return np.exp(np.linspace(np.log(process.sigma_max), np.log(process.sigma_min), steps))


@final
@dataclass(frozen=True, kw_only=True)
class LinearTime(Schedule):
    """Schedule even in the process's own time, t_i = t_max (1 - i / steps), down to t = 0."""

    def positive(self, process: NoiseProcess, steps: int) -> np.ndarray:
        """Return level(t_max (1 - i / steps))."""
        return np.asarray(process.level(process.t_max * (1 - np.arange(steps) / steps)), dtype=np.float64)


@final
@dataclass(frozen=True)
class Levels(Schedule):
    """Noise levels of the caller's own, one more than there are steps.

    Attributes:
        values: Falling noise levels; the last is 0. Sampling starts at the first, at most the process's sigma_max.

    Raises:
        ArgumentError: There are fewer than two levels, one is not finite, they do not fall, or the last is above 0.
    """

    values: tuple[float, ...]

    def __init__(self, values: Sequence[float] | np.ndarray) -> None:
        """Check the levels, and keep them as float64."""
        try:
            levels = tuple(map(float, values))
        except (TypeError, ValueError):
            raise ArgumentError(f"levels {values!r}: give numbers that fall to 0, as in 80, 10, 1, 0") from None
        if len(levels) < 2:
            raise ArgumentError(f"levels {list(levels)}: one step has two levels; give at least one above 0, then 0")
        for before, after in pairwise(levels):
            if not inf > before > after:  # false for NaN too
                raise ArgumentError(f"level {after:g} after {before:g}: levels are finite and fall; turn them round")
        if levels[-1] != 0:
            raise ArgumentError(f"the last level is {levels[-1]:g}: a run ends without noise; let the last be 0")
        object.__setattr__(self, "values", levels)

    @property
    def num_steps(self) -> int:
        """Number of steps, one less than there are levels."""
        return len(self.values) - 1

    def positive(self, process: NoiseProcess, steps: int) -> np.ndarray:
        """Return all levels but the last."""
        return np.array(self.values[:-1])

    def sigmas(self, process: NoiseProcess, steps: int) -> np.ndarray:
        """Return the levels unchanged, (steps + 1,) float64.

        Raises:
            ArgumentError: The number of steps is another, or the first level is above the process's sigma_max.
        """
        if steps != self.num_steps:
            raise ArgumentError(f"steps {steps!r} with {len(self.values)} levels of one's own: leave the steps out")
        if self.values[0] > process.sigma_max * (1 + 1e-6):
            raise ArgumentError(
                f"first level {self.values[0]:g}: this model's noise ends at {process.sigma_max:g}; start at most there"
            )
        return np.array(self.values)


SCHEDULES = Registry[type[Schedule]]("schedule", Schedule, {"karras": Karras, "log-snr": LogSnr, "linear": LinearTime})
