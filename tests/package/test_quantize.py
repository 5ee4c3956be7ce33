"""Fewer bits for ONNX graphs: which layers change, into what, and how well the numbers survive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import tiny_model

from brickwork.backbone.stoic import Stoic
from brickwork.diffusion.denoiser import Condition
from brickwork.errors import ConfigError, UnknownNameError
from brickwork.model.checkpoint import load
from brickwork.model.model import Model
from brickwork.package import graph as graphs
from brickwork.package.check.parity import psnr
from brickwork.package.pack import pack
from brickwork.package.packing import Packing
from brickwork.package.precision import Inputs, Precision
from brickwork.package.targets.onnx.integers import GROUP, columns, groups, ranges
from brickwork.package.targets.onnx.quantize import block_lists, layer_of, layers_of, quantized, unfold_gemms
from brickwork.package.targets.onnx.target import to_onnx
from brickwork.package.targets.onnx.trial import Trial
from brickwork.sampling.loop import sample_x0

STOIC = Stoic.Config(
    size=8, channels=3, num_classes=5, width=64, heads=2, depth=2, time="adaln", position="rope", depthwise=True
)
BLOCK = ("attention.qkv", "attention.proj", "mlp.widen", "mlp.narrow", "modulation")


class Exported:
    """A model and its graph for two rows, exported once."""

    def __init__(self) -> None:
        self.model = tiny_model(STOIC)
        self.spec = graphs.denoiser(self.model, 8, 8, 2)
        self.plain = to_onnx(self.spec)

    def at(self, name: str, fp32_layers: tuple[str, ...] = ()) -> Any:
        copy = type(self.plain)()
        copy.CopyFrom(self.plain)
        return quantized(copy, self.spec, Precision(name=name, fp32_layers=fp32_layers, samples=samples(self.model)))

    def run(self, graph: Any) -> np.ndarray:
        """The estimates for some rows at several levels."""
        rows = [(row["x"], row["sigma"], row["labels"]) for row in samples(self.model)]
        x, sigma, labels = (np.concatenate(column) for column in zip(*rows, strict=True))
        return Trial(graph, self.spec)(x, sigma, Condition(labels=labels))


@pytest.fixture(scope="module")
def exported() -> Exported:
    return Exported()


def samples(model: Model) -> list[Inputs]:
    generator = np.random.default_rng(0)
    found: list[Inputs] = []
    for i, sigma in enumerate((0.02, 0.2, 0.7, 2.0, 9.0)):
        x = (0.5 + sigma) * generator.normal(size=(1, *model.shape))
        labels = np.array([i % model.num_classes if i != 2 else -1], np.int64)
        found.append({"x": x.astype(np.float32), "sigma": np.array([sigma], np.float32), "labels": labels})
    return found


def eager(model: Model) -> np.ndarray:
    rows = samples(model)
    told = Condition(labels=torch.from_numpy(np.concatenate([row["labels"] for row in rows])))
    x, sigma = (torch.from_numpy(np.concatenate([row[name] for row in rows])) for name in ("x", "sigma"))
    with torch.no_grad():
        return model(x, sigma, told).numpy()


def error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Root mean square, as a share of the spread."""
    return float(np.sqrt(np.mean((ours - theirs) ** 2)) / theirs.std())


def kinds(graph: Any) -> dict[str, Any]:
    """Type of each constant's numbers."""
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor).dtype for tensor in graph.graph.initializer}


def nbytes(graph: Any) -> int:
    return sum(len(tensor.raw_data) for tensor in graph.graph.initializer)


def test_eight_bits_are_within_half_a_step() -> None:
    weight = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32) * np.logspace(-3, 3, 7, dtype=np.float32)
    weight[:, 3] = 0
    numbers, scale = columns(weight)
    assert numbers.dtype == np.int8
    assert scale.shape == (7,)
    assert (np.abs(numbers * scale - weight) <= 0.501 * scale).all()
    assert np.allclose(scale, np.abs(weight).max(axis=0) / 64)
    assert 2 * 255 * np.abs(numbers.astype(int)).max() <= 32767  # so that no processor's 16 bits overflow


