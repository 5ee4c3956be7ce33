"""Denoisers D(x, sigma, condition) estimate the clean image; all other code builds one or calls one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np

from brickwork.diffusion.arrays import Array, namespace
from brickwork.diffusion.process import NoiseProcess


@final
@dataclass(frozen=True, kw_only=True)
class Condition:
    """Conditions of a batch: what each image should show.

    Attributes:
        labels: Class numbers, (B,) integers, -1 for no class; None for a model without classes. For a ``Canvas`` also
            (B, rows, columns), the classes of regions.
        text: Embedded tokens, (B, M, E) floats, zeros for no text; None for a model without text. In training also
            token numbers, (B, M) integers, zeros for no text, if the model has a text encoder of its own.
        given: Image condition in model space, concatenated to x: (B, G, H, W) floats, such as the coarse image of
            super-resolution; None for a model without one. Guidance never drops it.
        negative: Text like ``text`` that guidance steers away from; None to steer away from no text.
    """

    labels: Array | None = None
    text: Array | None = None
    given: Array | None = None
    negative: Array | None = None

    def dropped(self) -> Condition:
        """Return the unconditional batch: no class, and no text or the negative one; the image condition stays."""
        labels = None if self.labels is None else self.labels * 0 - 1
        text = None if self.text is None else self.text * 0
        return Condition(labels=labels, text=text if self.negative is None else self.negative, given=self.given)

    def joined(self, *others: Condition) -> Condition:
        """Concatenate several batches, this one first; negative texts are left out."""

        def all_of(*parts: Array | None) -> Array | None:
            return None if parts[0] is None else namespace(parts[0]).concatenate(parts)

        return Condition(
            labels=all_of(self.labels, *(other.labels for other in others)),
            text=all_of(self.text, *(other.text for other in others)),
            given=all_of(self.given, *(other.given for other in others)),
        )

    def __len__(self) -> int:
        """Batch size of labels or text; 0 without either, whatever the image condition."""
        return next((len(part) for part in (self.labels, self.text) if part is not None), 0)

    def __getitem__(self, rows: slice | list[int]) -> Condition:
        """Return some rows of the batch."""
        parts = (self.labels, self.text, self.given, self.negative)
        labels, text, given, negative = (None if part is None else part[rows] for part in parts)
        return Condition(labels=labels, text=text, given=given, negative=negative)


class Denoiser(Protocol):
    """Denoiser: estimates x0 from x = x0 + sigma * noise.

    Models in torch, guided models and packages on a device are all denoisers; the sampler cannot tell them apart. A
    denoiser must record no gradients, since a sampler without torch cannot turn them off.
    """

    @property
    def process(self) -> NoiseProcess:
        """Noise process: gives the level where sampling starts, and the time of each level."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one x."""
        ...

    @property
    def num_classes(self) -> int:
        """Number of classes, numbered from 0; 0 for a model without classes."""
        ...

    @property
    def text_shape(self) -> tuple[int, int] | None:
        """Shape (M, E) of one embedded text; None for a model without text."""
        ...

    def __call__(self, x: Array, sigma: Array, condition: Condition) -> Array:
        """Estimate x0, in x's shape and kind of array.

        Args:
            x: Noisy images x0 + sigma * noise, (B, C, H, W).
            sigma: Noise levels, (B,) like x; above 0.
            condition: Conditions of the same batch.
        """
        ...

    def asarray(self, values: np.ndarray) -> Array:
        """Convert numbers into this denoiser's kind of array: float32, on its device."""
        ...

    def decode(self, x0: Array) -> np.ndarray:
        """Decode model space into pictures, uint8 (B, H, W, C)."""
        ...


def multiple_of(denoise: Denoiser) -> int | None:
    """Return the divisor of all other heights and widths that a denoiser takes; None if it takes only its own shape's.

    The optional attribute ``multiple`` of the denoiser gives it, in pixels of x.
    """
    return getattr(denoise, "multiple", None)


def core_of(denoise: Denoiser) -> Any:
    """Return the innermost denoiser, a model or a package, inside wrappers for guidance, plans or a canvas.

    It may have optional abilities: ``embed_text``, ``encode``, ``give``, ``given_channels``.
    """
    while (inner := getattr(denoise, "denoise", None) or getattr(denoise, "full", None)) is not None:
        denoise = inner
    return denoise


def takes_regions(denoise: Denoiser) -> bool:
    """Tell whether labels may be (B, rows, columns), by the denoiser's optional attribute of this name."""
    return getattr(denoise, "takes_regions", False)
