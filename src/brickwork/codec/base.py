"""Base classes of codecs and autoencoders, and the codec of plain pixels; the one definition of model space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.errors import ArgumentError
from brickwork.nn.shapes import Image

Latent = Float[Tensor, "B Z h w"]
"""Latents: Z channels, and factor times fewer places each way than the picture has pixels."""


class CodecConfig(ABC):
    """Config of a codec: a frozen dataclass of numbers, strings and configs, so that it fits into a file's header."""

    @abstractmethod
    def build(self) -> Codec:
        """Return a codec, with fresh weights if it has any."""


class Codec(ABC):
    """Converter between pictures (uint8, B H W C) and model space (float, B Z h w)."""

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
        """SHA-256 (hex) of everything that decides its output; equal for codecs with the same latents."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Encode pictures: uint8 (B, H, W, C) → float32 (B, Z, H/factor, W/factor)."""

    @abstractmethod
    def decode(self, x0: Tensor) -> Tensor:
        """Decode into pictures: float (B, Z, h, w) → uint8 (B, h·factor, w·factor, C)."""

    def check(self, images: Tensor) -> None:
        """Refuse images that ``encode`` cannot take.

        Raises:
            ArgumentError: Their dtype, axes, channels or size do not fit.
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


def as_pictures(pictures: np.ndarray) -> Tensor:
    """Return pictures of numpy as a tensor, uint8 (N, H, W, C).

    Raises:
        ArgumentError: They are of another dtype or number of axes, or hold no pixel.
    """
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.size == 0:
        raise ArgumentError(f"pictures of {pictures.dtype} {pictures.shape}: give uint8 (N, H, W, C), at least one")
    return torch.from_numpy(np.require(pictures, requirements=["C", "W"]))


def to_unit(images: Tensor) -> Image:
    """Convert pictures, uint8 (B, H, W, C), 0..255, into float32 (B, C, H, W) in [-1, 1]."""
    return (images.float() / 127.5 - 1).permute(0, 3, 1, 2).contiguous()


def from_unit(pixels: Image) -> Tensor:
    """Convert float (B, C, H, W) in [-1, 1] into pictures, uint8 (B, H, W, C), rounded and clamped."""
    return ((pixels.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


@final
@dataclass(frozen=True, kw_only=True)
class Pixels(Codec, CodecConfig):
    """Codec without a network: pixels 0..255 ↔ [-1, 1].

    Attributes:
        num_channels: 1 for grey, 3 for RGB.
    """

    num_channels: int = 3

    @property
    def config(self) -> Pixels:
        """The codec itself, as it has no weights."""
        return self

    def build(self) -> Pixels:
        """Return the codec itself."""
        return self

    @property
    def channels(self) -> int:
        """Channels of the pictures."""
        return self.num_channels

    @property
    def picture_channels(self) -> int:
        """Channels of the pictures: 1 grey, 3 colour."""
        return self.num_channels

    @property
    def factor(self) -> int:
        """Pixels per place: 1."""
        return 1

    @property
    def digest(self) -> str:
        """Empty text: the number of channels says all."""
        return ""

    def encode(self, images: Tensor) -> Tensor:
        """Convert uint8 0..255 into float in [-1, 1]."""
        self.check(images)
        return to_unit(images)

    def decode(self, x0: Tensor) -> Tensor:
        """Convert float in [-1, 1] into uint8 0..255, rounded and clamped."""
        return from_unit(x0)


@dataclass(frozen=True, kw_only=True)
class FirstStageConfig(ABC):
    """Config of an autoencoder: numbers and strings alone, so that it fits into a file's header."""

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
        """Return an autoencoder with fresh weights."""


class FirstStage(nn.Module, ABC):
    """Autoencoder of pictures in [-1, 1] and their latents, unscaled."""

    @property
    @abstractmethod
    def config(self) -> FirstStageConfig:
        """The config that it was built from."""

    @property
    @abstractmethod
    def halo(self) -> int | None:
        """Latent places on each side of a tile that its decoded pixels depend on; None where they depend on all."""

    @abstractmethod
    def posterior(self, pixels: Image) -> tuple[Latent, Latent | None]:
        """Return mean and standard deviation of the latents of pictures; None for a deviation of zero.

        The mean of a vector-quantised autoencoder is the latent before quantisation: a denoiser sees that.
        """

    @abstractmethod
    def decode(self, z: Latent) -> Image:
        """Decode latents into pictures, near [-1, 1], not clamped; a vector-quantised autoencoder quantises first."""
