"""Packages for LiteRT draw the pictures of the model they were made of; run with an environment that has it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from package_contract import PackageContract, draw
from tiny_models import tiny_model

from brickwork.backbone.stoic import Stoic
from brickwork.device.litert import load
from brickwork.device.runner import Runner, open_package
from brickwork.errors import PackageError
from brickwork.files.manifest import Graph
from brickwork.model.model import Model
from brickwork.package import graph as graphs
from brickwork.package.graph import GraphSpec
from brickwork.package.precision import Precision
from brickwork.package.targets import litert as target

pytest.importorskip("ai_edge_litert")
pytest.importorskip("litert_torch")
# What the toolkits do to Python on the way in is theirs.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(900)]


class TestLitert(PackageContract):
    """LiteRT with XNNPACK."""

    target = "litert"
    suffixes = (".tflite",)
    ops: ClassVar = {
        "ADD": 28, "BATCH_MATMUL": 6, "CONCATENATION": 2, "CONV_2D": 3, "COS": 1, "DEPTHWISE_CONV_2D": 3, "DIV": 3,
        "EMBEDDING_LOOKUP": 1, "FULLY_CONNECTED": 13, "GELU": 3, "LESS": 1, "LOGISTIC": 1, "MEAN": 14, "MUL": 31,
        "PAD": 4, "RESHAPE": 78, "RSQRT": 7, "SELECT": 1, "SIN": 1, "SLICE": 12, "SOFTMAX": 3,
        "SQUARED_DIFFERENCE": 7, "SUB": 9, "TRANSPOSE": 16,
    }  # fmt: skip

    def test_threads_are_the_callers_choice(self, stoic: tuple[Model, Runner]) -> None:
        _, package = stoic
        again = open_package(package.files.folder, threads=1)
        np.testing.assert_allclose(draw(again, labels=2), draw(package, labels=2), atol=1e-5)

    def test_a_file_of_another_graph_is_refused(self, stoic: tuple[Model, Runner]) -> None:
        _, package = stoic
        one, two = (package.manifest.graph("denoiser", batch=batch) for batch in (1, 2))
        with pytest.raises(PackageError, match="its manifest says"):
            load(package.files.folder / one.file, two, package.manifest, 1)


# ---- fewer bits -------------------------------------------------------------------------------------------------


@cache
def wide() -> tuple[Model, GraphSpec, bytes]:
    """A model whose rows can be cut into groups, its graph of two rows, and that graph's file in fp32."""
    model = tiny_model(Stoic.Config(width=64, heads=2, depth=2, size=8, channels=3, num_classes=5))
    spec = graphs.denoiser(model, 8, 8, 2)
    return model, spec, target.to_litert(spec)


def error(data: bytes, folder: Path) -> float:
    """Of a graph's file, as a share of what the network adds to x."""
    _, spec, _ = wide()
    (folder / "a.tflite").write_bytes(data)
    graph = Graph(role="denoiser", file="a.tflite", inputs=spec.inputs, outputs=spec.outputs)
    program = load(folder / "a.tflite", graph, None, 1)  # pyright: ignore[reportArgumentType]  # unused
    generator, errors, sizes = np.random.default_rng(3), [], []
    for sigma in np.geomspace(0.05, 10, 4).astype(np.float32):
        x = generator.standard_normal((2, 3, 8, 8)).astype(np.float32) * (1 + sigma)
        call = {"x": x, "sigma": np.full(2, sigma), "labels": np.array([-1, 3])}
        with torch.no_grad():
            theirs = spec.module(*map(torch.from_numpy, call.values())).numpy()
        errors.append(program(call)[0] - theirs)
        sizes.append(theirs - x)
    return float(np.std(errors) / np.std(sizes))


@pytest.mark.parametrize(
    ("name", "least", "most", "bits"), [("fp16", 1e-6, 1e-3, 16), ("int8", 1e-4, 0.02, 8), ("int4", 1e-2, 0.2, 4.5)]
)
def test_fewer_bits(name: str, least: float, most: float, bits: float, tmp_path: Path) -> None:
    """The error is that of the bits: not more, and not so little that the bits are not in use."""
    model, spec, fp32 = wide()
    data = target.quantize(fp32, spec, Precision(name=name))
    assert least < error(data, tmp_path) < most
    layers = [weight for key, weight in model.named_parameters() if weight.ndim > 1 and "table" not in key]
    weights = sum(weight.numel() for weight in layers) if name == "fp16" else 2 * 12 * 64 * 64  # two blocks' products
    assert len(fp32) - len(data) == pytest.approx(weights * (32 - bits) / 8, rel=0.05)


def test_parts_that_are_kept_stay_fp32(tmp_path: Path) -> None:
    _, spec, fp32 = wide()
    some = target.quantize(
        fp32, spec, Precision(name="int8", fp32_layers=("backbone.blocks.0", "backbone.blocks.1.mlp"))
    )
    assert len(fp32) - len(some) == pytest.approx(3 * 4 * 64 * 64, rel=0.1)  # attention's two products of one block
    assert target.quantize(fp32, spec, Precision(name="int8", fp32_layers=("backbone.blocks",))) == fp32
    assert error(fp32, tmp_path) < 1e-5
