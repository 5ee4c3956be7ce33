"""Training bricks behind a guest: the guest stays as it is, and a run goes on with or without being given it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from brickwork.backbone.lego import Lego
from brickwork.backbone.stoic import Stoic
from brickwork.codec.base import Pixels
from brickwork.data.dataset import Dataset
from brickwork.diffusion.prediction import Eps, Velocity
from brickwork.diffusion.process import DiscreteVp, LinearFlow
from brickwork.errors import ConfigError
from brickwork.files.tensors import read_tensors
from brickwork.model.checkpoint import load
from brickwork.model.model import Model
from brickwork.nn.attention import use_kernel
from brickwork.training.denoiser.batches import draw_batch
from brickwork.training.denoiser.begin import build_model
from brickwork.training.denoiser.gradient import accumulate_gradient
from brickwork.training.denoiser.loop import train
from brickwork.training.denoiser.parts import PartsConfig
from brickwork.training.denoiser.recipe import Recipe, fit_to_data, published_parts
from brickwork.training.denoiser.recipe_file import load_recipe
from brickwork.training.denoiser.state import TrainState

MakeRecipe = Callable[..., Recipe]
MakeData = Callable[..., Dataset]

LEGO = Lego.Config(
    bricks=(
        Lego.Brick(window=4, patch=2, width=16, heads=2, depth=1),
        Lego.Brick(window=0, patch=4, width=16, heads=2, depth=1),
    ),
    vector_width=16,
)


@pytest.fixture(autouse=True)
def _one_kernel() -> Any:
    """Kernels are chosen by time; two runs are equal in every bit only if they choose alike."""
    with use_kernel("matmul"):
        yield


@pytest.fixture
def guest() -> Model:
    torch.manual_seed(3)
    config = Stoic.Config(width=32, depth=1, stride=1, size=8, channels=1, num_classes=3)
    return Model(config.build(), LinearFlow(), Velocity(), Pixels(num_channels=1), ("a", "b", "c"))


@pytest.fixture
def recipe(make_recipe: MakeRecipe) -> Callable[..., Recipe]:
    def make(**changes: Any) -> Recipe:
        return make_recipe(**{"backbone": LEGO, "schedule": "constant", **published_parts(LEGO), **changes})

    return make


@pytest.fixture
def data(make_data: MakeData) -> Dataset:
    return make_data(40, 8)


def weights(model: Model) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.own_backbone.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def run(recipe: Recipe, data: Dataset, out: Path, **options: Any) -> Model:
    return train(recipe, data, out, device="cpu", progress=False, **options)


def test_only_the_bricks_move(recipe: MakeRecipe, data: Dataset, guest: Model, tmp_path: Path) -> None:
    before = weights(guest)
    model = run(recipe(report={"sheet_steps": 1, "sheet_seeds": 1}), data, tmp_path, guest=guest)
    assert model.guest is not None
    assert model.guest is not guest
    assert all(p.requires_grad for p in guest.parameters())  # the one given is left alone
    assert equal(weights(model.guest), before)
    fresh = build_model(fit_to_data(recipe(), data, guest=True), data, guest)
    moved = {
        name
        for name, tensor in fresh.own_backbone.state_dict().items()
        if not torch.equal(tensor, weights(model)[name])
    }
    assert {name.split(".")[1] for name in moved if name.startswith("bricks.")} == {"0", "1"}
    loaded = load(tmp_path)
    assert loaded.guest is not None
    assert equal(weights(loaded.guest), before)
    assert equal(weights(loaded), weights(model))
    assert not [name for name in read_tensors(tmp_path / "state.safetensors")[0] if "guest" in name]
    assert load_recipe(tmp_path / "recipe.toml").backbone == loaded.own_backbone.config
    assert loaded.own_backbone.config.takes_guest


def test_sequential_training_begins_with_the_first_brick(recipe: MakeRecipe, data: Dataset, guest: Model) -> None:
    fitted = fit_to_data(recipe(parts=PartsConfig(supervision="sequential")), data, guest=True)
    state, learning = TrainState(build_model(fitted, data, guest), fitted), []
    with torch.no_grad():
        for parameter in state.parameters:  # a fresh LEGO puts out zeros, and most gradients are zero
            parameter.add_(0.05 * torch.randn_like(parameter))
    for step in (0, 2, 3, 5):
        state.counters.step = step
        assert state.network().num_parts == (2 if step < 3 else 3)
        accumulate_gradient(state, draw_batch(state.recipe, data, state.model, state.counters))
        named = state.model.own_backbone.named_parameters()
        learning.append({".".join(n.split(".")[:2]) for n, p in named if p.grad is not None and "bricks" in n})
        state.optimizer.zero_grad(set_to_none=True)
    assert learning == [{"bricks.0"}] * 2 + [{"bricks.1"}] * 2


def test_the_average_shares_the_guest(recipe: MakeRecipe, data: Dataset, guest: Model) -> None:
    fitted = fit_to_data(recipe(), data, guest=True)
    state = TrainState(build_model(fitted, data, guest), fitted)
    assert state.average.guest is state.model.guest
    assert state.average.own_backbone is not state.model.own_backbone
    assert len(state.parameters) == len(list(state.model.own_backbone.parameters()))


@pytest.mark.parametrize("given_again", [True, False])
def test_a_resumed_run_ends_as_one_that_never_stopped(
    given_again: bool, recipe: MakeRecipe, data: Dataset, guest: Model, tmp_path: Path
) -> None:
    run(recipe(steps=6), data, tmp_path / "a", guest=guest)
    run(recipe(steps=3), data, tmp_path / "b", guest=guest)
    if given_again:
        run(recipe(steps=6), data, tmp_path / "b", guest=guest)
    else:  # with its own recipe the guest is found in the folder
        own = load_recipe(tmp_path / "b" / "recipe.toml")
        run(recipe(steps=6, backbone=own.backbone), data, tmp_path / "b")
    for name in ("state.safetensors", "model.safetensors"):
        a, b = (read_tensors(tmp_path / folder / name)[0] for folder in ("a", "b"))
        assert equal(a, b)


def test_a_run_goes_on_with_its_own_guest_alone(
    recipe: MakeRecipe, data: Dataset, guest: Model, tmp_path: Path
) -> None:
    run(recipe(steps=2), data, tmp_path, guest=guest)
    with torch.no_grad():
        next(guest.parameters()).add_(1)
    with pytest.raises(ConfigError, match="another guest: give the same model"):
        run(recipe(steps=4), data, tmp_path, guest=guest)
    with pytest.raises(ConfigError, match=r"backbone.guest: True → False.*resume it with its own recipe\.toml"):
        run(recipe(steps=4), data, tmp_path)
    for kind in ("alone", "of a run without one"):
        out = tmp_path / kind
        if kind != "alone":
            run(recipe(steps=2), data, out)
        with pytest.raises(ConfigError, match="give a trained model as guest"):
            run(recipe(backbone=LEGO.with_guest()), data, out)


def test_init_and_guest_go_together(recipe: MakeRecipe, data: Dataset, guest: Model, tmp_path: Path) -> None:
    first = run(recipe(ema_half_life=0.0), data, tmp_path / "a", guest=guest)
    again = run(recipe(lr=0.0), data, tmp_path / "b", guest=guest, init=first)
    assert equal(weights(again), weights(first))
    own = load_recipe(tmp_path / "a" / "recipe.toml")
    found = run(recipe(lr=0.0, backbone=own.backbone), data, tmp_path / "c", init=first)  # init's own guest
    assert found.guest is not None
    assert equal(weights(found.guest), weights(guest))


def test_what_a_guest_never_learned_is_said(
    recipe: MakeRecipe, data: Dataset, guest: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(recipe(steps=1), data, tmp_path / "a", guest=guest, device="cpu")
    assert "learned noise levels" not in capsys.readouterr().err
    narrow = Model(guest.backbone, DiscreteVp(), Eps(), guest.codec, guest.classes)
    train(recipe(steps=1), data, tmp_path / "b", guest=narrow, device="cpu")
    assert "learned noise levels 0.0292 to 14.6 and is asked at 0.002 to 80" in capsys.readouterr().err


def test_a_backbone_without_bricks_takes_none(
    make_recipe: MakeRecipe, data: Dataset, guest: Model, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="take a LEGO backbone"):
        run(make_recipe(), data, tmp_path / "a", guest=guest)
    assert not (tmp_path / "a").exists()
