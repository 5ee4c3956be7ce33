"""Backbones: networks (x, c_noise, condition) → output of x's shape, and their frozen configs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.bounds import at_least, check_fields
from brickwork.diffusion.denoiser import Condition
from brickwork.errors import ArgumentError, ConfigError
from brickwork.files.proposed import Proposed
from brickwork.nn.shapes import Image, Sigma

FROM_DATA = ("size", "channels", "num_classes", "text_length", "text_width", "condition_channels")
"""Fields of every backbone that training sets from its data; presets and defaults propose them."""


@dataclass(frozen=True, kw_only=True)
class BackboneConfig(ABC):
    """Config of a backbone. Its fields are plain values, so that it can be written to a file header and read again.

    Training sets the fields of this class from the data; a number set here, in a recipe or on the command line must
    then agree with the data.
    """

    size: Annotated[int, at_least(1)] = Proposed(32)
    """Height and width of the images, in pixels; a position table is made for this size."""
    channels: Annotated[int, at_least(1)] = Proposed(3)
    """Channels of the images: 1 grey, 3 colour, 4 of many latents."""
    num_classes: Annotated[int, at_least(0)] = Proposed(0)
    """Number of classes; 0 for an unconditional model. Label -1 stands for no class."""
    text_length: Annotated[int, at_least(0)] = Proposed(0)
    """Text tokens of a caption; 0 for a model without text."""
    text_width: Annotated[int, at_least(0)] = Proposed(0)
    """Width of one text token, in numbers."""
    condition_channels: Annotated[int, at_least(0)] = Proposed(0)
    """Channels of the image condition, as for super-resolution; 0 for none."""

    def __post_init__(self) -> None:
        check_fields(self)
        if (self.text_length > 0) != (self.text_width > 0):
            raise ConfigError(
                f"text_length {self.text_length} with text_width {self.text_width}: both 0 (no text) or both positive"
            )

    def at_size(self, size: int) -> BackboneConfig:
        """Return the config for images of another size, in pixels.

        Raises:
            ConfigError: The network cannot take this size.
        """
        return self if size == self.size else replace(self, size=size)

    @property
    def in_channels(self) -> int:
        """Channels that the first layer reads: those of x, then those of the image condition."""
        return self.channels + self.condition_channels

    @property
    def num_parts(self) -> int:
        """Number of blocks (or bricks) in a row; the first n of them are a network as well."""
        return 1

    def first(self, n: int) -> BackboneConfig:
        """Return the config of the network of the first n blocks.

        Raises:
            ArgumentError: n is not from 1 to ``num_parts``.
            ConfigError: The first n blocks alone are no network.
        """
        check_parts(n, self.num_parts)
        return self.keep(range(n))

    def keep(self, parts: Sequence[int]) -> BackboneConfig:
        """Return the config of the network of some blocks, counted from 0.

        Raises:
            ArgumentError: The numbers do not rise, or name no block.
            ConfigError: These blocks alone are no network.
        """
        if tuple(parts) == tuple(range(self.num_parts)):
            return self
        check_kept(parts, self.num_parts)
        return self._kept(tuple(parts))

    def _kept(self, parts: tuple[int, ...]) -> BackboneConfig:
        """Return the config for some of the blocks, not all; the numbers are checked."""
        raise ConfigError("a network of one part cannot be made smaller")

    @property
    def num_outputs(self) -> int:
        """Number of images that one evaluation puts out: one per brick."""
        return 1

    @property
    def num_windows(self) -> tuple[int, ...]:
        """Number of windows of one image that each brick treats separately; empty for a network without windows."""
        return ()

    @property
    def multiple(self) -> int | None:
        """Divisor of all image sides that the network takes, in pixels; None if it takes ``size`` alone."""
        return None

    @property
    def takes_guest(self) -> bool:
        """True if the first brick reads the output of a guest, a trained model that runs before it."""
        return False

    def with_guest(self) -> BackboneConfig:
        """Return the config of the same network with a guest before it.

        Raises:
            ConfigError: The network takes no guest.
        """
        if self.takes_guest:
            return self
        raise ConfigError(
            "a guest is the brick before the first of LEGO bricks: this backbone has none; take a LEGO backbone or "
            "leave the guest out"
        )

    @property
    def repeated_macs(self) -> int:
        """MACs per evaluation that the authors' code spends beyond ours, which avoids a repetition; 0 for none."""
        return 0

    @abstractmethod
    def build(self) -> Backbone:
        """Build the network with fresh weights."""


