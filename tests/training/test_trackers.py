"""Trackers: TensorBoard's own files read back; stand-ins for Weights & Biases and MLflow that keep what they get."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import brickwork as bw
import brickwork.training.denoiser.gradient as gradient
from brickwork.cli import main
from brickwork.codec.autoencoder import Autoencoder
from brickwork.data.dataset import Dataset
from brickwork.errors import ConfigError, MissingExtraError, UnknownNameError
from brickwork.training.autoencoder.recipe import AutoencoderRecipe, AutoencoderReport, parse_autoencoder_recipe
from brickwork.training.denoiser.loss import denoising_loss
from brickwork.training.denoiser.recipe import Recipe, Report
from brickwork.training.denoiser.recipe_file import parse_recipe, to_toml
from brickwork.training.run.journal import read_journal
from brickwork.training.run.observer import Observer, RunView

MakeRecipe = Callable[..., Recipe]
SHEETS = {"eval_every": 3, "sheet_steps": 1, "sheet_seeds": 1, "sample_every": 4}


class FakeWandb(ModuleType):
    """A service that keeps runs by identity, whose steps only rise; a later line of a step adds to it."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.runs: dict[str, Any] = {}
        self.Image = lambda picture: ("picture", picture.shape)

    def init(self, *, id: str | None, resume: str, reinit: str, **settings: Any) -> Any:  # noqa: A002 - wandb's name
        assert (resume, reinit) == ("allow", "create_new")
        run = self.runs.setdefault(id or f"run{len(self.runs)}", SimpleNamespace(history={}, finished=0, config={}))
        run.id = next(name for name, one in self.runs.items() if one is run)
        run.step = max(run.history, default=-1) + 1
        run.settings, run.config = settings, settings["config"]

        def log(values: dict[str, Any], *, step: int) -> None:
            assert step >= run.step, f"step {step} after {run.step}"
            row = run.history.setdefault(step, {})
            assert not row.keys() & values.keys(), f"{values} of step {step} twice"
            row.update(values)
            run.step = step

        def finish() -> None:
            run.finished += 1

        run.log, run.finish = log, finish
        return run


class FakeMlflow(ModuleType):
    """A service that keeps every value of every metric of its runs."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.runs: dict[str, Any] = {}
        self.active: list[Any] = []

    def active_run(self) -> Any:
        return self.active[-1] if self.active else None

    def start_run(self, *, run_id: str | None, run_name: str, nested: bool) -> Any:
        assert nested == bool(self.active)
        name = run_id or f"run{len(self.runs)}"
        run = self.runs.setdefault(name, SimpleNamespace(params={}, metrics={}, pictures=[], status="", name=run_name))
        run.info, run.data = SimpleNamespace(run_id=name), SimpleNamespace(metrics=dict.fromkeys(run.metrics, 0.0))
        self.active.append(run)
        return run

    def log_params(self, params: dict[str, str], *, run_id: str) -> None:
        self.runs[run_id].params.update(params)

    def log_metrics(self, metrics: dict[str, float], *, step: int, run_id: str) -> None:
        for name, value in metrics.items():
            assert isinstance(value, int | float)
            self.runs[run_id].metrics.setdefault(name, []).append(SimpleNamespace(step=step, value=value))

    def log_image(self, image: np.ndarray, *, key: str, step: int) -> None:
        self.active[-1].pictures.append((step, key, image.shape))

    def end_run(self, status: str) -> None:
        self.active.pop().status = status

    def MlflowClient(self) -> Any:  # noqa: N802 - mlflow's name
        return SimpleNamespace(get_metric_history=lambda run_id, name: self.runs[run_id].metrics[name])


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    monkeypatch.setitem(sys.modules, "wandb", fake := FakeWandb())
    return fake


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> FakeMlflow:
    monkeypatch.setitem(sys.modules, "mlflow", fake := FakeMlflow())
    return fake


class Stop(Observer[Any]):
    """Ends the process's run at a step, after its lines were sent and before it is saved."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, run: RunView[Any]) -> None:
        if run.step == self.step:
            raise KeyboardInterrupt


def run(recipe: Recipe, data: Dataset, out: Path, **options: Any) -> bw.Model:
    return bw.train(recipe, data, out, device="cpu", progress=False, **options)


