"""What a budget allows: batch, warm-up, warnings."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

import brickwork as bw
from brickwork.training.denoiser import warmup
from brickwork.training.denoiser.recipe import Recipe
from brickwork.training.run.budget import choose_batch, num_steps, warnings
from brickwork.training.run.statefile import Counters


def recipe(**settings: Any) -> Recipe:
    return Recipe(backbone=bw.Stoic.Config(width=32, depth=1), **settings)


@pytest.mark.parametrize(
    ("budget", "num_images", "images_per_second", "batch"),
    [
        ({"minutes": 2.0}, 60_000, 37, 16),  # 280 steps
        ({"minutes": 60.0}, 60_000, 37, 64),  # 2,081 steps
        ({"minutes": 60.0}, 60_000, 500, 128),
        ({"minutes": 60.0}, 70, 500, 64),  # no more than the set has
        ({"minutes": 60.0}, 3, 500, 16),
        ({"images": 100_000}, 60_000, 0, 32),
        ({"images": 10**7}, 60_000, 0, 128),
        ({"images": 10**7, "minutes": 2.0}, 60_000, 37, 16),
        ({"steps": 300}, 60_000, 0, 128),  # as many steps with any batch
        ({"steps": 300, "minutes": 60.0}, 60_000, 37, 128),  # 1,040 steps
    ],
)
def test_the_largest_batch_that_leaves_steps_enough(
    budget: dict[str, Any], num_images: int, images_per_second: float, batch: int
) -> None:
    timed: list[int] = []

    def time_step(count: int) -> float:
        timed.append(count)
        return count / images_per_second

    chosen, line = choose_batch(recipe(**budget), num_images, time_step)
    assert chosen == batch
    assert bool(timed) == ("minutes" in budget), "nothing is timed where the clock ends nothing"
    assert max(timed, default=0) <= 2 * batch
    assert line.startswith(f"batch {batch}, chosen: the budget makes about ")


def test_a_step_that_costs_the_same_whatever_its_size_takes_the_largest_that_fits_into_memory() -> None:
    def time_step(count: int) -> float:
        return 0.01 if count <= 64 else math.inf

    assert choose_batch(recipe(minutes=10.0), 60_000, time_step)[0] == 64


def test_equal_parts_of_a_batch() -> None:
    assert choose_batch(recipe(steps=300, accumulation=3), 60_000, float, multiple=3)[0] == 129


def test_a_warm_up_below_one_is_a_share_of_any_budget_and_from_one_on_steps() -> None:
    flat: dict[str, Any] = {"batch": 10, "schedule": "constant", "lr": 1.0}
    half = recipe(steps=8, warmup=0.5, **flat)
    rates = [half.learning_rate(1.0, Counters(step=i, images_seen=10 * i), 0.0) for i in range(6)]
    assert rates == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    by_clock = recipe(minutes=1.0, warmup=0.5, **flat)
    rates = [by_clock.learning_rate(1.0, Counters(step=i, seconds=15.0 * i), 0.0) for i in range(4)]
    assert rates == [0.0, 0.5, 1.0, 1.0]
    steps = recipe(minutes=1.0, warmup=4, **flat)
    assert [steps.learning_rate(1.0, Counters(step=i), 0.0) for i in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize(
    ("settings", "seconds", "lines"),
    [
        ({"steps": 1000}, 0.0, []),
        ({"steps": 50}, 0.0, ["about 50 steps of 16 images: with fewer than 200 .* give 4 times the budget or more"]),
        ({"minutes": 2.0}, 1.2, ["about 100 steps .* give 2 times"]),
        ({"minutes": 20.0}, 1.2, []),
        ({"minutes": 20.0, "warmup": 2000}, 1.2, [r"about 1,000 steps .*warmup = 2000 steps: .* as warmup = 0\.05"]),
        ({"images": 1600, "warmup": 250}, 0.0, ["about 100 steps", "warmup = 250 steps"]),
        ({"steps": 1000, "ema_rampup": 0.0}, 0.0, ["ema_half_life = 500000 .* about 16,000: .* ema_half_life = 800"]),
        ({"steps": 1000, "ema_rampup": 0.0, "ema_half_life": 800.0}, 0.0, []),
        ({"steps": 1000, "ema_half_life": 0.0, "ema_rampup": 0.0}, 0.0, []),
    ],
)
def test_a_budget_too_short_is_said(settings: dict[str, Any], seconds: float, lines: list[str]) -> None:
    found = warnings(recipe(batch=16, **settings), seconds)
    assert len(found) == len(lines)
    for line, pattern in zip(found, lines, strict=True):
        assert re.search(pattern, line), line


def test_steps_of_the_budget_that_is_spent_first() -> None:
    assert num_steps(recipe(steps=100, images=320), 16) == 20
    assert num_steps(recipe(minutes=1.0), 16, 0.5) == 120
    assert num_steps(recipe(minutes=1.0), 16) == math.inf


@pytest.mark.parametrize(("name", "rate"), [("stoic-tiny", 2e-3), ("stoic-small", 2e-3), ("stoic-base", 1e-3)])
def test_narrow_presets_learn_at_twice_the_rate(name: str, rate: float) -> None:
    assert bw.load_recipe(name).lr == rate
    assert bw.load_recipe(name, lr=3e-4).lr == 3e-4


@pytest.mark.parametrize(("seconds", "timed"), [(5.0, 1), (0.5, 2)])
def test_a_slow_machine_times_its_step_once_and_does_not_repeat_it(
    seconds: float, timed: int, make_recipe: Any, data: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(warmup, "_seconds", lambda state, chunk: calls.append("timed") or seconds)
    monkeypatch.setattr(warmup, "try_out", lambda state, chunk: calls.append("tried"))
    bw.train(make_recipe(batch=0, steps=0, minutes=0.001), data, tmp_path, device="cpu", progress=False)
    assert calls == ["timed"] * timed, "batch 16 alone, as it leaves no two thousand steps"
