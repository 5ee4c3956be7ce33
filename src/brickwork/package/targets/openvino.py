"""OpenVINO's graphs: a file of XML each, and one file of weights for all of them.

Graphs come from torch.export's program directly. Queries, keys and values become three products, so that OpenVINO fuses
the operators after them into one kernel; not in precisions where each product would compute its input's range again:

- fp32: all of it.
- fp16: weights stored as fp16, computed with in fp32, which is the faster way on processors.
- bf16: weights stored as fp16; computed in bf16 from the first product to the last, before and after that in fp32.
- int8: weights int8, a scale a row; activations int8 by the range of each group of 64 in each call.
- int8-static: weights and activations int8, ranges from samples, smoothed (Xiao et al. 2022, 2211.10438); and the
  scores of attention, q k^T.
- int4: weights of 4 bits, a range for each group of 32; activations as for int8 where the processor's kernels can.

The last three, made by NNCF, apply to the matrix products of repeated blocks only, as in every package.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

import numpy as np

from brickwork.device.openvino import toolkit
from brickwork.errors import ConfigError
from brickwork.files.manifest import Graph
from brickwork.files.suppressed import suppressed
from brickwork.package.graph import GraphSpec, block_lists
from brickwork.package.precision import FLOORS_DB, Inputs, Precision, is_within
from brickwork.package.targets.base import Target
from brickwork.package.targets.toolkit import Toolkit
from brickwork.package.weights import WEIGHTS, Weights

HALVES = ("fp16", "bf16")  # precisions whose weights are stored as fp16
DYNAMIC = ("int8", "int4")  # precisions whose activations get their ranges in each call
HALF_MAX = float(np.finfo(np.float16).max)
GRAPH = ".xml"
PRODUCTS = ("MatMul", "Convolution", "GroupConvolution")
FP32 = {
    "name": "DisablePrecisionConversion",
    "version": "0",
    "value": "dynamic:f16",
}  # OpenVINO has no separate mark for bf16
WEIGHTS_GROUP = 32  # number of 4-bit weights that share a range
SMALLEST_GROUP = 16  # used if a row cannot be cut into groups of 32

Names = dict[bytes, list[str]]
"""Names in the model for weights, by the digest of their numbers: the converter keeps no names, and reshapes some."""


def write(specs: Sequence[GraphSpec], folder: Path, precision: Precision) -> list[Graph]:
    """Write every graph, and the weights of all into one file; return their entries."""
    if precision.name == "bf16" and precision.fp32_layers:
        raise ConfigError(
            f"fp32 layers {', '.join(precision.fp32_layers)}: OpenVINO computes the whole of a graph in bf16; take "
            "another precision"
        )
    with open(folder / WEIGHTS, "wb") as file:
        shared = Weights(file)
        return [write_graph(spec, folder, shared, precision) for spec in specs]


def write_graph(spec: GraphSpec, folder: Path, shared: Weights, precision: Precision) -> Graph:
    """Convert one graph and write it, its weights into the shared file."""
    openvino = toolkit()

    model, names = to_openvino(spec), names_of(spec)
    if precision.name not in DYNAMIC:
        apart(model, names)
    exact = set(levels_of(model)) if precision.name == "bf16" else set()
    if precision.name in HALVES:
        halve(model, names, precision.fp32_layers)
    elif precision.name not in FLOORS_DB and spec.role == "denoiser":  # the other graphs run once a picture
        model = quantize(model, spec, names, precision)
    with TemporaryDirectory(dir=folder) as aside:
        path = Path(aside) / "graph.xml"
        openvino.save_model(model, path, compress_to_fp16=False)
        tree = ElementTree.parse(path)
        ops = tidy(tree.getroot(), np.memmap(path.with_suffix(".bin"), np.uint8, "r"), shared, exact)
    tree.write(folder / (spec.stem + GRAPH), encoding="utf-8", xml_declaration=True)
    return spec.entry(spec.stem + GRAPH, ops, weights=(WEIGHTS,))


def to_openvino(spec: GraphSpec) -> Any:
    """Convert a graph to an openvino.Model of fixed shapes with the names of its ports."""
    openvino = toolkit()

    with suppressed():
        model = openvino.convert_model(spec.export())
    model.reshape({found: list(port.shape) for found, port in zip(model.inputs, spec.inputs, strict=True)})
    for ports, outer in ((model.inputs, spec.inputs), (model.outputs, spec.outputs)):
        for found, port in zip(ports, outer, strict=True):
            assert tuple(found.shape) == port.shape, f"{port.name}: {found.shape}"
            found.get_tensor().set_names({port.name})
    return model


def apart(model: Any, names: Names) -> None:
    """Split every product whose columns are split right after it into separate products, so that no copy is made.

    Args:
        model: Changed in place.
        names: The names of the split weights are added.
    """
    openvino = toolkit()

    ops = openvino.opset13
    for split in [op for op in model.get_ops() if op.get_type_name() == "VariadicSplit"]:
        product, bias = split.input_value(0).get_node(), None
        if product.get_type_name() == "Add":
            product, bias = product.input_value(0).get_node(), product.input_value(1).get_node()
        if product.get_type_name() != "MatMul":
            continue
        weight, along, sizes = (op.get_node() for op in (product.input_value(1), *split.input_values()[1:]))
        if any(op.get_type_name() != "Constant" for op in (weight, along, sizes, *([bias] if bias else []))):
            continue
        if along.data.item() not in (-1, len(split.input_value(0).shape) - 1):
            continue
        turned, name = product.get_attributes()["transpose_b"], product.get_friendly_name()
        places = np.cumsum(sizes.data)[:-1]
        parts = np.split(weight.data, places, axis=0 if turned else 1)
        biases = np.split(bias.data, places, axis=-1) if bias else [None] * len(parts)
        for i, (part, values) in enumerate(zip(parts, biases, strict=True)):
            names.setdefault(_digest(part), []).extend(names.get(_digest(weight.data), []))
            made = ops.matmul(product.input_value(0), ops.constant(np.ascontiguousarray(part)), False, turned)
            made.set_friendly_name(f"{name}/{i}")
            if values is not None:
                made = ops.add(made, ops.constant(np.ascontiguousarray(values)))
            for reader in split.output(i).get_target_inputs():
                reader.replace_source_output(made.output(0))


def tidy(root: ElementTree.Element, data: np.ndarray, shared: Weights, exact: Collection[str]) -> dict[str, int]:
    """Point a graph's constants into the shared file, and remove details that vary between conversions.

    Args:
        root: The graph's XML; changed in place.
        data: The graph's own file of weights.
        shared: The file that takes the weights.
        exact: Names of operators that are always computed in fp32.

    Returns:
        Operators, and how many times each occurs.
    """
    found: Counter[str] = Counter()
    root.set("name", "graph")
    for layer in root.iter("layer"):
        kind, name = layer.attrib["type"], layer.attrib["name"]
        found[kind] += 1
        if name in exact:
            ElementTree.SubElement(_facts(layer), "attribute", FP32)
        if re.fullmatch(r"[A-Za-z]+_\d+", name):  # the converter's numbers go on from one conversion to the next
            layer.set("name", f"{kind}_{found[kind]}")
        if kind == "Const":
            place = layer.find("data")
            assert place is not None
            start, length = int(place.attrib["offset"]), int(place.attrib["size"])
            place.set("offset", str(shared.put(data[start : start + length].tobytes())))
    for facts in root.findall("rt_info"):
        root.remove(facts)
    for element in root.iter():
        element.text, element.tail = (element.text or "").strip() or None, None
    return dict(sorted(found.items()))


def _facts(layer: ElementTree.Element) -> ElementTree.Element:
    """Return the element with a layer's notes to the runtime: it stands after its data, before its ports."""
    facts = layer.find("rt_info")
    if facts is None:
        facts = ElementTree.Element("rt_info")
        layer.insert(0 if layer.find("data") is None else 1, facts)
    return facts


