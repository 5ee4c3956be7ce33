"""Hosted bricks: a trained model, the guest, runs as the brick before the first, which reads its estimate.

A trained network thus serves as a brick (LEGO: Zheng et al. 2024, 2310.06389). Guest and bricks are one backbone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from math import lcm
from typing import Protocol, final

import torch
from torch import Tensor, nn

from brickwork.backbone.base import Backbone, BackboneConfig
from brickwork.backbone.bricks import Bricks, needed, output_of
from brickwork.codec.base import Codec
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.preconditioning import Preconditioning
from brickwork.errors import ConfigError
from brickwork.nn.floats import float32_default
from brickwork.nn.shapes import Image, Sigma


class Guest(Protocol):
    """Trained model, as the bricks after it see it: a denoiser with a backbone, a codec and classes."""

    backbone: Backbone
    codec: Codec
    classes: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 for a guest that takes no label."""
        ...

    @property
    def text_shape(self) -> tuple[int, int] | None:
        """Tokens of a caption and their width; None for a guest that takes no text."""
        ...

    def __call__(self, x: Image, sigma: Sigma, condition: Condition) -> Image:
        """Return the estimate of x0; see ``Model.forward``."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class HostedConfig(BackboneConfig):
    """Configs of bricks and of their guest's network; size, channels and classes are those of the bricks."""

    bricks: BackboneConfig
    """Bricks, whose first reads a guest's output."""
    guest: BackboneConfig
    """Network of the guest; a ``HostedConfig`` itself if the guest has a guest."""
    size: int = field(init=False, compare=False)
    channels: int = field(init=False, compare=False)
    num_classes: int = field(init=False, compare=False)
    text_length: int = field(init=False, compare=False)
    text_width: int = field(init=False, compare=False)
    condition_channels: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        check_hosting(self.bricks, has_guest=True)
        for one in fields(BackboneConfig):
            object.__setattr__(self, one.name, getattr(self.bricks, one.name))
        super().__post_init__()

    @property
    def num_parts(self) -> int:
        """Number of bricks, the guest included."""
        return 1 + self.bricks.num_parts

    @property
    def num_outputs(self) -> int:
        """Number of outputs of the bricks; the guest's is not in the loss."""
        return self.bricks.num_outputs

    @property
    def num_windows(self) -> tuple[int, ...]:
        """Number of windows of each brick."""
        return self.bricks.num_windows

    @property
    def multiple(self) -> int | None:
        """Divisor of image sides that suits both; None if either takes its own size alone."""
        both = self.bricks.multiple, self.guest.multiple
        return None if both[0] is None or both[1] is None else lcm(both[0], both[1])

    def at_size(self, size: int) -> HostedConfig:
        """Return the config for images of another size, for the guest as well."""
        return HostedConfig(bricks=self.bricks.at_size(size), guest=self.guest.at_size(size))

    def _kept(self, parts: tuple[int, ...]) -> BackboneConfig:
        """Keep the guest alone, or the guest and the first bricks."""
        _check_first(parts)
        if len(parts) == 1:
            return self.guest.at_size(self.size)
        return HostedConfig(bricks=self.bricks.keep([part - 1 for part in parts[1:]]), guest=self.guest)

    @float32_default()
    def build(self) -> Backbone:
        """Refuse to build: a guest is a trained model, which a config alone cannot give.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError("hosted bricks have a trained guest: build the bricks and give Model the guest")


@final
class Hosted(Bricks):
    """Guest and the bricks after it as one backbone.

    Args:
        guest: Trained model; frozen in place.
        bricks: Bricks, whose first reads the guest's output.
    """

    guest: Guest
    bricks: Bricks

    def __init__(self, guest: Guest, bricks: Bricks) -> None:
        super().__init__()
        assert isinstance(guest, nn.Module)
        self.guest = guest.eval().requires_grad_(False)
        self.bricks = bricks
        self._config = HostedConfig(bricks=bricks.config, guest=guest.backbone.config)

    @property
    def config(self) -> HostedConfig:
        """Configs of the guest's network and the bricks."""
        return self._config

    @property
    def needs_preconditioning(self) -> bool:
        """True: the guest works in sigma space, x = x0 + sigma noise."""
        return True

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
        """Return the outputs of the bricks, without that of the guest, which works in sigma space."""
        assert before is None, "a guest is the first of all"
        c = needed(preconditioning, "a guest is asked at its own noise level")
        with torch.no_grad():
            waist = x / c.expand(x.ndim).in_.to(x)
            estimate = self.guest(waist, c.sigma.to(x), condition if self.guest.num_classes else Condition())
            before = output_of(estimate, x, c)
        return self.bricks.outputs(x, c_noise, condition, preconditioning=c, chosen=chosen, before=before)

    def train_only(self, part: int) -> None:
        """Let gradients reach one brick alone; never the guest."""
        self.bricks.train_only(part)

    def train(self, mode: bool = True) -> Hosted:
        """Set the bricks to training mode or not; a guest never trains."""
        super().train(mode)
        assert isinstance(self.guest, nn.Module)
        self.guest.eval()
        return self

    def compilable(self) -> Sequence[nn.Module]:
        """Return the modules of the bricks that are worth compiling."""
        return self.bricks.compilable()

    def _kept(self, config: BackboneConfig, parts: tuple[int, ...]) -> Backbone:
        """Keep the guest and the first bricks, or the network of the guest alone, whose model has its own process."""
        if len(parts) == 1:
            return self.guest.backbone
        bricks = self.bricks.keep([part - 1 for part in parts[1:]])
        assert isinstance(bricks, Bricks)
        kept = Hosted(self.guest, bricks)
        kept.training = self.training
        return kept


