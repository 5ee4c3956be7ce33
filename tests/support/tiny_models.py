"""Tiny models of every design for tests of packages: no weight is zero, so that no part of a graph can hide."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from brickwork.backbone.base import BackboneConfig
from brickwork.backbone.dit import Dit
from brickwork.backbone.lego import Lego
from brickwork.backbone.stoic import Stoic
from brickwork.backbone.tldm import Tldm
from brickwork.backbone.uvit import Uvit
from brickwork.codec.autoencoder import Autoencoder
from brickwork.codec.base import Codec, Pixels
from brickwork.codec.latents import Latents
from brickwork.diffusion.prediction import EdmF, Prediction, Velocity
from brickwork.diffusion.process import Edm, LinearFlow, NoiseProcess
from brickwork.model.model import Model
from brickwork.text.base import NoText, TextConfig
from brickwork.text.small import Words

IMAGE: dict[str, Any] = {"size": 8, "channels": 3, "num_classes": 5}
BRICKS = tuple(Lego.Brick(window=window, patch=2, width=32, heads=2, depth=1) for window in (4, 0, 4))

CONFIGS: dict[str, BackboneConfig] = {
    "stoic": Stoic.Config(width=32, heads=2, depth=3, depthwise=True, stem_layers=2, **IMAGE),
    "stoic adaln": Stoic.Config(width=32, heads=2, depth=3, time="adaln", position="rope", qk_norm=True, **IMAGE),
    "lego": Lego.Config(bricks=BRICKS, vector_width=32, **IMAGE),
    "tldm": Tldm.Config(width=32, heads=2, depth=3, **IMAGE),
    "uvit": Uvit.Config(width=32, heads=2, depth=3, **IMAGE),
    "dit": Dit.Config(width=32, heads=2, depth=3, **IMAGE),
}


def awake(module: nn.Module, seed: int = 0) -> None:
    """Add noise to every weight, of a size that keeps activations near 1; gates that begin at zero open."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            size = weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.1
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=size)


def tiny_model(
    config: BackboneConfig | str,
    process: NoiseProcess | None = None,
    target: Prediction | None = None,
    codec: Codec | None = None,
    text: TextConfig = NoText(),
    classes: tuple[str, ...] = (),
) -> Model:
    """A model of a config, or of one of ``CONFIGS``, with weights that are awake."""
    config = CONFIGS[config] if isinstance(config, str) else config
    torch.manual_seed(0)
    codec = codec if codec is not None else Pixels(num_channels=config.channels)
    edm = isinstance(config, Lego.Config)
    process, target = process or (Edm() if edm else LinearFlow()), target or (EdmF() if edm else Velocity())
    model = Model(config.build(), process, target, codec, text=text, classes=classes)
    awake(model.backbone)
    return model.eval().requires_grad_(False)


def latent_model() -> Model:
    """TLDM in latents of 4x4x4 of a tiny autoencoder: pictures of 8x8."""
    torch.manual_seed(1)
    autoencoder = Autoencoder.Config(factor=2, channels=4, width=8).build()
    awake(autoencoder, 1)
    pictures = torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8).numpy()
    codec = Latents.measure(autoencoder, [pictures])
    return tiny_model(Tldm.Config(size=4, channels=4, num_classes=5, width=32, heads=2, depth=2, patch=1), codec=codec)


def text_model() -> Model:
    """STOIC that reads words and knows no class."""
    text = Words.Config(length=6, width=16, depth=1, heads=2, words=("red", "blue", "square", "circle"))
    config = Stoic.Config(size=8, channels=3, width=32, heads=2, depth=2, text_length=6, text_width=16)
    model = tiny_model(config, text=text)
    assert model.text is not None
    awake(model.text, 2)
    return model
