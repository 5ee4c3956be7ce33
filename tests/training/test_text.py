"""Training on captions: the encoder learns with the backbone, captions are hidden at times, files hold all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from brickwork.backbone.lego import Lego
from brickwork.backbone.stoic import Stoic
from brickwork.data.dataset import Dataset
from brickwork.diffusion.denoiser import Condition
from brickwork.errors import ArgumentError, ConfigError
from brickwork.model.checkpoint import load
from brickwork.model.model import Model
from brickwork.sampling.loop import sample
from brickwork.text.base import NoText
from brickwork.text.small import Words
from brickwork.training.denoiser.batches import draw_batch, prepare_data
from brickwork.training.denoiser.begin import build_model
from brickwork.training.denoiser.gradient import accumulate_gradient
from brickwork.training.denoiser.loop import train
from brickwork.training.denoiser.recipe import Recipe, fit_to_data
from brickwork.training.denoiser.recipe_file import parse_recipe, to_toml
from brickwork.training.denoiser.state import TrainState
from brickwork.training.run.statefile import Counters

MakeRecipe = Callable[..., Recipe]
MakeData = Callable[..., Dataset]
WORDS = Words.Config(length=4, width=16, depth=1, heads=2)
CAPTIONS = ("red square", "blue square", "red circle", "blue circle")
BRICKS = (Lego.Brick(window=0, patch=2, width=16, heads=2, depth=1),)
BACKBONES = {
    "stoic": Stoic.Config(width=32, depth=1, stride=1, depthwise=True),
    "lego": Lego.Config(bricks=BRICKS, vector_width=16),
}


@pytest.fixture
def data(make_data: MakeData) -> Dataset:
    plain = make_data(40, 4, classes=())
    return replace(plain, captions=tuple(CAPTIONS[i % 4] for i in range(40)), digest="captioned")


@pytest.mark.parametrize("backbone", list(BACKBONES))
def test_from_captions_to_pictures(backbone: str, make_recipe: MakeRecipe, data: Dataset, tmp_path: Path) -> None:
    report = {"sheet_steps": 2, "sheet_seeds": 2}
    recipe = make_recipe(backbone=BACKBONES[backbone], text=WORDS, lr=0.01, report=report)
    model = train(recipe, data, tmp_path, replace(data, digest="other"), device="cpu", progress=False)
    again = load(tmp_path)
    assert again.text_shape == (4, 16)
    np.testing.assert_array_equal(again.embed_text(CAPTIONS), model.embed_text(CAPTIONS))
    both = sample(again, seeds=[5, 5], text=["red square", "blue circle"], steps=3)
    assert (both[0] != both[1]).any()
    alone = sample(again, seeds=[5], text="blue circle", steps=3)
    assert np.abs(both[1].astype(int) - alone[0]).max() <= 1
    embedded = again.embed_text(["blue circle"])
    np.testing.assert_array_equal(sample(again, seeds=[5], text=embedded, steps=3), alone)


def test_every_weight_of_the_encoder_learns(make_recipe: MakeRecipe, data: Dataset) -> None:
    recipe = fit_to_data(make_recipe(text=WORDS), data)
    state = TrainState(build_model(recipe, data), recipe)
    assert state.model.text is not None
    before = {name: p.detach().clone() for name, p in state.model.text.named_parameters()}
    prepared = prepare_data(data, state.model)
    for _ in range(3):
        state.update(accumulate_gradient(state, draw_batch(recipe, data, state.model, state.counters, prepared)))
    moved = {name for name, p in state.model.text.named_parameters() if not torch.equal(p, before[name])}
    assert moved == before.keys()


def test_captions_are_hidden_as_often_as_asked(make_recipe: MakeRecipe, data: Dataset) -> None:
    recipe = fit_to_data(make_recipe(text=WORDS, text_dropout=0.25, batch=400), data)
    model = build_model(recipe, data)
    prepared = prepare_data(data, model)
    first, again = (draw_batch(recipe, data, model, Counters(step=3), prepared).condition.text for _ in range(2))
    assert first is not None
    assert again is not None
    assert first.dtype == torch.int64
    assert torch.equal(first, again)
    assert 0.2 < float((first == 0).all(dim=1).float().mean()) < 0.3


def test_a_hidden_caption_is_no_text(make_recipe: MakeRecipe, data: Dataset) -> None:
    recipe = fit_to_data(make_recipe(text=WORDS), data)
    model = build_model(recipe, data).eval()
    x, number = torch.randn(2, 1, 4, 4), torch.tensor([3.0, 4.0])
    with torch.no_grad():
        hidden, none = (
            model.outputs(x, number, Condition(text=text))[-1] for text in (torch.zeros(2, 4, dtype=torch.long), None)
        )
    torch.testing.assert_close(hidden, none)
    assert not model.embed_text([""]).any()


def test_a_negative_text_is_what_guidance_leaves(make_recipe: MakeRecipe, data: Dataset, tmp_path: Path) -> None:
    model = train(make_recipe(text=WORDS, lr=0.01), data, tmp_path, device="cpu", progress=False)
    x, sigma = torch.randn(1, 1, 4, 4), torch.tensor([0.7])
    red, blue = (torch.from_numpy(model.embed_text([text])) for text in ("red square", "blue square"))
    asked = Condition(text=red, negative=blue)
    from brickwork.sampling.guidance import Guided

    wanted = model(x, sigma, Condition(text=blue))
    wanted = wanted + 3 * (model(x, sigma, Condition(text=red)) - wanted)
    torch.testing.assert_close(Guided(model, 3.0)(x, sigma, asked), wanted, rtol=1e-4, atol=1e-5)
    options = {"seeds": [1], "text": "red square", "steps": 2}
    drawn = sample(model, guidance=3.0, negative="blue square", **options)
    assert (drawn != sample(model, guidance=3.0, **options)).any()
    with pytest.raises(ArgumentError, match=r"negative text at guidance 1\.0"):
        sample(model, negative="blue square", **options)


def test_recipes_hold_the_words(make_recipe: MakeRecipe, data: Dataset) -> None:
    recipe = fit_to_data(make_recipe(text=WORDS), data)
    assert isinstance(recipe.text, Words.Config)
    assert set(recipe.text.words) == {"red", "blue", "square", "circle"}
    assert (recipe.backbone.text_length, recipe.backbone.text_width) == (4, 16)
    assert parse_recipe(to_toml(recipe)) == recipe


def test_each_misuse_has_its_line(make_recipe: MakeRecipe, make_data: MakeData, data: Dataset) -> None:
    plain = make_data(8, 4)
    with pytest.raises(ConfigError, match="noise has no captions to learn text from"):
        fit_to_data(make_recipe(text=WORDS), plain)
    told = Stoic.Config(width=32, depth=1, stride=1, text_length=4, text_width=16)
    with pytest.raises(ConfigError, match="4 text tokens and nothing reads captions"):
        fit_to_data(make_recipe(backbone=told), data)
    parts = (make_recipe().process, make_recipe().prediction)
    codec = build_model(fit_to_data(make_recipe(), plain), plain).codec
    with pytest.raises(ConfigError, match="the text encoder has 4 tokens of 16 and the backbone takes 0 of 0"):
        Model(replace(told, text_length=0, text_width=0, channels=1).build(), *parts, codec, text=WORDS)
    bare = Model(replace(told, channels=1, size=4).build(), *parts, codec, text=NoText())
    with pytest.raises(ArgumentError, match="this model has no text encoder"):
        sample(bare, seeds=[0], text="flag of Japan")
    classes = build_model(fit_to_data(make_recipe(), plain), plain).eval().requires_grad_(False)
    with pytest.raises(ArgumentError, match="text 'flag of Japan': this model takes no text"):
        sample(classes, seeds=[0], text="flag of Japan")
