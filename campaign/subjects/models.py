"""Model files and files of autoencoders: loaded, described, and one step drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tiny_models import awake, latent_model, text_model, tiny_model

import brickwork as bw
from brickwork.cli import main
from brickwork.model.header import HEADER
from campaign.subject import Subject, each_byte

FILE = "model.safetensors"
HEADERS = {FILE: HEADER, "autoencoder.safetensors": "brickwork-autoencoder"}
BRICKS = tuple(bw.Lego.Brick(window=window, patch=2, width=8, heads=2, depth=1) for window in (4, 0))


def small() -> bw.Model:
    """STOIC of two blocks that draws grey 8x8."""
    return tiny_model(bw.Stoic.Config(size=8, channels=1, num_classes=3, width=16, heads=2, depth=2, stride=1))


def guest() -> bw.Model:
    """LEGO bricks after a guest."""
    config = bw.Lego.Config(bricks=BRICKS, vector_width=8, guest=True, size=8, channels=1, num_classes=3)
    torch.manual_seed(0)
    model = bw.Model(config.build(), bw.Edm(), bw.EdmF(), bw.Pixels(num_channels=1), guest=small())
    awake(model.own_backbone)
    return model.eval().requires_grad_(False)


def drawn(place: Path) -> Any:
    """Load a model, draw one step, and list its classes and facts."""
    model = bw.load(place / FILE)
    text = "red square" if model.text is not None else None
    labels = 0 if model.num_classes else None
    pictures = bw.sample(model, seeds=[3], labels=labels, text=text, steps=1)
    return pictures, model.classes, model.facts


def described(place: Path) -> Any:
    """Describe a model by the command line."""
    code = main(["info", str(place / FILE)])
    assert code in (0, 1), f"exit code {code}"
    return code


def decoded(place: Path) -> Any:
    """Load an autoencoder, and encode and decode a picture."""
    codec = bw.load_codec(place / "autoencoder.safetensors")
    pictures = torch.arange(8 * 8 * 3, dtype=torch.uint8).reshape(1, 8, 8, 3)
    latents = codec.encode(pictures)
    return latents, codec.decode(latents)


def autoencoder(place: Path) -> None:
    """Write the autoencoder of the tiny latent model."""
    codec = latent_model().codec
    assert isinstance(codec, bw.Latents)
    bw.save_codec(codec, place / "autoencoder.safetensors", {"steps": 3})


def saved(name: str, model: Callable[[], bw.Model], share: float = 1.0) -> Subject:
    """Return the subject that saves a model, and draws with it."""
    return Subject(
        name=name,
        make=lambda place: bw.save(model(), place / FILE),
        read=drawn,
        guarded=each_byte,
        headers=HEADERS,
        share=share,
    )


SUBJECTS = (
    saved("model", small, share=2.0),
    saved("model, guest", guest),
    saved("model, words", text_model),
    saved("model, latents", latent_model),
    Subject(name="info", make=lambda p: bw.save(small(), p / FILE), read=described, headers=HEADERS, share=0.5),
    Subject(name="autoencoder", make=autoencoder, read=decoded, guarded=each_byte, headers=HEADERS),
)
