"""STOIC: one convolution block in, N equal transformer blocks, one decoder out.

Palit, Dendi, Talluri and Gadde (arXiv 2411.06119) repeat one block of fixed size and use no tokens of patches and no
position embedding. Where the paper leaves a detail open, the detail is a field of the config; sizes, block and
initialisation follow U-ViT (Bao et al. 2023, arXiv 2209.12152).

Rows: E extra ones (time, class, text), then T = H/S · W/S of the image, row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, final

from torch import Tensor, nn

from brickwork.backbone.base import Backbone, BackboneConfig, beside
from brickwork.backbone.position import FixedPosition, LearnedPosition
from brickwork.backbone.stack import (
    check_heads,
    check_unskipped,
    default_heads,
    merges_of,
    run_blocks,
    with_blocks,
)
from brickwork.backbone.stem import (
    ClassRows,
    InitialConvolution,
    LinearTokens,
    SliceChannels,
    SliceTokens,
    TextRows,
    coordinates,
    labels_of,
    prepend,
    unshuffle,
)
from brickwork.bounds import MOST_BLOCKS, at_least, between
from brickwork.diffusion.denoiser import Condition
from brickwork.errors import ArgumentError, ConfigError
from brickwork.nn.floats import float32_default
from brickwork.nn.layers import Block, Grid, Rotation, TimeVector, grid_rotation, initialize, sinusoid
from brickwork.nn.shapes import Image, Sigma, Tokens


@dataclass(frozen=True, kw_only=True)
class StoicConfig(BackboneConfig):
    """Options of the design; known to users as ``Stoic.Config``."""

    width: Annotated[int, at_least(1)] = 512
    """Width L of every row, in channels."""
    depth: Annotated[int, between(1, MOST_BLOCKS)] = 12
    """Number N of blocks; all have the same shape."""
    heads: Annotated[int, at_least(1)] | None = None
    """Number of attention heads; by default heads of 64 channels, or of 32 where 64 does not divide the width."""
    mlp_ratio: Annotated[int, at_least(1)] = 4
    """Hidden width of the MLP over the width."""
    stride: Literal[1, 2, 4] = 2
    """Pixels per token, each way: stride of the initial convolution."""
    kernel: int | None = None
    """Side of the initial convolution, in pixels; by default 3, and 7 at stride 4."""
    padding_mode: Literal["zeros", "reflect", "circular"] = "zeros"
    """Padding of the initial and the final convolution; circular removes every absolute cue."""
    stem_layers: Annotated[int, between(1, 6)] = 1
    """Convolutions in the stem; the first has the stride, the rest are 3x3 with SiLU between."""
    time: Literal["token", "add", "adaln"] = "token"
    """Input of time: as a row of its own, added to all rows, or shifting, scaling and gating each block."""
    num_class_tokens: Annotated[int, at_least(1)] = 1
    """Number of rows for the class, in a model with classes."""
    decoder: Literal["slice_tokens", "linear_tokens", "slice_channels"] = "slice_tokens"
    """Decoder: drop extra rows, then a linear head; mix rows linearly, then the head; or take the first channels."""
    final_conv: bool = True
    """Add a 3x3 convolution on the assembled image."""
    long_skip: Literal["none", "add", "concat"] = "none"
    """Merge the output of block i into the input of block N-1-i, outside the blocks."""
    position: Literal["none", "learned", "sincos", "rope", "coordinates"] = "none"
    """Position signal of the image rows; coordinates are two more channels of the stem's input."""
    qk_norm: bool = False
    """Apply root-mean-square norm to queries and keys."""
    depthwise: bool = False
    """Add a zero-padded depthwise 3x3 convolution over the image rows to every block: layout without positions."""
    share_weights: bool = False
    """Use one block's weights for all N blocks."""
    checkpointing: bool = False
    """Recompute each block in the backward pass: less memory, a third more time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_width()
        self._check_stem()
        if self.decoder == "slice_channels" and self.patch > self.width:
            raise ConfigError(
                f"decoder 'slice_channels' takes stride·stride·channels = {self.patch} of width {self.width}: "
                f"widen to {self.patch} or take a smaller stride"
            )

    def _check_width(self) -> None:
        check_heads(self.width, self.num_heads)
        if self.position == "rope" and (self.width // self.num_heads) % 4:
            raise ConfigError(
                f"position 'rope' needs heads of a multiple of 4 channels, not {self.width // self.num_heads}: "
                "change heads or width"
            )

    def _check_stem(self) -> None:
        k, S = self.kernel_size, self.stride
        if self.size % S:
            raise ConfigError(f"size {self.size} is not divisible by stride {S}: take {self.size // S * S or S}")
        if k < S:
            raise ConfigError(f"kernel {k} at stride {S} skips pixels: take kernel {S} or more")
        if k % 2 == 0 and S == 1:
            raise ConfigError(
                f"kernel {k} at stride 1 turns size {self.size} into {self.size - 1} or {self.size + 1}: "
                f"take an odd kernel, {k - 1} or {k + 1}"
            )
        # (k - S) / 2 for even kernels; an odd difference cannot occur, as S is then even too.
        side = (k - 1) // 2 if k % 2 else (k - S) // 2
        room = self.size - 1 if self.padding_mode == "reflect" else self.size
        if self.padding_mode != "zeros" and side > room:
            raise ConfigError(
                f"kernel {k} pads {side} pixels; padding_mode {self.padding_mode!r} has only {room} of size "
                f"{self.size}: take a smaller kernel or 'zeros'"
            )
        inner = self.grid[0] - 1 if self.padding_mode == "reflect" else self.grid[0]
        if self.padding_mode != "zeros" and (self.stem_layers > 1) and inner < 1:
            raise ConfigError(
                f"stem_layers {self.stem_layers} on {self.grid[0]}x{self.grid[0]} tokens cannot pad by "
                f"{self.padding_mode!r}: take one layer or 'zeros'"
            )

    @property
    def multiple(self) -> int | None:
        """The stride, in pixels; None with a table that ties the network to its grid."""
        tied = self.position == "learned" or self.decoder == "linear_tokens"
        return None if tied else self.stride

    @property
    def num_heads(self) -> int:
        """Number of heads in use."""
        return default_heads(self.width) if self.heads is None else self.heads

    @property
    def kernel_size(self) -> int:
        """Side of the initial convolution in use, in pixels."""
        return self.kernel if self.kernel is not None else (7 if self.stride == 4 else 3)

    @property
    def grid(self) -> Grid:
        """Image rows of the sequence, as height and width, at ``size``."""
        return self.size // self.stride, self.size // self.stride

    @property
    def patch(self) -> int:
        """Numbers per image row in the output: S·S·C."""
        return self.stride**2 * self.channels

    @property
    def num_extra(self) -> int:
        """Number of extra rows in front of the image rows: time, classes, text."""
        classes = self.num_class_tokens if self.num_classes else 0
        return (self.time == "token") + classes + self.text_length

    @property
    def num_parts(self) -> int:
        """Number of blocks."""
        return self.depth

    def _kept(self, parts: tuple[int, ...]) -> StoicConfig:
        """Return the config with fewer blocks; refused with long skips past those that are left out."""
        check_unskipped(len(parts), self.depth, self.long_skip)
        return replace(self, depth=len(parts))

    @float32_default()
    def build(self) -> Stoic:
        """Build the network with fresh weights."""
        return Stoic(self)


@final
class Stoic(Backbone):
    """STOIC network.

    Palit, Dendi, Talluri, Gadde: "Scalable, tokenization-free diffusion model architectures with efficient initial
    convolution and fixed-size reusable structures for on-device image generation", arXiv 2411.06119, 2024.
    """

    Config = StoicConfig

    def __init__(self, config: StoicConfig) -> None:
        super().__init__()
        self._config = c = config
        self.stem = InitialConvolution(
            c.in_channels + 2 * (c.position == "coordinates"),
            c.width,
            kernel=c.kernel_size,
            stride=c.stride,
            layers=c.stem_layers,
            padding_mode=c.padding_mode,
        )
        self.position: LearnedPosition | FixedPosition | None = None
        if c.position in ("learned", "sincos"):
            self.position = (LearnedPosition if c.position == "learned" else FixedPosition)(c.grid, c.width)
        self.time = TimeVector(c.width) if c.time == "adaln" else None
        self.classes = ClassRows(c.num_classes, c.num_class_tokens, c.width) if c.num_classes else None
        self.text = TextRows(c.text_length, c.text_width, c.width) if c.text_length else None
        self.blocks = nn.ModuleList(
            Block(
                c.width,
                c.num_heads,
                c.mlp_ratio,
                qk_norm=c.qk_norm,
                depthwise=c.depthwise,
                modulated=c.time == "adaln",
            )
            for _ in range(1 if c.share_weights else c.depth)
        )
        self.merges = merges_of(c.width, c.depth, c.long_skip)
        self.decoder = _decoder(c)
        self.final_conv = (
            nn.Conv2d(c.channels, c.channels, 3, 1, 1, padding_mode=c.padding_mode) if c.final_conv else None
        )
        if c.position == "rope":
            cosine, sine = grid_rotation(c.grid, c.width // c.num_heads, c.num_extra)
            self.register_buffer("cosine", cosine, persistent=False)
            self.register_buffer("sine", sine, persistent=False)
        initialize(self)

    @property
    def config(self) -> StoicConfig:
        """Config of the network."""
        return self._config

    def forward(self, x: Image, c_noise: Sigma, condition: Condition) -> Image:
        """Evaluate the network once; see ``Backbone.forward``.

        Raises:
            ArgumentError: The image has a size that the stride does not divide, other channels, or a size that a table
                of this config does not fit.
        """
        grid = self._grid(x)
        x = beside(x, condition, self.config)
        if self.config.position == "coordinates":
            x = coordinates(x)
        h = self.stem(x).permute(0, 2, 3, 1).flatten(1, 2)  # B L H/S W/S → B T L
        if self.position is not None:
            h = self.position(h, grid)
        if self.config.time == "add":
            h = h + sinusoid(c_noise, self.config.width)[:, None].to(h.dtype)
        h = prepend(h, self._extra_rows(x, c_noise, condition))
        c, modulator = self.config, self.time(c_noise) if self.time is not None else None
        blocks = [self.blocks[0]] * c.depth if c.share_weights else self.blocks
        arguments = (grid, self._rotation(grid, h), modulator)
        h = run_blocks(blocks, h, arguments, long_skip=c.long_skip, merges=self.merges, checkpointing=c.checkpointing)
        image = unshuffle(self.decoder(h, grid), grid, self.config.stride)
        return image if self.final_conv is None else self.final_conv(image)

    def _kept(self, config: BackboneConfig, parts: tuple[int, ...]) -> Stoic:
        """Return the network of the stem, some blocks, and the layers after the last one."""
        return with_blocks(self, config, [0] if self.config.share_weights else parts)

    def compilable(self) -> Sequence[nn.Module]:
        """Return the blocks."""
        return list(self.blocks)

    def _grid(self, x: Image) -> Grid:
        S, (H, W) = self.config.stride, x.shape[2:]
        if H % S or W % S:
            raise ArgumentError(f"image of {H}x{W} pixels: stride {S} must divide both; pad or resize it")
        return H // S, W // S

    def _extra_rows(self, x: Image, c_noise: Sigma, condition: Condition) -> list[Tensor]:
        rows: list[Tensor] = []
        if self.config.time == "token":
            rows.append(sinusoid(c_noise, self.config.width)[:, None])
        if self.classes is not None:
            rows.append(self.classes(labels_of(condition, c_noise)))
        if self.text is not None:
            rows.append(self.text(condition.text, x))
        return rows

    def _rotation(self, grid: Grid, h: Tokens) -> Rotation | None:
        c = self.config
        if c.position != "rope":
            return None
        if grid == c.grid:
            return self.get_buffer("cosine"), self.get_buffer("sine")
        cosine, sine = grid_rotation(grid, c.width // c.num_heads, c.num_extra)
        return cosine.to(h.device), sine.to(h.device)


def _decoder(c: StoicConfig) -> nn.Module:
    if c.decoder == "slice_tokens":
        return SliceTokens(c.width, c.patch)
    if c.decoder == "linear_tokens":
        return LinearTokens(c.width, c.patch, grid=c.grid, num_extra=c.num_extra)
    return SliceChannels(c.patch)
