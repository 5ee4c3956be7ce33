"""Hosted bricks: a trained model, the guest, runs as the brick before the first and tells it an estimate.

So a trained network serves as a brick (LEGO: Zheng et al. 2024, 2310.06389). Guest and bricks are one backbone.
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
from brickwork.nn.shapes import Image, Sigma


class Guest(Protocol):
    """A trained model, as the bricks after it see it: a denoiser with a backbone, a codec and classes."""

    backbone: Backbone
    codec: Codec
    classes: tuple[str, ...]
    num_classes: int
    text_shape: tuple[int, int] | None

    def __call__(self, x: Image, sigma: Sigma, condition: Condition) -> Image:
        """Return the estimate of x0; see ``Model.forward``."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class HostedConfig(BackboneConfig):
    """The configs of bricks and of the network of their guest; size, channels and classes are those of the bricks."""

    bricks: BackboneConfig
    """The bricks, whose first is told a guest's output."""
    guest: BackboneConfig
    """The guest's network; hosted bricks itself where the guest has a guest."""
    size: int = field(init=False, compare=False)
    channels: int = field(init=False, compare=False)
    num_classes: int = field(init=False, compare=False)
    text_length: int = field(init=False, compare=False)
    text_width: int = field(init=False, compare=False)
    given_channels: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        check_hosting(self.bricks, has_guest=True)
        for one in fields(BackboneConfig):
            object.__setattr__(self, one.name, getattr(self.bricks, one.name))
        super().__post_init__()

    @property
    def num_parts(self) -> int:
        """The guest, then the bricks."""
        return 1 + self.bricks.num_parts

    @property
    def num_outputs(self) -> int:
        """Outputs of the bricks; a guest's is compared with nothing."""
        return self.bricks.num_outputs

    @property
    def num_windows(self) -> tuple[int, ...]:
        """Windows of each brick."""
        return self.bricks.num_windows

    @property
    def multiple(self) -> int | None:
        """The divisor that suits both; None where either takes its own size alone."""
        both = self.bricks.multiple, self.guest.multiple
        return None if both[0] is None or both[1] is None else lcm(both[0], both[1])

    def at_size(self, size: int) -> HostedConfig:
        """Return the same for images of another size, for the guest as well."""
        return HostedConfig(bricks=self.bricks.at_size(size), guest=self.guest.at_size(size))

    def _kept(self, parts: tuple[int, ...]) -> BackboneConfig:
        """Keep the guest alone, or the guest and the first bricks."""
        _check_first(parts)
        if len(parts) == 1:
            return self.guest.at_size(self.size)
        return HostedConfig(bricks=self.bricks.keep([part - 1 for part in parts[1:]]), guest=self.guest)

    def build(self) -> Backbone:
        """Refuse: a guest is a trained model, and not made of a config alone.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError("hosted bricks have a trained guest: build the bricks and give Model the guest")


@final
class Hosted(Bricks):
    """A guest and the bricks after it as one backbone.

    Args:
        guest: A trained model; frozen in place.
        bricks: Bricks whose first is told the guest's output.
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
        """Both configs."""
        return self._config

    @property
    def needs_preconditioning(self) -> bool:
        """True: the guest is asked at the waist."""
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
        """Return the outputs of the bricks; the guest's, which is asked at the waist, is not among them."""
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
        """Set the bricks to training or not; a guest never trains."""
        super().train(mode)
        assert isinstance(self.guest, nn.Module)
        self.guest.eval()
        return self

    def compilable(self) -> Sequence[nn.Module]:
        """Return those of the bricks."""
        return self.bricks.compilable()

    def _kept(self, config: BackboneConfig, parts: tuple[int, ...]) -> Backbone:
        """Keep the guest and the first bricks; of the guest alone its network, whose model has its own process."""
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
    """Refuse a guest for a backbone that takes none, and the lack of one for a backbone that does.

    Raises:
        ConfigError: With one line.
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
    """Join a guest and the bricks that are told its output, in a model of this codec, which both share from then on.

    Raises:
        ConfigError: They do not go together.
    """
    assert isinstance(backbone, Bricks)  # nothing else takes a guest
    _check_guest(guest, backbone.config, codec, classes)
    guest.codec = codec  # equal, and one is enough
    return Hosted(guest, backbone)


def _check_guest(guest: Guest, config: BackboneConfig, codec: Codec, classes: tuple[str, ...]) -> None:
    """Refuse a guest that cannot take what a model gets, or whose pictures mean something else.

    Raises:
        ConfigError: With one line.
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
    """Describe a codec for a message of one line."""
    return f"{codec.picture_channels} channels" if codec.factor == 1 else f"latents {codec.digest[:12]}"


def _names(classes: tuple[str, ...]) -> str:
    """Describe classes for a message of one line."""
    few = ", ".join(classes[:4]) + (", ..." if len(classes) > 4 else "")
    return f"{len(classes)} classes ({few})" if classes else "no classes"