class Backbone(nn.Module, ABC):
    """Network whose output has the shape of its input."""

    @property
    @abstractmethod
    def config(self) -> BackboneConfig:
        """Config of the network; ``config.build()`` gives the same network with fresh weights."""

    @property
    def num_parts(self) -> int:
        """Number of blocks or bricks; 1 if nothing can be left out."""
        return self.config.num_parts

    def first(self, n: int) -> Backbone:
        """Return the network of the first n blocks, which shares the weights; itself for all blocks.

        Raises:
            ArgumentError: n is not from 1 to ``num_parts``.
            ConfigError: The first n blocks alone are no network.
        """
        check_parts(n, self.num_parts)
        return self.keep(range(n))

    def keep(self, parts: Sequence[int]) -> Backbone:
        """Return the network of some blocks, counted from 0, which shares the weights; itself for all blocks.

        Raises:
            ArgumentError: The numbers do not rise, or name no block.
            ConfigError: These blocks alone are no network.
        """
        config = self.config.keep(parts)
        return self if config is self.config else self._kept(config, tuple(parts))

    def _kept(self, config: BackboneConfig, parts: tuple[int, ...]) -> Backbone:
        """Return the network of some of the blocks, not all, with their config."""
        raise NotImplementedError  # a config of one block refuses first

    def compilable(self) -> Sequence[nn.Module]:
        """Return the modules that are worth compiling, each by itself."""
        return [self]

    @abstractmethod
    def forward(self, x: Image, c_noise: Sigma, condition: Condition) -> Image:
        """Return the raw output F(x, c_noise, condition), of x's shape.

        Args:
            x: Input of the network: c_in times x0 + sigma noise.
            c_noise: Noise level as the network reads it, (B,), float32; see ``Preconditioning``.
            condition: ``labels`` (B,) ints, -1 for no class, or None for no class at all; ``text`` (B, M, E), zeros for
                no text, or None; ``image`` (B, G, H, W), G the config's ``condition_channels``, or None for zeros.
        """


def beside(x: Image, condition: Condition, config: BackboneConfig) -> Float[Tensor, "B Cin H W"]:
    """Concatenate x and the image condition into (B, C + G, H, W), the input of the first layer.

    Raises:
        ArgumentError: The image has other channels than the config's, or the image condition another shape.
    """
    if x.shape[1] != config.channels:
        raise ArgumentError(f"image of {x.shape[1]} channels: this model takes {config.channels}")
    image, wanted = condition.image, (len(x), config.condition_channels, *x.shape[2:])
    if image is None:
        return torch.cat([x, x.new_zeros(wanted)], dim=1) if config.condition_channels else x
    if tuple(image.shape) != wanted:
        raise ArgumentError(
            f"an image condition of shape {tuple(image.shape)}: this model takes {wanted}"
            + (" beside x" if config.condition_channels else ", that is none; leave it out")
        )
    return torch.cat([x, image.to(x.dtype)], dim=1)


def check_parts(n: int, num_parts: int) -> None:
    """Refuse a number of blocks that a network of num_parts blocks does not have.

    Raises:
        ArgumentError: n is not from 1 to num_parts.
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= num_parts:
        raise ArgumentError(f"the first {n!r} of {num_parts} parts: take a whole number from 1 to {num_parts}")


def check_kept(parts: Sequence[int], num_parts: int) -> None:
    """Refuse a list that is no choice of a network's blocks.

    Raises:
        ArgumentError: The list is empty, does not rise, or leaves the range from 0 to num_parts - 1.
    """
    if not parts or any(a >= b for a, b in pairwise((-1, *parts, num_parts))):
        raise ArgumentError(f"parts {list(parts)} of {num_parts}: give rising numbers from 0 to {num_parts - 1}")


def rows_of_null(labels: Tensor, num_classes: int) -> Tensor:
    """Convert labels into rows of an embedding table of num_classes + 1 rows: -1 becomes the last one, "no class"."""
    return labels.long().masked_fill(labels < 0, num_classes)
