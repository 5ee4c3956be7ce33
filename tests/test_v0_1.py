"""Files of version 0.1: models draw what they drew, and runs end where they would have ended.

``fixtures/v0_1/make.py`` wrote them and says what they are. On the kind of processor that they were made on, with the
same torch, nothing may differ but rounding of x0; elsewhere products round otherwise, and near is enough.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional

import brickwork as bw

HERE = Path(__file__).parent / "fixtures" / "v0_1"
MADE = json.loads((HERE / "made.json").read_text())
DRAWS: dict[str, dict[str, Any]] = json.loads((HERE / "draws.json").read_text())
PAIRS: dict[str, Any] = json.loads((HERE / "pairs.json").read_text())
FAMILIES = sorted(path.stem for path in (HERE / "models").iterdir())
RUNS = {
    "stoic": "patterns",
    "lego-sequential": "patterns",
    "lego-guest": "patterns",
    "words": "shapes",
    "coarse": "patterns",
    "latents": "shapes",
}
NEAR = 2.5e-6  # of x0: c_skip is one factor since 0.2, which moves one evaluation by up to 1.4e-7


# ---- what is not public: one line each to change ----------------------------------------------------------------


def steady() -> AbstractContextManager[None]:
    """One attention kernel and torch's own products, as when the files were made: no choice by time."""
    from brickwork.nn.attention import use_kernel

    return use_kernel("matmul")


def forget_choices() -> None:
    """Of kernels that were measured or restored in this process."""
    from brickwork.nn.attention import set_kernel_choices

    set_kernel_choices({})


def autoencoder_recipe(path: Path) -> bw.AutoencoderRecipe:
    """The recipe that a run of an autoencoder wrote."""
    from brickwork.training.autoencoder.recipe import load_autoencoder_recipe

    return load_autoencoder_recipe(path)


def command(*words: str) -> int:
    """The command line, in this process."""
    from brickwork.cli import main

    return main(words)


# ---- here and there ---------------------------------------------------------------------------------------------


@cache
def same_arithmetic() -> bool:
    """Whether this machine and its torch round as those did that the files were made on; as in make.py."""
    generator = torch.Generator().manual_seed(0)
    digest = hashlib.sha256()
    for rows, width in ((2, 16), (16, 16), (64, 48), (200, 24)):
        x = torch.randn(rows, width, generator=generator, requires_grad=True)
        weight = torch.randn(2 * width, width, generator=generator, requires_grad=True)
        y = functional.layer_norm(functional.gelu(functional.linear(x, weight)), (2 * width,))
        shares = (y @ y.mT / width).softmax(dim=-1) @ y
        shares.square().mean().backward()
        kernel = torch.randn(4, 1, 3, 3, generator=generator)
        image = functional.conv2d(shares.detach()[None, None], kernel, padding=1)
        for tensor in (shares.detach(), x.grad, weight.grad, image, image.exp(), image.sin()):
            assert tensor is not None
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest() == MADE["arithmetic"]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.chdir(HERE)  # paths in the files are from there
    yield
    torch.set_num_threads(threads)


def assert_near(found: np.ndarray, stored: np.ndarray, share: float = NEAR) -> None:
    """Within a share of each image's largest number, or 100 times that where arithmetic is another."""
    assert found.shape == stored.shape
    assert found.dtype == stored.dtype == np.float32
    axes = tuple(range(1, stored.ndim))
    error, size = np.abs(found - stored).max(axis=axes), np.abs(stored).max(axis=axes)
    bound = share if same_arithmetic() else 100 * share
    assert (error <= bound * size).all(), f"off by {(error / size).max():.2g}"


def assert_same_pictures(found: np.ndarray, stored: np.ndarray) -> None:
    assert found.shape == stored.shape
    assert found.dtype == stored.dtype == np.uint8
    most = np.abs(found.astype(int) - stored).max()
    assert most <= (0 if same_arithmetic() else 1), f"{(found != stored).sum()} pixels differ, by {most} at most"


def assert_same_weights(found: torch.nn.Module, stored: torch.nn.Module) -> None:
    ours, theirs = found.state_dict(), stored.state_dict()
    assert ours.keys() == theirs.keys()
    if same_arithmetic():
        assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    for name, tensor in theirs.items():  # 10 more steps of AdamW, which make more of what is rounded
        assert (ours[name] - tensor).abs().max() <= 1e-3 * (1 + tensor.abs().max()), name


def test_arithmetic_is_that_of_the_files() -> None:
    """Says so where all others compare less strictly."""
    if not same_arithmetic():
        here = f"torch {torch.__version__} on {torch.backends.cpu.get_cpu_capability()}"
        pytest.skip(f"{here} rounds otherwise than torch {MADE['torch']} on {MADE['processor']}: compared nearly")


