"""Packages for ExecuTorch draw the pictures of the model they were made of; run with an environment that has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import latent_model, text_model, tiny_model

from brickwork.backbone.lego import Lego
from brickwork.device.executorch import binding, load
from brickwork.device.runner import Runner, open_package
from brickwork.errors import PackageError
from brickwork.model import Model
from brickwork.package.pack import pack
from brickwork.package.packing import Packing
from brickwork.package.parity import psnr
from brickwork.sampling.denoiser import Condition
from brickwork.sampling.loop import sample, sample_x0
from brickwork.sampling.plan import Planned

pytest.importorskip("executorch")
# What the toolkits do to Python on the way in is theirs.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(900)]

# A device is built for these operators: a change must be meant. Pinned with the versions of constraints.txt.
OPS = {
    "_to_dim_order": 6, "cos": 1, "delegate": 3, "embedding": 1, "lt": 1, "scalar_tensor": 1, "sin": 1,
    "unsqueeze": 1, "where": 1, "xnnpack._clone_dim_order": 7, "xnnpack._softmax": 3, "xnnpack.add": 26,
    "xnnpack.bmm": 6, "xnnpack.cat": 2, "xnnpack.constant_pad_nd": 3, "xnnpack.convolution": 6, "xnnpack.div": 3,
    "xnnpack.gelu": 3, "xnnpack.linear": 27, "xnnpack.mul": 36, "xnnpack.neg": 2, "xnnpack.permute": 17,
    "xnnpack.rsqrt": 7, "xnnpack.sigmoid": 1, "xnnpack.slice": 13, "xnnpack.sub": 11, "xnnpack.unsqueeze": 4,
    "xnnpack.view": 44,
}  # fmt: skip


def draw(model: Any, **how: Any) -> np.ndarray:
    drawn = sample_x0(model, seeds=[7, 8, 9], steps=6, **how)
    return drawn.numpy() if isinstance(drawn, torch.Tensor) else drawn


def packed(model: Model, out: Path, **options: Any) -> Runner:
    how = {"target": "executorch", "batches": (2,), "steps": 4, **options}
    return pack(model, out / "a.executorch", Packing(**how), say=lambda line: None)


@pytest.mark.parametrize("name", ["tldm", "dit"])
def test_the_same_picture_from_the_same_seed(name: str, tmp_path: Path) -> None:
    """Guided, by seeds that packing did not look at."""
    model = tiny_model(name)
    package = packed(model, tmp_path, guidance=2.0)
    how: dict[str, Any] = {"labels": [0, 4, 2], "guidance": 2.0}
    assert psnr(draw(model, **how), draw(package, **how)) > 85
    assert package.manifest.parity["db"] > 85


def test_a_plan_of_fewer_bricks(tmp_path: Path) -> None:
    bricks = tuple(Lego.Brick(window=window, patch=2, width=32, heads=2, depth=1) for window in (4, 0))
    model, plan = tiny_model(Lego.Config(bricks=bricks, vector_width=32, size=8, num_classes=5)), "2@1.5,1"
    package = packed(model, tmp_path, plan=plan)
    assert package.counts == (1, 2)
    how: dict[str, Any] = {"labels": [0, 4, 2], "guidance": 2.0}
    assert psnr(draw(model, **how), draw(package, **how)) > 85
    assert psnr(draw(Planned.of(model, plan), **how), draw(Planned.of(package, plan), **how)) > 85
    assert psnr(draw(model, **how), draw(package.first(1), **how)) < 45  # parts matter


@pytest.fixture(scope="module")
def stoic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Runner]:
    model = tiny_model("stoic")
    return model, packed(model, tmp_path_factory.mktemp("stoic"), batches=(1, 2), guidance=2.0)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_rows(stoic: tuple[Model, Runner], count: int) -> None:
    """Labels come as int64, -1 for none."""
    model, package = stoic
    x = np.random.default_rng(0).standard_normal((count, 3, 8, 8)).astype(np.float32)
    sigma, labels = np.linspace(0.1, 5, count).astype(np.float32), np.arange(count) - 1
    ours = package(x, sigma, Condition(labels=labels))
    told = Condition(labels=torch.from_numpy(labels))
    theirs = model(torch.from_numpy(x), torch.from_numpy(sigma), told)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=2e-5)
    assert [port.dtype for port in package.manifest.graph("denoiser").inputs] == ["float32", "float32", "int64"]


def test_the_picture_and_the_operators(stoic: tuple[Model, Runner]) -> None:
    model, package = stoic
    how: dict[str, Any] = {"seeds": [5, 6], "labels": [1, 3], "guidance": 2.0, "steps": 5}
    ours, theirs = sample(package, **how), sample(model, **how)
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
    assert package.manifest.parity["db"] > 85
    assert package.manifest.graph("denoiser", batch=2).ops == OPS


def test_threads_are_those_of_the_process(stoic: tuple[Model, Runner]) -> None:
    """The count that it runs on already is fine; another would take the pool from under graphs that hold it."""
    _, package = stoic
    package.files.program(package.manifest.graph("denoiser", batch=1))
    there = binding()._threadpool_get_thread_count()
    again = open_package(package.files.folder, threads=there)
    np.testing.assert_allclose(draw(again, labels=2), draw(package, labels=2), atol=1e-5)
    with pytest.raises(PackageError, match=f"there are {there} already; start a process"):
        draw(open_package(package.files.folder, threads=there + 1), labels=2)


def test_a_changed_byte_is_refused(stoic: tuple[Model, Runner], tmp_path: Path) -> None:
    _, package = stoic
    for path in package.files.folder.iterdir():
        data = bytearray(path.read_bytes())
        if path.suffix == ".pte":
            data[len(data) // 2] ^= 1
        (tmp_path / path.name).write_bytes(data)
    with pytest.raises(PackageError, match=r"pte: its bytes are not those that were packed"):
        sample(open_package(tmp_path), seeds=[0, 1, 2], steps=1)


def test_a_file_of_another_graph_is_refused(stoic: tuple[Model, Runner]) -> None:
    _, package = stoic
    one, two = (package.manifest.graph("denoiser", batch=batch) for batch in (1, 2))
    with pytest.raises(PackageError, match="its manifest says"):
        load(package.files.folder / one.file, two, package.manifest, None)


def test_latents_are_decoded_in_the_package(tmp_path: Path) -> None:
    model = latent_model()
    package = packed(model, tmp_path)
    how: dict[str, Any] = {"seeds": [3, 4], "labels": 1, "steps": 4}
    ours, theirs = sample(package, **how), sample(model, **how)
    assert ours.shape == (2, 8, 8, 3)
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
    assert theirs.std() > 20


def test_prompts_are_read_in_the_package(tmp_path: Path) -> None:
    model = text_model()
    package = packed(model, tmp_path)
    for caption in ("red square", "Blue  CIRCLE!", "an unknown word", ""):
        np.testing.assert_allclose(package.embed_text([caption]), model.embed_text([caption]), atol=1e-5)
    how: dict[str, Any] = {"text": ["red square", "blue", "circle"], "guidance": 3.0, "negative": "square"}
    assert psnr(draw(model, **how), draw(package, **how)) > 85
