"""LEGO bricks: a stack of bricks, each of which reads and writes the image at full resolution.

Zheng, Wang, Yuan, Ning, He, You, Yang and Zhou: "Learning stackable and skippable LEGO bricks for efficient,
reconfigurable, and variable-resolution diffusion modeling" (ICLR 2024, arXiv 2310.06389).

Brick k reads the noisy image, two coordinate channels and the output of brick k-1. It cuts the canvas into windows of
r x r pixels, embeds patches of l x l pixels of each, lets the (r/l)^2 tokens of a window attend to each other, and puts
an image together again: F_k, an estimate like that of the whole model. So any first n bricks are a model.

Tokens lie window by window in one flat sequence from the patch embedding to the last linear layer: only pixels are
ever rearranged, never the much wider tokens. Letters: B batch, N windows, T tokens of a window, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import lcm
from typing import Annotated, Any, Literal, final

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from brickwork.backbone.base import BackboneConfig, beside
from brickwork.backbone.bricks import Bricks, estimate_of, needed
from brickwork.backbone.stack import check_heads
from brickwork.backbone.stem import FinalLayer, TextVector, labels_of, on_pixels
from brickwork.bounds import MOST_BLOCKS, at_least, between, check_fields
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.preconditioning import Preconditioning
from brickwork.errors import ArgumentError, ConfigError
from brickwork.nn.floats import float32_default
from brickwork.nn.layers import Grid, ModulatedBlock, TimeVector, window_positions
from brickwork.nn.shapes import Image, Label, Sigma

_PATCHES = {4: 2, 16: 8, 0: 2}  # released pairs of window and patch, in pixels
NUM_WAVES = 256  # numbers in the sinusoid of time


@dataclass(frozen=True, kw_only=True)
class BrickConfig:
    """One brick; known to users as ``Lego.Brick``."""

    window: Annotated[int, at_least(0)] = 0
    """Side r of the square that a brick treats as a whole, in pixels; 0 is the whole image."""
    patch: Annotated[int, at_least(1)] = 2
    """Side l of the square that becomes one token, in pixels; divides the window."""
    width: Annotated[int, at_least(1)] = 384
    """Width D of a token, in channels."""
    heads: Annotated[int, at_least(1)] = 6
    """Number of attention heads; divides the width."""
    depth: Annotated[int, between(1, MOST_BLOCKS)] = 6
    """Number of blocks."""
    depthwise: bool = False
    """Add a zero-padded depthwise 3x3 convolution over a window's tokens to every block; not published."""

    def __post_init__(self) -> None:
        check_fields(self, "a brick's ")
        check_heads(self.width, self.heads, "a brick's ")
        if self.window % self.patch:
            raise ConfigError(f"a brick's window {self.window} is not divisible by its patch {self.patch}")

    def side(self, size: int) -> int:
        """Return the side of a window in pixels, on an image of this size."""
        return self.window or size


