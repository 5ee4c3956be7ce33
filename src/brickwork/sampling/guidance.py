"""Classifier-free guidance as a wrapper around a denoiser."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import final

import numpy as np

from brickwork.diffusion.arrays import Array, namespace
from brickwork.diffusion.denoiser import Condition, Denoiser, multiple_of, takes_regions
from brickwork.diffusion.process import NoiseProcess


@final
@dataclass(frozen=True)
class Guided:
    """Classifier-free guidance: D_null + scale * (D_cond - D_null), from one batch of twice the size.

    Outside the interval, at scale 1 and where there is nothing to ask for, it is the conditional call, bit for bit.

    Source: Ho and Salimans, 2207.12598, Eq. 6 (whose w is scale - 1); interval: Kynkäänniemi et al., 2404.07724.

    Attributes:
        denoise: What is guided.
        scale: 1 is off; larger follows the condition more.
        interval: Guide where interval[0] < sigma <= interval[1], in waist levels.
    """

    denoise: Denoiser
    scale: float
    interval: tuple[float, float] = (0.0, inf)

    @property
    def process(self) -> NoiseProcess:
        """Of what is guided."""
        return self.denoise.process

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of what is guided."""
        return self.denoise.shape

    @property
    def num_classes(self) -> int:
        """Of what is guided."""
        return self.denoise.num_classes

    @property
    def text_shape(self) -> tuple[int, int] | None:
        """Of what is guided."""
        return self.denoise.text_shape

    @property
    def multiple(self) -> int | None:
        """Of what is guided."""
        return multiple_of(self.denoise)

    @property
    def takes_regions(self) -> bool:
        """As what is guided."""
        return takes_regions(self.denoise)

    def __call__(self, x: Array, sigma: Array, condition: Condition) -> Array:
        """The guided estimate of x0; see ``Denoiser``."""
        inside = (sigma > self.interval[0]) & (sigma <= self.interval[1])
        if self.scale == 1.0 or len(condition) == 0 or not bool(inside.any()):
            return self.denoise(x, sigma, condition)
        xp, count = namespace(x), len(x)
        both = self.denoise(
            xp.concatenate((x, x)), xp.concatenate((sigma, sigma)), condition.joined(condition.dropped())
        )
        with_condition, without = both[:count], both[count:]
        guided = without + self.scale * (with_condition - without)
        return guided if bool(inside.all()) else xp.where(inside[:, None, None, None], guided, with_condition)

    def asarray(self, values: np.ndarray) -> Array:
        """As what is guided makes them."""
        return self.denoise.asarray(values)

    def decode(self, x0: Array) -> np.ndarray:
        """As what is guided decodes."""
        return self.denoise.decode(x0)
