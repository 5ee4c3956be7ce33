"""Training bricks together, one after the other or the last alone; on some windows; and with blocks left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brickwork.backbone.lego import Lego
from brickwork.backbone.stoic import Stoic
from brickwork.codec.base import Pixels
from brickwork.data.dataset import Dataset
from brickwork.diffusion.denoiser import Condition
from brickwork.errors import ConfigError
from brickwork.model.checkpoint import load
from brickwork.model.model import Model
from brickwork.training.denoiser.batches import draw_batch
from brickwork.training.denoiser.begin import build_model
from brickwork.training.denoiser.gradient import accumulate_gradient
from brickwork.training.denoiser.loop import train
from brickwork.training.denoiser.loss import EdmWeight, denoising_loss, seen
from brickwork.training.denoiser.parts import PartsConfig, chosen_windows, kept_parts, output_shares, stage_of
from brickwork.training.denoiser.recipe import Recipe, fit_to_data, published_parts
from brickwork.training.denoiser.recipe_file import parse_recipe, to_toml
from brickwork.training.denoiser.state import TrainState

MakeRecipe = Callable[..., Recipe]
MakeData = Callable[..., Dataset]

LEGO = Lego.Config(
    bricks=(
        Lego.Brick(window=4, patch=2, width=16, heads=2, depth=1),
        Lego.Brick(window=0, patch=4, width=16, heads=2, depth=1),
        Lego.Brick(window=4, patch=2, width=8, heads=1, depth=1),
    ),
    vector_width=16,
)
STOIC = Stoic.Config(width=16, depth=4, stride=1)


def state_of(make_recipe: MakeRecipe, data: Dataset, **changes: Any) -> TrainState:
    backbone = changes.pop("backbone", LEGO)
    parts = PartsConfig(**changes)
    recipe = fit_to_data(make_recipe(backbone=backbone, parts=parts, **published_parts(backbone)), data)
    state = TrainState(build_model(recipe, data), recipe)
    with torch.no_grad():
        for parameter in state.model.parameters():  # a fresh LEGO puts out zeros, and most gradients are zero
            parameter.add_(0.05 * torch.randn_like(parameter))
    return state


def learning(state: TrainState, data: Dataset) -> set[str]:
    """Names of the modules (to two words) that get a gradient in the next step."""
    batch = draw_batch(state.recipe, data, state.model, state.counters)
    accumulate_gradient(state, batch)
    names = {n for n, p in state.model.backbone.named_parameters() if p.grad is not None and p.grad.any()}
    state.optimizer.zero_grad(set_to_none=True)
    return {".".join(name.split(".")[: 2 if name.startswith(("bricks", "blocks")) else 1]) for name in names}


def test_shares_of_outputs() -> None:
    assert output_shares(PartsConfig(), 4) == (0.25,) * 4
    assert output_shares(PartsConfig(weights=(1.0, 0.0, 3.0)), 3) == (0.25, 0.0, 0.75)
    assert output_shares(PartsConfig(supervision="last"), 3) == (0.0, 0.0, 1.0)
    assert output_shares(PartsConfig(), 1) == (1.0,)


def test_loss_is_the_weighted_sum_over_bricks(make_data: MakeData) -> None:
    """Against the loss of each prefix as a model of its own."""
    torch.manual_seed(0)
    backbone = Lego.Config(bricks=LEGO.bricks, vector_width=16, size=8, channels=1).build()
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    parts = published_parts(LEGO)
    model = Model(backbone, parts["process"], parts["prediction"], Pixels(num_channels=1))
    x0, noise, t = torch.randn(5, 1, 8, 8), torch.randn(5, 1, 8, 8), np.array([0.01, 0.1, 1.0, 5.0, 80.0])
    alone = [denoising_loss(model.first(n), x0, noise, t, Condition(), EdmWeight()) for n in (1, 2, 3)]
    joint = denoising_loss(model, x0, noise, t, Condition(), EdmWeight(), (0.5, 0.2, 0.3))
    assert torch.allclose(joint, 0.5 * alone[0] + 0.2 * alone[1] + 0.3 * alone[2], rtol=1e-5)
    assert torch.equal(denoising_loss(model, x0, noise, t, Condition(), EdmWeight()), alone[2])
    assert not torch.allclose(alone[0], alone[2])


def test_edm_loss_is_the_published_one() -> None:
    """w(s) |D - y|^2 with D = c_skip x + c_out F, for zero F: formulas of 2206.00364, Table 1, written out."""
    backbone = Lego.Config(bricks=LEGO.bricks, vector_width=16, size=8, channels=1).build()  # fresh: F = 0
    parts = published_parts(LEGO)
    model = Model(backbone, parts["process"], parts["prediction"], Pixels(num_channels=1))
    y, noise, s = torch.randn(3, 1, 8, 8), torch.randn(3, 1, 8, 8), np.array([0.02, 0.5, 20.0])
    level = torch.from_numpy(s).float()[:, None, None, None]
    D = 0.25 / (level**2 + 0.25) * (y + level * noise)
    expected = ((level**2 + 0.25) / (level * 0.5) ** 2 * (D - y).square()).mean(dim=(1, 2, 3))
    got = denoising_loss(model, y, noise, s, Condition(), parts["weighting"], (1 / 3,) * 3)
    assert torch.allclose(got, expected, rtol=1e-4)


def test_joint_supervision_reaches_everything_and_last_too(make_recipe: MakeRecipe, make_data: MakeData) -> None:
    data = make_data(40, 8)
    everything = {"bricks.0", "bricks.1", "bricks.2", "time", "label"}
    assert learning(state_of(make_recipe, data), data) == everything
    assert learning(state_of(make_recipe, data, supervision="last"), data) == everything


def test_sequential_supervision_freezes_what_came_before(make_recipe: MakeRecipe, make_data: MakeData) -> None:
    data = make_data(40, 8)
    state, seen_stages = state_of(make_recipe, data, supervision="sequential"), []
    assert state.recipe.steps == 6
    for step in range(6):
        assert state.network().num_parts == step // 2 + 1
        seen_stages.append(learning(state, data))
        state.counters.step += 1
    first = {"bricks.0", "time", "label"}
    assert seen_stages == [first, first, {"bricks.1"}, {"bricks.1"}, {"bricks.2"}, {"bricks.2"}]


def test_frozen_bricks_do_not_move(make_recipe: MakeRecipe, make_data: MakeData, tmp_path: Path) -> None:
    data, parts = make_data(40, 8), published_parts(LEGO)
    finished = []
    for steps, schedule in ((2, "constant"), (6, "constant")):
        recipe = make_recipe(
            backbone=LEGO, parts=PartsConfig(supervision="sequential"), steps=steps, schedule=schedule, **parts
        )
        if steps == 2:  # the same two steps, as the first stage of the same budget
            recipe = make_recipe(backbone=LEGO.first(1), steps=2, schedule=schedule, **parts)
        finished.append(train(recipe, data, tmp_path / str(steps), progress=False, device="cpu"))
    state = state_of(make_recipe, data, supervision="sequential")
    before = [p.detach().clone() for p in state.model.backbone.bricks[0].parameters()]  # pyright: ignore
    state.counters.step = 4
    state.update(accumulate_gradient(state, draw_batch(state.recipe, data, state.model, state.counters)))
    after = list(state.model.backbone.bricks[0].parameters())  # pyright: ignore
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_every_stage_has_its_own_learning_rate() -> None:
    config = PartsConfig(supervision="sequential")
    assert [stage_of(config, 3, spent)[0] for spent in (0.0, 0.32, 0.34, 0.67, 0.99, 1.0)] == [0, 0, 1, 2, 2, 2]
    assert stage_of(config, 4, 0.375) == (1, 0.5)
    assert stage_of(PartsConfig(), 4, 0.375) == (-1, 0.375)


def test_windows_are_the_asked_share_of_every_brick() -> None:
    masks = chosen_windows(PartsConfig(window_share=0.25), (64, 4, 1), 8, seed=1, step=5)
    assert [mask.shape for mask in masks] == [(8, 64), (8, 4), (8, 1)]
    assert [int(mask.sum()) for mask in masks] == [128, 8, 2]
    again = chosen_windows(PartsConfig(window_share=0.25), (64, 4, 1), 8, seed=1, step=5)
    other = chosen_windows(PartsConfig(window_share=0.25), (64, 4, 1), 8, seed=1, step=6)
    assert all((a == b).all() for a, b in zip(masks, again, strict=True))
    assert not (masks[0] == other[0]).all()
    assert chosen_windows(PartsConfig(), (64, 4, 1), 8, seed=1, step=5) == ()
    total = sum(chosen_windows(PartsConfig(window_share=0.25), (4,), 4, 1, step)[0] for step in range(400))
    assert np.all(np.abs(np.asarray(total) / 400 - 0.25) < 0.1)  # every window has its turn


def test_loss_on_windows_is_an_estimate_of_the_whole() -> None:
    error, windows = torch.rand(4, 8, 8), np.zeros((4, 16), dtype=bool)
    windows[1, 5] = windows[3, 15] = True  # second row and column; last
    got = seen(error, windows)
    assert got.count_nonzero() == 2 * 4
    assert torch.allclose(got.mean(), torch.cat([error[1, 2:4, 2:4], error[3, 6:, 6:]]).mean())


def test_training_on_windows(make_recipe: MakeRecipe, make_data: MakeData) -> None:
    data = make_data(40, 8)
    assert learning(state_of(make_recipe, data, window_share=0.5), data) == {
        "bricks.0", "bricks.1", "bricks.2", "time", "label"}  # fmt: skip
    state = state_of(make_recipe, data, window_share=0.5)
    batch = draw_batch(state.recipe, data, state.model, state.counters)
    assert [part.windows[0].shape for part in batch.chunks(2)] == [(4, 4), (4, 4)]


@pytest.mark.parametrize("drop", ["prefix", "each"])
def test_blocks_left_out(drop: Any) -> None:
    config = PartsConfig(drop=drop, drop_share=0.4)
    drawn = [kept_parts(config, 8, seed=0, step=step) for step in range(2000)]
    assert drawn == [kept_parts(config, 8, seed=0, step=step) for step in range(2000)]
    share = np.mean([len(kept) < 8 for kept in drawn])
    if drop == "prefix":
        assert abs(share - 0.4) < 0.04
        assert set(drawn) == {tuple(range(n)) for n in (4, 5, 6, 7, 8)}
    else:
        assert abs(np.mean([k in kept for kept in drawn for k in range(8)]) - 0.6) < 0.02
        assert min(map(len, drawn)) >= 1
    assert kept_parts(PartsConfig(), 8, 0, 3) == tuple(range(8))


def test_left_out_blocks_do_not_move(make_recipe: MakeRecipe, make_data: MakeData) -> None:
    data = make_data(40, 8)
    state = state_of(make_recipe, data, backbone=STOIC, drop="prefix", drop_share=0.99, drop_least=0.5)
    while len(kept := kept_parts(state.recipe.parts, 4, state.recipe.seed, state.counters.step)) == 4:
        state.counters.step += 1
    before = [p.detach().clone() for p in state.model.backbone.get_submodule("blocks").parameters()]
    state.update(accumulate_gradient(state, draw_batch(state.recipe, data, state.model, state.counters)))
    after = list(state.model.backbone.get_submodule("blocks").parameters())
    moved = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    each = len(moved) // 4
    assert [any(moved[i * each : (i + 1) * each]) for i in range(4)] == [i in kept for i in range(4)]


def test_every_second_block_is_a_network() -> None:
    torch.manual_seed(0)
    stoic = STOIC.build()
    part = stoic.keep([0, 2])
    assert part.config.depth == 2  # pyright: ignore
    assert part.get_submodule("blocks.1") is stoic.get_submodule("blocks.2")


@pytest.mark.parametrize(
    "changes",
    [
        {"supervision": "sequential"},
        {"supervision": "last"},
        {"weights": (1.0, 2.0, 4.0)},
        {"window_share": 0.5},
        {"backbone": STOIC, "drop": "each"},
    ],
)
def test_a_resumed_run_ends_as_one_that_never_stopped(
    make_recipe: MakeRecipe, make_data: MakeData, tmp_path: Path, changes: dict[str, Any]
) -> None:
    data, backbone = make_data(40, 8), changes.pop("backbone", LEGO)
    options = {
        "backbone": backbone,
        "parts": PartsConfig(**changes),
        "schedule": "constant",
        **published_parts(backbone),
    }
    if changes.get("supervision") == "sequential":  # a budget says which brick is trained: it cannot change
        train(make_recipe(steps=2, **options), data, tmp_path / "b", progress=False, device="cpu")
        with pytest.raises(ConfigError, match="steps: 2 → 6"):
            train(make_recipe(steps=6, **options), data, tmp_path / "b", progress=False, device="cpu")
        return
    whole = train(make_recipe(steps=6, **options), data, tmp_path / "a", progress=False, device="cpu")
    train(make_recipe(steps=3, **options), data, tmp_path / "b", progress=False, device="cpu")
    again = train(make_recipe(steps=6, **options), data, tmp_path / "b", progress=False, device="cpu")
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    loaded = load(tmp_path / "b")
    assert loaded.backbone.config == whole.backbone.config


def test_round_trip_of_bricks() -> None:
    recipe = Recipe(backbone=LEGO, steps=1, parts=PartsConfig(weights=(1.0, 2.0, 3.0)), **published_parts(LEGO))
    assert parse_recipe(to_toml(recipe)) == recipe
    assert parse_recipe('[backbone]\npreset = "lego-small-pg"').process == published_parts(LEGO)["process"]
    with pytest.raises(ConfigError, match=r"no setting named 'backbone.bricks\[0\].windw'; did you mean window"):
        parse_recipe('[backbone]\nkind = "lego"\nbricks = [{windw = 4}]')
    with pytest.raises(ConfigError, match="it must be a table of window, patch"):
        parse_recipe('[backbone]\nkind = "lego"\nbricks = [4]')


@pytest.mark.parametrize(
    ("backbone", "changes", "says"),
    [
        (STOIC, {"supervision": "sequential"}, "are for bricks"),
        (STOIC, {"weights": (1.0,)}, "are for bricks"),
        (LEGO, {"weights": (1.0, 2.0)}, "2 numbers for 3 bricks"),
        (LEGO, {"weights": (1.0, 1.0, 1.0), "supervision": "last"}, "for supervision 'joint'"),
        (STOIC, {"window_share": 0.5}, "has no windows; set it to 1"),
        (LEGO, {"drop": "prefix"}, "set it to 'none'"),
        (Stoic.Config(width=16, depth=4, stride=1, long_skip="add"), {"drop": "each"}, "long_skip 'none'"),
        (Stoic.Config(width=16, depth=1, stride=1), {"drop": "each"}, "one block"),
    ],
)
def test_what_a_backbone_cannot_do(
    make_recipe: MakeRecipe, make_data: MakeData, backbone: Any, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        fit_to_data(make_recipe(backbone=backbone, parts=PartsConfig(**changes)), make_data(8, 8))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"supervision": "first"}, "parts.supervision is 'first'"),
        ({"drop": "all"}, "parts.drop is 'all'"),
        ({"weights": (0.0, 0.0)}, "not all 0"),
        ({"weights": (-1.0, 2.0)}, "0 or more"),
        ({"window_share": 0.0}, "above 0"),
        ({"drop_share": 1.0}, "not including, 1"),
        ({"drop_least": 0.0}, "above 0"),
    ],
)
def test_values_out_of_range(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        PartsConfig(**changes)
