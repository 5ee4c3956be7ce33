"""Packages for ONNX Runtime draw the pictures of the model they were made of, from the same seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from package_contract import GUIDED, PackageContract, draw, packed
from tiny_models import IMAGE, tiny_model

from brickwork.backbone.stoic import Stoic
from brickwork.codec.image_condition import Grey
from brickwork.device.runner import Runner, open_package
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.prediction import X0
from brickwork.diffusion.process import PROCESSES
from brickwork.model.model import Model
from brickwork.package.check.parity import psnr
from brickwork.sampling.loop import sample
from brickwork.sampling.planned import Planned
from brickwork.sampling.solvers import Ddim, EulerMaruyama, Heun

pytestmark = pytest.mark.runtime

LEGO_OPS = {
    "Add": 51, "Clip": 1, "Concat": 4, "Cos": 1, "Div": 4, "Gather": 1, "Gelu": 3, "Gemm": 8, "GreaterOrEqual": 1,
    "LayerNormalization": 9, "Log": 1, "MatMul": 24, "Mul": 36, "Neg": 1, "Pow": 1, "Reciprocal": 1, "Reshape": 39,
    "Sigmoid": 2, "Sin": 1, "Softmax": 3, "Split": 9, "Sqrt": 2, "Sub": 1, "Transpose": 21, "Unsqueeze": 8,
    "Where": 1,
}  # fmt: skip


class TestOnnx(PackageContract):
    """ONNX Runtime on a processor."""

    target = "onnx"
    suffixes = (".onnx", ".bin")
    least_db = 100
    ops: ClassVar = {
        "Add": 22, "Concat": 2, "Conv": 6, "Cos": 1, "Div": 3, "Gather": 1, "Gelu": 3, "LayerNormalization": 7,
        "Less": 1, "MatMul": 19, "Mul": 16, "Neg": 1, "Pad": 3, "Reshape": 31, "Sigmoid": 1, "Sin": 1, "Slice": 4,
        "Softmax": 3, "Split": 3, "Sub": 2, "Transpose": 23, "Unsqueeze": 2, "Where": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", ["stoic", "lego", "tldm", *(pytest.param(name, marks=pytest.mark.slow) for name in ("stoic adaln", "dit"))]
)
def test_the_first_parts_of_every_design(name: str, tmp_path: Path) -> None:
    """But U-ViT, whose long skips tie its blocks together."""
    model, plan = tiny_model(name), "3@1.5,2"
    package = packed(model, "onnx", tmp_path, plan=plan, guidance=2.0)
    assert psnr(draw(model, **GUIDED), draw(package, **GUIDED)) > 100
    assert package.manifest.parity["db"] > 100
    assert package.counts == (2, 3)
    assert psnr(draw(Planned.of(model, plan), **GUIDED), draw(Planned.of(package, plan), **GUIDED)) > 100
    assert psnr(draw(model, **GUIDED), draw(package.first(2), **GUIDED)) < 45  # parts matter
    if name == "lego":
        assert package.manifest.graph("denoiser", parts=3).ops == LEGO_OPS


@pytest.fixture(scope="module")
def stoic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Runner]:
    model = tiny_model("stoic")
    return model, packed(model, "onnx", tmp_path_factory.mktemp("stoic"), batches=(1, 2), sizes=(8, 12), steps=4)


@pytest.mark.parametrize("solver", [Heun(), Heun(churn=3), Ddim(eta=1.0), EulerMaruyama()])
def test_solvers_draw_the_same_noise(stoic: tuple[Model, Runner], solver: Any) -> None:
    model, package = stoic
    assert psnr(draw(model, labels=1, solver=solver), draw(package, labels=1, solver=solver)) > 90


def test_another_size_from_the_same_weights(stoic: tuple[Model, Runner]) -> None:
    model, package = stoic
    large = package.at(12, 12)
    assert package.sizes == ((8, 8), (12, 12))
    x, sigma = normal((2, 3, 12, 12)), np.array([0.5, 2.0], np.float32)
    theirs = model(torch.from_numpy(x), torch.from_numpy(sigma), Condition())
    np.testing.assert_allclose(large(x, sigma, Condition()), theirs.numpy(), rtol=1e-4, atol=2e-5)
    assert sample(large, seeds=[0], steps=2).shape == (1, 12, 12, 3)
    graphs = package.manifest.of_role("denoiser")
    assert len(graphs) == 4
    weights = package.manifest.files["weights.bin"].length
    assert weights < 1.3 * 4 * sum(weight.numel() for weight in model.parameters())


QUICK = ("vp", "edm", "flow")


@pytest.mark.parametrize("name", [pytest.param(k, marks=[pytest.mark.slow] * (k not in QUICK)) for k in PROCESSES])
def test_every_process_at_every_level(name: str, tmp_path: Path) -> None:
    """The arithmetic of noise levels is inside the graph."""
    config = Stoic.Config(width=32, heads=2, depth=1, size=4, channels=1)
    model = tiny_model(config, PROCESSES[name](), X0())
    package = packed(model, "onnx", tmp_path)
    sigma = np.geomspace(model.process.sigma_min, model.process.sigma_max, 8).astype(np.float32)
    x = normal((8, 1, 4, 4)) * np.sqrt(1 + sigma**2)[:, None, None, None]
    theirs = model(torch.from_numpy(x), torch.from_numpy(sigma), Condition()).numpy()
    scale = np.abs(theirs).max(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(package(x, sigma, Condition()) / scale, theirs / scale, atol=1e-4)


def test_an_image_condition(tmp_path: Path) -> None:
    config = Stoic.Config(width=32, heads=2, depth=2, condition_channels=3, **IMAGE)
    plain = tiny_model(config.__class__(width=32, heads=2, depth=2, **IMAGE))
    torch.manual_seed(0)
    model = (
        Model(config.build(), plain.process, plain.prediction, plain.codec, image_condition=Grey())
        .eval()
        .requires_grad_(False)
    )
    package = packed(model, "onnx", tmp_path)
    image = normal((3, 3, 8, 8))
    assert psnr(draw(model, labels=1, image=image), draw(package, labels=1, image=image)) > 90


def test_packages_open_again(stoic: tuple[Model, Runner]) -> None:
    model, package = stoic
    again = open_package(package.files.folder, threads=1)
    assert again.shape == model.shape
    assert again.classes == model.classes
    np.testing.assert_array_equal(draw(again, labels=2), draw(package, labels=2))


def normal(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)
