"""A batch shared by several processes is the batch of one; their mean gradient is its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from brickwork.backbone.lego import Lego
from brickwork.data.dataset import Dataset
from brickwork.errors import ConfigError
from brickwork.training.denoiser.batches import Batch, draw_batch
from brickwork.training.denoiser.begin import build_model
from brickwork.training.denoiser.gradient import accumulate_gradient
from brickwork.training.denoiser.parts import PartsConfig
from brickwork.training.denoiser.recipe import Recipe, fit_to_data
from brickwork.training.denoiser.state import TrainState
from brickwork.training.run.group import Group
from brickwork.training.run.statefile import Counters

MakeRecipe = Callable[..., Recipe]
GROUPS = [Group(rank=rank, world=4) for rank in range(4)]


def test_shares_make_up_the_batch(make_recipe: MakeRecipe, make_data: Callable[..., Dataset]) -> None:
    data = make_data(40, 8)
    brick = Lego.Brick(window=4, width=16, heads=2, depth=1)
    recipe = fit_to_data(
        make_recipe(backbone=Lego.Config(bricks=(brick, brick)), parts=PartsConfig(window_share=0.5)), data
    )
    model, now = build_model(recipe, data), Counters(step=3, images_seen=24, rollbacks=1)
    whole = draw_batch(recipe, data, model, now)
    shares = [draw_batch(recipe, data, model, now, group=group) for group in GROUPS]
    fields: list[Callable[[Batch], Any]] = [
        lambda batch: batch.x0,
        lambda batch: batch.noise,
        lambda batch: torch.from_numpy(batch.t),
        lambda batch: batch.condition.labels,
        lambda batch: torch.from_numpy(batch.windows[0]),
    ]
    for field in fields:
        assert torch.equal(torch.cat([field(share) for share in shares]), field(whole))
    assert [len(share) for share in shares] == [2, 2, 2, 2]
    assert not np.array_equal(shares[0].t, shares[1].t)


def test_the_mean_of_the_shares_gradients_is_the_batches(make_recipe: MakeRecipe, data: Dataset) -> None:
    recipe = fit_to_data(make_recipe(), data)

    def gradients(group: Group) -> tuple[torch.Tensor, list[torch.Tensor]]:
        state = TrainState(build_model(recipe, data), recipe, group)
        loss = accumulate_gradient(state, draw_batch(recipe, data, state.model, state.counters, group=group))
        return loss, [p.grad for p in state.parameters if p.grad is not None]

    loss, whole = gradients(Group())
    shares = [gradients(group) for group in GROUPS]
    torch.testing.assert_close(torch.stack([one for one, _ in shares]).mean(), loss)
    for k, gradient in enumerate(whole):
        torch.testing.assert_close(torch.stack([some[k] for _, some in shares]).mean(0), gradient, rtol=1e-4, atol=1e-7)


def test_the_average_is_the_sum_over_the_group_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor.add_(3))  # of the others
    tensor = torch.tensor([1.0])
    Group().average([tensor])
    assert tensor == 1
    Group(rank=1, world=2).average([tensor])
    assert tensor == 2


def test_the_first_alone_writes() -> None:
    assert [group.writes for group in GROUPS] == [True, False, False, False]


def test_groups_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="rank 2 of 2"):
        Group(rank=2, world=2)
    with pytest.raises(ConfigError, match="batch 6 for 4 processes"):
        GROUPS[0].share(6)
