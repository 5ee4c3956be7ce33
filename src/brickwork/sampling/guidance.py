"""Classifier-free guidance, as a wrapper around a denoiser."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import final

import numpy as np

from brickwork.diffusion.arrays import Array, namespace
from brickwork.diffusion.denoiser import Condition, Denoiser
from brickwork.sampling.wrapper import Wrapper


@final
@dataclass(frozen=True)
class Guided(Wrapper):
    """Classifier-free guidance: D_null + scale * (D_cond - D_null), from one batch.

    A row with a condition is evaluated twice, with it and without. A row without one (no
    class, no text, no negative text) is evaluated once: both estimates would be the same. Outside the
    interval, at scale 1 and if no row has a condition, the result is the conditional call, bit for bit.

    Source: Ho and Salimans, 2207.12598, Eq. 6 (whose w is scale - 1); interval: Kynkäänniemi et al., 2404.07724.

    Attributes:
        inner: Denoiser that is guided.
        scale: Guidance scale; 1 is off, larger follows the condition more.
        interval: Levels that are guided, interval[0] < sigma <= interval[1].
    """

    inner: Denoiser
    scale: float
    interval: tuple[float, float] = (0.0, inf)

    def estimate(self, x: Array, sigma: Array, condition: Condition) -> Array:
        """Return the guided estimate of x0; see ``Denoiser``."""
        inside = (sigma > self.interval[0]) & (sigma <= self.interval[1])
        if self.scale == 1.0 or not condition.asking.any() or not bool(inside.any()):
            return self.inner(x, sigma, condition)
        with_condition, without = self._both(x, sigma, condition)
        guided = without + self.scale * (with_condition - without)
        return guided if bool(inside.all()) else namespace(x).where(inside[:, None, None, None], guided, with_condition)

    def _both(self, x: Array, sigma: Array, condition: Condition) -> tuple[Array, Array]:
        """Estimate x0 with the condition and without, from one batch; a row without a condition is in it once."""
        xp, count = namespace(x), len(x)
        if condition.asking.all():
            twice = (xp.concatenate((x, x)), xp.concatenate((sigma, sigma)))
            both = self.inner(*twice, condition.joined(condition.dropped()))
            return both[:count], both[count:]
        rows = np.flatnonzero(condition.asking).tolist()
        more = (xp.concatenate((x, x[rows])), xp.concatenate((sigma, sigma[rows])))
        both = self.inner(*more, condition.joined(condition[rows].dropped()))
        without = both[:count] + 0  # a copy
        without[rows] = both[count:]
        return both[:count], without
