"""Models: backbone + noise process + prediction + codec (+ text), together a denoiser in sigma space."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from brickwork.backbone.base import Backbone, BackboneConfig, check_parts
from brickwork.backbone.bricks import Bricks
from brickwork.bounds import broken_rule
from brickwork.codec.base import Codec, as_pictures
from brickwork.codec.image_condition import ImageCondition, Nothing
from brickwork.diffusion.denoiser import Capabilities, Condition, levels_like
from brickwork.diffusion.preconditioning import Preconditioning, precondition
from brickwork.diffusion.prediction import Prediction
from brickwork.diffusion.process import NoiseProcess
from brickwork.errors import ArgumentError, ConfigError, short
from brickwork.files.notebook import facts_html
from brickwork.model.hosted import Hosted, check_hosting, host
from brickwork.nn.shapes import Image, Sigma
from brickwork.sampling.options import class_number
from brickwork.text.base import NoText, TextConfig, TextEncoder

Precision = Literal["fp32", "bf16"]


class Model(nn.Module):
    """Backbone together with the meaning of its numbers; calling it is the denoiser D(x, sigma, condition).

    Args:
        backbone: The network; with a guest, the bricks after it.
        process: Noise process; gives time, noise levels, c_in and c_noise.
        prediction: Quantity that the network's output estimates.
        codec: Conversion between pictures and model space (pixels or latents).
        classes: Class names, as many as ``backbone.config.num_classes``; empty for names "0", "1", ...
        facts: Facts of the training, JSON-like; kept in the model's file.
        guest: Trained model that runs before the first brick, if the backbone takes one. It is frozen in place
            and follows the model's precision.
        text: Text encoder or its config, if the backbone takes text; without one it takes embedded tokens alone. One
            that learns with the backbone belongs to the model's weights; a frozen one is opened when it is needed.
        image_condition: Image condition that is concatenated to x; none by default.

    Attributes:
        backbone: Whole network: ``Hosted`` with a guest, else the argument.
        text_config: Config of the text encoder.
        digest: SHA-256 (hex) of the file it was loaded from or saved to, or "".

    Raises:
        ConfigError: Codec, text encoder or image condition do not fit the backbone, the number of class names is not
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
        image_condition: ImageCondition = Nothing(),
    ) -> None:
        super().__init__()
        config = backbone.config
        check_hosting(config, guest is not None)
        text_config = text.config if isinstance(text, TextEncoder) else text
        _check_space(config, codec, image_condition)
        _check_text(config, text_config)
        if classes and len(classes) != config.num_classes:
            raise ConfigError(
                f"{len(classes)} class names for a backbone of {config.num_classes} classes: make them equal "
                "(backbone.num_classes)"
            )
        if rule := broken_rule(classes, tuple[str, ...]):
            raise ConfigError(f"class names {short(classes)}: must be {rule}")
        self.classes = classes or tuple(str(k) for k in range(config.num_classes))
        self.backbone = backbone if guest is None else host(guest, backbone, codec, self.classes)
        self.process = process
        self.prediction = prediction
        self.codec = codec
        self.image_condition = image_condition
        self.text_config = text_config
        encoder = text if isinstance(text, TextEncoder) else text.build() if text.trained else None
        self.text = encoder if text_config.trained else None
        # A frozen encoder, once it is needed; the list keeps it out of the model's modules.
        self._opened = [] if encoder is None or text_config.trained else [encoder]
        self.facts: dict[str, Any] = facts or {}
        self.precision = "fp32"
        self.digest = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one image in model space."""
        config = self.backbone.config
        return config.channels, config.size, config.size

    @property
    def guest(self) -> Model | None:
        """Trained model that runs before the first brick; None without one."""
        guest = self.backbone.guest if isinstance(self.backbone, Hosted) else None
        assert guest is None or isinstance(guest, Model)
        return guest

    @property
    def own_backbone(self) -> Backbone:
        """Network that learns: the backbone without a guest before it."""
        return self.backbone.bricks if isinstance(self.backbone, Hosted) else self.backbone

    @property
    def precision(self) -> Precision:
        """Arithmetic of the network: "fp32", or "bf16" by autocast; a guest follows. Inputs and outputs stay fp32."""
        return self._precision

    @precision.setter
    def precision(self, precision: Precision) -> None:
        self._precision: Precision = precision
        if self.guest is not None:
            self.guest.precision = precision

    @property
    def multiple(self) -> int | None:
        """Divisor of the sides of every x that the model takes; None if it takes its own shape alone."""
        return self.backbone.config.multiple

    def _repr_html_(self) -> str:
        """Return the model's design, size, classes and training, for a notebook."""
        config, count = self.backbone.config, sum(weight.numel() for weight in self.parameters())
        (_, high, wide), factor = self.shape, self.codec.factor
        named = ", ".join(self.classes[:20]) + (", ..." if len(self.classes) > 20 else "")
        told = {key: value for key, value in self.facts.items() if key != "recipe"}
        facts = {
            "backbone": config,
            "parameters": f"{count / 1e6:.4g} M in {self.num_parts} parts",
            "pictures": f"{wide * factor}x{high * factor}x{self.codec.picture_channels}",
            "process": self.process,
            "prediction": self.prediction,
            "classes": named or "none",
            **{f"training: {key}": value for key, value in told.items()},
        }
        return facts_html("Model", facts)

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 for a model without classes."""
        return self.backbone.config.num_classes

    @property
    def text_shape(self) -> tuple[int, int] | None:
        """Shape (M, E) of the text tokens; None for a model without text."""
        config = self.backbone.config
        return (config.text_length, config.text_width) if config.text_length else None

    @property
    def reads_text(self) -> bool:
        """True if the model has a text encoder."""
        return not isinstance(self.text_config, NoText)

    @property
    def condition_channels(self) -> int:
        """Channels of the image condition; 0 for none."""
        return self.backbone.config.condition_channels

    @property
    def capabilities(self) -> Capabilities:
        """Declaration of the inputs that the model takes."""
        return Capabilities(
            shape=self.shape,
            multiple=self.multiple,
            num_classes=self.num_classes,
            classes=self.classes,
            text_shape=self.text_shape,
            reads_text=self.reads_text,
            condition_channels=self.condition_channels,
            factor=self.codec.factor,
        )

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    @property
    def num_parts(self) -> int:
        """Number of blocks or bricks in a row; a guest, if there is one, is the first."""
        return self.backbone.num_parts

    def first(self, n: int) -> Model:
        """Return the model of the first n blocks: the same weights, precision and digest; itself for all blocks.

        The first block of a model with a guest is the guest itself.

        Raises:
            ArgumentError: n is not from 1 to ``num_parts``.
            ConfigError: The first n blocks alone are no network.
        """
        check_parts(n, self.num_parts)
        return self.keep(range(n))

    def keep(self, parts: Sequence[int]) -> Model:
        """Return the model of some blocks, counted from 0, as ``first`` makes it.

        Raises:
            ArgumentError: The numbers do not rise, or name no block.
            ConfigError: These blocks alone are no network.
        """
        if self.guest is not None and tuple(parts) == (0,):
            return self.guest
        backbone = self.backbone.keep(parts)
        if backbone is self.backbone:
            return self
        kept = Model(
            backbone,
            self.process,
            self.prediction,
            self.codec,
            self.classes,
            self.facts,
            text=self.text or self.text_config,
            image_condition=self.image_condition,
        )
        kept._opened = self._opened
        kept.precision, kept.digest, kept.training = self.precision, self.digest, self.training
        return kept

    def requires_grad_(self, requires_grad: bool = True) -> Model:
        """Turn gradients of the weights on or off; a guest's and an autoencoder's stay off."""
        for module in self.learning():
            module.requires_grad_(requires_grad)
        return self

    def learning(self) -> list[nn.Module]:
        """Return the modules that training changes: the backbone without a guest, and a text encoder that learns."""
        return [self.own_backbone] if self.text is None else [self.own_backbone, self.text]

    def outputs(
        self,
        x: Image,
        c_noise: Sigma,
        condition: Condition,
        preconditioning: Preconditioning | None = None,
        chosen: Sequence[Tensor] = (),
    ) -> list[Image]:
        """Return the network's raw outputs, fp32: one, or one for each brick; the last is the model's.

        The guest's output is not among them.

        Args:
            x: Input of the network: c_in times x0 + sigma noise, equally alpha x0 + sigma eps scaled by the process.
            c_noise: Noise level as the network reads it, (B,), float32.
            condition: Labels, text and image condition; text as token numbers if gradients must reach the encoder.
            preconditioning: Coefficients of this batch, which bricks may need; see ``Bricks.outputs``.
            chosen: Windows that get gradients; see ``Bricks.outputs``.
        """
        backbone = self.backbone
        with self._autocast(x.device.type):
            condition = self._embedded(condition)
            if not isinstance(backbone, Bricks):
                return [backbone(x, c_noise, condition).float()]
            outputs = backbone.outputs(x, c_noise, condition, preconditioning=preconditioning, chosen=chosen)
            return [output.float() for output in outputs]

    def _autocast(self, device: str) -> AbstractContextManager[object]:
        """Return bf16 autocast if the precision asks for it, else no context: a graph then keeps its modules' names."""
        if self.precision == "fp32" and (device == "meta" or not torch.is_autocast_enabled(device)):
            return nullcontext()
        return torch.autocast(device, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def _embedded(self, condition: Condition) -> Condition:
        """Return the condition with token numbers embedded."""
        text = condition.text
        if text is None or text.is_floating_point():
            return condition
        return replace(condition, text=self.encoder()(text).float())

    def encoder(self) -> TextEncoder:
        """Return the text encoder; a frozen one is opened, which may read or download its files.

        Raises:
            ConfigError: The model has none.
            BrickworkError: The files of a frozen one are not where they should be.
        """
        if self.text is not None:
            return self.text
        if not self._opened:
            self._opened.append(self.text_config.build().to(self.device).eval().requires_grad_(False))
        return self._opened[0]

    def embed_text(self, captions: Sequence[str]) -> np.ndarray:
        """Embed captions as tokens, float32 (N, M, E).

        Raises:
            ConfigError: The model has no text encoder.
        """
        encoder = self.encoder()
        tokens = torch.from_numpy(encoder.tokenize(list(captions))).to(self.device)
        with torch.no_grad():
            return encoder(tokens).float().cpu().numpy()

    def unknown_words(self, captions: Sequence[str]) -> list[str]:
        """Return the words of captions that its text encoder never learned, each once, in order."""
        return self.encoder().unknown_words(captions)

    def preconditioning(self, sigma: Sigma) -> Preconditioning:
        """Return c_skip, c_out, c_in and c_noise at noise levels sigma (B,); see ``precondition``."""
        return precondition(self.process, self.prediction, sigma)

    def forward(self, x: Image, sigma: Sigma | float, condition: Condition | None = None) -> Image:
        """Return D(x, sigma) = c_skip x + c_out F(c_in x, c_noise), the estimate of x0. EDM (2206.00364), Eq. 7.

        Args:
            x: x0 + sigma * noise, shape (B, C, H, W), float32.
            sigma: Noise level, shape (B,), or one number for all.
            condition: Labels, text and image condition; left out, the model draws unconditionally.

        Raises:
            ArgumentError: The condition is missing, for a model with an image condition.
        """
        levels: Sigma = levels_like(sigma, x)
        condition = self.capabilities.nothing(x) if condition is None else condition
        c = self.preconditioning(levels).expand(x.ndim)
        return c.skip * x + c.out * self.network(c.in_ * x, c, condition)

    def network(self, x: Image, c: Preconditioning, condition: Condition) -> Image:
        """Return the network's raw output F(x, c_noise), from its own input x."""
        return self.outputs(x, c.noise.float(), condition, c)[-1]

    def asarray(self, values: np.ndarray) -> Tensor:
        """Convert a numpy array into a tensor on this model's device; floats become float32.

        Raises:
            ArgumentError: The weights are not of float32, so that nothing can be drawn.
        """
        strange = {weight.dtype for weight in self.backbone.parameters()} - {torch.float32}
        if strange or self.device.type == "meta":
            what = f"of {strange.pop()}" if strange else "without numbers (meta)"
            raise ArgumentError(f"weights {what}: a model draws with float32; call model.float(), or load it again")
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        return tensor.to(self.device, torch.float32 if tensor.is_floating_point() else tensor.dtype)

    def encode(self, images: np.ndarray) -> Tensor:
        """Encode pictures, uint8 (B, H, W, C) → model space (B, C', H', W') on this model's device; does not wait.

        Raises:
            ArgumentError: The pictures have another dtype, shape or size.
        """
        pixels = as_pictures(np.asarray(images))
        if self.device.type == "cuda":
            pixels = pixels.pin_memory()
        return self.codec.encode(pixels.to(self.device, non_blocking=True))

    def decode(self, x0: Tensor) -> np.ndarray:
        """Decode model space into pictures, uint8 (B, H, W, C)."""
        return self.codec.decode(x0).cpu().numpy()

    def as_image_condition(self, pictures: np.ndarray) -> np.ndarray:
        """Make the image condition from pictures: uint8 (N, H, W, C) → float32 (N, G, h, w).

        Args:
            pictures: Pictures as ``self.image_condition.prepare`` takes them.

        Raises:
            ArgumentError: The model has no image condition, or the pictures have a wrong size.
        """
        side = self.backbone.config.size * self.codec.factor
        images = self.image_condition.prepare(as_pictures(np.asarray(pictures)), side, side)
        return self.codec.encode(images.to(self.device)).cpu().numpy()

    def class_index(self, name: str) -> int:
        """Return the index of a class, from its name or its number.

        Raises:
            ArgumentError: The class does not exist.
        """
        return class_number(name, self.classes)


def _check_space(config: BackboneConfig, codec: Codec, image_condition: ImageCondition) -> None:
    """Refuse a backbone of another model space than the codec's."""
    if config.channels != codec.channels:
        kind = "pixels" if codec.factor == 1 else f"latents of factor {codec.factor}"
        raise ConfigError(
            f"the backbone has {config.channels} channels and the codec, {kind}, {codec.channels}: a model of latents "
            "needs the autoencoder that it was made for (codec); else make them equal (backbone.channels)"
        )
    if config.condition_channels != image_condition.channels(codec):
        raise ConfigError(
            f"the backbone takes an image condition of {config.condition_channels} channels and "
            f"{type(image_condition).__name__.lower()} has {image_condition.channels(codec)}: make them equal "
            "(backbone.condition_channels)"
        )


def _check_text(config: BackboneConfig, text: TextConfig) -> None:
    """Refuse a text encoder whose tokens the backbone does not take."""
    if not isinstance(text, NoText) and (text.num_tokens, text.token_width) != (config.text_length, config.text_width):
        raise ConfigError(
            f"the text encoder has {text.num_tokens} tokens of {text.token_width} and the backbone takes "
            f"{config.text_length} of {config.text_width}: make them equal (backbone.text_length, text_width)"
        )
