"""The loop: exact resumes, accumulation, signals, full disks, losses that are no numbers."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import brickwork.files.tensors as tensorfile
import brickwork.training.denoiser.gradient as gradient
from brickwork.backbone.stoic import Stoic
from brickwork.data.dataset import Dataset
from brickwork.errors import CheckpointError, ConfigError, OutputError, TrainingError
from brickwork.files.picture import read_facts
from brickwork.files.tensors import read_tensors
from brickwork.model.checkpoint import load
from brickwork.model.model import Model
from brickwork.nn.attention import use_kernel
from brickwork.training.denoiser.loop import train
from brickwork.training.denoiser.loss import denoising_loss
from brickwork.training.denoiser.recipe import Recipe
from brickwork.training.denoiser.recipe_file import load_recipe, parse_recipe
from brickwork.training.denoiser.state import TrainState
from brickwork.training.run.journal import read_journal
from brickwork.training.run.trainer import Trainer

MakeRecipe = Callable[..., Recipe]


@pytest.fixture(autouse=True)
def _one_kernel() -> Any:
    """Kernels are chosen by time; two runs are equal in every bit only if they choose alike."""
    with use_kernel("matmul"):
        yield


def run(recipe: Recipe, data: Dataset, out: Path, **options: Any) -> Model:
    return train(recipe, data, out, device="cpu", progress=False, **options)


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch, number: signal.Signals = signal.SIGTERM) -> None:
    """Send this process a signal after a step."""
    after_step = Trainer.after_step

    def stopping(self: Trainer[Any]) -> None:
        after_step(self)
        if self.state.counters.step == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Trainer, "after_step", stopping)


def assert_same_bits(a: Path, b: Path) -> None:
    for name in ("state.safetensors", "model.safetensors"):
        first, second = (read_tensors(folder / name)[0] for folder in (a, b))
        assert first.keys() == second.keys()
        assert [k for k in first if not torch.equal(first[k], second[k])] == []


# ---- what a run leaves ------------------------------------------------------------------------------------------


def test_a_run_leaves_everything(make_recipe: MakeRecipe, data: Dataset, heldout: Dataset, tmp_path: Path) -> None:
    report = {"eval_every": 3, "sheet_steps": 2, "sheet_seeds": 2, "sample_every": 4}
    model = run(make_recipe(report=report), data, tmp_path, heldout=heldout)
    assert load_recipe(tmp_path / "recipe.toml") == parse_recipe(model.facts["recipe"])
    loaded = load(tmp_path)
    assert loaded.facts["images"] == 48
    assert loaded.facts["finished"]
    assert loaded.classes == ("a", "b", "c")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name])
    records = read_journal(tmp_path / "log.jsonl")
    assert [r["step"] for r in records if "loss" in r] == [2, 4, 6]
    assert [r["step"] for r in records if "held_out" in r] == [3, 6]
    assert len(next(r for r in reversed(records) if "held_out" in r)["held_out"]) == 8
    assert sorted(p.name for p in (tmp_path / "samples").iterdir()) == ["step_00000004.png", "step_00000006.png"]
    assert read_facts(tmp_path / "samples/step_00000006.png")["seeds"] == [0, 1]
    with Image.open(tmp_path / "curve.png") as curve:
        assert curve.width > curve.height


def test_starting_a_finished_run_again_changes_nothing(
    make_recipe: MakeRecipe, data: Dataset, heldout: Dataset, tmp_path: Path
) -> None:
    model = run(make_recipe(), data, tmp_path, heldout=heldout)
    log = (tmp_path / "log.jsonl").read_bytes()
    again = run(make_recipe(), data, tmp_path, heldout=heldout)
    assert (tmp_path / "log.jsonl").read_bytes() == log
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_a_model_without_its_run_is_never_overwritten(make_recipe: MakeRecipe, data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"of another run")
    with pytest.raises(ConfigError, match="choose another out folder"):
        run(make_recipe(), data, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "model.safetensors"]
    assert (tmp_path / "model.safetensors").read_bytes() == b"of another run"


def test_loss_falls(make_recipe: MakeRecipe, data: Dataset, tmp_path: Path) -> None:
    flat = replace(data, images=np.full_like(data.images, 200))
    run(make_recipe(steps=150, lr=3e-3, report={"log_every": 25}), flat, tmp_path)
    losses = [r["loss"] for r in read_journal(tmp_path / "log.jsonl")]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("changes", [{"precision": "bf16"}, {"conditional": False}, {"ema_half_life": 0.0}])
def test_variants_run(changes: dict[str, Any], make_recipe: MakeRecipe, data: Dataset, tmp_path: Path) -> None:
    model = run(make_recipe(report={"sheet_steps": 1, "sheet_seeds": 1}, **changes), data, tmp_path)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert model.precision == "fp32"
    assert model.num_classes == (0 if changes.get("conditional") is False else 3)


def test_compiled_blocks_are_one_graph(tmp_path: Path) -> None:
    """Traced as for compiling, run eagerly: a break in the graph would raise. Apart, as checked shapes do not trace."""
    driver = Path(__file__).with_name("compile_driver.py")
    done = subprocess.run([sys.executable, str(driver), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_compiler_is_said(
    make_recipe: MakeRecipe, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*inputs: Any) -> Tensor:
        raise RuntimeError("no g++ here")

    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: setattr(self, "_compiled_call_impl", broken))
    with pytest.raises(ConfigError, match=r"no g\+\+ here.*set compile = false"):
        run(make_recipe(compile=True), data, tmp_path)


# ---- exactness --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulation", [1, 2])
def test_resuming_changes_no_bit(
    accumulation: int, make_recipe: MakeRecipe, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(accumulation=accumulation, steps=9)
    run(recipe, data, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(4, patch)
        assert not run(recipe, data, tmp_path / "parts").facts["finished"]
    run(recipe, data, tmp_path / "parts")
    assert_same_bits(tmp_path / "whole", tmp_path / "parts")


def test_a_longer_budget_goes_on(make_recipe: MakeRecipe, data: Dataset, tmp_path: Path) -> None:
    recipe = make_recipe(schedule="constant")
    run(recipe, data, tmp_path / "parts")
    longer = replace(recipe, steps=9)
    run(longer, data, tmp_path / "parts")
    run(longer, data, tmp_path / "whole")
    assert_same_bits(tmp_path / "whole", tmp_path / "parts")


def test_parts_of_a_batch_add_up(make_recipe: MakeRecipe, data: Dataset, tmp_path: Path) -> None:
    """Same images, noise and times in one part or four: one step differs by rounding only."""
    one, four = (
        run(make_recipe(accumulation=k, steps=1, warmup=0, clip=0.0, ema_half_life=0.0), data, tmp_path / str(k))
        for k in (1, 4)
    )
    moments = [read_tensors(tmp_path / k / "state.safetensors")[0] for k in ("1", "4")]
    for name, first in moments[0].items():
        if name.startswith("adamw.exp_avg."):
            torch.testing.assert_close(first, moments[1][name], rtol=1e-4, atol=1e-7)
    assert one.num_classes == four.num_classes


def test_the_seed_decides(make_recipe: MakeRecipe, data: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(1)
    run(make_recipe(), data, tmp_path / "a")
    torch.manual_seed(2)
    run(make_recipe(), data, tmp_path / "b")
    run(make_recipe(seed=1), data, tmp_path / "c")
    assert_same_bits(tmp_path / "a", tmp_path / "b")
    first, other = (read_tensors(tmp_path / k / "model.safetensors")[0] for k in "ac")
    assert not torch.equal(first["decoder.head.weight"], other["decoder.head.weight"])


# ---- signals and refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_leaves(
    number: signal.Signals,
    make_recipe: MakeRecipe,
    data: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(number)
    stop_at(3, monkeypatch, number)
    model = train(make_recipe(), data, tmp_path, device="cpu")
    assert model.facts["steps"] == 3
    assert "saved at step 3, from where the run can go on" in capsys.readouterr().err
    assert signal.getsignal(number) is before
    assert load(tmp_path).facts["steps"] == 3


def test_another_recipe_or_other_data_are_refused(
    make_recipe: MakeRecipe, data: Dataset, make_data: Callable[..., Dataset], tmp_path: Path
) -> None:
    run(make_recipe(), data, tmp_path)
    with pytest.raises(ConfigError, match=r"another recipe \(lr: 0.001 → 0.5\).*choose another out folder"):
        run(make_recipe(lr=0.5), data, tmp_path)
    with pytest.raises(ConfigError, match="other data"):
        run(make_recipe(), make_data(41, 4), tmp_path)
    with pytest.raises(ConfigError, match="already holds a run"):
        run(make_recipe(), data, tmp_path, resume=False)
    with pytest.raises(ConfigError, match="prepare both alike"):
        run(make_recipe(), data, tmp_path, heldout=make_data(8, 6))


def test_a_broken_state_is_one_line(make_recipe: MakeRecipe, data: Dataset, tmp_path: Path) -> None:
    run(make_recipe(), data, tmp_path)
    path = tmp_path / "state.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"state\.safetensors"):
        run(make_recipe(), data, tmp_path)
    path.write_bytes((tmp_path / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="no training state"):
        run(make_recipe(), data, tmp_path)


# ---- a full disk ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["state", "model"])
def test_a_full_disk_leaves_the_last_save_whole(
    file: str, make_recipe: MakeRecipe, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(report={"save_every": 2})
    run(recipe, data, tmp_path / "whole")
    save_file, calls = tensorfile.save_file, []  # pyright: ignore[reportPrivateImportUsage]

    def full(tensors: Any, path: str, metadata: Any) -> None:
        calls.append(path)
        if len([c for c in calls if f"{file}.safetensors" in str(c)]) == 3:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save_file(tensors, path, metadata)

    with monkeypatch.context() as patch:
        patch.setattr(tensorfile, "save_file", full)
        with pytest.raises(OutputError, match="No space left on device"):
            run(recipe, data, tmp_path / "full")
    assert load(tmp_path / "full").facts["steps"] == 2
    assert [p.name for p in (tmp_path / "full").iterdir() if p.name.startswith(".")] == [".lock"]
    run(recipe, data, tmp_path / "full")
    assert_same_bits(tmp_path / "whole", tmp_path / "full")


def test_an_unwritable_folder(make_recipe: MakeRecipe, data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        run(make_recipe(), data, tmp_path / "file" / "run")


# ---- losses that are no numbers -----------------------------------------------------------------------------------


def poison(monkeypatch: pytest.MonkeyPatch, when: Callable[[int], bool], value: float = float("nan")) -> None:
    """Make the loss of some calls no number; call 0 is the try-out before the first step."""
    calls = iter(range(10_000))

    def poisoned(*arguments: Any) -> Tensor:
        return denoising_loss(*arguments) * (value if when(next(calls)) else 1)

    monkeypatch.setattr(gradient, "denoising_loss", poisoned)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_nan_rolls_back_and_goes_on(
    value: float,
    make_recipe: MakeRecipe,
    data: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    poison(monkeypatch, lambda call: call == 6, value)
    recipe = make_recipe(steps=10, report={"save_every": 4, "log_every": 2})
    model = train(recipe, data, tmp_path, device="cpu")
    assert model.facts["finished"]
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert "back to step 4, with other noise" in capsys.readouterr().err
    records = read_journal(tmp_path / "log.jsonl")
    assert [r["step"] for r in records if "loss" in r] == [2, 4, 6, 8, 10]
    event = next(r for r in records if "event" in r)
    assert (event["step"], event["from_step"], event["rollbacks"]) == (4, 6, 1)


def test_noise_after_a_rollback_is_other_noise(make_recipe: MakeRecipe, data: Dataset, tmp_path: Path) -> None:
    from brickwork.training.denoiser.batches import draw_batch
    from brickwork.training.run.statefile import Counters

    recipe = make_recipe()
    model = run(recipe, data, tmp_path)
    first, again, shifted = (draw_batch(recipe, data, model, Counters(step=3, rollbacks=k)) for k in (0, 0, 1))
    assert torch.equal(first.noise, again.noise)
    assert torch.equal(first.x0, shifted.x0)
    assert not torch.equal(first.noise, shifted.noise)
    assert not np.array_equal(first.t, shifted.t)


def test_repeated_nans_stop_with_advice(
    make_recipe: MakeRecipe, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, lambda call: call > 5)
    with pytest.raises(TrainingError, match=r"3 times in a row.*a lower lr \(now 0.001\).*clip 1 \(now 0\)"):
        run(make_recipe(steps=10, clip=0.0, report={"save_every": 4}), data, tmp_path)
    assert all(torch.isfinite(p).all() for p in load(tmp_path).parameters())
    assert load(tmp_path).facts["steps"] == 4


# ---- starting from another model ----------------------------------------------------------------------------------


def test_init_starts_from_a_model(make_recipe: MakeRecipe, data: Dataset, tmp_path: Path) -> None:
    first = run(make_recipe(ema_half_life=0.0), data, tmp_path / "a")
    model = run(make_recipe(lr=0.0), data, tmp_path / "b", init=first)
    assert model.facts["init_sha256"] == first.digest == load(tmp_path / "b").facts["init_sha256"]
    longer = run(make_recipe(lr=0.0, schedule="constant", steps=8), data, tmp_path / "c", init=first)
    again = run(make_recipe(lr=0.0, schedule="constant", steps=9), data, tmp_path / "c")
    assert longer.facts["init_sha256"] == again.facts["init_sha256"]  # also where it is resumed without
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, first.state_dict()[name]), name


def test_init_with_other_classes_and_size(
    make_recipe: MakeRecipe, data: Dataset, make_data: Callable[..., Dataset], tmp_path: Path
) -> None:
    backbone = Stoic.Config(width=32, depth=1, stride=1, position="learned")
    first = run(make_recipe(backbone=backbone), data, tmp_path / "a")
    other = make_data(20, 6, classes=("c", "d"))
    model = run(make_recipe(backbone=backbone, lr=0.0), other, tmp_path / "b", init=first)
    rows = (m.state_dict()["backbone.classes.table.weight"] for m in (first, model))
    old, new = rows
    assert torch.equal(new[0], old[2])
    assert torch.equal(new[2], old[3])
    assert model.shape == (1, 6, 6)


# ---- weights that are no numbers --------------------------------------------------------------------------------


def test_a_model_to_begin_with_must_be_finite(make_recipe: MakeRecipe, data: Dataset, tmp_path: Path) -> None:
    broken = run(make_recipe(steps=1), data, tmp_path / "a")
    with torch.no_grad():
        next(broken.parameters()).flatten()[3] = float("nan")
    with pytest.raises(ConfigError, match=r"init: 1 of .* numbers of .* are not finite.* give a model"):
        run(make_recipe(), data, tmp_path / "b", init=broken)
    assert not (tmp_path / "b").exists()


def test_the_last_good_state_is_good(
    make_recipe: MakeRecipe, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step with a finite loss and gradient makes a weight infinite, just before a save."""
    update = TrainState.update

    def overflowing(self: TrainState, loss: Tensor) -> None:
        update(self, loss)
        if self.counters.step == 4 and not self.counters.rollbacks:
            self.averages[0].data.flatten()[0] = self.parameters[0].data.flatten()[0] = float("inf")

    monkeypatch.setattr(TrainState, "update", overflowing)
    model = run(make_recipe(report={"save_every": 2, "log_every": 100}), data, tmp_path)
    assert model.facts["finished"]
    event = next(r for r in read_journal(tmp_path / "log.jsonl") if "event" in r)
    assert (event["step"], event["from_step"]) == (2, 4)
    assert all(torch.isfinite(tensor).all() for tensor in read_tensors(tmp_path / "state.safetensors")[0].values())


def test_a_saved_state_must_be_finite(make_recipe: MakeRecipe, data: Dataset, tmp_path: Path) -> None:
    recipe = make_recipe(schedule="constant")
    run(recipe, data, tmp_path)
    tensors, metadata = read_tensors(tmp_path / "state.safetensors")
    tensors["average.backbone.decoder.head.weight"].flatten()[0] = float("nan")
    tensorfile.write_tensors(tmp_path / "state.safetensors", tensors, metadata)
    with pytest.raises(TrainingError, match="holds numbers that are not finite: begin anew in another out folder"):
        run(replace(recipe, steps=9), data, tmp_path)
