"""Image conditions: a coarse or a grey version of the picture that the model draws, or nothing.

The picture is degraded (``degrade``), encoded like any other and concatenated to x at every noise level, so that the
model learns to draw what is missing: super-resolution and colourisation.

Source: Saharia et al., "Image super-resolution via iterative refinement", 2104.07636, Sec. 2 (a picture beside x, by
channels); "Palette", 2111.05826, Sec. 3, for other tasks. All arithmetic is on whole numbers, so that every machine
computes the same picture.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from brickwork.codec.base import Codec
from brickwork.errors import ArgumentError, ConfigError
from brickwork.registry import Registry

LUMA = 19595, 38470, 7471
"""Weights of red, green and blue in 65536ths: ITU-R BT.601, the same as in Pillow's "L", which reads the data."""
MAX_SCALE = 64


class ImageCondition(ABC):
    """Image condition: a picture that the network sees beside x."""

    def channels(self, codec: Codec) -> int:
        """Return how many channels it adds beside x in model space; by default the codec's."""
        return codec.channels

    @abstractmethod
    def check(self, codec: Codec, height: int, width: int) -> None:
        """Refuse a size or codec for which the condition cannot be made.

        Args:
            codec: The model's codec.
            height: Height of the model's pictures, in pixels.
            width: Their width.

        Raises:
            ConfigError: The condition cannot be made of such pictures.
        """

    @abstractmethod
    def sides(self, side: int) -> tuple[int, ...]:
        """Return the sides of square pictures that ``prepare`` takes if the model's have this side; largest first."""

    @abstractmethod
    def degrade(self, images: Tensor) -> Tensor:
        """Make the condition from true pictures, uint8 (B, H, W, C) → the same shape; ``codec.encode`` then encodes it.

        Raises:
            ArgumentError: No condition can be made of such pictures.
        """

    @abstractmethod
    def prepare(self, pictures: Tensor, height: int, width: int) -> Tensor:
        """Convert a user's pictures, uint8 (B, h, w, c), into the form that ``degrade`` returns: (B, height, width, C).

        Args:
            pictures: Coarse or grey pictures, or true pictures, which are degraded first.
            height: Height of the model's pictures, in pixels.
            width: Their width.

        Raises:
            ArgumentError: The pictures have another size.
        """


@final
@dataclass(frozen=True, kw_only=True)
class Nothing(ImageCondition):
    """No image condition: the network sees x alone."""

    def channels(self, codec: Codec) -> int:
        """Return 0."""
        return 0

    def check(self, codec: Codec, height: int, width: int) -> None:
        """Accept every codec and size."""

    def sides(self, side: int) -> tuple[int, ...]:
        """Return no sides."""
        return ()

    def degrade(self, images: Tensor) -> Tensor:
        """Refuse every picture.

        Raises:
            ArgumentError: Always.
        """
        raise ArgumentError(f"pictures {_size(images)}: this model has no image condition; leave them out")

    def prepare(self, pictures: Tensor, height: int, width: int) -> Tensor:
        """Refuse every picture.

        Raises:
            ArgumentError: Always.
        """
        return self.degrade(pictures)


