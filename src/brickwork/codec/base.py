"""The only place that knows what a model's numbers mean as pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from brickwork.errors import ArgumentError


class Codec(ABC):
    """Pictures (uint8, B H W C) to model space (float, B C H W) and back."""

    @property
    @abstractmethod
    def channels(self) -> int:
        """Channels in model space."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """uint8 (B, H, W, C) → float32 (B, C', H', W')."""

    @abstractmethod
    def decode(self, x0: Tensor) -> Tensor:
        """float (B, C', H', W') → uint8 (B, H, W, C)."""


@final
@dataclass(frozen=True, kw_only=True)
class Pixels(Codec):
    """Pixels themselves, 0..255 ↔ [-1, 1].

    Attributes:
        num_channels: 1 for grey, 3 for RGB.
    """

    num_channels: int = 3

    @property
    def channels(self) -> int:
        """Those of the pictures."""
        return self.num_channels

    def encode(self, images: Tensor) -> Tensor:
        """0..255 → [-1, 1]."""
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[-1] != self.num_channels:
            raise ArgumentError(
                f"images of {images.dtype} {tuple(images.shape)}: this codec takes uint8 (B, H, W, {self.num_channels})"
            )
        return (images.float() / 127.5 - 1).permute(0, 3, 1, 2).contiguous()

    def decode(self, x0: Tensor) -> Tensor:
        """[-1, 1] → 0..255, rounded and clamped."""
        return ((x0.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


CODECS: dict[str, type[Codec]] = {"pixels": Pixels}