def test_four_bits_restore_what_four_bits_can_say() -> None:
    """Sixteen evenly spaced values in a group come back exactly; rows that are no multiple of the group are filled."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-8, 8, (GROUP + 5, 3)).astype(np.float32) * 0.25
    weight[0] = weight[GROUP] = -2.0  # each group reaches its end
    numbers, scale = groups(weight)
    assert numbers.shape == (3, 2, GROUP)
    assert scale.shape == (3, 2)
    restored = ((numbers.astype(np.float32) - 8) * scale[..., None]).reshape(3, -1)[:, : GROUP + 5].T
    assert np.array_equal(restored, weight)


def test_four_bits_cut_off_less_than_they_save() -> None:
    """The chosen scales are never worse than those that reach every group's largest weight, and for most better."""
    weight = np.random.default_rng(1).normal(size=(GROUP, 200)).astype(np.float32)
    numbers, scale = groups(weight)
    ours = (((numbers.astype(np.float32) - 8) * scale[..., None])[:, 0].T - weight) ** 2
    largest = weight[np.abs(weight).argmax(axis=0), np.arange(200)]
    theirs = (np.clip(np.rint(weight / (largest / -8)), -8, 7) * (largest / -8) - weight) ** 2
    assert (ours.sum(axis=0) <= theirs.sum(axis=0) * 1.0001).all()
    assert ours.sum() < 0.95 * theirs.sum()


def test_every_product_of_a_block_is_found_and_no_other(exported: Exported) -> None:
    graph = exported.at("fp32")
    unfold_gemms(graph)
    assert not [node for node in graph.graph.node if node.op_type == "Gemm"]
    names = {layer.names for layer in layers_of(graph, exported.spec)}
    assert names == {(f"backbone.blocks.{k}.{name}.weight",) for k in (0, 1) for name in BLOCK}
    for layer in layers_of(graph, exported.spec):
        assert np.array_equal(layer.weight.T, exported.model.get_parameter(layer.names[0]).numpy())
    assert error(exported.run(graph), eager(exported.model)) < 1e-5


def test_parts_have_names_that_can_be_kept(exported: Exported) -> None:
    lists = block_lists(exported.spec)
    assert layer_of("backbone.blocks.1.mlp.widen.weight", lists) == "backbone.blocks.1.mlp"
    assert layer_of("backbone.blocks.1.modulation.weight", lists) == "backbone.blocks.1.modulation"
    assert layer_of(
        "backbone.bricks.0.blocks.2.attention.qkv.weight", ["backbone.bricks", "backbone.bricks.0.blocks"]
    ) == ("backbone.bricks.0.blocks.2.attention")


@pytest.mark.parametrize(
    ("name", "worst", "ratio"), [("int8", 0.03, 0.27), ("int8-static", 0.05, 0.27), ("int4", 0.2, 0.17)]
)
def test_whole_numbers_shrink_and_stay_near(exported: Exported, name: str, worst: float, ratio: float) -> None:
    """Bytes: weights in blocks at 1 byte each and a scale a column, or 5/8 byte each; everything else at 4."""
    graph = exported.at(name)
    far = error(exported.run(graph), eager(exported.model))
    assert 1e-4 < far < worst
    inside = sum(
        4 * exported.model.get_parameter(f"backbone.blocks.{k}.{n}.weight").numel() for k in (0, 1) for n in BLOCK
    )
    rest = nbytes(exported.at("fp32")) - inside
    assert 0.9 * ratio < (nbytes(graph) - rest) / inside < ratio


@pytest.mark.parametrize("name", ["fp16", "int8", "int8-static", "int4"])
def test_what_is_kept_stays_fp32(exported: Exported, name: str) -> None:
    """One block's weights are there as they are; the other's are not; and keeping all blocks is no change at all."""
    graph = exported.at(name, fp32_layers=("backbone.blocks.0",))
    constants = {tensor.name: tensor.raw_data for tensor in graph.graph.initializer}
    for k, stays in ((0, True), (1, False)):
        for part in BLOCK:
            weight = exported.model.get_parameter(f"backbone.blocks.{k}.{part}.weight").numpy()
            forms = {weight.tobytes(), weight.T.tobytes()}
            assert any(value in forms for value in constants.values()) == stays, (k, part)
    if name != "fp16":
        assert np.array_equal(
            exported.run(exported.at(name, fp32_layers=("backbone",))), exported.run(exported.at("fp32"))
        )
    else:
        assert np.dtype(np.float16) not in kinds(exported.at(name, fp32_layers=("backbone",))).values()


