"""What packing refuses, and what it leaves behind: a whole package, or nothing."""

from __future__ import annotations

import copy
import errno
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import tiny_model

from brickwork.backbone.stoic import Stoic
from brickwork.cli import main
from brickwork.device.runner import Runner, open_package
from brickwork.errors import (
    ArgumentError,
    BrickworkError,
    ConfigError,
    OutputError,
    PackageError,
    ParityError,
)
from brickwork.files.manifest import verify
from brickwork.model.checkpoint import save
from brickwork.model.model import Model
from brickwork.package import pack as packing_module
from brickwork.package import spec as spec_module
from brickwork.package.check.parity import deterministic, psnr
from brickwork.package.graph import DenoiserDoor
from brickwork.package.pack import pack
from brickwork.package.packing import Packing
from brickwork.package.targets import toolkit as toolkit_module
from brickwork.package.targets.table import TARGETS, choose_target, target_of
from brickwork.sampling.loop import sample
from brickwork.sampling.sampler import Sampler
from brickwork.sampling.solvers import Ddim, DpmSolverPP, EulerMaruyama, Heun

QUICK: dict[str, Any] = {"batches": (2,), "steps": 2}


def quiet(line: str) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model("stoic").first(1)


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_psnr_by_hand() -> None:
    """An error of 0.02 everywhere is a hundredth of the peak of 2: 40 dB."""
    a = torch.zeros(3, 4).numpy()
    assert psnr(a, a + 0.02) == pytest.approx(40)
    assert psnr(a, a) == float("inf")


def test_noisy_solvers_have_a_quiet_counterpart() -> None:
    assert deterministic(EulerMaruyama()) == DpmSolverPP()
    assert deterministic(Heun(churn=2)) == Heun()
    assert deterministic(Ddim(eta=1.0)) == DpmSolverPP()
    for solver in (Heun(), Ddim(), DpmSolverPP(order=3)):
        assert deterministic(solver) is solver


