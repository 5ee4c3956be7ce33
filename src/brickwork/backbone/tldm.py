"""Transformer-LDM: a plain vision transformer as the denoiser of latents, with its conditions as rows of the sequence.

After Chahal, "Exploring Transformer backbones for image diffusion models" (arXiv 2212.14678): the denoiser is
a transformer from end to end, and classes meet the image in ordinary self-attention. The paper's sizes are not known:
patches, positions, initialisation and widths follow U-ViT (Bao et al. 2023, 2209.12152), the options DiT (Peebles and
Xie 2023, 2212.09748), which compared in-context rows, adaLN-Zero and cross-attention.

Rows: E of the condition (class x K, time, text), then T = H/p · W/p patches of the image, row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, final

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.backbone.base import Backbone, BackboneConfig, beside
from brickwork.backbone.position import FixedPosition, RowPosition
from brickwork.backbone.stack import LongSkip, PatchStackConfig, check_unskipped, merges_of, run_blocks, with_blocks
from brickwork.backbone.stem import (
    ClassRows,
    FinalLayer,
    Patchify,
    SliceTokens,
    TextRows,
    TextVector,
    labels_of,
    prepend,
    unshuffle,
)
from brickwork.bounds import at_least
from brickwork.diffusion.denoiser import Condition
from brickwork.errors import ConfigError
from brickwork.nn.floats import float32_default
from brickwork.nn.layers import Block, CrossBlock, Grid, ModulatedBlock, TimeVector, initialize
from brickwork.nn.shapes import Image, Sigma, Tokens

Conditioning = Literal["in_context", "adaln_zero", "cross_attention"]


@dataclass(frozen=True, kw_only=True)
class TldmConfig(PatchStackConfig):
    """Options of the design; known to users as ``Tldm.Config``."""

    width: int = 256
    """Width L of every row, in channels."""
    depth: int = 12
    """Number N of blocks; all have the same shape."""
    conditioning: Conditioning = "in_context"
    """Input of time, class and text: as rows in front of the image's, which attend to each other (the paper's way); as
    a vector that shifts, scales and gates each block; or as rows that the image's rows read by cross-attention."""
    num_class_tokens: Annotated[int, at_least(1)] = 1
    """Number K of rows for the class, in a model with classes."""
    long_skip: LongSkip = "none"
    """Merge the output of block i into the input of block N-1-i."""
    position: Literal["learned", "sincos"] = "learned"
    """Positions: a learned table of all rows, or fixed sinusoids of the image rows."""
    qk_norm: bool = False
    """Apply root-mean-square norm to queries and keys."""
    final_conv: bool = False
    """Add a 3x3 convolution on the assembled image."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.conditioning == "adaln_zero" and self.num_class_tokens != 1:
            raise ConfigError(
                f"num_class_tokens {self.num_class_tokens} with conditioning 'adaln_zero': a class is one vector "
                "there; set it to 1, or take conditioning 'in_context'"
            )

    @property
    def num_extra(self) -> int:
        """Number E of condition rows: classes, time, text; 0 if the condition is a vector."""
        if self.conditioning == "adaln_zero":
            return 0
        return (self.num_class_tokens if self.num_classes else 0) + 1 + self.text_length

    def _kept(self, parts: tuple[int, ...]) -> TldmConfig:
        """Return the config with fewer blocks; refused with long skips past those that are left out."""
        check_unskipped(len(parts), self.depth, self.long_skip)
        return replace(self, depth=len(parts))

    @float32_default()
    def build(self) -> Tldm:
        """Build the network with fresh weights."""
        return Tldm(self)


@final
class Tldm(Backbone):
    """Transformer-LDM network. Its output is exactly zero at the start.

    Source: Chahal, 2212.14678, as far as it is known; see the module.
    """

    Config = TldmConfig

    def __init__(self, config: TldmConfig) -> None:
        super().__init__()
        self._config = c = config
        vector = c.conditioning == "adaln_zero"
        self.patchify = Patchify(c.in_channels, c.width, c.patch)
        self.classes = ClassRows(c.num_classes, c.num_class_tokens, c.width) if c.num_classes else None
        self.time = TimeVector(c.width)
        self.text: TextRows | TextVector | None = None
        if c.text_length:
            self.text = (TextVector if vector else TextRows)(c.text_length, c.text_width, c.width)
        self.position: RowPosition | FixedPosition
        if c.position == "learned":
            self.position = RowPosition(c.grid, c.num_extra, c.width)
        else:
            self.position = FixedPosition(c.grid, c.width)
        self.norm_context = nn.LayerNorm(c.width) if c.conditioning == "cross_attention" else None
        self.blocks = nn.ModuleList(_block(c) for _ in range(c.depth))
        self.merges = merges_of(c.width, c.depth, c.long_skip)
        outputs = c.patch**2 * c.channels
        self.head = FinalLayer(c.width, outputs, c.width) if vector else SliceTokens(c.width, outputs)
        self.final_conv = nn.Conv2d(c.channels, c.channels, 3, padding=1) if c.final_conv else None
        _initialize(self)

    @property
    def config(self) -> TldmConfig:
        """Config of the network."""
        return self._config

    def forward(self, x: Image, c_noise: Sigma, condition: Condition) -> Image:
        """Evaluate the network once; see ``Backbone.forward``.

        Raises:
            ArgumentError: The patch does not divide the image, or channels or text have a wrong shape.
        """
        c, grid = self._config, self.patchify.grid(x)
        h = self.patchify(beside(x, condition, c))
        if c.conditioning == "adaln_zero":
            vector = F.silu(self._vector(c_noise, condition))
            h = self._run(self.position(h, grid), vector, grid)
            rows = self.head(h, vector)
        elif c.conditioning == "cross_attention":
            h = self._placed(h, self._rows(c_noise, condition, x), grid)
            assert self.norm_context is not None
            h = self._run(h[:, c.num_extra :], self.norm_context(h[:, : c.num_extra]))
            rows = self.head(h, grid)
        else:
            rows = self.head(self._run(self._placed(h, self._rows(c_noise, condition, x), grid), grid), grid)
        image = unshuffle(rows, grid, c.patch)
        return image if self.final_conv is None else self.final_conv(image)

    def _rows(self, c_noise: Sigma, condition: Condition, x: Image) -> list[Tensor]:
        """Return the rows of the condition: (B, K, L), (B, 1, L), (B, M, L)."""
        rows = [] if self.classes is None else [self.classes(labels_of(condition, c_noise))]
        rows.append(self.time(c_noise)[:, None])
        if self.text is not None:
            rows.append(self.text(condition.text, x))
        return rows

    def _vector(self, c_noise: Sigma, condition: Condition) -> Float[Tensor, "B D"]:
        """Return the condition as one vector: time plus class plus text, (B, D)."""
        vector = self.time(c_noise)
        if self.classes is not None:
            vector = vector + self.classes(labels_of(condition, c_noise))[:, 0]
        return vector if self.text is None else vector + self.text(condition.text, c_noise)

    def _placed(self, h: Tokens, extra: list[Tensor], grid: Grid) -> Float[Tensor, "B T D"]:
        """Join the rows of the condition and the image's, with their positions."""
        if isinstance(self.position, RowPosition):
            return self.position(prepend(h, extra), grid)
        return prepend(self.position(h, grid), extra)

    def _run(self, h: Tokens, *arguments: Any) -> Tokens:
        c = self._config
        return run_blocks(
            self.blocks, h, arguments, long_skip=c.long_skip, merges=self.merges, checkpointing=c.checkpointing
        )

    def _kept(self, config: BackboneConfig, parts: tuple[int, ...]) -> Tldm:
        """Return the network with some of the blocks and all other layers."""
        return with_blocks(self, config, parts)

    def compilable(self) -> Sequence[nn.Module]:
        """Return the blocks."""
        return list(self.blocks)


def _block(c: TldmConfig) -> nn.Module:
    if c.conditioning == "adaln_zero":
        return ModulatedBlock(c.width, c.num_heads, c.mlp_ratio, c.width, qk_norm=c.qk_norm)
    if c.conditioning == "cross_attention":
        return CrossBlock(c.width, c.num_heads, c.mlp_ratio, qk_norm=c.qk_norm)
    return Block(c.width, c.num_heads, c.mlp_ratio, qk_norm=c.qk_norm, depthwise=False, modulated=False, qkv_bias=True)


def _initialize(tldm: Tldm) -> None:
    """Initialise: linear weights truncated normal of 0.02; class rows normal of 0.02; last layer, modulations zero."""
    initialize(tldm)
    if tldm.classes is not None:
        nn.init.normal_(tldm.classes.table.weight, std=0.02)
    if tldm.final_conv is not None and tldm.final_conv.bias is not None:
        nn.init.zeros_(tldm.final_conv.bias)
    nn.init.zeros_(tldm.head.linear.weight if isinstance(tldm.head, FinalLayer) else tldm.head.head.weight)
    for part in tldm.modules():
        if isinstance(part, ModulatedBlock | FinalLayer):
            nn.init.zeros_(part.modulation.weight)
