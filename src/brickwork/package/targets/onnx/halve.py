"""ONNX graphs in fp16 from the first weight to the last; operators before, after and beside these stay fp32.

So inputs and outputs are fp32, and so is the arithmetic of noise levels, with sinusoids of 999 and unbounded levels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np

from brickwork.package.targets.onnx.rewrite import Rewrite

SINGLE = (
    *("Cast", "Resize"),  # their other inputs are fp32 by definition
    *("Pow", "Exp", "Sqrt", "Reciprocal", "ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL2"),
    "Gelu",
)
"""Operators that stay fp32: sums of squares leave the range of fp16, which ends at 65504; and a GELU, for which ONNX
Runtime 1.31 has no fp16 kernel on a processor and takes seven operators instead."""
SMALL = 1024  # bytes; larger constants are left out of shape inference


def halve(model: Any, weights: set[str], kept: set[str]) -> Any:
    """Return the graph with fp16 inside; the original is consumed.

    Args:
        model: onnx.ModelProto with its weights inside.
        weights: Constants that are weights of the model.
        kept: Weights whose operators stay fp32.
    """
    singles = singles_of(model)
    chosen = chosen_nodes(model, weights, kept, singles)
    return _Halving(model, chosen, singles).done()


def singles_of(model: Any) -> set[str]:
    """Return the names of all tensors of a graph that are fp32."""
    import onnx
    from onnx import TensorProto, helper, shape_inference

    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    large = [tensor for tensor in bare.graph.initializer if len(tensor.raw_data) > SMALL]
    known = [helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in large]
    names = {tensor.name for tensor in large}
    for place in reversed(range(len(bare.graph.initializer))):
        if bare.graph.initializer[place].name in names:
            del bare.graph.initializer[place]
    bare.graph.input.extend(known)
    graph = shape_inference.infer_shapes(bare).graph
    found = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    found |= {x.name: x.type.tensor_type.elem_type for x in (*graph.input, *graph.value_info, *graph.output)}
    return {name for name, kind in found.items() if kind == TensorProto.FLOAT}


def chosen_nodes(model: Any, weights: set[str], kept: set[str], singles: set[str]) -> set[str]:
    """Return the nodes that compute in fp16, by their first output.

    They have a weight of the model, or read the output of such a node and lead to another weight. A node without a
    weight stays fp32 if it has an input that no weight has touched: x itself, or a number made of the noise level.
    """
    nodes, constants = list(model.graph.node), {tensor.name for tensor in model.graph.initializer}

    def weighted(node: Any) -> bool:
        return any(name in weights for name in node.input)

    touched = _reached(nodes, weighted, lambda node: (node.input, node.output))
    needed = _reached(reversed(nodes), weighted, lambda node: (node.output, node.input))
    chosen, halves = set(), set()
    for node in nodes:
        floats = [name for name in node.input if name in singles and name not in constants]
        inner = (
            any(name in halves for name in floats)
            and any(name in needed for name in node.output)
            and all(name in touched for name in floats)
        )
        if (
            (weighted(node) or inner)
            and node.op_type not in SINGLE
            and not any(name in kept for name in node.input)
            and not any(attribute.HasField("g") for attribute in node.attribute)
            and all(name in singles for name in node.output if name)
        ):
            chosen.add(node.output[0])
            halves.update(node.output)
    return chosen


def _reached(nodes: Any, start: Callable[[Any], bool], ends: Callable[[Any], tuple[Any, Any]]) -> set[str]:
    """Return the tensors that can be reached from some nodes."""
    found: set[str] = set()
    for node in nodes:
        near, far = ends(node)
        if start(node) or any(name in found for name in near):
            found.update(name for name in far if name)
    return found


@final
class _Halving:
    """The change of some nodes to fp16, with casts at the borders."""

    def __init__(self, model: Any, chosen: set[str], singles: set[str]) -> None:
        self.chosen, self.singles, self.rewrite = chosen, singles, Rewrite(model)
        self.halves = {name for node in model.graph.node if node.output[0] in chosen for name in node.output}
        self.outputs = {output.name for output in model.graph.output}

    def done(self) -> Any:
        for node in self.rewrite.model.graph.node:
            fresh = type(node)()
            fresh.CopyFrom(node)
            made: list[Any] = []
            inside = node.output[0] in self.chosen
            read = self._half if inside else self._single
            fresh.input[:] = [read(name, made) for name in node.input]
            made.append(fresh)
            if inside:
                fresh.output[:] = [f"{name}_half" if name in self.outputs else name for name in node.output]
                made += [self._cast(f"{name}_half", name, "FLOAT") for name in node.output if name in self.outputs]
            self.rewrite.put(node, made)
        return self.rewrite.done()

    def _half(self, name: str, made: list[Any]) -> str:
        """Return the name under which an fp16 node reads an input."""
        from onnx import numpy_helper

        if name in self.halves:
            return f"{name}_half" if name in self.outputs else name
        if name not in self.singles:
            return name
        if name in self.rewrite.constants:
            if f"{name}_half" in self.rewrite.constants:
                return f"{name}_half"
            values = numpy_helper.to_array(self.rewrite.constants[name])
            with np.errstate(
                over="ignore"
            ):  # a mask's large negative number may become -inf; a weight that did would fail parity
                return self.rewrite.constant(f"{name}_half", values.astype(np.float16))
        if self.rewrite.first(f"{name}_half"):
            made.append(self._cast(name, f"{name}_half", "FLOAT16"))
        return f"{name}_half"

    def _single(self, name: str, made: list[Any]) -> str:
        """Return the name under which any other node reads an input."""
        if name not in self.halves or name in self.outputs:
            return name
        if self.rewrite.first(f"{name}_single"):
            made.append(self._cast(name, f"{name}_single", "FLOAT"))
        return f"{name}_single"

    @staticmethod
    def _cast(name: str, result: str, kind: str) -> Any:
        from onnx import TensorProto, helper

        return helper.make_node("Cast", [name], [result], to=getattr(TensorProto, kind))
