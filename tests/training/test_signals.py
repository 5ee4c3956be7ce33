"""Signals during what takes long: it ends between two of its evaluations, and nothing is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import brickwork as bw
import brickwork.training.autoencoder.observers as autoencoder_observers
import brickwork.training.denoiser.warmup as warmup
from brickwork.codec.autoencoder import Autoencoder
from brickwork.codec.file import read_codec_header
from brickwork.data.dataset import Dataset
from brickwork.files.tensors import read_tensors
from brickwork.model.model import Model
from brickwork.nn.attention import use_kernel
from brickwork.training.autoencoder.recipe import AutoencoderReport
from brickwork.training.denoiser.recipe import Recipe
from brickwork.training.run.interrupt import Interrupt

MakeRecipe = Callable[..., Recipe]
SHEETS = {"sheet_steps": 4, "sheet_seeds": 8}


@pytest.fixture(autouse=True)
def _one_kernel() -> Iterator[None]:
    with use_kernel("matmul"):
        yield


def signalling(
    act: Callable[..., Any], number: signal.Signals = signal.SIGTERM
) -> tuple[Callable[..., Any], list[int]]:
    """A function that sends this process a signal at its first call, and the number of its calls."""
    calls = [0]

    def called(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == 1:
            os.kill(os.getpid(), number)
        return act(*arguments, **options)

    return called, calls


def signal_at_first_evaluation(patch: pytest.MonkeyPatch, number: signal.Signals = signal.SIGTERM) -> list[int]:
    """Send a signal when the averaged model is evaluated first."""
    forward = Model.forward
    evaluate, calls = signalling(forward, number)
    patch.setattr(Model, "forward", lambda self, *a, **k: (forward if self.training else evaluate)(self, *a, **k))
    return calls


def train(recipe: Recipe, data: Dataset, out: Path, heldout: Dataset | None = None) -> bw.Model:
    return bw.train(recipe, data, out, heldout, device="cpu", progress=False)


@pytest.fixture(autouse=True)
def hearing() -> Iterator[None]:
    """A process that hears of a closed terminal, also where these tests were begun with nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("report", [{"eval_every": 2, "eval_images": 8}, {"sample_every": 2, **SHEETS}])
def test_a_measurement_ends_at_once_and_the_run_goes_on_later(
    number: signal.Signals,
    report: dict[str, Any],
    make_recipe: MakeRecipe,
    data: Dataset,
    heldout: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = make_recipe(report=report)
    train(recipe, data, tmp_path / "whole", heldout)
    with monkeypatch.context() as patch:
        calls = signal_at_first_evaluation(patch, number)
        stopped = train(recipe, data, tmp_path / "parts", heldout)
    assert (stopped.facts["steps"], stopped.facts["finished"], calls) == (2, False, [1])
    train(recipe, data, tmp_path / "parts", heldout)
    whole, parts = (read_tensors(tmp_path / name / "state.safetensors")[0] for name in ("whole", "parts"))
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []


def test_the_end_of_a_run_ends_at_once_and_is_made_up_for(
    make_recipe: MakeRecipe, data: Dataset, heldout: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(report={"eval_images": 8, **SHEETS})
    with monkeypatch.context() as patch:
        calls = signal_at_first_evaluation(patch)
        model = train(recipe, data, tmp_path, heldout)
    assert calls[0] <= 2  # one of the held-out loss, one of the sheet
    assert model.facts["finished"]
    assert not list((tmp_path / "samples").glob("*.png"))
    train(recipe, data, tmp_path, heldout)
    assert [p.name for p in (tmp_path / "samples").iterdir()] == ["step_00000006.png"]
    assert "held_out" in (tmp_path / "log.jsonl").read_text()


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_timing_ends_at_once_and_is_begun_again(
    precision: str, make_recipe: MakeRecipe, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(batch=0, steps=0, minutes=0.005, precision=precision)
    with monkeypatch.context() as patch:
        patch.setattr("brickwork.training.run.precision._product_ratio", lambda device: 1.0)
        tried, calls = signalling(warmup.try_out)
        patch.setattr(warmup, "try_out", tried)
        model = train(recipe, data, tmp_path)
    assert (model.facts["steps"], model.facts["finished"]) == (0, False)
    assert calls[0] <= 2
    begun = bw.load_recipe(tmp_path / "recipe.toml")
    assert begun.precision == precision
    assert begun.batch in (0, 16), "what was not chosen yet is open again"
    assert train(recipe, data, tmp_path).facts["finished"]
    assert bw.load_recipe(tmp_path / "recipe.toml").batch in (16, 32)


def test_an_autoencoder_whose_end_is_cut_short_counts_as_unfinished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (130, 8, 8, 1), dtype=np.uint8)
    data = Dataset(
        name="noise", images=images, labels=None, classes=(), captions=None, skipped=(), flip=False, digest="noise"
    )
    report = AutoencoderReport(sheet_images=0)
    recipe = bw.AutoencoderRecipe(
        autoencoder=Autoencoder.Config(width=8, channels=3), batch=4, steps=2, precision="fp32", report=report
    )
    with monkeypatch.context() as patch:
        measured, _ = signalling(autoencoder_observers._measured)
        patch.setattr(autoencoder_observers, "_measured", measured)
        bw.train_autoencoder(recipe, data, tmp_path, device="cpu", progress=False)
    facts = read_codec_header(tmp_path)["training"]
    assert (facts["finished"], facts["statistics_of_images"]) == (False, 64)
    bw.train_autoencoder(recipe, data, tmp_path, device="cpu", progress=False)
    facts = read_codec_header(tmp_path)["training"]
    assert (facts["finished"], facts["statistics_of_images"]) == (True, 130)


def test_a_closed_terminal_is_ignored_under_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
            interrupt.check()
        assert not interrupt.asked
    finally:
        signal.signal(signal.SIGHUP, before)
