"""DiT: a vision transformer of latents whose time and class shift, scale and gate every block (adaLN-Zero).

Peebles and Xie: "Scalable diffusion models with transformers" (ICCV 2023, arXiv 2212.09748). LEGO's bricks are made of
its blocks. Positions are fixed sinusoids; the published networks also have a head for the variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.backbone.base import Backbone, BackboneConfig, beside
from brickwork.backbone.position import SpreadPosition
from brickwork.backbone.stack import PatchStackConfig, run_blocks, with_blocks
from brickwork.backbone.stem import ClassRows, FinalLayer, Patchify, TextVector, labels_of, unshuffle
from brickwork.diffusion.denoiser import Condition
from brickwork.nn.floats import float32_default
from brickwork.nn.layers import ModulatedBlock, TimeVector
from brickwork.nn.shapes import Image, Sigma

NUM_WAVES = 256  # numbers in the sinusoid of time


@dataclass(frozen=True, kw_only=True)
class DitConfig(PatchStackConfig):
    """Published geometry; known to users as ``Dit.Config``."""

    width: int = 384
    """Width L of every row, in channels."""
    depth: int = 12
    """Number N of blocks."""
    variance: bool = False
    """Add an output for the variance beside the image, as published; its weights are kept, but it is not used."""

    def _kept(self, parts: tuple[int, ...]) -> DitConfig:
        """Return the config with fewer blocks."""
        return replace(self, depth=len(parts))

    @float32_default()
    def build(self) -> Dit:
        """Build the network with fresh weights."""
        return Dit(self)


@final
class Dit(Backbone):
    """DiT network. Its output is exactly zero at the start. Peebles & Xie 2023, arXiv 2212.09748."""

    Config = DitConfig

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self._config = c = config
        self.patchify = Patchify(c.in_channels, c.width, c.patch)
        self.position = SpreadPosition(c.grid, c.width)
        self.time = TimeVector(c.width, NUM_WAVES)
        self.classes = ClassRows(c.num_classes, 1, c.width) if c.num_classes else None
        self.text = TextVector(c.text_length, c.text_width, c.width) if c.text_length else None
        self.blocks = nn.ModuleList(ModulatedBlock(c.width, c.num_heads, c.mlp_ratio, c.width) for _ in range(c.depth))
        self.head = FinalLayer(c.width, c.patch**2 * c.channels * (2 if c.variance else 1), c.width)
        _initialize(self)

    @property
    def config(self) -> DitConfig:
        """Config of the network."""
        return self._config

    def forward(self, x: Image, c_noise: Sigma, condition: Condition) -> Image:
        """Evaluate the network once; see ``Backbone.forward``.

        Raises:
            ArgumentError: The patch does not divide the image, or channels or text have a wrong shape.
        """
        c, grid = self._config, self.patchify.grid(x)
        vector = F.silu(self.vector(c_noise, condition))
        h = self.position(self.patchify(beside(x, condition, c)), grid)
        h = run_blocks(self.blocks, h, (vector, grid), checkpointing=c.checkpointing)
        return unshuffle(self.head(h, vector), grid, c.patch)[:, : c.channels]

    def vector(self, c_noise: Sigma, condition: Condition) -> Float[Tensor, "B D"]:
        """Return the vector that modulates every block, before its SiLU: time plus class plus text, (B, D)."""
        vector = self.time(c_noise)
        if self.classes is not None:
            vector = vector + self.classes(labels_of(condition, c_noise))[:, 0]
        return vector if self.text is None else vector + self.text(condition.text, c_noise)

    def _kept(self, config: BackboneConfig, parts: tuple[int, ...]) -> Dit:
        """Return the network with some of the blocks and all other layers."""
        return with_blocks(self, config, parts)

    def compilable(self) -> Sequence[nn.Module]:
        """Return the blocks."""
        return list(self.blocks)


def _initialize(dit: Dit) -> None:
    """Initialise: Xavier-uniform weights; time and class normal of 0.02; modulations, last layer zero. Section 3.2."""
    for part in dit.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)
    patches = dit.patchify.conv
    nn.init.xavier_uniform_(patches.weight.view(len(patches.weight), -1))
    for layer in (dit.time.first, dit.time.second):
        nn.init.normal_(layer.weight, std=0.02)
    if dit.classes is not None:
        nn.init.normal_(dit.classes.table.weight, std=0.02)
    for part in dit.modules():
        if isinstance(part, ModulatedBlock | FinalLayer):
            nn.init.zeros_(part.modulation.weight)
    nn.init.zeros_(dit.head.linear.weight)
