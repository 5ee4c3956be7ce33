"""A convolutional backbone and a solver, as another package adds them to brickwork."""

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

import brickwork as bw


@bw.register("conv")
@final
@dataclass(frozen=True, kw_only=True)
class ConvConfig(bw.BackboneConfig):
    """Sizes of the network; with those of the images, which the base class has."""

    width: int = 64
    """Channels of every layer; a multiple of 8."""
    depth: int = 6
    """Residual blocks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 8 or self.width % 8:
            raise bw.ConfigError(f"width {self.width}: it must be a multiple of 8, from 8 on")
        if self.depth < 1:
            raise bw.ConfigError(f"depth {self.depth}: it must be at least 1")
        if self.text_length:
            raise bw.ConfigError(f"text_length {self.text_length}: it reads no text; leave the encoder out")

    @property
    def multiple(self) -> int:
        """1: images of any size go through convolutions."""
        return 1

    def build(self) -> "Conv":
        """Return a network with fresh weights."""
        return Conv(self)


@final
class Conv(bw.Backbone):
    """Residual blocks of two convolutions each, which noise level and class shift and scale."""

    def __init__(self, config: ConvConfig) -> None:
        super().__init__()
        self._config = config
        self.enter = nn.Conv2d(config.in_channels, config.width, 3, padding=1)
        self.time = nn.Sequential(nn.Linear(32, config.width), nn.SiLU(), nn.Linear(config.width, config.width))
        self.classes = nn.Embedding(config.num_classes + 1, config.width)  # the last row is "no class"
        self.blocks = nn.ModuleList(Block(config.width) for _ in range(config.depth))
        self.leave = nn.Conv2d(config.width, config.channels, 3, padding=1)
        nn.init.zeros_(self.leave.weight)

    @property
    def config(self) -> ConvConfig:
        """The config that it was built from."""
        return self._config

    def forward(self, x: Tensor, c_noise: Tensor, condition: bw.Condition) -> Tensor:
        """(B, C, H, W) and one number per image → (B, C, H, W)."""
        h = self.enter(bw.beside(x, condition, self.config))
        frequencies = torch.exp(torch.linspace(0.0, 6.0, 16, device=x.device))
        angles = c_noise.float()[:, None] * frequencies
        told = self.time(torch.cat([angles.sin(), angles.cos()], dim=1).to(x.dtype))
        labels = condition.labels
        rows = torch.full_like(c_noise, -1, dtype=torch.long) if labels is None else labels.long()
        told = told + self.classes(rows.masked_fill(rows < 0, self.config.num_classes))
        for block in self.blocks:
            h = block(h, told)
        return self.leave(silu(h))


@final
class Block(nn.Module):
    """x + convolutions of its norm, shifted and scaled by a vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(width // 8, width)
        self.told = nn.Linear(width, 2 * width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """(B, W, h, w) and (B, W) → (B, W, h, w)."""
        scale, shift = self.told(silu(told))[:, :, None, None].chunk(2, dim=1)
        return x + self.second(silu(self.first(silu(self.norm(x) * (1 + scale) + shift))))


@bw.register("midpoint")
@final
@dataclass(frozen=True, kw_only=True)
class Midpoint(bw.Solver):
    """A second-order step: the slope halfway, where half an Euler step leads. It works on the way down to 0 as well."""

    order, calls = 2, 2

    def step(self, denoise: Any, x: Any, s: float, s_next: float, noise: Any, memory: Any) -> tuple[Any, Any]:
        """Step x from level s to level s_next."""
        middle = (s + s_next) / 2
        half = x + (middle - s) * (x - denoise(x, s)) / s
        return x + (s_next - s) * (half - denoise(half, middle)) / middle, memory