def _check_first(parts: Sequence[int]) -> None:
    """Refuse bricks without the guest before them."""
    if parts[0] != 0:
        raise ConfigError(f"parts {list(parts)} alone: the first brick is told the guest's output; keep part 0")


def check_hosting(config: BackboneConfig, has_guest: bool) -> None:
    """Refuse a guest for a backbone that takes none, and a missing guest for a backbone that needs one.

    Raises:
        ConfigError: Guest and backbone do not go together.
    """
    if config.takes_guest and not has_guest:
        raise ConfigError(
            "the first brick is told a guest's output: give a trained model as guest, or set backbone.guest = false"
        )
    if has_guest and not config.takes_guest:
        raise ConfigError(
            "a guest for a backbone that is not told its output: set backbone.guest = true, or leave the guest out"
        )


def host(guest: Guest, backbone: Backbone, codec: Codec, classes: tuple[str, ...]) -> Hosted:
    """Join a guest and the bricks that read its output, in a model of this codec, which both share from then on.

    Raises:
        ConfigError: Guest and bricks do not go together.
    """
    assert isinstance(backbone, Bricks)  # other backbones take no guest
    _check_guest(guest, backbone.config, codec, classes)
    guest.codec = codec  # equal, and one is enough
    return Hosted(guest, backbone)


def _check_guest(guest: Guest, config: BackboneConfig, codec: Codec, classes: tuple[str, ...]) -> None:
    """Refuse a guest that cannot take the model's inputs, or whose images have another meaning.

    Raises:
        ConfigError: The guest does not fit.
    """
    if guest.codec.config != codec.config:
        raise ConfigError(
            f"a guest of {_space(guest.codec)} in a model of {_space(codec)}: their pictures must mean the same; take "
            "another guest, or prepare the data like the guest's"
        )
    if guest.text_shape is not None:
        raise ConfigError("a guest that takes text: bricks are told none; take a guest without text")
    if guest.num_classes and guest.classes != classes:
        raise ConfigError(
            f"a guest of {_names(guest.classes)} in a model of {_names(classes)}: a guest has the model's own classes, "
            "in this order, or none; take another guest or the guest's data"
        )
    size, multiple = guest.backbone.config.size, guest.backbone.config.multiple
    if size != config.size and (multiple is None or config.size % multiple):
        sizes = "this alone" if multiple is None else f"multiples of {multiple}"
        raise ConfigError(
            f"a guest of {size}x{size} pixels in a model of {config.size}x{config.size}: it takes {sizes}; take "
            "another guest, or images of its size (data.size)"
        )


def _space(codec: Codec) -> str:
    """Describe a codec for an error message of one line."""
    return f"{codec.picture_channels} channels" if codec.factor == 1 else f"latents {codec.digest[:12]}"


def _names(classes: tuple[str, ...]) -> str:
    """Describe classes for an error message of one line."""
    few = ", ".join(classes[:4]) + (", ..." if len(classes) > 4 else "")
    return f"{len(classes)} classes ({few})" if classes else "no classes"