@dataclass(frozen=True, kw_only=True)
class LegoConfig(BackboneConfig):
    """Stack of bricks; known to users as ``Lego.Config``. The first brick runs first."""

    bricks: tuple[BrickConfig, ...] = (BrickConfig(window=4, depth=2), BrickConfig(window=16, patch=8), BrickConfig())
    """Bricks, first to last."""
    vector_width: Annotated[int, at_least(1)] = 384
    """Width of the vector of time and class, which all bricks share."""
    mlp_ratio: Annotated[int, at_least(1)] = 4
    """Hidden width of the MLPs over the width."""
    previous: Literal["output", "denoised"] = "output"
    """Input of a brick from the one before it: its raw output (as released) or the clean image that it stands for."""
    guest: bool = False
    """Let the first brick read the output of a guest, a trained model that runs before it; set with the guest."""
    detach: bool = False
    """Stop gradients between bricks."""
    checkpointing: bool = False
    """Recompute each block in the backward pass: less memory, a third more time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.bricks:
            raise ConfigError("bricks (): a model has at least one brick")
        for k, brick in enumerate(self.bricks, 1):
            if self.size % brick.side(self.size):
                raise ConfigError(
                    f"size {self.size} is not divisible by window {brick.window} of brick {k}: take a size of whole "
                    "windows, another window, or 0 for the whole image"
                )
            if self.size % brick.patch:
                raise ConfigError(
                    f"size {self.size} is not divisible by patch {brick.patch} of brick {k}: take a size of whole "
                    "patches or another patch"
                )

    @classmethod
    def pg(cls, width: int, depths: Sequence[int], **image: Any) -> LegoConfig:
        """Return bricks of progressive growth: windows of 4, of 16, then the whole image; depths in this order."""
        return cls._stack(width, (4, 16, 0), depths, image)

    @classmethod
    def pr(cls, width: int, depths: Sequence[int], **image: Any) -> LegoConfig:
        """Return bricks of progressive refinement: the whole image, windows of 16, then of 4; depths in this order."""
        return cls._stack(width, (0, 16, 4), depths, image)

    @classmethod
    def u(cls, width: int, depths: Sequence[int], **image: Any) -> LegoConfig:
        """Return bricks in a U: the whole image, windows of 16, of 4, of 16, the whole image; depths in this order."""
        return cls._stack(width, (0, 16, 4, 16, 0), depths, image)

    @classmethod
    def _stack(cls, width: int, windows: Sequence[int], depths: Sequence[int], image: dict[str, Any]) -> LegoConfig:
        """Return bricks of one width with the released patches and heads."""
        if len(depths) != len(windows):
            raise ConfigError(f"depths {tuple(depths)}: there are {len(windows)} bricks, give a depth for each")
        heads = min(16, max(1, width // 64))  # 6 at width 384, 16 at 1024 and at 1152
        bricks = tuple(
            BrickConfig(window=window, patch=_PATCHES[window], width=width, heads=heads, depth=depth)
            for window, depth in zip(windows, depths, strict=True)
        )
        return cls(bricks=bricks, vector_width=width, **image)

    @property
    def num_parts(self) -> int:
        """Number of bricks."""
        return len(self.bricks)

    @property
    def num_outputs(self) -> int:
        """Number of bricks, each of which makes an image."""
        return len(self.bricks)

    @property
    def num_windows(self) -> tuple[int, ...]:
        """Number of windows of each brick in an image of ``size``."""
        return tuple((self.size // brick.side(self.size)) ** 2 for brick in self.bricks)

    @property
    def multiple(self) -> int:
        """Divisor of the sides of a canvas, in pixels."""
        return lcm(*(brick.window or brick.patch for brick in self.bricks))

    @property
    def takes_guest(self) -> bool:
        """True if ``guest`` is set."""
        return self.guest

    def with_guest(self) -> LegoConfig:
        """Return the same bricks, the first of which reads a guest's output."""
        return replace(self, guest=True)

    @property
    def repeated_macs(self) -> int:
        """MACs that the authors' code spends beyond ours: each window computes its modulation again."""
        each = [(6 * brick.depth + 2) * self.vector_width * brick.width for brick in self.bricks]
        return sum((windows - 1) * macs for windows, macs in zip(self.num_windows, each, strict=True))

    def _kept(self, parts: tuple[int, ...]) -> LegoConfig:
        """Return the config of the first bricks; each needs the one before it."""
        if parts != tuple(range(len(parts))):
            raise ConfigError(
                f"bricks {list(parts)} alone: each needs the output of the one before; keep the first ones"
            )
        return replace(self, bricks=self.bricks[: len(parts)])

    @float32_default()
    def build(self) -> Lego:
        """Build the network with fresh weights."""
        return Lego(self)


class LabelVector(nn.Module):
    """Class embedding: a vector per class plus a bias; "no class" is the bias alone."""

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_classes, width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, labels: Label) -> Float[Tensor, "B D"]:
        """Embed labels: (B,) ints, -1 for no class → (B, D)."""
        rows = F.embedding(labels.clamp(min=0), self.weight)
        return torch.where((labels >= 0)[:, None], rows, torch.zeros_like(rows)) + self.bias