@final
@dataclass(frozen=True, kw_only=True)
class Coarse(ImageCondition):
    """Super-resolution: the picture with scale times fewer pixels each way, enlarged to its old size.

    It is reduced by the mean of each square of scale x scale pixels, and enlarged by linear interpolation between the
    centres of these squares; pixels beyond the outermost centres repeat them. Each step rounds halves up.

    Attributes:
        scale: Pixels of the picture per pixel of the coarse one, each way.
    """

    scale: int = 4

    def __post_init__(self) -> None:
        """Refuse a scale that is no whole number from 2 to 64."""
        if isinstance(self.scale, bool) or not isinstance(self.scale, int) or not 2 <= self.scale <= MAX_SCALE:
            raise ConfigError(
                f"image condition of scale {self.scale!r}: it must be a whole number, 2 to {MAX_SCALE}; 4 is usual"
            )

    def check(self, codec: Codec, height: int, width: int) -> None:
        """Refuse sides that the scale does not divide."""
        if height % self.scale or width % self.scale:
            raise ConfigError(
                f"image condition of scale {self.scale} with pictures of {height}x{width} pixels: it must divide both; "
                "choose another scale, or another size (data.size)"
            )

    def sides(self, side: int) -> tuple[int, ...]:
        """Return the side of true pictures and that of coarse ones."""
        return side, side // self.scale

    def degrade(self, images: Tensor) -> Tensor:
        """Reduce the pictures, then enlarge them to their old size."""
        return enlarged(reduced(images, self.scale), self.scale)

    def prepare(self, pictures: Tensor, height: int, width: int) -> Tensor:
        """Enlarge pictures of height/scale x width/scale; degrade those of height x width."""
        if tuple(pictures.shape[1:3]) == (height, width):
            return self.degrade(pictures)
        if tuple(pictures.shape[1:3]) != (height // self.scale, width // self.scale):
            raise ArgumentError(
                f"pictures {_size(pictures)}: this model makes {height}x{width} pixels of "
                f"{height // self.scale}x{width // self.scale}; give one of these sizes"
            )
        return enlarged(pictures, self.scale)


@final
@dataclass(frozen=True, kw_only=True)
class Grey(ImageCondition):
    """Colourisation: the picture's luma (ITU-R BT.601) in each of its channels."""

    def check(self, codec: Codec, height: int, width: int) -> None:
        """Refuse pictures without colour."""
        if codec.picture_channels != 3:
            raise ConfigError(
                f"grey image condition in a model of {codec.picture_channels} channel: it has no colour to add; set "
                'data.channels = 3, or the image condition to "nothing" or "coarse"'
            )

    def sides(self, side: int) -> tuple[int, ...]:
        """Return the model's own side."""
        return (side,)

    def degrade(self, images: Tensor) -> Tensor:
        """Replace each of three channels by the luma; leave grey pictures as they are.

        Raises:
            ArgumentError: The pictures have neither 1 nor 3 channels.
        """
        if images.shape[-1] == 1:
            return images
        if images.shape[-1] != 3:
            raise ArgumentError(
                f"pictures {_size(images)}: an image condition has 1 channel, grey, or 3, red, green and blue"
            )
        red, green, blue = images.int().unbind(-1)
        luma = (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue + 0x8000) >> 16
        return luma.to(torch.uint8)[..., None].repeat(1, 1, 1, 3)

    def prepare(self, pictures: Tensor, height: int, width: int) -> Tensor:
        """Convert grey or colour pictures into luma in three channels."""
        if tuple(pictures.shape[1:3]) != (height, width):
            raise ArgumentError(f"pictures {_size(pictures)}: this model makes {height}x{width} pixels; resize them")
        return self.degrade(pictures).expand(-1, -1, -1, 3).contiguous()


IMAGE_CONDITIONS = Registry[type[ImageCondition]](
    "image condition", ImageCondition, {"nothing": Nothing, "coarse": Coarse, "grey": Grey}
)
"""Kinds of image condition, by the names that files and recipes have for them."""


def reduced(images: Tensor, scale: int) -> Tensor:
    """Return the mean of each square of scale x scale pixels, halves up: uint8 (B, H, W, C) → (B, H/scale, W/scale, C).

    Raises:
        ArgumentError: The scale does not divide both sides.
    """
    B, H, W, C = images.shape
    if H % scale or W % scale:
        raise ArgumentError(f"pictures {_size(images)}: the scale {scale} must divide both sides; crop or resize them")
    total = images.reshape(B, H // scale, scale, W // scale, scale, C).sum(dim=(2, 4), dtype=torch.int32)
    return _divided(total, scale * scale)


def enlarged(images: Tensor, scale: int) -> Tensor:
    """Enlarge by linear interpolation, halves up: uint8 (B, h, w, C) → (B, h·scale, w·scale, C)."""
    rows = _interpolated(images.int(), 1, scale)
    return _divided(_interpolated(rows, 2, scale), 4 * scale * scale)


def _interpolated(values: Tensor, axis: int, scale: int) -> Tensor:
    """Return 2·scale times the values interpolated between the centres of squares, along one axis."""
    # Pixel i lies at (i + 1/2) / scale - 1/2 = (2i + 1 - scale) / (2 scale) in squares.
    length, place = values.shape[axis], torch.arange(values.shape[axis] * scale, device=values.device)
    twice = 2 * place + 1 - scale
    before, share = twice.div(2 * scale, rounding_mode="floor"), twice.remainder(2 * scale).int()
    low = values.index_select(axis, before.clamp(min=0))
    high = values.index_select(axis, (before + 1).clamp(max=length - 1))
    share = share.reshape([-1 if k == axis else 1 for k in range(values.ndim)])
    return (2 * scale - share) * low + share * high


def _divided(total: Tensor, count: int) -> Tensor:
    """Return total / count, rounded, halves up; uint8."""
    return (2 * total + count).div(2 * count, rounding_mode="floor").to(torch.uint8)


def _size(images: Tensor) -> str:
    return f"of {'x'.join(map(str, images.shape[1:3]))} pixels, {images.shape[-1]} channels"
