"""More minutes for a finished run: what goes on, what rises once more, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import brickwork as bw
from brickwork.data.dataset import Dataset
from brickwork.errors import ConfigError
from brickwork.files.tensors import read_tensors
from brickwork.training.denoiser.parts import PartsConfig
from brickwork.training.denoiser.recipe import Recipe
from brickwork.training.denoiser.recipe_file import load_recipe
from brickwork.training.denoiser.run import DENOISER
from brickwork.training.run.folder import STATE_FILE
from brickwork.training.run.longer import lengthen_run, longer
from brickwork.training.run.statefile import Counters, read_state

DONE = Counters(step=6, images_seen=48, seconds=120.0)


def test_a_cosine_begins_anew_over_the_new_minutes(make_recipe: Callable[..., Recipe]) -> None:
    recipe = longer(make_recipe(lr=1.0, warmup=3), 10.0, DONE)
    assert (recipe.steps, recipe.images, recipe.minutes, recipe.restart, recipe.warmup) == (0, 0, 12.0, 2.0, 0.05)
    spent = [recipe.spent(step=9, images_seen=72, seconds=60.0 * minutes) for minutes in (2, 7, 12)]
    assert spent == pytest.approx([0, 0.5, 1])
    rates = [recipe.learning_rate(1.0, Counters(step=9, seconds=60.0 * m), (m - 2) / 10) for m in (2.0, 2.25, 7.0)]
    assert rates == pytest.approx([0, 0.5, 0.5], abs=0.01)


def test_a_constant_rate_goes_on(make_recipe: Callable[..., Recipe]) -> None:
    recipe = longer(make_recipe(lr=1.0, schedule="constant"), 10.0, DONE)
    assert (recipe.minutes, recipe.restart, recipe.warmup) == (12.0, 0.0, 2)
    assert recipe.spent(step=6, images_seen=48, seconds=120.0) == pytest.approx(1 / 6)
    assert recipe.learning_rate(1.0, DONE, 1 / 6) == 1


def test_what_takes_no_more_minutes(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe()
    for minutes in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="above 0"):
            longer(recipe, minutes, DONE)
    with pytest.raises(ConfigError, match="50% of its budget is spent"):
        longer(recipe, 1.0, Counters(step=3))
    with pytest.raises(ConfigError, match="deterministic"):
        longer(make_recipe(deterministic=True), 1.0, DONE)
    with pytest.raises(ConfigError, match="bricks learned one after another"):
        longer(make_recipe(parts=PartsConfig(supervision="sequential")), 1.0, DONE)
    with pytest.raises(ConfigError, match="restart 2 and minutes 2"):
        make_recipe(minutes=2.0, restart=2.0)


def test_a_lengthened_run_is_one_that_was_interrupted(
    make_recipe: Callable[..., Recipe], data: Dataset, tmp_path: Path
) -> None:
    bw.train(make_recipe(), data, tmp_path, device="cpu", progress=False)
    before, header = read_state(tmp_path / STATE_FILE, "brickwork-state")
    recipe = lengthen_run(tmp_path, DENOISER, 0.01)
    assert load_recipe(tmp_path) == recipe
    after, now = read_state(tmp_path / STATE_FILE, "brickwork-state")
    assert all((before[name] == after[name]).all() for name in before)
    assert (now.counters, now.data) == (header.counters, header.data)
    with pytest.raises(ConfigError, match="not finished"):
        lengthen_run(tmp_path, DENOISER, 0.01)
    model = bw.train(recipe, data, tmp_path, device="cpu", progress=False)
    assert model.facts["finished"]
    assert model.facts["steps"] > header.counters.step
    assert read_tensors(tmp_path / STATE_FILE)[0].keys() == before.keys()


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no state\.safetensors"):
        lengthen_run(tmp_path, DENOISER, 1.0)
