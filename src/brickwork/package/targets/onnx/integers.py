"""Products with weights of 8 or 4 bits, as nodes that ONNX Runtime computes with integers.

All weights are symmetric: 0 stays 0. 8 bits have a scale for each output, 4 bits one for each group of inputs of each
output. Activations are uint8 with a zero point where weights have 8 bits, and unchanged where these have 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from brickwork.errors import ConfigError
from brickwork.package.graph import GraphSpec
from brickwork.package.precision import Inputs
from brickwork.package.targets.onnx.rewrite import Rewrite
from brickwork.package.targets.onnx.trial import opened

LIMIT = 64
"""Largest weight of 8 bits: x86 processors without VNNI add two products of 255 at most and a weight in 16 bits, which
end at 32767; with more than 64 they would draw other pictures than those that were checked. Source: ONNX Runtime's
documentation on quantization, "When to use reduce-range". It has no measurable cost; see docs/precision.md.
"""
GROUP = 32
"""Number of 4-bit weights that share a scale: 1/2 + 4/32 bytes each."""
CLIPS = np.linspace(1, 0.7, 13, dtype=np.float32)
"""Shares of a group's largest weight that may become the largest number; the one of least squared error is used."""

Range = tuple[float, float]


@final
@dataclass(frozen=True, eq=False)
class Layer:
    """A product x W of a graph with a weight of the model.

    Attributes:
        node: The MatMul.
        weight: W, (K, N) float32.
        names: The model's names of W.
    """

    node: Any
    weight: np.ndarray
    names: tuple[str, ...]

    @property
    def input(self) -> str:
        """Name of x."""
        return self.node.input[0]

    @property
    def output(self) -> str:
        """Name of x W."""
        return self.node.output[0]