# ---- fewer bits -------------------------------------------------------------------------------------------------


def levels_of(model: Any) -> Iterator[str]:
    """Yield the names of the operators before any product with a weight: the arithmetic of noise levels.

    999 t has no digits to spare, but by itself OpenVINO computes it in bf16 as well. An operator can be marked against
    that; compiling loses the mark of operators that it replaces, so these are replaced here first.
    """
    openvino = toolkit()

    after = set()
    for op in model.get_ordered_ops():
        kind, name = op.get_type_name(), op.get_friendly_name()
        inputs = [op.input_value(i).get_node().get_friendly_name() for i in range(op.get_input_size())]
        if kind in PRODUCTS or not after.isdisjoint(inputs):
            after.add(name)
            continue
        if kind in ("Squeeze", "Unsqueeze"):
            shaped = openvino.opset13.reshape(op.input_value(0), list(op.output(0).shape), False)
            shaped.set_friendly_name(name)
            for reader in op.output(0).get_target_inputs():
                reader.replace_source_output(shaped.output(0))
        if kind not in ("Constant", "Parameter"):
            yield name


def halve(model: Any, names: Names, fp32_layers: Sequence[str]) -> None:
    """Store the network's weights as fp16; other constants, such as frequencies, have no digits to spare."""
    openvino = toolkit()

    for op in model.get_ops():
        found = names.get(_digest(op.data), []) if op.get_type_name() == "Constant" else []
        if not found or any(is_within(name, fp32_layers) for name in found) or np.abs(op.data).max() > HALF_MAX:
            continue
        half = openvino.opset13.constant(op.data.astype(np.float16))
        whole = openvino.opset13.convert(half, "f32")  # the runtime converts once, when it compiles
        for reader in op.output(0).get_target_inputs():
            reader.replace_source_output(whole.output(0))


