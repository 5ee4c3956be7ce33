"""The waist: D(x, sigma, condition) estimates the clean image. All else builds one, or consumes one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np

from brickwork.diffusion.arrays import Array, namespace
from brickwork.diffusion.process import NoiseProcess


@final
@dataclass(frozen=True, kw_only=True)
class Condition:
    """What each image of a batch should show.

    Attributes:
        labels: Class numbers, (B,) integers, -1 for no class; None for a model without classes. For a ``Canvas`` also
            (B, rows, columns), the classes of regions.
        text: Embedded tokens, (B, M, E) floats, zeros for no text; None for a model without text. In training also
            token numbers, (B, M) integers, zeros for no text, where the model has a text encoder of its own.
        given: A picture in model space that is kept beside x, (B, G, H, W) floats, as for super-resolution; None for a
            model that is given none. Not a wish: guidance leaves it as it is.
        negative: Text like ``text`` that guidance leads away from; None to lead away from no text.
    """

    labels: Array | None = None
    text: Array | None = None
    given: Array | None = None
    negative: Array | None = None

    def dropped(self) -> Condition:
        """The same batch asked for nothing: no class, and no text or the negative one."""
        labels = None if self.labels is None else self.labels * 0 - 1
        text = None if self.text is None else self.text * 0
        return Condition(labels=labels, text=text if self.negative is None else self.negative, given=self.given)

    def joined(self, *others: Condition) -> Condition:
        """Several batches as one, this one first; negative texts are left out."""

        def all_of(*parts: Array | None) -> Array | None:
            return None if parts[0] is None else namespace(parts[0]).concatenate(parts)

        return Condition(
            labels=all_of(self.labels, *(other.labels for other in others)),
            text=all_of(self.text, *(other.text for other in others)),
            given=all_of(self.given, *(other.given for other in others)),
        )

    def __len__(self) -> int:
        """The batch size; 0 where nothing can be asked for, whatever is given."""
        return next((len(part) for part in (self.labels, self.text) if part is not None), 0)

    def __getitem__(self, rows: slice | list[int]) -> Condition:
        """Some rows of the batch."""
        parts = (self.labels, self.text, self.given, self.negative)
        labels, text, given, negative = (None if part is None else part[rows] for part in parts)
        return Condition(labels=labels, text=text, given=given, negative=negative)


class Denoiser(Protocol):
    """Estimates x0 from x = x0 + sigma * noise.

    A model in torch is one, so is a guided model, and a package on a device: the sampler cannot tell them apart. It
    must keep no gradients, since a sampler that does not know torch cannot turn them off.
    """

    @property
    def process(self) -> NoiseProcess:
        """Says at which level sampling starts, and how levels and times go together."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one x."""
        ...

    @property
    def num_classes(self) -> int:
        """Classes 0 to num_classes - 1 can be asked for; 0 for none."""
        ...

    @property
    def text_shape(self) -> tuple[int, int] | None:
        """(M, E) of one text; None for a model without text."""
        ...

    def __call__(self, x: Array, sigma: Array, condition: Condition) -> Array:
        """Estimate of x0, like x.

        Args:
            x: (B, C, H, W).
            sigma: Waist levels, (B,) like x; above 0.
            condition: Of the same batch.
        """
        ...

    def asarray(self, values: np.ndarray) -> Array:
        """Numbers as this denoiser's kind of array: float32, on its device."""
        ...

    def decode(self, x0: Array) -> np.ndarray:
        """Model space to pictures, uint8 (B, H, W, C)."""
        ...


def multiple_of(denoise: Denoiser) -> int | None:
    """What divides every height and width that a denoiser takes besides its own shape's; None where it takes no other.

    It says so by an attribute ``multiple``, in pixels of x; a denoiser need not have one.
    """
    return getattr(denoise, "multiple", None)


def core_of(denoise: Denoiser) -> Any:
    """What a denoiser is in the end, behind what is guided, planned or on a canvas: a model or a package.

    There are the abilities that a denoiser need not have: ``embed_text``, ``encode``, ``give``, ``given_channels``.
    """
    while (inner := getattr(denoise, "denoise", None) or getattr(denoise, "full", None)) is not None:
        denoise = inner
    return denoise


def takes_regions(denoise: Denoiser) -> bool:
    """Whether labels may be (B, rows, columns); it says so by an attribute of this name, which it need not have."""
    return getattr(denoise, "takes_regions", False)
