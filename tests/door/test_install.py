"""A wheel in clean environments, used in empty folders: what the README and the docs tell to type works there.

make door runs these; they install packages, so that they are off by default. Pictures that a reader has to bring are
noise here, and every budget is cut to a moment.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = [pytest.mark.door, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MOMENT = "0.05"
"""Minutes of every training."""
FOREIGN = {
    "LEGO-L-PG-64.pkl": "weights of its authors",
    "runs/lego": "made of those weights",
    "owner/name": "a repository of the hub",
    "me/fashion": "a repository of the hub",
    "brickwork serve": "goes on until it is stopped",
    "brickwork demo": "goes on until it is stopped",
}
"""Words of lines that are not run, and why."""
LARGEST = 250e6
"""Bytes of an environment that only draws packages."""


# ---- the distribution -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


def run(programs: Path, line: str, place: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of a shell in a folder, with an environment's programs and a cache of its own."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    own = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "XDG_CACHE_HOME": str(programs.parent / "cache")}
    command = ["bash", "-euc", line]
    return subprocess.run(command, cwd=place, env=outside | own, capture_output=True, text=True, timeout=900)


def environment(folder: Path, wheel: Path, extras: str) -> Path:
    """A new environment with the wheel and nothing else; the folder of its programs."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    constraints = ROOT / "constraints.txt"
    made = run(folder / "bin", f"python -m pip install --quiet --constraint {constraints} '{wheel}[{extras}]'", folder)
    assert made.returncode == 0, made.stderr
    return folder / "bin"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    return environment(tmp_path_factory.mktemp("full"), wheel, "train,plots,digits,onnx,peers")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    return environment(tmp_path_factory.mktemp("small"), wheel, "runtime")


# ---- what it holds ----------------------------------------------------------------------------------------------


def test_the_wheel_says_what_it_is_and_holds_what_it_needs(dist: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        facts = Parser().parsestr(archive.read(next(n for n in names if n.endswith("/METADATA"))).decode())
    assert facts["Author"]
    assert facts["License-Expression"] == "Apache-2.0"
    assert facts.get_all("Project-URL")
    assert facts.get_all("Classifier")
    assert not any("torch" in need for need in facts.get_all("Requires-Dist", []) if "extra ==" not in need)
    for needed in ("/licenses/LICENSE", "recipes/digits.toml", "models/digits.safetensors", "py.typed", "__init__.pyi"):
        assert any(name.endswith(needed) for name in names), needed
    assert not any(name.startswith(("tests", "benchmarks", "campaign")) for name in names)
    (source,) = dist.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        assert {"LICENSE", "README.md", "pyproject.toml"} <= {Path(name).name for name in archive.getnames()}


# ---- without PyTorch --------------------------------------------------------------------------------------------


def test_an_environment_without_pytorch_draws_a_package(full: Path, small: Path, tmp_path: Path) -> None:
    made = run(
        full, "brickwork pack digits --out digits.onnx && brickwork run digits.onnx --labels 3 --out a.png", tmp_path
    )
    assert made.returncode == 0, made.stderr
    drawn = run(small, "brickwork run digits.onnx --labels 3 --out b.png && brickwork info digits.onnx", tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    pictures = [np.asarray(Image.open(tmp_path / name), dtype=int) for name in ("a.png", "b.png")]
    assert pictures[0].std() > 30
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_an_environment_without_pytorch_is_small_and_says_what_it_lacks(small: Path, tmp_path: Path) -> None:
    assert run(small, "python -c 'import torch'", tmp_path).returncode == 1
    lacking = run(small, "brickwork sample digits", tmp_path)
    assert lacking.returncode == 1
    assert lacking.stderr.count("\n") == 1
    assert "brickwork[train]" in lacking.stderr
    own = (p for p in small.parent.rglob("*") if p.is_file() and not p.is_symlink() and "cache" not in p.parts)
    size = sum(path.stat().st_size for path in own)
    print(f"\n{size / 1e6:.0f} MB without PyTorch")
    assert size < LARGEST


# ---- every line that a reader types -----------------------------------------------------------------------------


def lines_of(page: Path) -> Iterator[str]:
    """The lines of a page's code blocks that run brickwork, continued ones whole."""
    for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            if re.match(r"(python -m )?brickwork ", line):
                yield line.split("   #")[0].rstrip()


def cut(line: str) -> str:
    """The line with a budget of a moment."""
    line = re.sub(r"minutes [\d.]+", f"minutes {MOMENT}", line)
    line = re.sub(r"--num-images \d+", "--num-images 64", line)
    trains = re.match(r"brickwork (autoencoder )?train ", line) and "--help" not in line
    return f"{line} --minutes {MOMENT}" if trains and "minutes " not in line else line


def stand_ins(place: Path) -> None:
    """Pictures that readers of the pages have: photographs of mixed sizes, and garments with labels and captions."""
    rng = np.random.default_rng(0)
    (place / "photos").mkdir(parents=True)
    for index in range(24):
        side = rng.integers(70, 130, 2)
        picture = np.kron(rng.integers(0, 256, (2, 2, 3)), np.ones((65, 65, 1)))[: side[0], : side[1]]
        Image.fromarray(picture.astype(np.uint8)).save(place / "photos" / f"{index}.jpg")
    for name in ("Bag", "Sandal"):
        (place / "DATA" / name).mkdir(parents=True)
        for index in range(40):
            picture = place / "DATA" / name / f"{index}.png"
            Image.fromarray(rng.integers(0, 256, (28, 28), dtype=np.uint8)).save(picture)
            picture.with_suffix(".txt").write_text("flag of Japan, not blurry")
    shutil.copy(place / "DATA" / "Sandal" / "0.png", place / "shoe.png")
    (place / "examples").symlink_to(ROOT / "examples")


def test_no_reason_is_stale() -> None:
    text = "\n".join(line for page in PAGES for line in lines_of(page))
    assert len(text.splitlines()) > 20
    known = {word for word in FOREIGN if word in text}
    assert {"LEGO-L-PG-64.pkl", "runs/lego"} <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_line_of_a_page_runs(full: Path, tmp_path: Path, page: Path) -> None:
    lines = [line for line in lines_of(page) if not any(word in line for word in FOREIGN)]
    if not lines:
        pytest.skip("no line of brickwork")
    place = tmp_path / "place"
    stand_ins(place)
    if any("brickwork-conv" in line for line in lines):
        source = shutil.copytree(ROOT / "examples" / "brickwork-conv", tmp_path / "conv")
        pip = f"python -m pip install --quiet --no-deps --no-build-isolation {source}"
        assert run(full, f"python -m pip install --quiet setuptools && {pip}", place).returncode == 0
    for line in map(cut, lines):
        ended = run(full, line, place)
        assert ended.returncode == 0, f"{line}\n{ended.stdout[-500:]}\n{ended.stderr[-2000:]}"
        assert "Traceback" not in ended.stderr, line
