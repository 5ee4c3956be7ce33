"""ONNX graphs with fewer bits: the choice of layers, and the change of each.

int8 and int4 are for the products of the repeated blocks, where nearly all weights are. Stem, head and the layers of
the time embedding stay fp32: they are small, and their errors appear in the picture directly. The arithmetic of noise
levels is fp32 in every precision: 999 t has no digits to spare.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from brickwork.package.graph import GraphSpec, block_lists, own_name
from brickwork.package.precision import Precision, is_within
from brickwork.package.targets.onnx.halve import halve
from brickwork.package.targets.onnx.integers import Layer, dynamic, grouped, ranges, static
from brickwork.package.targets.onnx.rewrite import Rewrite


def quantized(model: Any, spec: GraphSpec, precision: Precision) -> Any:
    """Return a graph at a precision; the original is consumed.

    Args:
        model: onnx.ModelProto with its weights inside.
        spec: The graph's description.
        precision: Precision, and the layers that stay fp32.
    """
    if precision.name == "fp32":
        return model
    if precision.name == "fp16":
        owners = owners_of(model, spec)
        kept = {name for name, names in owners.items() if _kept(names, precision)}
        return halve(model, set(owners), kept)
    if spec.role != "denoiser":  # other graphs run once an image, and neither samples nor bound apply to them
        return model
    unfold_gemms(model)
    layers = [layer for layer in layers_of(model, spec) if not _kept(layer.names, precision)]
    rewrite = Rewrite(model)
    calibrated = precision.name == "int8-static"
    found = ranges(model, spec, [layer.input for layer in layers], precision.samples) if calibrated else {}
    for layer in layers:
        if precision.name == "int8":
            rewrite.put(layer.node, dynamic(rewrite, layer))
        elif calibrated:
            rewrite.put(layer.node, static(rewrite, layer, found[layer.input]))
        else:
            rewrite.put(layer.node, grouped(rewrite, layer))
    return rewrite.done()


def layers_of(model: Any, spec: GraphSpec) -> list[Layer]:
    """Return the products of a graph that get few bits: those with a weight of a repeated block."""
    from onnx import numpy_helper

    owners, lists = owners_of(model, spec), block_lists(spec)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    found = []
    for node in model.graph.node:
        names = owners.get(node.input[1], ()) if node.op_type == "MatMul" else ()
        names = tuple(name for name in names if is_within(name, lists))
        if names and len(weights[node.input[1]].dims) == 2:
            found.append(Layer(node, numpy_helper.to_array(weights[node.input[1]]), names))
    return found


def layer_of(name: str, lists: Sequence[str]) -> str:
    """Return the layer of a block that a weight belongs to, as in backbone.blocks.0.attention."""
    inner = max((owner for owner in lists if is_within(name, [owner])), key=len)
    words = name[len(inner) + 1 :].split(".")[:-1]
    return ".".join([inner, *words[:2]])


def owners_of(model: Any, spec: GraphSpec) -> dict[str, tuple[str, ...]]:
    """Return the model's names for each initializer that is a weight of it; several where weights are equal.

    An export keeps the names of weights but for those that it transposes; these are found by their numbers.
    """
    from onnx import TensorProto, numpy_helper

    named = dict(spec.module.named_parameters())
    by_numbers: dict[bytes, list[str]] = {}
    for name, weight in named.items():
        if weight.ndim == 2:
            values = weight.detach().cpu().numpy()
            for key in {values.tobytes(), values.T.tobytes()}:
                by_numbers.setdefault(key, []).append(name)
    found = {}
    for tensor in model.graph.initializer:
        names = [tensor.name] if tensor.name in named else []
        if not names and tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2:
            names = by_numbers.get(numpy_helper.to_array(tensor).tobytes(), [])
        if names:
            found[tensor.name] = tuple(own_name(name, spec) for name in names)
    return found


def unfold_gemms(model: Any) -> None:
    """Write every product with a constant weight and a bias as a MatMul and an Add, so that all look alike."""
    from onnx import helper, numpy_helper

    rewrite = Rewrite(model)
    for node in list(model.graph.node):
        how = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        plain = how.get("alpha", 1.0) == how.get("beta", 1.0) == 1.0 and not how.get("transA", 0)
        if node.op_type != "Gemm" or not plain or node.input[1] not in rewrite.constants:
            continue
        x, weight, *bias = node.input
        if how.get("transB", 0):
            values = numpy_helper.to_array(rewrite.constants[weight])
            weight = rewrite.constant(f"{weight}_turned", np.ascontiguousarray(values.T))
        product = f"{node.output[0]}_product" if bias else node.output[0]
        made = [helper.make_node("MatMul", [x, weight], [product], name=f"{node.name}_product")]
        if bias:
            made.append(helper.make_node("Add", [product, *bias], [node.output[0]], name=f"{node.name}_bias"))
        rewrite.put(node, made)
    rewrite.done()


def _kept(names: Sequence[str], precision: Precision) -> bool:
    return any(is_within(name, precision.fp32_layers) for name in names)