# ---- models, packages, pictures ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    with zipfile.ZipFile(HERE / "packages.zip") as archive:
        archive.extractall(folder)
    return folder


@lru_cache(maxsize=4)
def loaded(file: str) -> bw.Model:
    if "unet" in file:
        pytest.importorskip("diffusers")
    return bw.load(HERE / file)


def images_of(data: str, rows: list[int]) -> np.ndarray:
    images = np.load(HERE / data)["images"][rows]
    return images if images.ndim == 4 else images[..., None]


def opened(how: dict[str, Any], packages: Path) -> Any:
    """The denoiser of a drawing; takes what says which from its arguments."""
    if (name := how.pop("package", None)) is not None:
        pytest.importorskip("onnxruntime")
        model: Any = bw.open_package(packages / name, threads=1)
    else:
        model = loaded(how.pop("model"))
    if rows := how.pop("given", []):
        how["image"] = model.as_image_condition(images_of("data/patterns.npz", rows))
    if "first" in how:
        model = model.first(how.pop("first"))
    if "plan" in how:
        model = bw.Planned.of(model, how.pop("plan"))
    return bw.Canvas(model, *how.pop("canvas")) if "canvas" in how else model


def arguments(how: dict[str, Any]) -> dict[str, Any]:
    """Solver, schedule (which 0.1 called grid) and interval as values."""
    how = {"schedule" if key == "grid" else key: value for key, value in how.items()}
    named = {key: getattr(bw, how[key][0])(**how[key][1]) for key in ("solver", "schedule") if key in how}
    if "guidance_interval" in how:
        named["guidance_interval"] = tuple(how["guidance_interval"])
    return {**how, **named}


def edited(task: dict[str, Any]) -> dict[str, Any]:
    """What ``edit`` starts from."""
    pictures = images_of(task["data"], task["rows"])
    asked = {key: task[key] for key in ("strength", "resample") if key in task}
    if "mask" in task:
        asked["mask"] = np.zeros(pictures.shape[1:3], bool)
        asked["mask"][slice(*task["mask"]), slice(*task["mask"])] = True
    return {"pictures": pictures, **asked}


@cache
def stored_draws() -> dict[str, np.ndarray]:
    with np.load(HERE / "draws.npz") as file:
        return dict(file)


@pytest.mark.filterwarnings("ignore:text. the model never learned")
@pytest.mark.parametrize("name", DRAWS)
def test_pictures_are_those_of_0_1(name: str, packages: Path) -> None:
    how: dict[str, Any] = dict(DRAWS[name])
    x0: list[Any] = []
    draw: Callable[..., np.ndarray] = bw.edit if "edit" in how else bw.sample
    with steady():
        model = opened(how, packages)
        task = edited(how.pop("edit")) if "edit" in how else {}
        pictures = draw(model, **task, **arguments(how), on_step=lambda i, x, denoised: x0.append(x))
    assert_near(np.asarray(x0[-1]), stored_draws()[f"{name}/x0"])
    assert_same_pictures(pictures, stored_draws()[name])


def test_every_file_is_drawn_from() -> None:
    drawn = {how["model"] for how in DRAWS.values() if "model" in how}
    assert drawn >= {f"models/{family}.safetensors" for family in FAMILIES}
    assert {Path(name).name.removesuffix(".end.safetensors") for name in drawn} >= RUNS.keys()


@pytest.mark.parametrize("name", PAIRS["headers"])
def test_every_process_with_every_target(name: str, tmp_path: Path) -> None:
    save_file(load_file(HERE / "pairs.safetensors"), tmp_path / "a.safetensors", {"brickwork": PAIRS["headers"][name]})
    with np.load(HERE / "pairs.npz") as file:
        x, sigma, stored = (file[f"{name}/{key}"] for key in ("x", "sigma", "d"))
    model = bw.load(tmp_path / "a.safetensors")
    with torch.no_grad(), steady():
        condition = bw.Condition(labels=torch.tensor(PAIRS["labels"]))
        found = model(torch.from_numpy(x), torch.from_numpy(sigma), condition)
    assert_near(found.numpy(), stored)


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_again_a_model_is_the_same(family: str, tmp_path: Path) -> None:
    model = loaded(f"models/{family}.safetensors")
    digest = model.digest
    bw.save(model, tmp_path / "a.safetensors")
    again, model.digest = bw.load(tmp_path / "a.safetensors"), digest
    assert (again.process, again.prediction, again.classes) == (model.process, model.prediction, model.classes)
    ours, theirs = again.state_dict(), model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_packages_are_whole(packages: Path) -> None:
    for name in ("whole", "stack", "int8"):
        bw.verify(packages / name)