def columns(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round W to int8 (K, N) from -64 to 64, with a float32 scale for each column, (N,)."""
    scale = np.maximum(np.abs(weight).max(axis=0), np.finfo(np.float32).tiny) / np.float32(LIMIT)
    return np.clip(np.rint(weight / scale), -LIMIT, LIMIT).astype(np.int8), scale.astype(np.float32)


def groups(weight: np.ndarray, size: int = GROUP) -> tuple[np.ndarray, np.ndarray]:
    """Round W to 0 to 15, which mean -8 to 7, (N, K / size, size) uint8, with a scale for each group, (N, K / size).

    K is padded with zeros. A group's weight of largest magnitude becomes -8, or is clipped to a little less where that
    makes the squared error of the whole group smaller.
    """
    K, N = weight.shape
    rows = np.pad(weight.T, ((0, 0), (0, -K % size))).reshape(N, -1, size).astype(np.float32)
    largest = np.take_along_axis(rows, np.abs(rows).argmax(axis=-1)[..., None], axis=-1)
    best = np.full(largest.shape, np.inf, np.float32)
    numbers, scales = np.zeros(rows.shape, np.int8), np.zeros(largest.shape, np.float32)
    for clip in CLIPS:
        scale = largest * clip / np.float32(-8)
        scale[np.abs(scale) < np.finfo(np.float32).tiny] = 1
        tried = np.clip(np.rint(rows / scale), -8, 7).astype(np.int8)
        error = ((tried * scale - rows) ** 2).sum(axis=-1, keepdims=True)
        better = error < best
        best = np.where(better, error, best)
        numbers, scales = np.where(better, tried, numbers), np.where(better, scale, scales)
    return (numbers + 8).astype(np.uint8), scales[..., 0]


def dynamic(rewrite: Rewrite, layer: Layer) -> Iterator[Any]:
    """Yield the nodes of an integer product; the range of x is found in each call."""
    from onnx import TensorProto, helper

    x, weight, y = layer.input, layer.node.input[1], layer.output
    numbers, scale = _columns_of(rewrite, layer)
    if rewrite.first(x):
        yield helper.make_node("DynamicQuantizeLinear", [x], [f"{x}_uint8", f"{x}_scale", f"{x}_zero"])
    yield helper.make_node("MatMulInteger", [f"{x}_uint8", numbers, f"{x}_zero"], [f"{y}_int32"], name=layer.node.name)
    yield helper.make_node("Cast", [f"{y}_int32"], [f"{y}_float"], to=TensorProto.FLOAT)
    if rewrite.first(f"{x} {weight}"):
        yield helper.make_node("Mul", [f"{x}_scale", scale], [f"{x}_{scale}"])
    yield helper.make_node("Mul", [f"{y}_float", f"{x}_{scale}"], [y])


def static(rewrite: Rewrite, layer: Layer, found: Range) -> Iterator[Any]:
    """Yield the nodes of an integer product by ONNX Runtime's own operator; the range of x is known.

    With standard quantise and dequantise nodes instead, ONNX Runtime 1.31 makes a float Gemm of every product that has
    a bias, and the whole is slower than fp32.
    """
    from onnx import helper

    x, (numbers, scale) = layer.input, _columns_of(rewrite, layer)
    low, high = min(found[0], 0.0), max(found[1], 0.0)
    step = max((high - low) / 255, float(np.finfo(np.float32).tiny))
    steps = rewrite.constant(f"{x}_scale", np.array(step, np.float32))
    zero = rewrite.constant(f"{x}_zero", np.clip(np.rint(-low / step), 0, 255).astype(np.uint8))
    if rewrite.first(x):
        yield helper.make_node("QuantizeLinear", [x, steps, zero], [f"{x}_uint8"])
    rewrite.use("com.microsoft")
    yield helper.make_node(
        "MatMulIntegerToFloat",
        [f"{x}_uint8", numbers, steps, scale, zero],
        [layer.output],
        name=layer.node.name,
        domain="com.microsoft",
    )


def grouped(rewrite: Rewrite, layer: Layer) -> Iterator[Any]:
    """Yield the node of the product of unchanged x and 4-bit weights, ONNX Runtime's own operator."""
    from onnx import helper

    weight, (K, N) = layer.node.input[1], layer.weight.shape
    numbers, scale = f"{weight}_uint4", f"{weight}_scale"
    if numbers not in rewrite.constants:
        values, scales = groups(layer.weight)
        rewrite.constant(numbers, values[..., ::2] | values[..., 1::2] << 4)  # the lower half of a byte comes first
        rewrite.constant(scale, scales)
    rewrite.use("com.microsoft")
    yield helper.make_node(
        "MatMulNBits",
        [layer.input, numbers, scale],
        [layer.output],
        name=layer.node.name,
        domain="com.microsoft",
        K=K,
        N=N,
        bits=4,
        block_size=GROUP,
    )


def ranges(model: Any, spec: GraphSpec, tensors: Sequence[str], samples: Sequence[Inputs]) -> dict[str, Range]:
    """Return the least and largest number in each of some tensors of a graph, over calls with samples.

    Raises:
        ConfigError: There are no samples.
    """
    import onnx
    from onnx import TensorProto, helper

    if not samples:
        raise ConfigError("int8-static needs inputs to calibrate with: give real images (data)")
    tensors = list(dict.fromkeys(tensors))
    if not tensors:  # all layers stay fp32
        return {}
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    for kind in ("Min", "Max"):
        for tensor in tensors:
            name = f"{tensor}_{kind}"
            watched.graph.node.append(helper.make_node(f"Reduce{kind}", [tensor], [name], keepdims=0))
            watched.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, []))
    run = opened(watched)
    batches = [samples[i : i + spec.batch] for i in range(0, len(samples), spec.batch)]
    found = np.stack([run.run(None, _filling(batch, spec)) for batch in batches])
    low, high = found[:, : len(tensors)].min(axis=0), found[:, len(tensors) :].max(axis=0)
    return {tensor: (float(low[i]), float(high[i])) for i, tensor in enumerate(tensors)}


def _columns_of(rewrite: Rewrite, layer: Layer) -> tuple[str, str]:
    weight = layer.node.input[1]
    names = f"{weight}_int8", f"{weight}_scale"
    if names[0] not in rewrite.constants:
        for name, values in zip(names, columns(layer.weight), strict=True):
            rewrite.constant(name, values)
    return names


def _filling(samples: Sequence[Inputs], spec: GraphSpec) -> Mapping[str, np.ndarray]:
    """Return samples as a graph's inputs: the last row is repeated, and x extended or cropped to the graph's size."""

    def fitted(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        rows = np.take(values, np.arange(shape[0]), axis=0, mode="clip")
        for axis in (2, 3) if len(shape) == 4 else ():
            rows = np.take(rows, np.arange(shape[axis]), axis=axis, mode="wrap")
        return np.ascontiguousarray(rows)

    names = {port.name: port.shape for port in spec.inputs}
    return {name: fitted(np.concatenate([one[name] for one in samples]), shape) for name, shape in names.items()}
