"""The package under examples/, installed: the command line and the library know its classes; without it, its name."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import brickwork as bw
from brickwork import registry
from brickwork.backbone.contract import check_backbone
from brickwork.cli import main
from brickwork.errors import ExtensionError
from brickwork.files.manifest import read_manifest
from brickwork.sampling.solvers import SOLVERS

EXAMPLE = Path(__file__).parents[1] / "examples" / "brickwork-conv"


def forget() -> None:
    """As at the start of a program."""
    registry._points.cache_clear()
    for known in registry._REGISTRIES.values():
        known._added.clear()
    sys.modules.pop("brickwork_conv", None)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip installed the package: offline, and beside everything else."""
    folder = tmp_path_factory.mktemp("outside")
    source = shutil.copytree(EXAMPLE, folder / "source")
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    target = folder / "site"
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)]
    subprocess.run(command, check=True, timeout=240)
    return target


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package can be found, as in a program that starts now."""
    monkeypatch.syspath_prepend(site)
    forget()
    yield
    forget()


@pytest.fixture(scope="module")
def run_folder(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the package's backbone, trained for a few steps by the command line."""
    out = tmp_path_factory.mktemp("runs") / "conv"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        forget()
        words = [str(EXAMPLE / "recipe.toml"), "--data", "digits", "--out", str(out), "--steps", "4", "--batch", "8"]
        words += ["--backbone.depth", "2", "--report.sheet-steps", "2", "--report.eval-images", "8", "--warmup", "1"]
        assert main(["train", *words]) == 0
    forget()
    return out


@pytest.mark.usefixtures("installed")
def test_it_is_listed_by_name_and_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "packages        brickwork-conv (backbone conv, solver midpoint)" in lines
    assert next(line for line in lines if line.startswith("solvers")).endswith("midpoint")
    assert "brickwork_conv" not in sys.modules  # a list imports nothing


@pytest.mark.usefixtures("installed")
def test_its_model_is_known_drawn_and_packed(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    recipe = (run_folder / "recipe.toml").read_text()
    assert 'kind = "conv"\npackage = "brickwork-conv"\n' in recipe
    assert main(["info", str(run_folder)]) == 0
    assert "conv (of brickwork-conv): " in capsys.readouterr().out
    picture = tmp_path / "a.png"
    words = ["--labels", "3", "--seeds", "0", "--steps", "3", "--solver", "midpoint", "--out", str(picture)]
    assert main(["sample", str(run_folder), *words]) == 0
    assert picture.exists()
    package = tmp_path / "conv.onnx"
    assert main(["pack", str(run_folder), "--out", str(package), "--target", "onnx"]) == 0
    assert read_manifest(package).model["backbone"][::2] == ["conv", "brickwork-conv"]
    assert main(["info", str(package)]) == 0


@pytest.mark.usefixtures("installed")
def test_its_network_keeps_the_contract_of_backbones() -> None:
    config: Any = bw.load_recipe(EXAMPLE / "recipe.toml").backbone
    assert type(config).__module__ == "brickwork_conv"
    told: dict[str, Any] = {"size": 8, "channels": 3, "num_classes": 4, "condition_channels": 3}
    check_backbone(type(config)(width=16, depth=2, **told))
    check_backbone(type(config)(width=16, depth=2, size=8, channels=1))
    with pytest.raises(bw.ConfigError, match="width 12"):
        type(config)(**{**told, "width": 12})


@pytest.mark.usefixtures("installed")
def test_its_solver_errs_by_the_square_of_the_step() -> None:
    """x of one Gaussian pixel of variance 1 at level s is sqrt(1 + s²) of what it was at level 0."""
    solver, errors = SOLVERS.find("midpoint")(), []
    for steps in (16, 32, 64):
        x, levels = 1.0, [4.0 ** (1 - k / steps) for k in range(steps + 1)]
        for s, s_next in pairwise(levels):
            x, _ = solver.step(lambda y, level: y / (1 + level**2), x, s, s_next, lambda: 0.0, ())
        errors.append(abs(x - (2 / 17) ** 0.5))
    assert min(a / b for a, b in pairwise(errors)) > 2**solver.order - 0.1  # or better: this flow is kind to it


def test_without_it_the_error_names_the_package(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forget()
    with pytest.raises(bw.BrickworkError, match="of the package 'brickwork-conv', which is missing or lacks it; pip"):
        bw.load(run_folder)
    with pytest.raises(ExtensionError, match="no backbone named 'conv' here: it is of the package 'brickwork-conv'"):
        bw.load_recipe(run_folder / "recipe.toml")
    assert main(["sample", str(run_folder), "--out", "a.png"]) == 1
    assert "pip install brickwork-conv" in capsys.readouterr().err
