"""The numbers inside a package: their bits, the samples they were calibrated on, and the layers that stay fp32."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np

FLOORS_DB = {"fp32": 60.0, "fp16": 45.0, "bf16": 30.0}
"""Least PSNR of whole pictures against eager fp32; see docs/parity.md. Other precisions are held to a quality bound."""
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int8-static", "int4")

Inputs = Mapping[str, np.ndarray]
"""The inputs of one call of the denoiser, by name, of one row."""


@final
@dataclass(frozen=True, kw_only=True)
class Precision:
    """The arithmetic inside a package.

    Attributes:
        name: fp32, fp16, bf16; int8: weights stored as int8, activations by the range of each call; int8-static: ranges
            from calibration; int4: weights of 4 bits, in groups, activations unchanged.
        samples: Inputs to calibrate with, over noise levels; needed for int8-static.
        fp32_layers: Modules that stay fp32, by name ("backbone.stem", "backbone.blocks.0"), with all inside them.
    """

    name: str = "fp32"
    samples: Sequence[Inputs] = field(default=(), repr=False)
    fp32_layers: tuple[str, ...] = ()

    @property
    def floor_db(self) -> float | None:
        """Least PSNR of whole pictures against eager fp32, in dB; None where a quality bound holds instead."""
        return FLOORS_DB.get(self.name)


@final
@dataclass(frozen=True, kw_only=True)
class QualityBound:
    """The loss of quality that a package of few bits may have, and the amount of data to measure it on.

    Attributes:
        max_loss_increase: Largest share by which the held-out loss may rise; five times that for the Fréchet distance.
        num_images: Held-out images that the loss is taken on, at most.
        num_pictures: Pictures drawn for the distance.
    """

    max_loss_increase: float = 0.02
    num_images: int = 256
    num_pictures: int = 500


def is_within(name: str, modules: Iterable[str]) -> bool:
    """Return True if a module or weight is one of some modules, or inside one: backbone.stem.0 in backbone.stem."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)