def facts_of(path: Path) -> dict[str, Any]:
    with Image.open(path) as image:
        return json.loads(image.info["brickwork"])


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_png_says_how_it_was_drawn() -> None:
    paths = sorted((HERE / "pictures").glob("label*.png"))
    assert len(paths) == 6
    for path in paths:
        facts = facts_of(path)
        model = loaded(facts["model"])
        assert facts["sha256"] == model.digest
        assert facts["version"] == "0.1.0"
        assert (facts["solver"], facts["grid"], facts["plan"]) == ("heun:churn=3", "karras", None)
        low, high = map(float, facts["guidance_interval"])
        assert (low, high) == (0.0, math.inf)
        asked = {"seeds": [facts["seed"]], "labels": facts["label"], "steps": facts["steps"]}
        with steady():
            found = bw.sample(model, **asked, guidance=facts["guidance"], solver=bw.Heun(churn=3.0))
            again = bw.sample(model, seeds=[facts["seed"]], labels=facts["label"], how=bw.Sampler.from_entry(facts))
        assert_same_pictures(found[0, ..., 0], pixels_of(path))
        assert_same_pictures(again[0, ..., 0], pixels_of(path))


def test_the_command_writes_the_same_pngs(tmp_path: Path) -> None:
    with steady():
        assert command(*MADE["sample"].split(), "--out", str(tmp_path)) == 0
    for path in sorted((HERE / "pictures").glob("label*.png")):
        assert_same_pictures(pixels_of(tmp_path / path.name), pixels_of(path))
        stored, found = facts_of(path), facts_of(tmp_path / path.name)
        assert {key: found.get(key) for key in stored if key != "version"} == {
            key: value for key, value in stored.items() if key != "version"
        }
    assert "labels" in facts_of(tmp_path / "sheet.png")


# ---- runs -------------------------------------------------------------------------------------------------------


def copy_of(name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(HERE / "interrupted" / name, tmp_path / name))


def steps_of(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]


def resumed(name: str, tmp_path: Path) -> bw.Model:
    out = copy_of(name, tmp_path)
    recipe = bw.load_recipe(out / "recipe.toml")
    data = bw.load_dataset(HERE / "data" / f"{RUNS[name]}.npz", recipe.data)
    bw.train(recipe, data, out, device="cpu", latents=tmp_path / "latents", progress=False)
    assert steps_of(out) == list(range(4, 31, 4))
    return bw.load(out)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_ends_as_one_that_never_stopped(name: str, tmp_path: Path) -> None:
    """The first one's state names kernels that no other run would choose at its size, and is to go on with these."""
    if name == "stoic":
        forget_choices()
        found = resumed(name, tmp_path)
        forget_choices()
    else:
        with steady():
            found = resumed(name, tmp_path)
    stored = bw.load(HERE / "interrupted" / f"{name}.end.safetensors")
    assert_same_weights(found, stored)
    assert (found.process, found.prediction, found.classes) == (stored.process, stored.prediction, stored.classes)


@pytest.mark.parametrize("kind", ["kl", "vq"])
def test_an_autoencoder_ends_as_one_that_never_stopped(kind: str, tmp_path: Path) -> None:
    out = copy_of(f"autoencoder-{kind}", tmp_path)
    recipe = autoencoder_recipe(out / "recipe.toml")
    data = bw.load_dataset(HERE / "data" / "shapes.npz", recipe.data)
    with steady():
        found = bw.train_autoencoder(recipe, data, out, device="cpu", progress=False)
    stored = bw.load_codec(HERE / "interrupted" / f"autoencoder-{kind}.end.safetensors")
    assert_same_weights(found, stored)
    assert_same_weights(bw.load_codec(out), stored)
    assert steps_of(out) == list(range(4, 31, 4))
    pictures = torch.from_numpy(images_of("data/shapes.npz", [0, 1]))
    ours, theirs = found.encode(pictures), stored.encode(pictures)
    if same_arithmetic():
        assert found.digest == stored.digest
        assert torch.equal(ours, theirs)
        assert torch.equal(found.decode(ours), stored.decode(theirs))


def test_the_autoencoder_of_a_model_of_latents() -> None:
    alone = bw.load_codec(HERE / "interrupted" / "autoencoder-kl.end.safetensors")
    for name in ("latents.end.safetensors", "latents"):
        within = bw.load_codec(HERE / "interrupted" / name)
        assert within.digest == alone.digest == loaded("interrupted/latents.end.safetensors").codec.digest
