"""Wrappers: denoisers around denoisers, on one base that passes on the inner one's declaration and abilities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, Self, TypeVar

import numpy as np

from brickwork.diffusion.arrays import Array
from brickwork.diffusion.denoiser import Capabilities, Condition, Denoiser, capabilities_of, levels_like
from brickwork.diffusion.process import NoiseProcess

Ability = TypeVar("Ability")


class Wrapper(ABC):
    """Denoiser made of another one; a subclass is a frozen dataclass whose field ``inner`` is that one.

    Attributes:
        inner: Denoiser that is wrapped.
    """

    inner: Denoiser

    @property
    def capabilities(self) -> Capabilities:
        """Declaration of the inner denoiser; a wrapper that changes it overrides this."""
        return capabilities_of(self.inner)

    @property
    def process(self) -> NoiseProcess:
        """Noise process of the inner denoiser."""
        return self.inner.process

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one x."""
        return self.capabilities.shape

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 for none."""
        return self.capabilities.num_classes

    @property
    def text_shape(self) -> tuple[int, int] | None:
        """Shape (M, E) of one text, or None."""
        return self.capabilities.text_shape

    def around(self, inner: Denoiser) -> Self:
        """Return the same wrapper around another denoiser."""
        changed: dict[str, Any] = {"inner": inner}
        return replace(self, **changed)  # pyright: ignore[reportArgumentType]  (subclasses are dataclasses)

    def __call__(self, x: Array, sigma: Array, condition: Condition | None = None) -> Array:
        """Estimate x0; see ``Denoiser``. The level may be one number; the condition may be left out."""
        condition = self.capabilities.nothing(x) if condition is None else condition
        return self.estimate(x, levels_like(sigma, x), condition)

    @abstractmethod
    def estimate(self, x: Array, sigma: Array, condition: Condition) -> Array:
        """Estimate x0 of a batch, (B, C, H, W) like x.

        Args:
            x: Noisy images, (B, C, H, W).
            sigma: Noise levels, (B,) like x; above 0.
            condition: Conditions of the same batch.
        """

    def asarray(self, values: np.ndarray) -> Array:
        """Convert numbers into the inner denoiser's kind of array."""
        return self.inner.asarray(values)

    def decode(self, x0: Array) -> np.ndarray:
        """Decode model space into pictures, uint8 (B, H, W, C)."""
        return self.inner.decode(x0)


def innermost(denoise: Denoiser) -> Denoiser:
    """Return the denoiser behind all wrappers: a model, a package, or another denoiser."""
    while isinstance(denoise, Wrapper):
        denoise = denoise.inner
    return denoise


def ability(denoise: Denoiser, kind: type[Ability]) -> Ability | None:
    """Return the denoiser, or the first behind its wrappers, with an ability such as ``Encodes``; None without one."""
    while not isinstance(denoise, kind):
        if not isinstance(denoise, Wrapper):
            return None
        denoise = denoise.inner
    return denoise