def quantize(model: Any, spec: GraphSpec, names: Names, precision: Precision) -> Any:
    """Return a graph with the integers of a precision; the original is consumed."""
    products = set(products_of(model, spec, names, precision.fp32_layers))
    if not products:
        return model
    if precision.name == "int8-static":
        products |= set(scores_of(model, products))
    rest = {op.get_friendly_name() for op in model.get_ops() if op.get_type_name() != "Constant"} - products
    with suppressed():
        import nncf

        ignored = nncf.IgnoredScope(names=sorted(rest), validate=False)
        if precision.name == "int8-static":
            calls = nncf.Dataset(list(calibration(spec, precision.samples)))
            kind, count = nncf.ModelType.TRANSFORMER, len(precision.samples)
            return nncf.quantize(model, calls, subset_size=count, model_type=kind, ignored_scope=ignored)
        if precision.name == "int8":
            return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM, ignored_scope=ignored)
        return nncf.compress_weights(
            model,
            mode=nncf.CompressWeightsMode.INT4_ASYM,
            group_size=WEIGHTS_GROUP,
            all_layers=True,
            ignored_scope=ignored,
            advanced_parameters=nncf.AdvancedCompressionParameters(
                group_size_fallback_mode=nncf.GroupSizeFallbackMode.ADJUST, min_adjusted_group_size=SMALLEST_GROUP
            ),
        )


def products_of(model: Any, spec: GraphSpec, names: Names, fp32_layers: Sequence[str]) -> Iterator[str]:
    """Yield the names of the matrix products with a weight of a repeated block, less those that stay fp32."""
    lists = block_lists(spec)
    for op in model.get_ops():
        weight = op.input_value(1).get_node() if op.get_type_name() == "MatMul" else None
        if weight is None or weight.get_type_name() != "Constant":
            continue
        found = names.get(_digest(weight.data), [])
        if any(is_within(name, lists) for name in found) and not any(is_within(name, fp32_layers) for name in found):
            yield op.get_friendly_name()


def scores_of(model: Any, products: Collection[str]) -> Iterator[str]:
    """Yield the names of the attentions whose queries, keys and values all come from such products."""
    for op in model.get_ops():
        if op.get_type_name() == "ScaledDotProductAttention":
            waiting, origins = [op.input_value(i).get_node() for i in range(3)], set()
            while waiting:
                before = waiting.pop()
                if before.get_type_name() in PRODUCTS:
                    origins.add(before.get_friendly_name())
                else:
                    waiting += [before.input_value(i).get_node() for i in range(before.get_input_size())]
            if origins <= set(products):
                yield op.get_friendly_name()


def names_of(spec: GraphSpec) -> Names:
    """Return the model's names for the weights of a graph."""
    found: Names = {}
    for name, weight in spec.module.named_parameters():
        found.setdefault(_digest(weight.detach().numpy()), []).append(name.removeprefix("model."))
    return found


def calibration(spec: GraphSpec, samples: Sequence[Inputs]) -> Iterator[dict[str, np.ndarray]]:
    """Yield samples of one row as calls of a graph: stacked to its batch, cropped or repeated to its size."""
    for start in range(0, len(samples), spec.batch):
        rows = [samples[(start + i) % len(samples)] for i in range(spec.batch)]
        yield {port.name: np.concatenate([fitted(row[port.name], port.shape) for row in rows]) for port in spec.inputs}


def fitted(row: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return one row in the shape that a graph takes, whatever the graph's number of rows."""
    for axis, size in enumerate(shape[1:], 1):
        row = np.take(row, range(size), axis, mode="wrap")
    return row


def _digest(values: np.ndarray) -> bytes:
    return hashlib.sha256(values.tobytes()).digest()


TARGET = Target(
    name="openvino",
    precisions=("fp32", "fp16", "bf16", "int8", "int8-static", "int4"),
    toolkit=Toolkit(title="OpenVINO", extra="openvino", packages=("openvino", "nncf")),
    write=write,
)
