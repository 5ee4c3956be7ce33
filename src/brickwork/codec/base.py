"""What a model's numbers mean as pictures: pixels themselves, or latents of an autoencoder. Known here alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.errors import ArgumentError
from brickwork.nn.shapes import Image

Latent = Float[Tensor, "B Z h w"]
"""Z channels, factor times fewer places each way than the picture has pixels."""


class CodecConfig(ABC):
    """The config of a codec: a frozen dataclass of numbers, strings and configs, so that it goes into a file header."""

    @abstractmethod
    def build(self) -> Codec:
        """Return a codec, with fresh weights if it has any."""


class Codec(ABC):
    """Pictures (uint8, B H W C) to model space (float, B Z h w) and back."""

    @property
    @abstractmethod
    def config(self) -> CodecConfig:
        """The config that it was built from; ``config.build()`` gives the codec, with fresh weights if any."""

    @property
    @abstractmethod
    def channels(self) -> int:
        """Channels in model space."""

    @property
    @abstractmethod
    def picture_channels(self) -> int:
        """Channels of the pictures: 1 grey, 3 colour."""

    @property
    @abstractmethod
    def factor(self) -> int:
        """Pixels of a picture per place of model space, each way."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """SHA-256 (hex) of what it computes; equal for codecs whose numbers mean the same."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """uint8 (B, H, W, C) → float32 (B, Z, H/factor, W/factor)."""

    @abstractmethod
    def decode(self, x0: Tensor) -> Tensor:
        """float (B, Z, h, w) → uint8 (B, h·factor, w·factor, C)."""

    def check(self, images: Tensor) -> None:
        """Refuse what ``encode`` does not take.

        Raises:
            ArgumentError: With one line.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[-1] != self.picture_channels:
            raise ArgumentError(
                f"images of {images.dtype} {tuple(images.shape)}: this codec takes uint8 "
                f"(B, H, W, {self.picture_channels})"
            )
        if images.shape[1] % self.factor or images.shape[2] % self.factor:
            raise ArgumentError(
                f"images of {images.shape[1]}x{images.shape[2]} pixels: this codec's factor {self.factor} must divide "
                "both; resize them (data.size)"
            )


def to_unit(images: Tensor) -> Image:
    """Pictures, uint8 (B, H, W, C), 0..255 → float32 (B, C, H, W) in [-1, 1]."""
    return (images.float() / 127.5 - 1).permute(0, 3, 1, 2).contiguous()


def from_unit(pixels: Image) -> Tensor:
    """[-1, 1], (B, C, H, W) → pictures, uint8 (B, H, W, C), rounded and clamped."""
    return ((pixels.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


@final
@dataclass(frozen=True, kw_only=True)
class Pixels(Codec, CodecConfig):
    """Pixels themselves, 0..255 ↔ [-1, 1].

    Attributes:
        num_channels: 1 for grey, 3 for RGB.
    """

    num_channels: int = 3

    @property
    def config(self) -> Pixels:
        """Itself: it has no weights."""
        return self

    def build(self) -> Pixels:
        """Itself."""
        return self

    @property
    def channels(self) -> int:
        """Those of the pictures."""
        return self.num_channels

    @property
    def picture_channels(self) -> int:
        """``num_channels``."""
        return self.num_channels

    @property
    def factor(self) -> int:
        """1."""
        return 1

    @property
    def digest(self) -> str:
        """Empty: equal numbers of channels say all."""
        return ""

    def encode(self, images: Tensor) -> Tensor:
        """0..255 → [-1, 1]."""
        self.check(images)
        return to_unit(images)

    def decode(self, x0: Tensor) -> Tensor:
        """[-1, 1] → 0..255, rounded and clamped."""
        return from_unit(x0)


@dataclass(frozen=True, kw_only=True)
class FirstStageConfig(ABC):
    """What an autoencoder is built from: numbers and strings and nothing else, so that it goes into a file header."""

    @property
    @abstractmethod
    def factor(self) -> int:
        """Pixels per latent place, each way."""

    @property
    @abstractmethod
    def channels(self) -> int:
        """Channels Z of the latents."""

    @property
    @abstractmethod
    def picture_channels(self) -> int:
        """Channels of the pictures."""

    @abstractmethod
    def build(self) -> FirstStage:
        """An autoencoder with fresh weights."""


class FirstStage(nn.Module, ABC):
    """An autoencoder of pictures in [-1, 1]: what makes latents, and pictures of them. It scales nothing."""

    @property
    @abstractmethod
    def config(self) -> FirstStageConfig:
        """What it was built from."""

    @property
    @abstractmethod
    def halo(self) -> int | None:
        """Latent places on each side of a tile that its decoded pixels depend on; None where they depend on all."""

    @abstractmethod
    def posterior(self, pixels: Image) -> tuple[Latent, Latent | None]:
        """Mean and standard deviation of the latents of pictures; None for a deviation of zero.

        Of a vector-quantised autoencoder the mean is the latent before it is quantised: that is what a denoiser sees.
        """

    @abstractmethod
    def decode(self, z: Latent) -> Image:
        """Latents → pictures, in [-1, 1] but not clamped; a vector-quantised one quantises first."""
