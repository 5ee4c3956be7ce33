"""A trained thing: backbone + noise process + target + codec (+ text), and with that a denoiser at the waist.

A model can have a guest: another trained model that runs before the backbone's first part, which is told the guest's
estimate in the backbone's own terms. So a trained network serves as a brick (LEGO: Zheng et al. 2024, 2310.06389).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from math import lcm
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from brickwork.backbone.base import Backbone, BackboneConfig, check_kept, check_parts
from brickwork.backbone.bricks import Bricks, needed, output_of
from brickwork.codec.base import Codec
from brickwork.codec.given import Given, Nothing
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.preconditioning import Preconditioning, precondition
from brickwork.diffusion.prediction import Prediction
from brickwork.diffusion.process import NoiseProcess
from brickwork.errors import ConfigError
from brickwork.nn.shapes import Image, Sigma
from brickwork.sampling.options import class_number
from brickwork.text.base import NoText, TextConfig, TextEncoder

Precision = Literal["fp32", "bf16"]


class Model(nn.Module):
    """A backbone together with what its numbers mean; calling it is the denoiser D(x, sigma, condition).

    Args:
        backbone: The network.
        process: How noise is added; owns time, noise levels, c_in and c_noise.
        prediction: What the network's output estimates.
        codec: What model space means as pictures.
        classes: Class names, as many as ``backbone.config.num_classes``; empty for names "0", "1", ...
        facts: What the model was trained on and how, JSON-like; kept in its file.
        guest: A trained model that runs before the first part, where the backbone takes one. It is frozen in place, is
            a part of the model that no gradient reaches, and follows the model's precision.
        text: The text encoder, or its config, where the backbone takes text and is not just told embedded tokens. One
            that learns with the backbone is a part of the model; a frozen one is opened when it is needed.
        given: What picture is given beside x; nothing unless told otherwise.

    Attributes:
        text_config: Of the text encoder.
        precision: "fp32", or "bf16" to run the backbone under autocast. The door stays fp32.
        digest: SHA-256 (hex) of the file it was loaded from or saved to, or "".

    Raises:
        ConfigError: Codec, text encoder or what is given do not fit the backbone, the number of class names is not
            that of the classes, or the guest is missing, not wanted, or of another model space, size or classes.
    """

    def __init__(
        self,
        backbone: Backbone,
        process: NoiseProcess,
        prediction: Prediction,
        codec: Codec,
        classes: tuple[str, ...] = (),
        facts: dict[str, object] | None = None,
        guest: Model | None = None,
        *,
        text: TextEncoder | TextConfig = NoText(),
        given: Given = Nothing(),
    ) -> None:
        super().__init__()
        config = backbone.config
        text_config = text.config if isinstance(text, TextEncoder) else text
        _check_space(config, codec, given)
        _check_text(config, text_config)
        if classes and len(classes) != config.num_classes:
            raise ConfigError(
                f"{len(classes)} class names for a backbone of {config.num_classes} classes: make them equal "
                "(backbone.num_classes)"
            )
        self.backbone = backbone
        self.process = process
        self.prediction = prediction
        self.codec = codec
        self.given = given
        self.text_config = text_config
        encoder = text if isinstance(text, TextEncoder) else text.build() if text.trained else None
        self.text = encoder if text_config.trained else None
        # A frozen encoder, once it is needed; in a list, as it is no part of the model.
        self._opened = [] if encoder is None or text_config.trained else [encoder]
        self.classes = classes or tuple(str(k) for k in range(config.num_classes))
        self.facts: dict[str, Any] = facts or {}
        self.precision: Precision = "fp32"
        self.digest = ""
        check_hosting(config, guest is not None)
        if guest is not None:
            _check_guest(guest, config, codec, self.classes)
        self.guest = None if guest is None else guest.eval().requires_grad_(False)
        if self.guest is not None:
            self.guest.codec = codec  # equal, and one is enough

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image in model space."""
        config = self.backbone.config
        return config.channels, config.size, config.size

    @property
    def multiple(self) -> int | None:
        """What divides the sides of every x that the model takes; None where it takes its own shape alone."""
        own = self.backbone.config.multiple
        if self.guest is None or own is None:
            return own
        return None if self.guest.multiple is None else lcm(own, self.guest.multiple)

    @property
    def configs(self) -> tuple[BackboneConfig, ...]:
        """The backbone's config, then that of its guest, that of the guest's guest, and so on."""
        return self.backbone.config, *(self.guest.configs if self.guest is not None else ())

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
    def reads_text(self) -> bool:
        """Whether it has a text encoder."""
        return not isinstance(self.text_config, NoText)

    @property
    def given_channels(self) -> int:
        """Channels of the picture that is given beside x; 0 for none."""
        return self.backbone.config.given_channels

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def num_parts(self) -> int:
        """Of how many parts it is made: the guest, if there is one, and those of the backbone."""
        return self.backbone.num_parts + (self.guest is not None)

    def first(self, n: int) -> Model:
        """The model of the first n parts: the same weights, precision and digest; itself for all parts.

        The first part of a model with a guest is the guest itself.

        Raises:
            ArgumentError: n is not from 1 to ``num_parts``.
            ConfigError: The first n parts alone are no network.
        """
        check_parts(n, self.num_parts)
        return self.keep(range(n))

    def keep(self, parts: Sequence[int]) -> Model:
        """The model of some parts, counted from 0, as ``first`` makes it.

        Raises:
            ArgumentError: Not rising numbers of parts.
            ConfigError: These parts alone are no network.
        """
        if self.guest is None:
            return self._with(self.backbone.keep(parts))
        check_kept(parts, self.num_parts)
        if parts[0] != 0:
            raise ConfigError(f"parts {list(parts)} alone: the first brick is told the guest's output; keep part 0")
        if len(parts) == 1:
            self.guest.precision = self.precision
            return self.guest
        return self._with(self.backbone.keep([part - 1 for part in parts[1:]]))

    def _with(self, backbone: Backbone) -> Model:
        if backbone is self.backbone:
            return self
        part = Model(
            backbone,
            self.process,
            self.prediction,
            self.codec,
            self.classes,
            self.facts,
            self.guest,
            text=self.text or self.text_config,
            given=self.given,
        )
        part._opened = self._opened
        part.precision, part.digest, part.training = self.precision, self.digest, self.training
        return part

    def train(self, mode: bool = True) -> Model:
        """Training or not; a guest never is."""
        super().train(mode)
        if self.guest is not None:
            self.guest.eval()
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Model:
        """Let gradients reach the weights or not; a guest's and an autoencoder's never."""
        for part in self.learning():
            part.requires_grad_(requires_grad)
        return self

    def learning(self) -> list[nn.Module]:
        """What training changes: the backbone, and a text encoder that learns with it."""
        return [self.backbone] if self.text is None else [self.backbone, self.text]

    def outputs(
        self,
        x: Image,
        c_noise: Sigma,
        condition: Condition,
        preconditioning: Preconditioning | None = None,
        chosen: Sequence[Tensor] = (),
    ) -> list[Image]:
        """Return the network's raw outputs, fp32: one, or one for each brick; the last is the model's.

        A guest's is not among them.

        Args:
            x: The network's own input, c_in times the waist's x, equally alpha x0 + sigma eps scaled by the process.
            c_noise: The number that tells the network its noise level, (B,), float32.
            condition: Labels, text and what is given; text as token numbers where gradients shall reach the encoder.
            preconditioning: The coefficients of this batch, which bricks may need; see ``Bricks.outputs``.
            chosen: See ``Bricks.outputs``.
        """
        backbone, told = self.backbone, None
        if self.guest is not None:
            told = self._told(self.guest, x, condition, preconditioning)
        with self._autocast(x.device.type):
            condition = self._embedded(condition)
            if not isinstance(backbone, Bricks):
                return [backbone(x, c_noise, condition).float()]
            outputs = backbone.outputs(
                x, c_noise, condition, preconditioning=preconditioning, chosen=chosen, before=told
            )
            return [output.float() for output in outputs]

    def _autocast(self, device: str) -> AbstractContextManager[object]:
        """bf16 where it is asked for; nothing where that changes nothing, so that a graph keeps its modules' names."""
        if self.precision == "fp32" and (device == "meta" or not torch.is_autocast_enabled(device)):
            return nullcontext()
        return torch.autocast(device, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def _embedded(self, condition: Condition) -> Condition:
        """The condition with token numbers embedded."""
        text = condition.text
        if text is None or text.is_floating_point():
            return condition
        return replace(condition, text=self.encoder()(text).float())

    def encoder(self) -> TextEncoder:
        """The text encoder; a frozen one is opened, which may read its files or fetch them.

        Raises:
            ConfigError: The model has none.
            BrickworkError: A frozen one is not where it should be.
        """
        if self.text is not None:
            return self.text
        if not self._opened:
            self._opened.append(self.text_config.build().to(self.device).eval().requires_grad_(False))
        return self._opened[0]

    def embed_text(self, captions: Sequence[str]) -> np.ndarray:
        """Captions as embedded tokens, float32 (N, M, E).

        Raises:
            ConfigError: The model has no text encoder.
        """
        encoder = self.encoder()
        tokens = torch.from_numpy(encoder.tokenize(list(captions))).to(self.device)
        with torch.no_grad():
            return encoder(tokens).float().cpu().numpy()

    def _told(self, guest: Model, x: Image, condition: Condition, c: Preconditioning | None) -> Image:
        """Return a guest's estimate as an output of this model; it is asked at the waist, by its own process."""
        c = needed(c, "a guest is asked at its own noise level")
        guest.precision = self.precision
        with torch.no_grad():
            waist = x / c.expand(x.ndim).in_.to(x)
            x0 = guest(waist, c.sigma.to(x), condition if guest.num_classes else Condition())
            return output_of(x0, x, c)

    def preconditioning(self, sigma: Sigma) -> Preconditioning:
        """Return c_skip, c_out, c_in and c_noise at noise levels sigma (B,); see ``precondition``."""
        return precondition(self.process, self.prediction, sigma)

    def forward(self, x: Image, sigma: Sigma, condition: Condition) -> Image:
        """Return D(x, sigma) = c_skip x + c_out F(c_in x, c_noise), the estimate of x0. EDM (2206.00364), Eq. 7.

        Args:
            x: x0 + sigma * noise, shape (B, C, H, W), float32.
            sigma: Noise level at the waist, shape (B,).
            condition: Labels and text, or nothing.
        """
        c = self.preconditioning(sigma).expand(x.ndim)
        return c.skip * x + c.out * self.network(c.in_ * x, c, condition)

    def network(self, x: Image, c: Preconditioning, condition: Condition) -> Image:
        """Return the network's raw output F(x, c_noise), given its own input."""
        return self.outputs(x, c.noise.float(), condition, c)[-1]

    def asarray(self, values: np.ndarray) -> Tensor:
        """A numpy array as a tensor on this model's device; floats become float32."""
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        return tensor.to(self.device, torch.float32 if tensor.is_floating_point() else tensor.dtype)

    def encode(self, images: np.ndarray) -> Tensor:
        """uint8 (B, H, W, C) → model space (B, C', H', W') on this model's device, without waiting for it."""
        pixels = torch.from_numpy(np.require(images, requirements=["C", "W"]))
        if self.device.type == "cuda":
            pixels = pixels.pin_memory()
        return self.codec.encode(pixels.to(self.device, non_blocking=True))

    def decode(self, x0: Tensor) -> np.ndarray:
        """Model space → uint8 (B, H, W, C)."""
        return self.codec.decode(x0).cpu().numpy()

    def give(self, pictures: np.ndarray) -> np.ndarray:
        """What is given beside x, made of pictures: uint8 (N, H, W, C) → float32 (N, G, h, w).

        Args:
            pictures: As ``self.given.prepare`` takes them.

        Raises:
            ArgumentError: The model is given nothing, or pictures of a wrong size.
        """
        side = self.backbone.config.size * self.codec.factor
        images = self.given.prepare(torch.from_numpy(np.require(pictures, requirements=["C", "W"])), side, side)
        return self.codec.encode(images.to(self.device)).cpu().numpy()

    def class_index(self, name: str) -> int:
        """The index of a class, from its name or its number.

        Raises:
            ArgumentError: There is no such class.
        """
        return class_number(name, self.classes)


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


def _check_space(config: BackboneConfig, codec: Codec, given: Given) -> None:
    """Refuse a backbone of another model space than the codec's."""
    if config.channels != codec.channels:
        kind = "pixels" if codec.factor == 1 else f"latents of factor {codec.factor}"
        raise ConfigError(
            f"the backbone has {config.channels} channels and the codec, {kind}, {codec.channels}: a model of latents "
            "needs the autoencoder that it was made for (codec); else make them equal (backbone.channels)"
        )
    if config.given_channels != given.channels(codec):
        raise ConfigError(
            f"the backbone is given {config.given_channels} channels and {type(given).__name__.lower()} has "
            f"{given.channels(codec)}: make them equal (backbone.given_channels)"
        )


def _check_text(config: BackboneConfig, text: TextConfig) -> None:
    """Refuse a text encoder whose tokens the backbone does not take."""
    if not isinstance(text, NoText) and (text.num_tokens, text.token_width) != (config.text_length, config.text_width):
        raise ConfigError(
            f"the text encoder has {text.num_tokens} tokens of {text.token_width} and the backbone takes "
            f"{config.text_length} of {config.text_width}: make them equal (backbone.text_length, text_width)"
        )


def _check_guest(guest: Model, config: BackboneConfig, codec: Codec, classes: tuple[str, ...]) -> None:
    """Refuse a guest that cannot take what a model gets, or whose pictures mean something else."""
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
    size, multiple = guest.backbone.config.size, guest.multiple
    if size != config.size and (multiple is None or config.size % multiple):
        sizes = "this alone" if multiple is None else f"multiples of {multiple}"
        raise ConfigError(
            f"a guest of {size}x{size} pixels in a model of {config.size}x{config.size}: it takes {sizes}; take "
            "another guest, or images of its size (data.size)"
        )


def _space(codec: Codec) -> str:
    """A codec for a message of one line."""
    return f"{codec.picture_channels} channels" if codec.factor == 1 else f"latents {codec.digest[:12]}"


def _names(classes: tuple[str, ...]) -> str:
    """Classes for a message of one line."""
    few = ", ".join(classes[:4]) + (", ..." if len(classes) > 4 else "")
    return f"{len(classes)} classes ({few})" if classes else "no classes"
