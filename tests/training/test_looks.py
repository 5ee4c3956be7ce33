"""Measurements by the clock: when they come, and what they may take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import brickwork as bw
import brickwork.training.run.looks as looking
from brickwork.data.dataset import Dataset
from brickwork.files.picture import read_facts
from brickwork.files.tensors import read_tensors
from brickwork.nn.attention import use_kernel
from brickwork.training.denoiser.recipe import Recipe
from brickwork.training.run.journal import read_journal
from brickwork.training.run.looks import SHARE, Looks, first_look
from brickwork.training.run.trainer import Trainer


def look_at(looks: Looks, seconds: range, taken: float = 0.0) -> list[int]:
    """The seconds at which looks come that each take so long."""
    found = []
    for now in seconds:
        if looks.due(now):
            looks.begin(now)
            looks.end(now, taken)
            found.append(now)
    return found


def test_looks_come_soon_and_then_at_twice_the_distance() -> None:
    looks = Looks(1.0)
    looks.start(seconds=0.0, images=0)
    assert look_at(looks, range(1000)) == [60, 180, 420, 900]
    looks = Looks(1.0)
    looks.start(seconds=200.0, images=0)
    assert look_at(looks, range(200, 1000)) == [420, 900]
    assert look_at(Looks(0.0), range(1000)) == []


def test_a_short_budget_is_looked_at_sooner_and_the_first_look_has_something_to_spend() -> None:
    assert [first_look(1.0, budget) for budget in (0.0, 1.0, 2.0, 60.0)] == [1.0, 0.25, 0.5, 1.0]
    assert first_look(0.0, 1.0) == 0.0
    looks = Looks(0.25)
    looks.start(seconds=0.0, images=0)
    looks.begin(16)  # pays for one evaluation
    assert looks.afford(8, 10) == 4
    looks.end(15.0, 0.0)
    looks.begin(32)
    assert looks.afford(8, 10) == 0, "an advance comes once"


def test_dear_looks_wait_until_they_are_a_twentieth_of_the_time() -> None:
    looks = Looks(1.0)
    looks.start(seconds=0.0, images=0)
    came = look_at(looks, range(10_000), taken=30.0)
    assert came[:2] == [60, 600]
    assert all(30.0 * k <= SHARE * now for k, now in enumerate(came))


def test_a_look_takes_what_training_paid_for() -> None:
    looks = Looks(1.0)
    looks.start(seconds=0.0, images=1000)
    assert looks.afford(80, 1000) == 80, "all that is wanted, outside a look"
    looks.begin(3000)  # a tenth of 2,000 images: 200 evaluations
    assert looks.afford(8, 10, share=0.1) == 2
    assert looks.afford(50, 18, least=11) == 0
    assert looks.afford(50, 18) == 10
    assert looks.afford(1, 1) == 0
    looks.end(60.0, 0.0)
    assert looks.afford(1, 10_000) == 1


def train(recipe: Recipe, data: Dataset, out: Path, heldout: Dataset) -> None:
    bw.train(recipe, data, out, heldout, device="cpu", progress=False)


@pytest.fixture
def fast_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes 20 seconds by the clock, nothing else takes any."""
    now, after_step = [0.0], Trainer.after_step

    def tick(self: Trainer[Any]) -> None:
        now[0] += 20
        after_step(self)

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(Trainer, "after_step", tick)


def test_a_run_without_cadences_shows_sheets_losses_and_a_line_by_the_clock(
    fast_clock: None,
    make_recipe: Callable[..., Recipe],
    data: Dataset,
    heldout: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(looking, "EVALUATIONS", 128)  # 153 of them for the 24 images of three steps
    report = {"log_every": 1000, "sheet_steps": 12, "eval_images": 8}
    recipe = make_recipe(steps=12, report=report)
    with use_kernel("matmul"):
        train(recipe, data, tmp_path / "a", heldout)
        train(replace(recipe, report=replace(recipe.report, look_minutes=0.0)), data, tmp_path / "b", heldout)
    lines = read_journal(tmp_path / "a" / "log.jsonl")
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 13)), "20 seconds without a line"
    held = [(line["step"], line["held_out_images"]) for line in lines if "held_out" in line]
    assert held == [(3, 6), (9, 8), (12, 8)]  # a third of 153, by 8 levels: 6 images
    sheets = {p.name: read_facts(p) for p in (tmp_path / "a" / "samples").iterdir()}
    assert sorted(sheets) == ["step_00000003.png", "step_00000009.png", "step_00000012.png"]
    assert [len(facts["seeds"]) for _, facts in sorted(sheets.items())] == [3, 8, 8]  # of 105, 3 rows by 10 each
    assert (tmp_path / "a" / "curve.png").exists()
    assert [p.name for p in (tmp_path / "b" / "samples").iterdir()] == ["step_00000012.png"]
    looked, not_looked = (read_tensors(tmp_path / name / "state.safetensors")[0] for name in "ab")
    assert [name for name in looked if not torch.equal(looked[name], not_looked[name])] == []
