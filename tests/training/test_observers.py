"""Observers: what they are told and when, what they return, and how a run ends when one raises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import brickwork as bw
import brickwork.training.denoiser.gradient as gradient
from brickwork.codec.autoencoder import Autoencoder
from brickwork.data.dataset import Dataset
from brickwork.errors import TrainingError
from brickwork.files.tensors import read_tensors
from brickwork.training.autoencoder.recipe import AutoencoderRecipe, AutoencoderReport
from brickwork.training.denoiser.loss import denoising_loss
from brickwork.training.denoiser.recipe import Recipe
from brickwork.training.run.journal import read_journal

MakeRecipe = Callable[..., Recipe]
SHEETS = {"eval_every": 3, "sheet_steps": 1, "sheet_seeds": 1, "sample_every": 4}


class Diary(bw.Observer):
    """Writes down what it is told."""

    every = 2

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def on_start(self, run: bw.RunView) -> None:
        self.told.append(("start", run.step, run.resumed))

    def on_step(self, run: bw.RunView) -> None:
        self.told.append(("step", run.step))

    def measure(self, run: bw.RunView) -> dict[str, Any]:
        self.told.append(("measure", run.step))
        size = max(float(weight.abs().max()) for weight in run.average.parameters())
        return {"largest": np.float32(size), "flags": {"a": torch.tensor(0.5)}, "dot": np.zeros((2, 3, 1), np.uint8)}

    def on_log(self, run: bw.RunView, line: Mapping[str, Any]) -> None:
        self.told.append(("log", line["step"], *sorted(line.keys() & {"loss", "held_out", "largest", "event"})))

    def on_picture(self, run: bw.RunView, name: str, picture: np.ndarray) -> None:
        assert picture.dtype == np.uint8
        self.told.append(("picture", run.step, name))

    def on_save(self, run: bw.RunView) -> None:
        assert (run.folder / "model.safetensors").exists()
        self.told.append(("save", run.step))

    def on_end(self, run: bw.RunView) -> Any:
        self.told.append(("end", run.step, run.finished))
        return super().on_end(run)

    def close(self) -> None:
        self.told.append(("close",))

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        return [one[1:] for one in self.told if one[0] == kind]


def run(recipe: Recipe, data: Dataset, out: Path, **options: Any) -> bw.Model:
    return bw.train(recipe, data, out, device="cpu", progress=False, **options)


def test_an_observer_sees_steps_losses_model_and_pictures(
    make_recipe: MakeRecipe, data: Dataset, heldout: Dataset, tmp_path: Path
) -> None:
    diary = Diary()
    run(make_recipe(report=SHEETS), data, tmp_path, heldout=heldout, observers=[diary])
    assert diary.told[0] == ("start", 0, False)
    assert diary.of("step") == [(k,) for k in range(1, 7)]
    assert diary.of("measure") == [(2,), (4,), (6,)]
    assert diary.of("picture") == [(2, "dot"), (4, "samples"), (4, "dot"), (6, "samples"), (6, "dot")]
    assert [one for one in diary.of("log") if "held_out" in one] == [(3, "held_out"), (6, "held_out")]
    assert [one for one in diary.of("log") if "loss" in one] == [(2, "loss"), (4, "loss"), (6, "loss")]
    assert diary.of("save") == [(0,), (6,)]
    assert diary.of("end") == [(6, True)]
    assert diary.told[-1] == ("close",)
    lines = [line for line in read_journal(tmp_path / "log.jsonl") if "largest" in line]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert all(line["flags"] == {"a": 0.5} and line["largest"] > 0 and "dot" not in line for line in lines)


def test_observers_change_no_bit_and_a_finished_run_says_nothing_twice(
    make_recipe: MakeRecipe, data: Dataset, tmp_path: Path
) -> None:
    with_them, without = tmp_path / "with", tmp_path / "without"
    run(make_recipe(), data, with_them, observers=[Diary()])
    run(make_recipe(), data, without)
    for name in ("state.safetensors", "model.safetensors"):
        a, b = (read_tensors(folder / name)[0] for folder in (with_them, without))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) for k in a)
    log = (with_them / "log.jsonl").read_bytes()
    again = Diary()
    run(make_recipe(), data, with_them, observers=[again])
    assert again.told[0] == ("start", 6, True)
    assert again.of("step") == again.of("log") == []
    assert (with_them / "log.jsonl").read_bytes() == log


def test_a_rollback_is_told_as_a_line(
    make_recipe: MakeRecipe, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(100))  # call 0 is the try-out before the first step
    monkeypatch.setattr(
        gradient, "denoising_loss", lambda *a: denoising_loss(*a) * (torch.nan if next(calls) == 4 else 1)
    )
    diary = Diary()
    run(make_recipe(report={"save_every": 2}), data, tmp_path, observers=[diary])
    assert diary.of("log") == [
        (2, "loss"),
        (2, "largest"),
        (2, "event"),
        (4, "loss"),
        (4, "largest"),
        (6, "loss"),
        (6, "largest"),
    ]


@pytest.mark.parametrize(
    ("method", "step"),
    [("on_start", 0), ("on_step", 1), ("measure", 2), ("on_log", 2), ("on_save", 0), ("on_picture", 2), ("on_end", 6)],
)
def test_one_that_raises_ends_the_run_which_can_go_on(
    method: str, step: int, make_recipe: MakeRecipe, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("no such\nthing")

    diary = Diary()
    monkeypatch.setattr(diary, method, broken)
    monkeypatch.setattr(broken, "__name__", method)
    with pytest.raises(TrainingError, match=rf"observer Diary failed in {method} at step {step} \(KeyError") as caught:
        run(make_recipe(), data, tmp_path / "a", observers=[diary])
    assert "\n" not in str(caught.value)
    assert diary.told[-1] == ("close",)
    run(make_recipe(), data, tmp_path / "a")
    run(make_recipe(), data, tmp_path / "b")
    a, b = (read_tensors(tmp_path / name / "state.safetensors")[0] for name in "ab")
    assert all(torch.equal(a[k], b[k]) for k in b)


def test_the_state_is_saved_where_it_raises(make_recipe: MakeRecipe, data: Dataset, tmp_path: Path) -> None:
    class Late(bw.Observer):
        def on_step(self, run: bw.RunView) -> None:
            if run.step == 5:
                raise RuntimeError

    with pytest.raises(TrainingError, match="observer Late failed in on_step at step 5"):
        run(make_recipe(), data, tmp_path, observers=[Late()])
    assert bw.load(tmp_path).facts["steps"] == 5


def test_names_of_the_trainer_are_refused(make_recipe: MakeRecipe, data: Dataset, tmp_path: Path) -> None:
    class Taken(bw.Observer):
        every = 2

        def measure(self, run: bw.RunView) -> dict[str, float]:
            return {"step": 1.0}

    with pytest.raises(TrainingError, match=r"Taken failed in measure.*'step' is written by the trainer"):
        run(make_recipe(), data, tmp_path, observers=[Taken()])


def test_the_view_says_where_the_run_stands(make_recipe: MakeRecipe, data: Dataset, tmp_path: Path) -> None:
    seen: list[Any] = []

    class Look(bw.Observer):
        def on_step(self, run: bw.RunView) -> None:
            seen.append((run.step, run.images_seen, run.spent, run.recipe.batch, run.settings()["backbone"]["kind"]))
            assert run.seconds > 0
            assert 0 <= run.lr <= run.recipe.lr
            assert run.folder == tmp_path
            assert run.data is data

    run(make_recipe(steps=2), data, tmp_path, observers=[Look()])
    assert seen == [(1, 8, 0.5, 8, "stoic"), (2, 16, 1.0, 8, "stoic")]


def test_autoencoders_have_them_too(data: Dataset, make_data: Callable[..., Dataset], tmp_path: Path) -> None:
    class Psnr(bw.Observer[Autoencoder]):
        every = 2

        def __init__(self) -> None:
            self.pictures: list[str] = []

        def measure(self, run: bw.RunView[Autoencoder]) -> dict[str, float]:
            return {"codes": float(run.average.config.channels)}

        def on_picture(self, run: bw.RunView[Autoencoder], name: str, picture: np.ndarray) -> None:
            self.pictures.append(f"{name} {run.step}")

    mine, images = Psnr(), make_data(12, 16, 3, ())
    recipe = AutoencoderRecipe(
        autoencoder=Autoencoder.Config(width=8, channels=3),
        batch=4,
        steps=4,
        precision="fp32",
        report=AutoencoderReport(eval_every=3, sheet_images=2),
    )
    bw.train_autoencoder(
        recipe, images, tmp_path, make_data(5, 16, 3, ()), device="cpu", progress=False, observers=[mine]
    )
    assert [line["codes"] for line in read_journal(tmp_path / "log.jsonl") if "codes" in line] == [3.0, 3.0]
    assert mine.pictures == ["samples 3", "samples 4"]