def test_a_package_that_draws_something_else_is_refused(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = DenoiserDoor.forward
    monkeypatch.setattr(DenoiserDoor, "forward", lambda self, *inputs: right(self, *inputs) * 1.01)
    with pytest.raises(ParityError, match=re.escape("at least 60 are needed; nothing was kept")):
        pack(model, tmp_path / "a.onnx", Packing(**QUICK), say=quiet)
    assert leftovers(tmp_path) == []


def test_pictures_that_are_not_numbers_are_refused(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = DenoiserDoor.forward
    monkeypatch.setattr(DenoiserDoor, "forward", lambda self, *inputs: right(self, *inputs) / 0.0)
    with pytest.raises(ParityError):
        pack(model, tmp_path / "a.onnx", Packing(**QUICK), say=quiet)
    assert leftovers(tmp_path) == []


def test_an_earlier_package_is_replaced_whole(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "a.onnx"
    first = pack(model, out, Packing(licence="first", **QUICK), say=quiet)
    right = DenoiserDoor.forward
    with monkeypatch.context() as patch:
        patch.setattr(DenoiserDoor, "forward", lambda self, *inputs: right(self, *inputs) * 1.01)
        with pytest.raises(ParityError):
            pack(model, out, Packing(licence="second", **QUICK), say=quiet)
    assert verify(out) == first.manifest
    assert leftovers(tmp_path) == ["a.onnx"]
    pack(model, out, Packing(licence="third", **QUICK), say=quiet)
    assert verify(out).licence == "third"
    assert leftovers(tmp_path) == ["a.onnx"]


def test_nothing_but_a_package_is_written_over(model: Model, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "dog.png").write_bytes(b"dog")
    (tmp_path / "file").write_bytes(b"text")
    for name in ("photos", "file"):
        with pytest.raises(OutputError, match="is no package"):
            pack(model, tmp_path / name, Packing(**QUICK), say=quiet)
    assert (tmp_path / "photos" / "dog.png").read_bytes() == b"dog"


def test_a_full_disk_leaves_nothing(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packing_module, "write_manifest", full)
    with pytest.raises(OutputError, match="No space left"):
        pack(model, tmp_path / "a.onnx", Packing(**QUICK), say=quiet)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a", 'packing for ONNX Runtime needs onnx: pip install "brickwork[onnx]"'),
        ("a.openvino", 'packing for OpenVINO needs openvino: pip install "brickwork[openvino]"'),
        ("a.litert", "packing for LiteRT needs litert-torch, which is no extra: install litert-torch first"),
    ],
)
def test_a_missing_toolkit_is_named(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(toolkit_module, "version", missing)
    with pytest.raises(BrickworkError, match=re.escape(said)):
        pack(model, tmp_path / name, Packing(**QUICK), say=quiet)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": "onyx"}, "did you mean onnx"),
        ({"precision": "fp31"}, "fp31"),
        ({"precision": "bf16"}, "onnx packages have"),
        ({"layout": "pile"}, "pile"),
        ({"layout": "stack", "precision": "fp16"}, "stacked layouts are fp32"),
        ({"batches": ()}, "batches"),
        ({"batches": (0,)}, "batches"),
        ({"sizes": (7,)}, "size 7"),
        ({"parts": (4,)}, "the first 4 of 1 parts"),
        ({"plan": "pg:0.3"}, "of 1 part"),
        ({"solver": "eulre"}, "eulre"),
        ({"grid": "chess"}, "chess"),
        ({"max_loss_increase": -1.0}, "-1.0"),
    ],
)
def test_options_that_do_not_fit(model: Model, tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(BrickworkError, match=re.escape(said)) as caught:
        pack(model, tmp_path / "a.onnx", Packing(**{**QUICK, **options}), say=quiet)
    assert len(str(caught.value).splitlines()) == 1
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("name", TARGETS)
def test_the_suffix_chooses_the_target(name: str) -> None:
    assert choose_target(None, Path(f"digits.{name}")) is choose_target(name, Path("digits")) is target_of(name)
    assert target_of(name).suffix == f".{name}"


def test_without_suffix_and_word_it_is_onnx_runtime() -> None:
    assert choose_target(None, Path("folder.v2/digits")).name == choose_target(None, None).name == "onnx"
    assert choose_target("litert", Path("digits-v1.5")).name == "litert"


@pytest.mark.parametrize(
    ("word", "out", "said"),
    [
        ("openvino", "a.onnx", "a.onnx for target openvino: its suffix says onnx; name it a.openvino"),
        (None, "a.openvin", "a.openvin: .openvin is the suffix of no target; there are .onnx, "),
    ],
)
def test_a_suffix_that_says_something_else_is_refused(
    model: Model, tmp_path: Path, word: str | None, out: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ArgumentError, match=re.escape(said)):
        pack(model, tmp_path / out, Packing(target=word, **QUICK), say=quiet)
    assert leftovers(tmp_path) == []
    words = ["pack", "digits", "--out", str(tmp_path / out), *(["--target", word] if word else [])]
    assert main(words) == 1
    assert said in capsys.readouterr().err


def test_a_package_that_cannot_run_here_is_returned_and_refuses_to_draw(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for Core ML, whose converter need not be installed for this: the graphs are ONNX's."""
    elsewhere = replace(target_of("coreml"), write=target_of("onnx").write, toolkit=target_of("onnx").toolkit)
    monkeypatch.setattr(spec_module, "choose_target", lambda word, out: elsewhere)
    package = pack(model, tmp_path / "a.coreml", Packing(**QUICK), say=quiet)
    assert package.manifest == verify(tmp_path / "a.coreml")
    assert package.manifest.parity == {"checked": False, "why": elsewhere.elsewhere}
    assert (package.shape, package.counts) == ((3, 8, 8), (1,))
    with pytest.raises(PackageError, match="Apple's devices alone"):
        sample(package, seeds=[0], steps=1)
    with pytest.raises(PackageError, match="Apple's devices alone"):
        open_package(tmp_path / "a.coreml")


def test_a_sampler_says_how_the_package_draws(model: Model, tmp_path: Path) -> None:
    how = Sampler(steps=3, solver="heun:churn=2", schedule="log-snr", guidance=1.5)
    package = pack(model, tmp_path / "a", Packing(batches=(2,)), how=how, say=quiet)
    said = package.manifest.sampling
    assert (said.steps, said.solver, said.grid, said.guidance) == (3, "heun:churn=2", "log-snr", 1.5)
    assert package.sampler == how
    with pytest.raises(ArgumentError, match="steps 2: how says it too"):
        pack(model, tmp_path / "a", Packing(**QUICK), how=how, say=quiet)


def test_guidance_needs_something_to_follow(tmp_path: Path) -> None:
    config = Stoic.Config(width=32, heads=2, depth=1, size=8, channels=1)
    with pytest.raises(BrickworkError, match="neither classes nor text"):
        pack(tiny_model(config), tmp_path / "a.onnx", Packing(guidance=2.0, **QUICK), say=quiet)


def test_long_skips_cannot_be_cut(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="long_skip"):
        pack(tiny_model("uvit"), tmp_path / "a.onnx", Packing(parts=(2,), **QUICK), say=quiet)


def test_the_verbs(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a model file to a picture, by the command line alone."""
    monkeypatch.chdir(tmp_path)
    save(model, tmp_path / "tiny.safetensors")
    assert main(["pack", "tiny.safetensors", "--batches", "2", "--steps", "3", "--guidance", "2"]) == 0
    said = capsys.readouterr().out
    assert "dB" in said
    assert "brickwork run tiny.onnx" in said
    (digest,) = re.findall(r"manifest ([0-9a-f]{64})", said)
    assert main(["verify", "tiny.onnx", "--expect", digest]) == 0
    assert main(["run", "tiny.onnx", "--expect", digest, "--seeds", "0-2", "--labels", "1", "4", "--out", "many"]) == 0
    assert leftovers(tmp_path / "many") == [
        "label1_seed0.png", "label1_seed1.png", "label1_seed2.png",
        "label4_seed0.png", "label4_seed1.png", "label4_seed2.png", "sheet.png",
    ]  # fmt: skip
    for words, rule in (
        (["--labels", "horse"], "label 'horse'"),
        (["--seed", "x"], "seed 'x'"),
        (["--steps", "0"], "steps 0"),
        (["--steps", "many"], "steps"),
        (["--size", "9"], "9x9"),
        (["--plan", "2"], "2 parts"),
        (["--prompt", "red"], "takes no text"),
        (["--out", "a.gif"], ".webp"),
        (["--threads", "0"], "threads 0"),
        (["--expect", "0" * 64], "another package"),
        (["--text-embedding", "none.npy"], "none.npy"),
        (["--guidance", "nan"], "guidance nan"),
        (["--batch-size", "0"], "batch size 0"),
        (["--colour", "red"], "--colour"),
    ):
        capsys.readouterr()
        assert main(["run", "tiny.onnx", *words]) == (2 if rule in ("seed 'x'", "steps", "--colour") else 1)
        error = capsys.readouterr().err
        assert rule in error
        assert error.count("\n") == 1


def test_help_of_the_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    assert "--guidance" in capsys.readouterr().out


def test_a_runner_is_what_packing_returns(model: Model, tmp_path: Path) -> None:
    package = pack(model, tmp_path / "a.onnx", Packing(**QUICK), say=quiet)
    assert isinstance(package, Runner)
    assert package.manifest.model["parameters"] == sum(weight.numel() for weight in model.parameters())
    assert package.manifest.parity["checked"]


def test_packs_in_two_threads_and_copies_of_a_package(tmp_path: Path) -> None:
    model, how = tiny_model("stoic"), Packing(steps=1, batches=(1,))
    with ThreadPoolExecutor(2) as pool:
        runners = list(pool.map(lambda name: pack(model, tmp_path / name, how, say=lambda line: None), ("a", "b")))
    first = sample(runners[0], seeds=[3], steps=1)
    for runner in (runners[1], pickle.loads(pickle.dumps(runners[0])), copy.deepcopy(runners[0])):
        assert (sample(runner, seeds=[3], steps=1) == first).all()
