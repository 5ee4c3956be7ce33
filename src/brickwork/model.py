"""A trained thing: backbone + noise process + target + codec, and with that a denoiser at the waist."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from brickwork.backbone.base import Backbone, Frame
from brickwork.codec.base import Codec
from brickwork.errors import ArgumentError, ConfigError
from brickwork.sampling.denoiser import Condition
from brickwork.sampling.process import NoiseProcess
from brickwork.sampling.target import Target
from brickwork.shapes import Image, Sigma

Precision = Literal["fp32", "bf16"]


class Model(nn.Module):
    """A backbone together with what its numbers mean; calling it is the denoiser D(x, sigma, condition).

    Args:
        backbone: The network.
        process: How noise is added; owns time, levels and the number that the network sees.
        target: What the network's output estimates.
        codec: What model space means as pictures.
        classes: Class names, as many as ``backbone.config.num_classes``; empty for names "0", "1", ...
        facts: What the model was trained on and how, JSON-like; kept in its file.

    Attributes:
        precision: "fp32", or "bf16" to run the backbone under autocast. The door stays fp32.
        digest: SHA-256 (hex) of the file it was loaded from or saved to, or "".

    Raises:
        ConfigError: Codec and backbone differ in channels, or the number of class names is not that of the classes.
    """

    def __init__(
        self,
        backbone: Backbone,
        process: NoiseProcess,
        target: Target,
        codec: Codec,
        classes: tuple[str, ...] = (),
        facts: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        config = backbone.config
        if config.channels != codec.channels:
            raise ConfigError(
                f"the backbone has {config.channels} channels and the codec {codec.channels}: make them equal "
                "(backbone.channels)"
            )
        if classes and len(classes) != config.num_classes:
            raise ConfigError(
                f"{len(classes)} class names for a backbone of {config.num_classes} classes: make them equal "
                "(backbone.num_classes)"
            )
        self.backbone = backbone
        self.process = process
        self.target = target
        self.codec = codec
        self.classes = classes or tuple(str(k) for k in range(config.num_classes))
        self.facts = facts or {}
        self.precision: Precision = "fp32"
        self.digest = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image in model space."""
        config = self.backbone.config
        return config.channels, config.size, config.size

    @property
    def multiple(self) -> int | None:
        """What divides the sides of every x that the model takes; None where it takes its own shape alone."""
        return self.backbone.config.multiple

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 when the model takes no label."""
        return self.backbone.config.num_classes

    @property
    def text_shape(self) -> tuple[int, int] | None:
        """(M, E) of the text tokens, or None."""
        config = self.backbone.config
        return (config.text_length, config.text_width) if config.text_length else None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def num_parts(self) -> int:
        """Of how many parts the backbone is made."""
        return self.backbone.num_parts

    def first(self, n: int) -> Model:
        """The model of the backbone's first n parts: the same weights, precision and digest; itself for all parts.

        Raises:
            ArgumentError: n is not from 1 to ``num_parts``.
            ConfigError: The first n parts alone are no network.
        """
        return self._with(self.backbone.first(n))

    def keep(self, parts: Sequence[int]) -> Model:
        """The model of some of the backbone's parts, counted from 0, as ``first`` makes it.

        Raises:
            ArgumentError: Not rising numbers of parts.
            ConfigError: These parts alone are no network.
        """
        return self._with(self.backbone.keep(parts))

    def _with(self, backbone: Backbone) -> Model:
        if backbone is self.backbone:
            return self
        part = Model(backbone, self.process, self.target, self.codec, self.classes, self.facts)
        part.precision, part.digest, part.training = self.precision, self.digest, self.training
        return part

    def outputs(
        self,
        x: Image,
        number: Sigma,
        condition: Condition,
        frame: Frame | None = None,
        chosen: Sequence[Tensor] = (),
    ) -> list[Image]:
        """The network's raw outputs, fp32: one, or one for each part that makes an image; the last is the model's.

        Args:
            x: The network's own input: the waist's x times ``process.input_scale(t)``, equally alpha x0 + sigma eps.
            number: ``process.number(t)``.
            condition: Labels and text.
            frame: ``self.frame(t)``, where ``backbone.wants_frame``.
            chosen: See ``Backbone.outputs``.
        """
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            return [output.float() for output in self.backbone.outputs(x, number, condition, frame, chosen)]

    def frame(self, t: Sigma) -> Frame:
        """What outputs at times t mean: x0 = skip·(the network's own input) + gain·output; of t's dtype."""
        c = self.process.at(t)
        skip = self.target.skip(c) * c.alpha / self.process.input_scale(t)
        return Frame(skip=skip + 0 * t, gain=self.target.gain(c) + 0 * t)

    def forward(self, x: Image, sigma: Sigma, condition: Condition) -> Image:
        """D(x, sigma, condition), the estimate of x0.

        Args:
            x: x0 + sigma * noise, shape (B, C, H, W), float32.
            sigma: Noise level at the waist, shape (B,).
            condition: Labels and text, or nothing.
        """
        t = self.process.t_of(sigma)
        c = self.process.at(t).expand(x.ndim)
        scale = self.process.input_scale(t)[:, None, None, None]
        frame = self.frame(t) if self.backbone.wants_frame else None
        output = self.outputs(scale * x, self.process.number(t).float(), condition, frame)[-1]
        return self.target.x0(output, c.alpha * x, c)

    def asarray(self, values: np.ndarray) -> Tensor:
        """A numpy array as a tensor on this model's device; floats become float32."""
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        return tensor.to(self.device, torch.float32 if tensor.is_floating_point() else tensor.dtype)

    def encode(self, images: np.ndarray) -> Tensor:
        """uint8 (B, H, W, C) → model space (B, C', H', W') on this model's device, without waiting for it."""
        pixels = torch.from_numpy(np.ascontiguousarray(images))
        if self.device.type == "cuda":
            pixels = pixels.pin_memory()
        return self.codec.encode(pixels.to(self.device, non_blocking=True))

    def decode(self, x0: Tensor) -> np.ndarray:
        """Model space → uint8 (B, H, W, C)."""
        return self.codec.decode(x0).cpu().numpy()

    def class_index(self, name: str) -> int:
        """The index of a class, from its name or its number.

        Raises:
            ArgumentError: There is no such class.
        """
        if name in self.classes:
            return self.classes.index(name)
        if name.isdecimal() and int(name) < self.num_classes:
            return int(name)
        known = ", ".join(f"{i} {c}" if c != str(i) else c for i, c in enumerate(self.classes[:20]))
        rule = f"its classes are {known}" if self.classes else "it has no classes; leave the label out"
        raise ArgumentError(f"label {name!r}: this model has {self.num_classes} classes; {rule}")


def choose_device(name: str) -> torch.device:
    """A device by name; "auto" takes cuda, then mps, then the CPU.

    Raises:
        ArgumentError: The device is not on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present.get(name.split(":")[0], False):
        raise ArgumentError(f"device {name!r}: this machine has {', '.join(k for k, v in present.items() if v)}")
    return torch.device(name)