class Brick(nn.Module):
    """One brick: an image of ``channels_in`` channels to one of ``config.channels``, at the same resolution."""

    position: Tensor

    def __init__(self, brick: BrickConfig, channels_in: int, config: LegoConfig) -> None:
        super().__init__()
        self.brick, self.channels = brick, config.channels
        self.checkpointing = config.checkpointing
        self.embed = nn.Linear(channels_in * brick.patch**2, brick.width)
        side = brick.side(config.size) // brick.patch
        self.trained_grid = side, side
        self.register_buffer(
            "position", window_positions(self.trained_grid, self.trained_grid, brick.width), persistent=False
        )
        self.blocks = nn.ModuleList(
            ModulatedBlock(brick.width, brick.heads, config.mlp_ratio, config.vector_width, depthwise=brick.depthwise)
            for _ in range(brick.depth)
        )
        self.final = FinalLayer(brick.width, brick.patch**2 * config.channels, config.vector_width)

    def forward(self, x: Float[Tensor, "B Cin H W"], vector: Float[Tensor, "B D"]) -> Image:
        """Process all windows of the canvas: (B, Cin, H, W) → (B, C, H, W)."""
        patches = self.run(self.cut(x), vector, self.window_grid(x))
        return self.join(patches, x)

    def forward_some(
        self, x: Float[Tensor, "B Cin H W"], vector: Float[Tensor, "B D"], chosen: Int[Tensor, " n"], *, rest: bool
    ) -> Image:
        """Process some windows with gradients; the rest without, or as zeros.

        Args:
            x: The canvas.
            vector: Embedding of time and class.
            chosen: Windows, counted image by image and row by row from 0 to B·N - 1.
            rest: Run the other windows too; otherwise they are zeros.
        """
        grid = self.window_grid(x)
        windows = rearrange(self.cut(x), "b (n t) c -> (b n) t c", t=grid[0] * grid[1])
        image = torch.arange(len(windows), device=x.device) // (len(windows) // len(x))
        some = self.run(windows[chosen], vector[image[chosen]], grid)
        out = some.new_zeros(len(windows), *some.shape[1:])
        if rest:
            with torch.no_grad():
                left = torch.ones(len(windows), dtype=torch.bool, device=x.device).index_fill(0, chosen, False)
                others = left.nonzero()[:, 0]
                if len(others):
                    out[others] = self.run(windows[others], vector[image[others]], grid)
        return self.join(rearrange(out.index_copy(0, chosen, some), "(b n) t c -> b (n t) c", b=len(x)), x)

    def window_grid(self, x: Tensor) -> Grid:
        """Return the tokens of one window, as height and width; a brick of the whole image has those of this canvas."""
        patch, (height, width) = self.brick.patch, x.shape[-2:]
        return (self.brick.window or height) // patch, (self.brick.window or width) // patch

    def cut(self, x: Float[Tensor, "B Cin H W"]) -> Float[Tensor, "B NT Cll"]:
        """Cut the canvas into the pixels of every patch, window by window."""
        (p, q), side = self.window_grid(x), self.brick.patch
        return rearrange(x, "b c (m p i) (n q j) -> b (m n p q) (c i j)", p=p, q=q, i=side, j=side)

    def join(self, patches: Float[Tensor, "B NT llC"], x: Tensor) -> Image:
        """Join patches into the canvas again."""
        (p, q), side = self.window_grid(x), self.brick.patch
        m = x.shape[-2] // (p * side)
        return rearrange(patches, "b (m n p q) (i j c) -> b c (m p i) (n q j)", m=m, p=p, q=q, i=side, j=side)

    def run(
        self, patches: Float[Tensor, "B NT Cll"], vector: Float[Tensor, "B D"], grid: Grid
    ) -> Float[Tensor, "B NT llC"]:
        """Process patches into patches; windows of ``grid`` tokens do not affect each other."""
        T, vector = grid[0] * grid[1], F.silu(vector)
        h = on_pixels(self.embed, patches)
        h = (h.unflatten(1, (-1, T)) + self.positions(grid).to(h.dtype)).flatten(1, 2)
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                h = checkpoint(block, h, vector, grid, use_reentrant=False)
            else:
                h = block(h, vector, grid)
        return self.final(h, vector)

    def positions(self, grid: Grid) -> Float[Tensor, "T D"]:
        """Return the position table of a window; for another canvas than the trained one, of places in between."""
        if grid == self.trained_grid:
            return self.position
        return window_positions(grid, self.trained_grid, self.brick.width).to(self.position.device)


