"""U-ViT: a plain vision transformer with long skips, whose time, class and text are rows beside the patches.

Bao, Nie, Xue, Cao, Li, Su and Zhu: "All are worth words: a ViT backbone for diffusion models" (CVPR 2023, arXiv
2209.12152). The published choices: the sinusoid itself is the row of time; the first half of the blocks is joined with
the second by concatenation and a linear layer; no bias on q, k and v; a learned table of positions for all rows; a 3x3
convolution at the end, but not in the huge ones.

Rows: the class, time, text, then T = H/p · W/p patches of the image, row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from brickwork.backbone.base import Backbone, beside
from brickwork.backbone.position import RowPosition
from brickwork.backbone.stack import PatchStackConfig, check_unskipped, merges_of, run_blocks
from brickwork.backbone.stem import (
    ClassRows,
    Patchify,
    SliceTokens,
    TextRows,
    labels_of,
    prepend,
    unshuffle,
)
from brickwork.diffusion.denoiser import Condition
from brickwork.errors import ConfigError
from brickwork.nn.floats import float32_default
from brickwork.nn.layers import Block, initialize, sinusoid
from brickwork.nn.shapes import Image, Sigma


@dataclass(frozen=True, kw_only=True)
class UvitConfig(PatchStackConfig):
    """Published geometry; known to users as ``Uvit.Config``."""

    width: int = 512
    """Width L of every row, in channels."""
    depth: int = 13
    """Number N of blocks, odd: one between two halves that are joined."""
    final_conv: bool = True
    """Add a 3x3 convolution on the assembled image."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth % 2 == 0:
            raise ConfigError(
                f"depth {self.depth}: must be odd, one block between two equal halves; take {self.depth + 1}"
            )

    @property
    def num_extra(self) -> int:
        """Number of rows in front of the image's: class, time, text."""
        return (self.num_classes > 0) + 1 + self.text_length

    def _kept(self, parts: tuple[int, ...]) -> UvitConfig:
        """Refuse to leave blocks out: skips lead past every block but the middle one."""
        check_unskipped(len(parts), self.depth, "concat")
        return self

    @float32_default()
    def build(self) -> Uvit:
        """Build the network with fresh weights."""
        return Uvit(self)


@final
class Uvit(Backbone):
    """U-ViT network. Bao et al. 2023, arXiv 2209.12152, section 3."""

    Config = UvitConfig

    def __init__(self, config: UvitConfig) -> None:
        super().__init__()
        self._config = c = config
        self.patchify = Patchify(c.in_channels, c.width, c.patch)
        self.classes = ClassRows(c.num_classes, 1, c.width) if c.num_classes else None
        self.text = TextRows(c.text_length, c.text_width, c.width) if c.text_length else None
        self.position = RowPosition(c.grid, c.num_extra, c.width)
        self.blocks = nn.ModuleList(
            Block(c.width, c.num_heads, c.mlp_ratio, qk_norm=False, depthwise=False, modulated=False)
            for _ in range(c.depth)
        )
        self.merges = merges_of(c.width, c.depth, "concat")
        self.head = SliceTokens(c.width, c.patch**2 * c.channels)
        self.final_conv = nn.Conv2d(c.channels, c.channels, 3, padding=1) if c.final_conv else None
        initialize(self)

    @property
    def config(self) -> UvitConfig:
        """Config of the network."""
        return self._config

    def forward(self, x: Image, c_noise: Sigma, condition: Condition) -> Image:
        """Evaluate the network once; see ``Backbone.forward``.

        Raises:
            ArgumentError: The patch does not divide the image, or channels or text have a wrong shape.
        """
        c, grid = self._config, self.patchify.grid(x)
        h = self.patchify(beside(x, condition, c))
        h = self.position(prepend(h, self._rows(c_noise, condition, x)), grid)
        h = run_blocks(self.blocks, h, (grid,), long_skip="concat", merges=self.merges, checkpointing=c.checkpointing)
        image = unshuffle(self.head(h, grid), grid, c.patch)
        return image if self.final_conv is None else self.final_conv(image)

    def _rows(self, c_noise: Sigma, condition: Condition, x: Image) -> list[Tensor]:
        """Return the rows of the condition: (B, 1, L) twice, (B, M, L)."""
        rows = [] if self.classes is None else [self.classes(labels_of(condition, c_noise))]
        rows.append(sinusoid(c_noise, self._config.width)[:, None])
        if self.text is not None:
            rows.append(self.text(condition.text, x))
        return rows

    def compilable(self) -> Sequence[nn.Module]:
        """Return the blocks."""
        return list(self.blocks)
