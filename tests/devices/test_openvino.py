"""Packages for OpenVINO draw the pictures of the model they were made of; run with an environment that has it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from package_contract import GUIDED, PackageContract, draw, packed
from tiny_models import tiny_model

from brickwork.backbone.stoic import Stoic
from brickwork.device.openvino import core, private
from brickwork.device.runner import Files, Runner, open_package
from brickwork.diffusion.denoiser import Condition
from brickwork.errors import ConfigError
from brickwork.files.manifest import Graph, Manifest, described, write_manifest
from brickwork.model.model import Model
from brickwork.package import graph as graphs
from brickwork.package.check.parity import psnr
from brickwork.package.graph import GraphSpec
from brickwork.package.precision import Precision

private()  # before OpenVINO is imported, which reports that
pytest.importorskip("openvino")
pytest.importorskip("nncf")
from brickwork.package.targets import openvino as target  # noqa: E402


class TestOpenvino(PackageContract):
    """OpenVINO on a processor."""

    target = "openvino"
    suffixes = (".xml", ".bin")
    least_db = 90
    ops: ClassVar = {
        "Add": 35, "Concat": 2, "Const": 146, "Convert": 3, "Convolution": 3, "Cos": 1, "Divide": 3, "Gather": 1,
        "Gelu": 3, "GroupConvolution": 3, "Less": 1, "MVN": 7, "MatMul": 19, "Multiply": 18, "Pad": 3, "Parameter": 3,
        "Reshape": 25, "Result": 1, "ScaledDotProductAttention": 3, "Select": 1, "Sin": 1, "Slice": 4, "Subtract": 2,
        "Swish": 1, "Transpose": 20, "Unsqueeze": 2,
    }  # fmt: skip

    def test_its_names_and_shapes(self, stoic: tuple[Model, Runner]) -> None:
        _, package = stoic
        graph = package.manifest.graph("denoiser", batch=2)
        root = ElementTree.parse(package.files.folder / graph.file).getroot()
        assert not [word for word in root.itertext() if "/" in word]  # no place on the machine that packed it
        ports = {layer.attrib["name"]: layer for layer in root.iter("layer") if layer.attrib["type"] == "Parameter"}
        shapes = [layer.find("data").attrib["shape"] for layer in ports.values()]  # pyright: ignore
        assert shapes == [",".join(map(str, port.shape)) for port in graph.inputs]

    def test_prefixes_read_the_same_weights(self, tmp_path: Path) -> None:
        model = tiny_model("lego")
        package = packed(model, "openvino", tmp_path, plan="3@1.5,2")
        assert package.counts == (2, 3)
        assert package.manifest.files["weights.bin"].length < 1.1 * 4 * sum(w.numel() for w in model.parameters())

    def test_packing_again_gives_the_same_bytes(self, stoic: tuple[Model, Runner], tmp_path: Path) -> None:
        model, package = stoic
        again = [graphs.denoiser(model, 8, 8, batch) for batch in (1, 2)]
        target.write(again, tmp_path, Precision())
        for name, file in package.manifest.files.items():
            assert described(tmp_path, name) == file

    def test_threads_are_the_callers_choice(self, stoic: tuple[Model, Runner]) -> None:
        _, package = stoic
        again = open_package(package.files.folder, threads=1)
        np.testing.assert_allclose(draw(again, labels=2), draw(package, labels=2), atol=1e-5)
        for program in again.files.programs.values():
            compiled: Any = program.program.request.get_compiled_model()  # pyright: ignore
            assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
            assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"

    def test_a_device_needs_no_torch_and_sends_no_reports(self, stoic: tuple[Model, Runner], tmp_path: Path) -> None:
        """Drawn where torch cannot be imported, by the command that a device has."""
        _, package = stoic
        out = tmp_path / "a.png"
        script = (
            "import sys; sys.modules['torch'] = None\n"
            "from brickwork.device.command import main\n"
            f"code = main([{str(package.files.folder)!r}, '--seed', '7', '--steps', '2', '--out', {str(out)!r}])\n"
            "assert 'openvino' in sys.modules and sys.modules['openvino_telemetry'] is None\n"
            "sys.exit(code)\n"
        )
        home = {**os.environ, "HOME": str(tmp_path / "home")}
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=home, check=False)
        assert done.returncode == 0, done.stderr
        assert out.is_file()
        assert not (tmp_path / "home").exists()

    def test_weights_are_read_from_the_file_that_the_manifest_names_alone(
        self, stoic: tuple[Model, Runner], tmp_path: Path
    ) -> None:
        """OpenVINO takes a .bin of the graph's name by itself: one that lies there must not be it."""
        _, package = stoic
        for path in package.files.folder.iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        (tmp_path / "denoiser-p3-8x8-b1.bin").write_bytes(bytes(package.manifest.files["weights.bin"].length))
        x, sigma = np.ones((1, 3, 8, 8), np.float32), np.ones(1, np.float32)
        spoilt = open_package(tmp_path)
        np.testing.assert_array_equal(spoilt(x, sigma, Condition()), package(x, sigma, Condition()))


# ---- fewer bits -------------------------------------------------------------------------------------------------


