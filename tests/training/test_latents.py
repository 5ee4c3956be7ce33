"""Training in latent space: cached latents are the codec's, runs resume, and what does not go together is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from brickwork.backbone.lego import Lego
from brickwork.backbone.stoic import Stoic
from brickwork.codec.autoencoder import Autoencoder
from brickwork.codec.base import Pixels
from brickwork.codec.image_condition import Coarse
from brickwork.codec.latents import Latents
from brickwork.data.dataset import Dataset
from brickwork.errors import ConfigError
from brickwork.files.tensors import read_tensors
from brickwork.model.checkpoint import load
from brickwork.model.model import Model
from brickwork.quality.evaluate import picture_shape
from brickwork.sampling.loop import sample
from brickwork.training.denoiser.batches import draw_batch, prepare_data
from brickwork.training.denoiser.begin import build_model
from brickwork.training.denoiser.loop import train
from brickwork.training.denoiser.recipe import Recipe, fit_to_data
from brickwork.training.run.statefile import Counters

MakeRecipe = Callable[..., Recipe]
MakeData = Callable[..., Dataset]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def data(make_data: MakeData) -> Dataset:
    return make_data(24, 16, 3)


def codec_for(data: Dataset, posterior: str = "mode") -> Latents:
    torch.manual_seed(0)
    autoencoder = Autoencoder.Config(channels=4, factor=4, width=8, decoder_depth=1).build()
    return Latents.measure(autoencoder, [data.images], "sample" if posterior == "sample" else "mode")


def trained(recipe: Recipe, data: Dataset, out: Path, codec: Latents | None, **options: object) -> Model:
    heldout = replace(data, digest="held out")
    return train(recipe, data, out, heldout, codec=codec, device="cpu", progress=False, **options)  # pyright: ignore[reportArgumentType]


def test_a_model_of_latents_from_training_to_pictures(make_recipe: MakeRecipe, data: Dataset, tmp_path: Path) -> None:
    codec = codec_for(data)
    model = trained(make_recipe(report={"sheet_steps": 2, "sheet_seeds": 2}), data, tmp_path / "a", codec)
    assert model.shape == (4, 4, 4)
    assert picture_shape(model) == (16, 16, 3)
    again = load(tmp_path / "a")
    pictures = sample(again, seeds=[0, 1, 2], labels=1, steps=3)
    assert pictures.shape == (3, 16, 16, 3)
    alone = sample(again, seeds=[2], labels=1, steps=3)[0].astype(int)
    assert np.abs(pictures[2].astype(int) - alone).max() <= 1, "a picture depends on its own seed alone"
    assert again.facts["codec_sha256"] == codec.digest


def test_the_autoencoder_learns_nothing(make_recipe: MakeRecipe, data: Dataset, tmp_path: Path) -> None:
    codec = codec_for(data)
    before = {name: tensor.clone() for name, tensor in codec.state_dict().items()}
    model = trained(make_recipe(), data, tmp_path / "a", codec)
    after = model.codec.state_dict() if isinstance(model.codec, Latents) else {}
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(
        name.startswith(("model.codec", "average.codec"))
        for name in read_tensors(tmp_path / "a" / "state.safetensors")[0]
    )


@pytest.mark.parametrize("posterior", ["mode", "sample"])
def test_a_batch_is_what_the_codec_encodes(posterior: str, make_recipe: MakeRecipe, data: Dataset) -> None:
    codec = codec_for(data, posterior)
    recipe = fit_to_data(make_recipe(), data, codec=codec)
    model = build_model(recipe, data, codec=codec)
    prepared = prepare_data(data, model)
    cached, again = (draw_batch(recipe, data, model, Counters(), prepared) for _ in range(2))
    plain = draw_batch(recipe, data, model, Counters())
    torch.testing.assert_close(cached.x0, again.x0, rtol=0, atol=0)
    if posterior == "mode":
        torch.testing.assert_close(cached.x0, plain.x0, rtol=0, atol=1e-5)
        torch.testing.assert_close(cached.noise, plain.noise, rtol=0, atol=0)
    else:
        assert prepared.latents is not None
        deviation = prepared.latents.batch(np.arange(len(data)), None)[1]
        assert deviation is not None
        drawn = (cached.x0 - plain.x0).square().mean() / float(np.square(deviation).mean())
        assert 0.7 < float(drawn) < 1.4, "a sample is its deviation away from the mean"


def test_a_run_resumes_with_its_own_autoencoder(make_recipe: MakeRecipe, data: Dataset, tmp_path: Path) -> None:
    codec = codec_for(data)
    whole = trained(make_recipe(schedule="constant", steps=6), data, tmp_path / "whole", codec)
    trained(make_recipe(schedule="constant", steps=3), data, tmp_path / "parts", codec)
    parts = trained(make_recipe(schedule="constant", steps=6), data, tmp_path / "parts", None)
    assert parts.facts["steps"] == 6
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name]), name
    other = Latents.measure(Autoencoder.Config(channels=4, factor=4, width=8).build(), [data.images])
    with pytest.raises(ConfigError, match="holds a run with another autoencoder"):
        trained(make_recipe(schedule="constant", steps=9), data, tmp_path / "parts", other)


def test_a_latent_start_keeps_its_latents(make_recipe: MakeRecipe, data: Dataset, tmp_path: Path) -> None:
    first = trained(make_recipe(), data, tmp_path / "a", codec_for(data))
    tuned = trained(make_recipe(), data, tmp_path / "b", None, init=first)
    assert isinstance(tuned.codec, Latents)
    assert tuned.codec.config == codec_for(data).config


def test_bricks_with_a_guest_share_one_autoencoder(make_recipe: MakeRecipe, data: Dataset, tmp_path: Path) -> None:
    codec = codec_for(data)
    guest = trained(make_recipe(), data, tmp_path / "guest", codec)
    bricks = (Lego.Brick(window=2, patch=1, width=16, heads=2, depth=1),)
    recipe = make_recipe(backbone=Lego.Config(bricks=bricks, vector_width=16))
    model = trained(recipe, data, tmp_path / "host", codec, guest=guest)
    tensors = read_tensors(tmp_path / "host" / "model.safetensors")[0]
    assert not any("guest.codec" in name for name in tensors)
    again = load(tmp_path / "host")
    np.testing.assert_array_equal(sample(again, seeds=[0], steps=2), sample(model, seeds=[0], steps=2))


def test_image_conditions_are_of_model_space(make_recipe: MakeRecipe, data: Dataset, tmp_path: Path) -> None:
    codec = codec_for(data)
    recipe = make_recipe(image_condition=Coarse(scale=4), report={"sheet_steps": 2, "sheet_seeds": 2})
    model = trained(recipe, data, tmp_path / "a", codec)
    assert model.condition_channels == 4
    image = model.as_image_condition(data.images[:2])
    assert image.shape == (2, 4, 4, 4)
    assert sample(model, seeds=[0, 1], labels=0, image=image, steps=2).shape == (2, 16, 16, 3)
    batch = draw_batch(fit_to_data(recipe, data, codec=codec), data, model, Counters(), prepare_data(data, model))
    assert batch.condition.image is not None
    assert batch.condition.image.shape == batch.x0.shape


def test_what_does_not_go_together(make_recipe: MakeRecipe, data: Dataset, make_data: MakeData) -> None:
    codec = codec_for(data)
    config = Stoic.Config(width=32, depth=1, stride=1, size=4, channels=4)
    parts = (make_recipe().process, make_recipe().prediction)
    with pytest.raises(ConfigError, match="the backbone has 4 channels and the codec, pixels, 3: a model of latents"):
        Model(config.build(), *parts, Pixels())
    with pytest.raises(ConfigError, match="this autoencoder takes 3 channels and sides that 4 divides"):
        fit_to_data(make_recipe(), make_data(8, 16, 1), codec=codec)
    with pytest.raises(ConfigError, match="this autoencoder takes 3 channels and sides that 4 divides"):
        fit_to_data(make_recipe(), make_data(8, 18, 3), codec=codec)
    with pytest.raises(ConfigError, match="an image condition of 0 channels and coarse has 4"):
        Model(config.build(), *parts, codec, image_condition=Coarse(scale=2))
