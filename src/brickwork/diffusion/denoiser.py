"""Denoisers D(x, sigma, condition) estimate the clean image; all other code builds one or calls one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, final, runtime_checkable

import numpy as np

from brickwork.diffusion.arrays import Array, like, namespace
from brickwork.diffusion.process import NoiseProcess
from brickwork.errors import ArgumentError


@final
@dataclass(frozen=True, kw_only=True)
class Condition:
    """Conditions of a batch: what each image should show.

    Attributes:
        labels: Class numbers, (B,) integers, -1 for no class; None for a model without classes. For a ``Canvas`` also
            (B, rows, columns), the classes of regions.
        text: Embedded tokens, (B, M, E) floats, zeros for no text; None for a model without text. In training also
            token numbers, (B, M) integers, zeros for no text, if the model has a text encoder of its own.
        image: Image condition in model space, concatenated to x: (B, G, H, W) floats, such as the coarse image of
            super-resolution; None for a model without one. Guidance never drops it.
        negative: Text like ``text`` that guidance steers away from; None to steer away from no text.
    """

    labels: Array | None = None
    text: Array | None = None
    image: Array | None = None
    negative: Array | None = None

    def dropped(self) -> Condition:
        """Return the unconditional batch: no class, and no text or the negative one; the image condition stays."""
        labels = None if self.labels is None else self.labels * 0 - 1
        text = None if self.text is None else self.text * 0
        return Condition(labels=labels, text=text if self.negative is None else self.negative, image=self.image)

    def joined(self, *others: Condition) -> Condition:
        """Concatenate several batches, this one first; negative texts are left out."""

        def all_of(*parts: Array | None) -> Array | None:
            return None if parts[0] is None else namespace(parts[0]).concatenate(parts)

        return Condition(
            labels=all_of(self.labels, *(other.labels for other in others)),
            text=all_of(self.text, *(other.text for other in others)),
            image=all_of(self.image, *(other.image for other in others)),
        )

    @cached_property
    def asking(self) -> np.ndarray:
        """Rows that differ from ``dropped``, bool (B,): those that ask for a class or a text, or away from one."""
        rows, nothing = np.zeros(len(self), dtype=np.bool_), self.dropped()
        for asked, other in ((self.labels, nothing.labels), (self.text, nothing.text)):
            if asked is not None:
                rows |= np.asarray((asked != other).reshape(len(rows), -1).any(1).tolist(), dtype=np.bool_)
        return rows

    def __len__(self) -> int:
        """Batch size of labels or text; 0 without either, whatever the image condition."""
        return next((len(part) for part in (self.labels, self.text) if part is not None), 0)

    def __getitem__(self, rows: slice | list[int]) -> Condition:
        """Return some rows of the batch."""
        parts = (self.labels, self.text, self.image, self.negative)
        labels, text, image, negative = (None if part is None else part[rows] for part in parts)
        return Condition(labels=labels, text=text, image=image, negative=negative)


@runtime_checkable
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


@final
@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """Inputs and abilities of a denoiser, as its attribute ``capabilities`` declares them.

    Attributes:
        shape: (C, H, W) of one x.
        multiple: Number that divides every other height and width of x that the denoiser takes; None where it takes its
            own alone.
        num_classes: Classes 0 to num_classes - 1 can be asked for; 0 for none.
        classes: Their names, num_classes of them.
        text_shape: (M, E) of one embedded text; None for a denoiser without text.
        reads_text: Captions can be embedded: the denoiser, or what it wraps, is an ``EmbedsText``.
        condition_channels: Channels of the image condition; 0 for none.
        takes_regions: Labels may be (B, rows, columns).
        factor: Pixels of a picture for each place of x, each way.
    """

    shape: tuple[int, int, int]
    multiple: int | None = None
    num_classes: int = 0
    classes: tuple[str, ...] = ()
    text_shape: tuple[int, int] | None = None
    reads_text: bool = False
    condition_channels: int = 0
    takes_regions: bool = False
    factor: int = 1

    def nothing(self, x: Array) -> Condition:
        """Return the condition of a batch that asks for nothing: no class and no text, in arrays like x.

        Raises:
            ArgumentError: It needs an image condition.
        """
        if self.condition_channels:
            raise ArgumentError(
                "no condition: this denoiser needs an image condition; give Condition(image=...), which "
                "model.as_image_condition makes of pictures"
            )
        xp = namespace(x)
        labels = xp.asarray(np.full(len(x), -1, np.int64), device=x.device) if self.num_classes else None
        text = None if self.text_shape is None else like(np.zeros((len(x), *self.text_shape), np.float32), x)
        return Condition(labels=labels, text=text)


def capabilities_of(denoise: Denoiser) -> Capabilities:
    """Return what a denoiser declares; what it leaves out is taken from its attributes of that name, or is nothing."""
    declared = getattr(denoise, "capabilities", None)
    if isinstance(declared, Capabilities):
        return declared
    count = getattr(denoise, "num_classes", 0)
    return Capabilities(
        shape=denoise.shape,
        multiple=getattr(denoise, "multiple", None),
        num_classes=count,
        classes=tuple(getattr(denoise, "classes", ())) or tuple(map(str, range(count))),
        text_shape=getattr(denoise, "text_shape", None),
        reads_text=getattr(denoise, "reads_text", isinstance(denoise, EmbedsText)),
        condition_channels=getattr(denoise, "condition_channels", 0),
        takes_regions=getattr(denoise, "takes_regions", False),
        factor=getattr(denoise, "factor", 1),
    )


def levels_like(sigma: Array, x: Array) -> Array:
    """Return noise levels as a batch, (B,) like x: one number is the level of all rows."""
    if isinstance(sigma, int | float | np.generic) or sigma.ndim == 0:
        return namespace(x).zeros_like(x[:, 0, 0, 0]) + sigma
    return sigma


@runtime_checkable
class Encodes(Protocol):
    """An ability: pictures to model space."""

    def encode(self, images: np.ndarray) -> Array:
        """Return pictures in model space: uint8 (B, H, W, C) → (B, C', H', W') of the denoiser's kind of array."""
        ...


@runtime_checkable
class EmbedsText(Protocol):
    """An ability: captions to embedded tokens."""

    def embed_text(self, captions: Sequence[str]) -> np.ndarray:
        """Return captions as embedded tokens, float32 (N, M, E)."""
        ...


@runtime_checkable
class KnowsWords(Protocol):
    """An ability: to say which words of captions mean nothing to it."""

    def unknown_words(self, captions: Sequence[str]) -> list[str]:
        """Return the words that it never learned, each once, in order."""
        ...


@runtime_checkable
class MakesImageCondition(Protocol):
    """An ability: pictures to image conditions."""

    def as_image_condition(self, pictures: np.ndarray) -> np.ndarray:
        """Return image conditions in model space: uint8 (N, H, W, C) → float32 (N, G, h, w)."""
        ...


@runtime_checkable
class Described(Protocol):
    """An ability: to say where it comes from."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Data and settings that it was trained with."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of its file, or ""."""
        ...