@final
class Lego(Bricks):
    """LEGO network. Zheng et al. 2024, arXiv 2310.06389.

    Details that the paper leaves to its code follow the released one: order of channels and embeddings, raw outputs as
    the next brick's input, gradients through the whole stack, initialisation.
    """

    Config = LegoConfig
    Brick = BrickConfig

    def __init__(self, config: LegoConfig) -> None:
        super().__init__()
        self._config = c = config
        self.time = TimeVector(c.vector_width, NUM_WAVES)
        self.label = LabelVector(c.num_classes, c.vector_width) if c.num_classes else None
        self.text = TextVector(c.text_length, c.text_width, c.vector_width) if c.text_length else None
        self.bricks = nn.ModuleList(
            Brick(brick, c.in_channels + 2 + (c.channels if k or c.guest else 0), c) for k, brick in enumerate(c.bricks)
        )
        _initialize(self)

    @property
    def config(self) -> LegoConfig:
        """Config of the network."""
        return self._config

    @property
    def needs_preconditioning(self) -> bool:
        """True if bricks read the clean image that an output stands for."""
        return self._config.previous == "denoised"

    def outputs(
        self,
        x: Image,
        c_noise: Sigma,
        condition: Condition,
        *,
        preconditioning: Preconditioning | None = None,
        chosen: Sequence[Tensor] = (),
        before: Image | None = None,
    ) -> list[Image]:
        """Return F_1 ... F_K, the output of every brick; see Bricks.

        Args:
            x: Input of the network; its sides are multiples of ``config.multiple``.
            c_noise: ln(sigma) / 4 of EDM, or the number that the process gives.
            condition: Labels, text, of which the mean is read, and the image condition, which every brick reads.
            preconditioning: Coefficients of this batch; required if ``previous`` is "denoised".
            chosen: Windows that get gradients, for each brick, see ``Brick.forward_some``; empty for all. The
                last brick runs no others.
            before: F_0, the output of a guest; required if ``config.guest``.

        Raises:
            ArgumentError: The image has other channels, or a size that windows and patches do not divide; a guest's
                output is missing, or no brick reads it.
        """
        self._check(x)
        self._check_before(before)
        vector = self.vector(c_noise, condition)
        canvas = torch.cat([beside(x, condition, self._config), coordinate_channels(x)], dim=1)
        outputs: list[Image] = []
        for k, brick in enumerate(self.bricks):
            assert isinstance(brick, Brick)
            before = outputs[-1] if outputs else before
            told = [] if before is None else [self._told(before, x, preconditioning)]
            seen = torch.cat([*told, canvas], dim=1) if told else canvas
            if chosen:
                outputs.append(brick.forward_some(seen, vector, chosen[k], rest=k + 1 < len(self.bricks)))
            else:
                outputs.append(brick(seen, vector))
        return outputs

    def vector(self, c_noise: Sigma, condition: Condition) -> Float[Tensor, "B D"]:
        """Return the vector that modulates every brick: time plus class plus text, (B, D)."""
        vector = self.time(c_noise)
        if self.label is not None:
            vector = vector + self.label(labels_of(condition, c_noise).long())
        return vector if self.text is None else vector + self.text(condition.text, c_noise)

    def _kept(self, config: BackboneConfig, parts: tuple[int, ...]) -> Lego:
        """Return the network of the first bricks, with the layers that embed time and class."""
        with torch.device("meta"):
            part = config.build()
        assert isinstance(part, Lego)
        for name, child in self.named_children():
            part.add_module(name, child)
        part.bricks = self.bricks[: len(parts)]
        part.training = part.bricks.training = self.training
        return part

    def compilable(self) -> Sequence[nn.Module]:
        """Return the blocks of all bricks."""
        return [block for brick in self.bricks for block in brick.get_submodule("blocks").children()]

    def train_only(self, part: int) -> None:
        """Train brick ``part`` alone; time, class and text belong to the first."""
        for k, brick in enumerate(self.bricks):
            brick.requires_grad_(part in (k, -1))
        self.time.requires_grad_(part <= 0)
        for told in (self.label, self.text):
            if told is not None:
                told.requires_grad_(part <= 0)

    def _told(self, output: Image, x: Image, c: Preconditioning | None) -> Image:
        """Return a brick's input from the one before: its raw output F, or the image that F stands for."""
        output = output.detach() if self._config.detach else output
        if self._config.previous == "output":
            return output.to(x.dtype)
        return estimate_of(output.to(x.dtype), x, needed(c, "previous 'denoised' tells bricks an image"))

    def _check_before(self, before: Image | None) -> None:
        if self._config.guest and before is None:
            raise ArgumentError("the first brick is told a guest's output: call the model, which has the guest")
        if before is not None and not self._config.guest:
            raise ArgumentError("a guest's output, which the first brick is not told: set guest = true in its config")

    def _check(self, x: Image) -> None:
        c, (H, W) = self._config, x.shape[2:]
        if H % c.multiple or W % c.multiple:
            raise ArgumentError(f"image of {H}x{W} pixels: {c.multiple} must divide both; pad or resize it")


def coordinate_channels(x: Image) -> Float[Tensor, "B 2 H W"]:
    """Return the row and column of every pixel, from -1 to 1 over the canvas."""
    B, _, H, W = x.shape
    row = torch.linspace(-1, 1, H, device=x.device, dtype=x.dtype)[:, None].expand(H, W)
    column = torch.linspace(-1, 1, W, device=x.device, dtype=x.dtype)[None].expand(H, W)
    return torch.stack([row, column]).expand(B, 2, H, W)


def _initialize(lego: Lego) -> None:
    """Initialise: Xavier-uniform weights; time and label normal of 0.02; modulations and last layers zero, so F = 0."""
    for part in lego.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)
    nn.init.normal_(lego.time.first.weight, std=0.02)
    nn.init.normal_(lego.time.second.weight, std=0.02)
    if lego.label is not None:
        nn.init.normal_(lego.label.weight, std=0.02)
    for part in lego.modules():
        if isinstance(part, ModulatedBlock | FinalLayer):
            nn.init.zeros_(part.modulation.weight)
        if isinstance(part, FinalLayer):
            nn.init.zeros_(part.linear.weight)
