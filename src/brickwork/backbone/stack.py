"""Stack of blocks: long skips, recomputation, checks of heads and patches, and networks of fewer blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, cast

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from brickwork.backbone.base import Backbone, BackboneConfig
from brickwork.bounds import MOST_BLOCKS, at_least, between
from brickwork.errors import ConfigError
from brickwork.nn.layers import Grid
from brickwork.nn.shapes import Tokens

LongSkip = Literal["none", "concat", "add"]
Network = TypeVar("Network", bound=Backbone)
MAX_HEADS = 1024
"""Most heads that are proposed in place of those that do not divide a width."""


def default_heads(width: int) -> int:
    """Return the number of heads of 64 channels, or of 32 if 64 does not divide the width."""
    return max(1, width // (32 if width % 64 and width % 32 == 0 else 64))


@dataclass(frozen=True, kw_only=True)
class PatchStackConfig(BackboneConfig):
    """Common fields of transformers over patches: a stack of equal blocks on rows, each row a square of pixels."""

    width: Annotated[int, at_least(1)] = 512
    """Width L of every row, in channels."""
    depth: Annotated[int, between(1, MOST_BLOCKS)] = 12
    """Number N of blocks; all have the same shape."""
    heads: Annotated[int, at_least(1)] | None = None
    """Number of attention heads; by default heads of 64 channels, or of 32 where 64 does not divide the width."""
    mlp_ratio: Annotated[int, at_least(1)] = 4
    """Hidden width of the MLP over the width."""
    patch: Annotated[int, at_least(1)] = 2
    """Side of the square that becomes one row, in pixels."""
    checkpointing: bool = False
    """Recompute each block in the backward pass: less memory, a third more time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self.width, self.num_heads)
        check_patch(self.size, self.patch)

    @property
    def multiple(self) -> int:
        """The patch, in pixels: positions of another grid are computed or interpolated."""
        return self.patch

    @property
    def num_heads(self) -> int:
        """Number of heads in use."""
        return default_heads(self.width) if self.heads is None else self.heads

    @property
    def grid(self) -> Grid:
        """Image rows of the sequence, as height and width, at ``size``."""
        return self.size // self.patch, self.size // self.patch

    @property
    def num_parts(self) -> int:
        """Number of blocks."""
        return self.depth


def check_heads(width: int, heads: int, whose: str = "") -> None:
    """Refuse widths that the heads, or the sinusoids of rows and columns, do not divide.

    Args:
        width: Channels of a row.
        heads: Attention heads.
        whose: Start of the message, as "a brick's ".

    Raises:
        ConfigError: Something is not divided; the message has the nearest number of heads.
    """
    if width % 4:
        raise ConfigError(f"{whose}width {width}: must be a multiple of 4 (sinusoids of rows and columns)")
    if width % heads:
        divisors = (h for h in range(1, min(width, MAX_HEADS) + 1) if width % h == 0)
        best = min(divisors, key=lambda h: abs(h - heads))
        raise ConfigError(f"{whose}width {width} is not divisible by heads {heads}: take heads {best}")


def check_patch(size: int, patch: int) -> None:
    """Refuse an image that is not made of whole patches.

    Raises:
        ConfigError: The patch does not divide the size; the message has the nearest smaller size.
    """
    if size % patch:
        raise ConfigError(f"size {size} is not divisible by patch {patch}: take {size // patch * patch or patch}")


def check_unskipped(num_kept: int, depth: int, long_skip: str) -> None:
    """Refuse to leave blocks out of a network with long skips past them.

    Raises:
        ConfigError: The network has long skips.
    """
    if long_skip != "none":
        raise ConfigError(
            f"{num_kept} of {depth} blocks with long_skip {long_skip!r}: blocks are joined in pairs, first with last, "
            "and a part of them is no network; train with long_skip 'none'"
        )


def merges_of(width: int, depth: int, long_skip: LongSkip) -> nn.ModuleList:
    """Build layers 2 L → L, one for each pair of blocks that a concatenating skip joins; merge k belongs to block k."""
    return nn.ModuleList(nn.Linear(2 * width, width) for _ in range(depth // 2 if long_skip == "concat" else 0))


def run_blocks(
    blocks: nn.ModuleList | Sequence[nn.Module],
    x: Tokens,
    arguments: Sequence[Any],
    *,
    long_skip: LongSkip = "none",
    merges: nn.ModuleList | None = None,
    checkpointing: bool = False,
) -> Tokens:
    """Run all N blocks; with long skips, the first N//2 outputs are merged into the last N//2 inputs, last first.

    Source: Bao et al. 2023 (U-ViT, 2209.12152), section 3.1.

    Args:
        blocks: Each takes rows, then the arguments; a block may occur several times.
        x: Rows, (B, T, L).
        arguments: Further arguments of every block.
        long_skip: Add, or concatenate and merge by a linear layer; or neither.
        merges: Layers from ``merges_of``, for "concat".
        checkpointing: Recompute each block in the backward pass.
    """
    kept: list[Tokens] = []
    for i, block in enumerate(blocks):
        mirror = len(blocks) - 1 - i
        if long_skip != "none" and i > mirror:
            skip = kept.pop()
            x = x + skip if merges is None or long_skip == "add" else merges[mirror](torch.cat([x, skip], dim=-1))
        if checkpointing and torch.is_grad_enabled():
            x = cast(Tokens, checkpoint(block, x, *arguments, use_reentrant=False))
        else:
            x = block(x, *arguments)
        if long_skip != "none" and i < mirror:
            kept.append(x)
    return x


def with_blocks(network: Network, config: BackboneConfig, parts: Sequence[int]) -> Network:
    """Return a network of some of another's blocks and all of its other layers, which shares the weights."""
    with torch.device("meta"):
        part = config.build()
    assert isinstance(part, type(network))
    for name, child in network.named_children():
        part.add_module(name, child)
    blocks = list(network.get_submodule("blocks").children())
    part.add_module("blocks", nn.ModuleList(blocks[k] for k in parts))
    for name, table in network.named_buffers(recurse=False):
        part.register_buffer(name, table, persistent=False)
    part.training = part.get_submodule("blocks").training = network.training
    return part