def test_a_name_that_only_begins_alike_is_not_kept(exported: Exported) -> None:
    kept = exported.at("int8", fp32_layers=("backbone.block", "backbone.blocks.0.m"))
    assert nbytes(kept) == nbytes(exported.at("int8"))


def test_half_is_near_and_half_as_large(exported: Exported) -> None:
    graph = exported.at("fp16")
    assert nbytes(graph) < 0.52 * nbytes(exported.at("fp32"))
    assert 1e-5 < error(exported.run(graph), eager(exported.model)) < 3e-3
    kinds_at_door = {port.type.tensor_type.elem_type for port in (*graph.graph.input, *graph.graph.output)}
    assert kinds_at_door == {1, 7}  # FLOAT and INT64


def test_the_arithmetic_of_noise_levels_stays_fp32(exported: Exported) -> None:
    """The sine of 999 t in fp16, with steps of 0.5 near 999, would be any number; levels near 1000 are the proof."""
    graph = exported.at("fp16")
    before = {"Sin", "Cos", "Div"}
    halves = {node.output[0] for node in graph.graph.node if node.op_type == "Cast" and node.attribute[0].i == 10}
    assert halves
    assert not [node for node in graph.graph.node if node.op_type in before and halves & set(node.input)]
    x, told = samples(exported.model)[0]["x"] * 500, Condition(labels=np.array([1]))
    for sigma in (313.7, 871.3):
        level = np.array([sigma], np.float32)
        ours = Trial(graph, exported.spec)(x, level, told)
        with torch.no_grad():
            condition = Condition(labels=torch.tensor([1]))
            theirs = exported.model(torch.from_numpy(x), torch.from_numpy(level), condition).numpy()
        assert error(ours, theirs) < 3e-3


def test_ranges_hold_all_that_was_seen(exported: Exported) -> None:
    """Of x itself: the range of the samples, of which there are five for batches of two."""
    x = np.concatenate([row["x"] for row in samples(exported.model)])
    assert ranges(exported.plain, exported.spec, ["x"], samples(exported.model)) == {"x": (x.min(), x.max())}


def test_static_needs_samples(exported: Exported) -> None:
    copy = exported.at("fp32")
    with pytest.raises(ConfigError, match="real images"):
        quantized(copy, exported.spec, Precision(name="int8-static"))


def test_the_shipped_model_in_half(tmp_path: Path) -> None:
    """Whole pictures of the shipped model at 45 dB or more, by seeds that packing did not look at."""
    model = load("digits")
    package = pack(model, tmp_path / "a", Packing(precision="fp16", batches=(2,), steps=8), say=lambda line: None)
    how: dict[str, Any] = {"seeds": [11, 12, 13, 14], "labels": [0, 3, 6, 9], "guidance": 2.0, "steps": 12}
    ours, theirs = sample_x0(package, **how), np.asarray(sample_x0(model, **how))
    assert psnr(ours, theirs) > 55
    assert package.manifest.parity["db"] > 55
    assert 0.45 < package.manifest.files["weights.bin"].length / 1_513_920 < 0.52


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"precision": "int8", "fp32_layers": ("backbone.blocks.9",)}, UnknownNameError, "backbone.blocks"),
        ({"fp32_layers": ("backbone.stem",)}, ConfigError, "fp32"),
    ],
)
def test_keep_is_checked_before_anything_is_written(
    options: dict[str, Any], kind: type[Exception], says: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=says):
        pack(tiny_model("stoic"), tmp_path / "a", Packing(**options), say=lambda line: None)
    assert not list(tmp_path.iterdir())