def poison(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    calls = iter(range(100))
    monkeypatch.setattr(
        gradient, "denoising_loss", lambda *a: denoising_loss(*a) * (torch.nan if next(calls) == call else 1)
    )


# ---- Weights & Biases ---------------------------------------------------------------------------------------------


def test_wandb_gets_numbers_pictures_and_the_recipe(
    make_recipe: MakeRecipe, data: Dataset, heldout: Dataset, tmp_path: Path, wandb: FakeWandb
) -> None:
    model = run(make_recipe(report={**SHEETS, "trackers": ["wandb"]}), data, tmp_path / "a", heldout=heldout)
    (tracked,) = wandb.runs.values()
    assert sorted(tracked.history) == [2, 3, 4, 6]
    losses = {line["step"]: line["loss"] for line in read_journal(tmp_path / "a" / "log.jsonl") if "loss" in line}
    assert {step: row["loss"] for step, row in tracked.history.items() if "loss" in row} == losses
    assert sum(name.startswith("held_out/") for name in tracked.history[3]) == 8
    assert [step for step, row in tracked.history.items() if "samples" in row] == [4, 6]
    assert tracked.history[4]["samples"][0] == "picture"
    assert tracked.config["backbone"]["kind"] == "stoic"
    assert tracked.config["batch"] == 8
    assert parse_recipe(model.facts["recipe"]).report.trackers == ("wandb",)
    assert tracked.settings["name"] == "a"
    assert tracked.finished == 1


def test_wandb_goes_on_with_the_same_run_and_sends_no_step_twice(
    make_recipe: MakeRecipe, data: Dataset, tmp_path: Path, wandb: FakeWandb
) -> None:
    recipe = make_recipe(steps=10, report={"save_every": 4, "trackers": ["wandb"]})
    with pytest.raises(KeyboardInterrupt):
        run(recipe, data, tmp_path, observers=[Stop(7)])
    (tracked,) = wandb.runs.values()
    assert (sorted(tracked.history), tracked.finished) == ([2, 4, 6], 1)
    run(recipe, data, tmp_path)  # from step 4; 6 is there already
    assert len(wandb.runs) == 1
    assert (sorted(tracked.history), tracked.finished) == ([2, 4, 6, 8, 10], 2)
    run(recipe, data, tmp_path / "other")
    assert len(wandb.runs) == 2


def test_wandb_after_a_rollback(
    make_recipe: MakeRecipe, data: Dataset, tmp_path: Path, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, 8)  # step 8: lines of 2, 4 and 6 are sent, the state is of 4
    run(make_recipe(steps=10, report={"save_every": 4, "trackers": ["wandb"]}), data, tmp_path)
    (tracked,) = wandb.runs.values()
    assert sorted(tracked.history) == [2, 4, 6, 8, 10]


# ---- MLflow -------------------------------------------------------------------------------------------------------


def test_mlflow_gets_numbers_pictures_and_the_recipe(
    make_recipe: MakeRecipe, data: Dataset, heldout: Dataset, tmp_path: Path, mlflow: FakeMlflow
) -> None:
    run(make_recipe(report={**SHEETS, "trackers": ["mlflow"]}), data, tmp_path / "a", heldout=heldout)
    (tracked,) = mlflow.runs.values()
    assert [value.step for value in tracked.metrics["loss"]] == [2, 4, 6]
    assert [value.step for value in tracked.metrics["images"]] == [2, 3, 4, 6]
    assert [value.step for value in tracked.metrics["held_out/0.4"]] == [3, 6]
    assert [(step, name) for step, name, _ in tracked.pictures] == [(4, "samples"), (6, "samples")]
    assert (tracked.params["backbone.kind"], tracked.params["batch"]) == ("stoic", "8")
    assert (tracked.name, tracked.status, mlflow.active) == ("a", "FINISHED", [])


def test_mlflow_goes_on_with_the_same_run_beside_the_users(
    make_recipe: MakeRecipe, data: Dataset, tmp_path: Path, mlflow: FakeMlflow
) -> None:
    mlflow.active.append(mine := SimpleNamespace())
    recipe = make_recipe(steps=10, report={"save_every": 4, "trackers": ["mlflow"]})
    with pytest.raises(KeyboardInterrupt):
        run(recipe, data, tmp_path, observers=[Stop(7)])
    (tracked,) = mlflow.runs.values()
    assert tracked.status == "FAILED"
    run(recipe, data, tmp_path)
    assert [value.step for value in tracked.metrics["loss"]] == [2, 4, 6, 8, 10]
    assert (len(mlflow.runs), tracked.status, mlflow.active) == (1, "FINISHED", [mine])


def test_trackers_of_an_autoencoder(make_data: Callable[..., Dataset], tmp_path: Path, mlflow: FakeMlflow) -> None:
    recipe = AutoencoderRecipe(
        autoencoder=Autoencoder.Config(width=8, channels=3),
        batch=4,
        steps=2,
        precision="fp32",
        report=AutoencoderReport(log_every=1, sheet_images=2, trackers=("mlflow",)),
    )
    images, heldout = make_data(12, 16, 3, ()), make_data(5, 16, 3, ())
    bw.train_autoencoder(recipe, images, tmp_path, heldout, device="cpu", progress=False)
    (tracked,) = mlflow.runs.values()
    assert [value.step for value in tracked.metrics["psnr"]] == [1, 2]
    assert [value.step for value in tracked.metrics["held_out_psnr"]] == [2]
    assert [(step, name) for step, name, _ in tracked.pictures] == [(2, "samples")]


# ---- TensorBoard --------------------------------------------------------------------------------------------------


def events(folder: Path) -> Any:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_holds_numbers_and_pictures(
    make_recipe: MakeRecipe, data: Dataset, heldout: Dataset, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    run(make_recipe(report={**SHEETS, "trackers": ["tensorboard"]}), data, tmp_path, heldout=heldout)
    found = events(tmp_path)
    losses = [line["loss"] for line in read_journal(tmp_path / "log.jsonl") if "loss" in line]
    assert [one.step for one in found.Scalars("loss")] == [2, 4, 6]
    assert [one.value for one in found.Scalars("loss")] == pytest.approx(losses)
    assert [one.step for one in found.Scalars("held_out/0.4")] == [3, 6]
    pictures = found.Images("samples")
    assert [one.step for one in pictures] == [4, 6]
    from PIL import Image

    with Image.open(tmp_path / "samples" / "step_00000004.png") as sheet:
        assert (pictures[0].width, pictures[0].height) == sheet.size
    assert "recipe/text_summary" in found.Tags()["tensors"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_each_step_once_after_a_stop_and_after_a_rollback(
    make_recipe: MakeRecipe, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    recipe = make_recipe(steps=10, report={"save_every": 4, "trackers": ["tensorboard"]})
    with pytest.raises(KeyboardInterrupt):
        run(recipe, data, tmp_path / "stopped", observers=[Stop(7)])
    run(recipe, data, tmp_path / "stopped")
    poison(monkeypatch, 8)
    run(recipe, data, tmp_path / "rolled")
    for name in ("stopped", "rolled"):
        assert [one.step for one in events(tmp_path / name).Scalars("loss")] == [2, 4, 6, 8, 10], name
        losses = [line["loss"] for line in read_journal(tmp_path / name / "log.jsonl") if "loss" in line]
        assert [one.value for one in events(tmp_path / name).Scalars("loss")] == pytest.approx(losses)


# ---- names and absent libraries -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_an_absent_library_is_said_before_anything_is_done(
    name: str, make_recipe: MakeRecipe, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=rf'pip install "brickwork\[{name}\]"'):
        run(make_recipe(report={"trackers": [name]}), data, tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("verb", [["train", "stoic-small"], ["autoencoder", "train"]])
def test_the_command_line_says_so_before_it_reads_images(
    verb: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    words = ["--data", str(tmp_path / "none"), "--out", str(tmp_path / "a"), "--steps", "1"]
    assert main([*verb, *words, "--report.trackers", "wandb"]) == 1
    assert 'pip install "brickwork[wandb]"' in capsys.readouterr().err


def test_extras_have_the_names_of_the_trackers() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    table = importlib.import_module("brickwork.training.run.trackers.table")
    assert set(table.TRACKERS) <= project["optional-dependencies"].keys()


@pytest.mark.parametrize(
    ("trackers", "error", "words"),
    [
        (["wandbb"], UnknownNameError, "did you mean wandb"),
        ("wandb", ConfigError, "give a list"),
        (["mlflow", "mlflow"], ConfigError, "once"),
    ],
)
def test_names_that_are_refused(trackers: Any, error: type[Exception], words: str) -> None:
    for report in (Report, AutoencoderReport):
        with pytest.raises(error, match=words):
            report(trackers=trackers)


@pytest.mark.parametrize("trackers", [(), ("tensorboard",), ("wandb", "mlflow")])
def test_recipes_with_trackers_as_text_and_back(trackers: tuple[Any, ...], make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(report={"trackers": trackers})
    assert parse_recipe(to_toml(recipe)) == recipe
    text = f"[report]\ntrackers = {list(trackers)}".replace("'", '"')
    assert parse_autoencoder_recipe(text).report.trackers == trackers


@pytest.mark.parametrize(("asked", "trackers"), [("true", ("tensorboard",)), ("false", ())])
def test_recipes_of_0_1_asked_for_tensorboard_by_a_field(asked: str, trackers: tuple[str, ...]) -> None:
    text = f'[backbone]\npreset = "stoic-small"\n[report]\ntensorboard = {asked}\n'
    assert parse_recipe(text).report.trackers == trackers
