from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from brickwork.backbone.stoic import Stoic
from brickwork.codec.base import Pixels
from brickwork.diffusion.prediction import Velocity
from brickwork.diffusion.process import LinearFlow
from brickwork.errors import CheckpointError
from brickwork.model.model import Model
from brickwork.nn.attention import kernel_choices, set_kernel_choices
from brickwork.training.denoiser.recipe import Recipe
from brickwork.training.denoiser.state import STATE, TrainState
from brickwork.training.run.statefile import read_state


def fresh_state(recipe: Recipe, width: int = 32) -> TrainState:
    backbone = Stoic.Config(width=width, depth=1, stride=1, size=4, channels=1).build()
    return TrainState(Model(backbone, LinearFlow(), Velocity(), Pixels(num_channels=1)), recipe)


def step(state: TrainState) -> None:
    loss = torch.stack([p.square().mean() for p in state.parameters]).sum()
    loss.backward()
    state.update(loss.detach())


def test_all_of_it_comes_back(make_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    state, other = fresh_state(make_recipe()), fresh_state(make_recipe())
    step(state)
    step(state)
    set_kernel_choices({"cpu/float32/17x32/8/train": "matmul"})
    state.save(tmp_path / "s", {"recipe": "r"})
    set_kernel_choices({})
    tensors, header = read_state(tmp_path / "s", STATE)
    other.restore(tensors, header)
    assert header.recipe == "r"
    assert kernel_choices() == {"cpu/float32/17x32/8/train": "matmul"}
    assert other.counters == state.counters
    assert other.counters.images_seen == 16
    step(state)
    step(other)
    other.save(tmp_path / "o", {})
    state.save(tmp_path / "s", {})
    first, second = read_state(tmp_path / "s", STATE)[0], read_state(tmp_path / "o", STATE)[0]
    assert first.keys() == second.keys()
    assert all(torch.equal(first[k], second[k]) for k in first)
    set_kernel_choices({})


def test_another_model_does_not_fit(make_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    fresh_state(make_recipe()).save(tmp_path / "s", {})
    with pytest.raises(CheckpointError, match="does not fit the model"):
        fresh_state(make_recipe(), width=64).restore(*read_state(tmp_path / "s", STATE))


def test_one_step_of_adamw_by_hand(make_recipe: Callable[..., Recipe]) -> None:
    """First step: w - lr (wd w + sign g), with the gradient's size divided out; then the average is the weights."""
    torch.manual_seed(0)  # one weight in 10^5 is so small that AdamW's epsilon shows
    state = fresh_state(make_recipe(lr=0.1, warmup=0, clip=0.0, weight_decay=0.5, schedule="constant"))
    weight = state.parameters[0]
    before = weight.detach().clone()
    step(state)
    expected = before - 0.1 * (0.5 * before + before.sign())
    torch.testing.assert_close(weight.detach(), expected, rtol=0, atol=2e-3)
    assert torch.equal(state.averages[0], weight)


def test_clipping_scales_the_gradient_to_its_bound(make_recipe: Callable[..., Recipe]) -> None:
    """AdamW's first moment after one step is (1 - beta1) times the gradient it saw."""
    state = fresh_state(make_recipe(clip=1e-3, betas=(0.9, 0.99)))
    step(state)
    seen = [state.optimizer.state[p]["exp_avg"] / 0.1 for p in state.parameters]
    assert float(torch.nn.utils.get_total_norm(seen)) == pytest.approx(1e-3, rel=1e-3)
    assert float(state.norm_sum) > 1e-3


def test_not_a_number_is_noticed(make_recipe: Callable[..., Recipe]) -> None:
    state = fresh_state(make_recipe())
    assert state.is_finite()
    state.loss_sum += float("nan")
    assert not state.is_finite()
