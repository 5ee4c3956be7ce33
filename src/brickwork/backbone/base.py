"""What every backbone is: (x, number, condition) → something of x's shape; and its frozen config."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from brickwork.errors import ConfigError
from brickwork.sampling.denoiser import Condition
from brickwork.shapes import Image, Sigma


@dataclass(frozen=True, kw_only=True)
class BackboneConfig(ABC):
    """What a backbone is for. Numbers, strings and nothing else, so that it goes into a file header and comes back."""

    size: int = 32
    """Height and width of the images, in pixels; a position table is made for this size."""
    channels: int = 3
    """Channels of the images: 1 grey, 3 colour, 4 of many latents."""
    num_classes: int = 0
    """Classes; 0 is unconditional. Label -1 asks for no class."""
    text_length: int = 0
    """Text tokens of a caption; 0 takes no text."""
    text_width: int = 0
    """Width of one text token, in numbers."""

    def __post_init__(self) -> None:
        for name in ("size", "channels"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)}: must be at least 1")
        for name in ("num_classes", "text_length", "text_width"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} {getattr(self, name)}: must be 0 (off) or more")
        if (self.text_length > 0) != (self.text_width > 0):
            raise ConfigError(
                f"text_length {self.text_length} with text_width {self.text_width}: both 0 (no text) or both positive"
            )

    @abstractmethod
    def build(self) -> Backbone:
        """A network with fresh weights."""


class Backbone(nn.Module, ABC):
    """A network whose output has the shape of its input."""

    @property
    @abstractmethod
    def config(self) -> BackboneConfig:
        """What it was built from; ``config.build()`` gives the same network with fresh weights."""

    @abstractmethod
    def forward(self, x: Image, number: Sigma, condition: Condition) -> Image:
        """One evaluation.

        Args:
            x: Noisy image in the process's own space and scale.
            number: The time as the process tells it to the network, one per image; float32.
            condition: ``labels`` (B,) ints, -1 for no class, or None for no class at all; ``text`` (B, M, E), zeros for
                no text, or None.
        """


def rows_of_null(labels: Tensor, num_classes: int) -> Tensor:
    """Labels as rows of an embedding table of num_classes + 1 rows: -1 becomes the last one, "no class"."""
    return labels.long().masked_fill(labels < 0, num_classes)
