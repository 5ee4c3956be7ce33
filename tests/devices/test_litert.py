"""Packages for LiteRT draw the pictures of the model they were made of; run with an environment that has it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import latent_model, text_model, tiny_model

from brickwork.backbone.lego import Lego
from brickwork.backbone.stoic import Stoic
from brickwork.device.litert import load
from brickwork.device.runner import Runner, open_package
from brickwork.errors import PackageError
from brickwork.manifest import Graph
from brickwork.model import Model
from brickwork.package import graph as graphs
from brickwork.package.graph import Source
from brickwork.package.pack import pack
from brickwork.package.packing import Packing
from brickwork.package.parity import psnr
from brickwork.package.precision import Precision
from brickwork.package.targets import litert as target
from brickwork.sampling.denoiser import Condition
from brickwork.sampling.loop import sample, sample_x0
from brickwork.sampling.plan import Planned

pytest.importorskip("ai_edge_litert")
pytest.importorskip("litert_torch")
# What the toolkits do to Python on the way in is theirs.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(900)]

# A device is built for these operators: a change must be meant. Pinned with the versions of constraints.txt.
OPS = {
    "ADD": 28, "BATCH_MATMUL": 6, "CONCATENATION": 2, "CONV_2D": 3, "COS": 1, "DEPTHWISE_CONV_2D": 3, "DIV": 3,
    "EMBEDDING_LOOKUP": 1, "FULLY_CONNECTED": 13, "GELU": 3, "LESS": 1, "LOGISTIC": 1, "MEAN": 14, "MUL": 30, "PAD": 4,
    "RESHAPE": 74, "RSQRT": 7, "SELECT": 1, "SIN": 1, "SLICE": 12, "SOFTMAX": 3, "SQUARED_DIFFERENCE": 7, "SUB": 9,
    "TRANSPOSE": 13,
}  # fmt: skip


def draw(model: Any, **how: Any) -> np.ndarray:
    drawn = sample_x0(model, seeds=[7, 8, 9], steps=6, **how)
    return drawn.numpy() if isinstance(drawn, torch.Tensor) else drawn


def packed(model: Model, out: Path, **options: Any) -> Runner:
    how = {"target": "litert", "batches": (2,), "steps": 4, **options}
    return pack(model, out / "a.litert", Packing(**how), say=lambda line: None)


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
    """Labels come as int64, -1 for none, and the graph's own whole numbers have 32 bits."""
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


def test_threads_are_the_callers_choice(stoic: tuple[Model, Runner]) -> None:
    _, package = stoic
    again = open_package(package.files.folder, threads=1)
    np.testing.assert_allclose(draw(again, labels=2), draw(package, labels=2), atol=1e-5)


def test_a_changed_byte_is_refused(stoic: tuple[Model, Runner], tmp_path: Path) -> None:
    _, package = stoic
    for path in package.files.folder.iterdir():
        data = bytearray(path.read_bytes())
        if path.suffix == ".tflite":
            data[len(data) // 2] ^= 1
        (tmp_path / path.name).write_bytes(data)
    with pytest.raises(PackageError, match=r"tflite: its bytes are not those that were packed"):
        sample(open_package(tmp_path), seeds=[0, 1, 2], steps=1)


def test_a_file_of_another_graph_is_refused(stoic: tuple[Model, Runner]) -> None:
    _, package = stoic
    one, two = (package.manifest.graph("denoiser", batch=batch) for batch in (1, 2))
    with pytest.raises(PackageError, match="its manifest says"):
        load(package.files.folder / one.file, two, package.manifest, 1)


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


# ---- fewer bits -------------------------------------------------------------------------------------------------


@cache
def wide() -> tuple[Model, Source, bytes]:
    """A model whose rows can be cut into groups, its graph of two rows, and that graph's file in fp32."""
    model = tiny_model(Stoic.Config(width=64, heads=2, depth=2, size=8, channels=3, num_classes=5))
    source = graphs.denoiser(model, 8, 8, 2)
    return model, source, target.to_litert(source)


def error(data: bytes, folder: Path) -> float:
    """Of a graph's file, as a share of what the network adds to x."""
    _, source, _ = wide()
    (folder / "a.tflite").write_bytes(data)
    graph = Graph(role="denoiser", file="a.tflite", inputs=source.inputs, outputs=source.outputs)
    program = load(folder / "a.tflite", graph, None, 1)  # pyright: ignore[reportArgumentType]  # unused
    generator, errors, sizes = np.random.default_rng(3), [], []
    for sigma in np.geomspace(0.05, 10, 4).astype(np.float32):
        x = generator.standard_normal((2, 3, 8, 8)).astype(np.float32) * (1 + sigma)
        call = {"x": x, "sigma": np.full(2, sigma), "labels": np.array([-1, 3])}
        with torch.no_grad():
            theirs = source.module(*map(torch.from_numpy, call.values())).numpy()
        errors.append(program(call)[0] - theirs)
        sizes.append(theirs - x)
    return float(np.std(errors) / np.std(sizes))


@pytest.mark.parametrize(
    ("name", "least", "most", "bits"), [("fp16", 1e-6, 1e-3, 16), ("int8", 1e-4, 0.02, 8), ("int4", 1e-2, 0.2, 4.5)]
)
def test_fewer_bits(name: str, least: float, most: float, bits: float, tmp_path: Path) -> None:
    """The error is that of the bits: not more, and not so little that the bits are not in use."""
    model, source, fp32 = wide()
    data = target.quantize(fp32, source, Precision(name=name))
    assert least < error(data, tmp_path) < most
    layers = [weight for key, weight in model.named_parameters() if weight.ndim > 1 and "table" not in key]
    weights = sum(weight.numel() for weight in layers) if name == "fp16" else 2 * 12 * 64 * 64  # two blocks' products
    assert len(fp32) - len(data) == pytest.approx(weights * (32 - bits) / 8, rel=0.05)


def test_parts_that_are_kept_stay_fp32(tmp_path: Path) -> None:
    _, source, fp32 = wide()
    some = target.quantize(fp32, source, Precision(name="int8", keep=("backbone.blocks.0", "backbone.blocks.1.mlp")))
    assert len(fp32) - len(some) == pytest.approx(3 * 4 * 64 * 64, rel=0.1)  # attention's two products of one block
    assert target.quantize(fp32, source, Precision(name="int8", keep=("backbone.blocks",))) == fp32
    assert error(fp32, tmp_path) < 1e-5
