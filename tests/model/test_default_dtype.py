"""A program's own default dtype changes nothing: models are built, trained, saved, loaded and drawn from in float32."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import CONFIGS, latent_model, text_model, tiny_model

import brickwork as bw
from brickwork.backbone.stoic import Stoic
from brickwork.backbone.unet import Unet
from brickwork.model.model import Model

DESIGNS = {name: lambda name=name: tiny_model(name) for name in CONFIGS}
DESIGNS |= {
    "unet": lambda: tiny_model(
        Unet.Config(size=8, channels=3, num_classes=5, widths=(32, 32), attention=(1,), num_blocks=1, groups=8)
    ),
    "latents": latent_model,
    "text": text_model,
}


@pytest.fixture
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def pictures_of(model: Model, name: str) -> np.ndarray:
    text = "red square" if name == "text" else None
    return bw.sample(model, seeds=[0, 1], text=text, steps=2, guidance=2.0 if model.num_classes else 1.0)


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("built", ["before", "after"])
def test_the_same_pictures(name: str, built: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    model = DESIGNS[name]()
    bw.save(model, tmp_path / "m.safetensors")
    wanted = pictures_of(model, name)
    request.getfixturevalue("float64")
    if built == "after":
        model = bw.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(pictures_of(model, name), wanted)


@pytest.mark.usefixtures("float64")
def test_training(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", images=pixels, labels=np.arange(40) % 2)
    recipe = bw.Recipe(backbone=Stoic.Config(width=32, depth=1, stride=1), batch=4, steps=2, warmup=1, precision="fp32")
    model = bw.train(recipe, tmp_path / "set.npz", tmp_path / "run", progress=False)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    autoencoder = bw.AutoencoderRecipe(batch=4, steps=2, warmup=1, precision="fp32")
    bw.train_autoencoder(autoencoder, tmp_path / "set.npz", tmp_path / "codec", progress=False)
