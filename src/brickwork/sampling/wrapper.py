"""Denoisers around denoisers: one base that passes on what the inner one declares, and finds what it can do."""

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
    """A denoiser made of another one; a subclass is a frozen dataclass whose field ``inner`` is that one.

    Attributes:
        inner: Denoiser that is wrapped.
    """

    inner: Denoiser

    @property
    def capabilities(self) -> Capabilities:
        """Declaration of the inner denoiser; a wrapper that changes it says so here."""
        return capabilities_of(self.inner)

    @property
    def process(self) -> NoiseProcess:
        """Noise process of the inner denoiser."""
        return self.inner.process

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one x."""
        return self.capabilities.shape

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 for none."""
        return self.capabilities.num_classes

    @property
    def text_shape(self) -> tuple[int, int] | None:
        """(M, E) of one text, or None."""
        return self.capabilities.text_shape

    def around(self, inner: Denoiser) -> Self:
        """Return the same wrapper around another denoiser."""
        changed: dict[str, Any] = {"inner": inner}
        return replace(self, **changed)  # pyright: ignore[reportArgumentType]  (subclasses are dataclasses)

    def __call__(self, x: Array, sigma: Array, condition: Condition | None = None) -> Array:
        """Estimate x0; see ``Denoiser``. The level may be one number; no condition asks for nothing."""
        condition = self.capabilities.nothing(x) if condition is None else condition
        return self.estimate(x, levels_like(sigma, x), condition)

    @abstractmethod
    def estimate(self, x: Array, sigma: Array, condition: Condition) -> Array:
        """Estimate x0 of a batch, (B, C, H, W) like x.

        Args:
            x: (B, C, H, W).
            sigma: Waist levels, (B,) like x; above 0.
            condition: Of the same batch.
        """

    def asarray(self, values: np.ndarray) -> Array:
        """Return numbers as the inner denoiser's kind of array."""
        return self.inner.asarray(values)

    def decode(self, x0: Array) -> np.ndarray:
        """Return pictures, uint8 (B, H, W, C), of model space."""
        return self.inner.decode(x0)


def innermost(denoise: Denoiser) -> Denoiser:
    """Return the denoiser behind all wrappers: a model, a package, or one of somebody's own."""
    while isinstance(denoise, Wrapper):
        denoise = denoise.inner
    return denoise


def ability(denoise: Denoiser, kind: type[Ability]) -> Ability | None:
    """Return the denoiser, or the first behind its wrappers, that has an ability, as ``Encodes``; None without one."""
    while not isinstance(denoise, kind):
        if not isinstance(denoise, Wrapper):
            return None
        denoise = denoise.inner
    return denoise
