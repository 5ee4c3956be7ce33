"""The numbers inside a package: how many bits, what they were calibrated on, and which layers keep more."""

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
    """How a package computes inside.

    Attributes:
        name: fp32, fp16, bf16; int8: weights stored as int8, activations by the range of each call; int8-static: ranges
            from calibration; int4: weights of 4 bits, in groups, activations as they are.
        samples: Inputs to calibrate with, over noise levels; needed for int8-static.
        keep: Parts of the network by module names ("backbone.stem", "backbone.blocks.0"), which stay fp32.
    """

    name: str = "fp32"
    samples: Sequence[Inputs] = field(default=(), repr=False)
    keep: tuple[str, ...] = ()


def is_within(name: str, parts: Iterable[str]) -> bool:
    """Whether a module or weight is one of some modules, or inside one: backbone.blocks.0.mlp in backbone.blocks.0."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)