@cache
def wide() -> tuple[Model, GraphSpec]:
    """A model whose rows can be cut into groups of 64, and its graph of two rows."""
    model = tiny_model(Stoic.Config(size=8, channels=3, num_classes=5, width=64, heads=2, depth=2))
    return model, graphs.denoiser(model, 8, 8, 2)


def calls(count: int) -> list[dict[str, np.ndarray]]:
    """Inputs of one row over noise levels."""
    generator = np.random.default_rng(3)
    return [
        {
            "x": generator.standard_normal((1, 3, 8, 8)).astype(np.float32) * np.float32(1 + sigma),
            "sigma": np.array([sigma], np.float32),
            "labels": np.array([k % 6 - 1]),
        }
        for k, sigma in enumerate(np.geomspace(0.05, 10, count))
    ]


Error = Callable[[Precision], tuple[float, Graph, int]]


@pytest.fixture
def error(tmp_path: Path) -> Error:
    """Error of a graph as a share of what the network adds to x, its entry, and the bytes of its weights."""

    def measure(precision: Precision) -> tuple[float, Graph, int]:
        model, spec = wide()
        (graph,) = target.write([spec], tmp_path, precision)
        files = {name: described(tmp_path, name) for name in (graph.file, *graph.weights)}
        manifest = Manifest(
            brickwork="0", target="openvino", precision=precision.name, shape=model.shape, picture_channels=3,
            process=["LinearFlow", {}], graphs=(graph,), files=files,
        )  # fmt: skip
        write_manifest(tmp_path, manifest)
        program = Files(tmp_path, manifest, 1).program(graph)
        errors, sizes = [], []
        for call in target.calibration(spec, calls(8)):
            with torch.no_grad():
                theirs = spec.module(*map(torch.from_numpy, call.values())).numpy()
            errors.append(program(call)[0] - theirs)
            sizes.append(theirs - call["x"])
        return float(np.std(errors) / np.std(sizes)), graph, files["weights.bin"].length

    return measure


def test_bf16_holds_its_floor(tmp_path: Path) -> None:
    """Packing refuses less than 30 dB; 60 or more would mean that bf16 is not in use.

    A processor without bf16 computes in fp32 with weights that are rounded to bf16: nearer, and not exact.
    """
    most = 60 if "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else 90
    model = tiny_model("stoic")
    package = packed(model, "openvino", tmp_path, precision="bf16", guidance=2.0)
    assert 30 < psnr(draw(model, **GUIDED), draw(package, **GUIDED)) < most
    assert package.manifest.parity["floor_db"] == 30
    weights = 2 * sum(weight.numel() for weight in model.parameters())
    assert weights < package.manifest.files["weights.bin"].length < 1.2 * weights


@pytest.mark.parametrize(
    ("name", "least", "most", "share"),
    [
        ("fp16", 1e-6, 1e-3, 0.52),
        ("int8", 1e-4, 0.02, 0.35),
        ("int8-static", 1e-3, 0.03, 0.35),
        ("int4", 1e-2, 0.2, 0.25),
    ],
)
def test_fewer_bits(name: str, least: float, most: float, share: float, error: Error) -> None:
    """The error is that of the bits: not more, and not so little that the bits are not in use."""
    found, _, size = error(Precision(name=name, samples=calls(24)))
    assert least < found < most
    assert size < share * 4 * sum(weight.numel() for weight in wide()[0].parameters())


def test_parts_that_are_kept_stay_fp32(error: Error) -> None:
    """Each block has four products; with one block and a part of another kept, two are left."""
    _, _, everything = error(Precision(name="int8"))
    _, graph, some = error(Precision(name="int8", fp32_layers=("backbone.blocks.0", "backbone.blocks.1.mlp")))
    block = 12 * 64 * 64
    assert some - everything == pytest.approx(3 * (block + 8 * 64 * 64), rel=0.05)
    whole, _, _ = error(Precision(name="int8", fp32_layers=("backbone.blocks",)))
    assert whole < 1e-5
    assert graph.ops["MatMul"] == 9


def test_scores_are_integers_where_queries_and_keys_are(error: Error) -> None:
    """Six ranges a block: of the inputs of q, k and v, of proj, widen and narrow, and of q and k themselves."""
    found, graph, _ = error(Precision(name="int8-static", samples=calls(24)))
    assert graph.ops["FakeQuantize"] == 12
    less, graph, _ = error(
        Precision(name="int8-static", samples=calls(24), fp32_layers=("backbone.blocks.0.attention",))
    )
    assert graph.ops["FakeQuantize"] == 8
    assert less < found


@pytest.mark.parametrize(("name", "products"), [("fp32", 13), ("fp16", 13), ("int8-static", 13), ("int8", 9)])
def test_queries_keys_and_values_are_products_of_their_own(name: str, products: int, error: Error) -> None:
    """But where each product would look for the range of its input. Beside the blocks' there is one of the head."""
    _, graph, _ = error(Precision(name=name, samples=calls(24)))
    assert graph.ops["MatMul"] == products


def test_bf16_has_no_parts_to_keep(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"fp32 layers backbone\.stem: OpenVINO computes"):
        packed(tiny_model("stoic"), "openvino", tmp_path, precision="bf16", fp32_layers=("backbone.stem",))
