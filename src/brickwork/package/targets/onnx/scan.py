"""Stem, block and head as one ONNX graph, in which Scan runs the block once for each of the stacked weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from brickwork.device.stack import BLOCKS, NUMBER_BYTES
from brickwork.files.manifest import Port
from brickwork.package.layouts.cut import NEXT, ROWS, Cut
from brickwork.package.targets.onnx.export import SMALL

LAST = "last_rows"
TURNS = "turns"


def scanned(part: Cut, models: Sequence[Any], depth: int, places: Mapping[str, int], num_blocks: int) -> Any:
    """Join stem, block and head into the onnx.ModelProto of a denoiser; the weights of its blocks lie in the file.

    Args:
        part: The cut model.
        models: The onnx.ModelProto of each of its graphs, unchanged.
        depth: Number of blocks that run.
        places: Starts of the stacked tensors in the file. Each begins with the first blocks, so that a shorter stack
            reads the beginning of each.
        num_blocks: Number of blocks in the file: all, or one that all share.
    """
    from onnx import TensorProto, helper

    stem, block, head = (copy.deepcopy(model) for model in models)
    told = [port.name for port in part.stem.outputs]
    _rename(stem.graph, "stem/", {port.name for port in part.stem.inputs} | set(told))
    # Except for rows and weights, the block reads its inputs from the graph around it.
    _rename(block.graph, "block/", {port.name for port in part.block.inputs} - {ROWS} | set(told[1:]))
    _rename(head.graph, "head/", {port.name for port in (*part.head.inputs, *part.head.outputs)}, {ROWS: LAST})
    body, outer = block.graph, [*stem.graph.initializer, *head.graph.initializer]
    large = [tensor for tensor in body.initializer if tensor.ByteSize() >= SMALL]
    outer += large
    small = [tensor for tensor in body.initializer if tensor.ByteSize() < SMALL]
    if num_blocks == 1:
        outer += [_stored(port, port.shape, places[port.name]) for port in part.weights]
        outer.append(helper.make_tensor(TURNS, TensorProto.BOOL, [depth], [False] * depth))
        fed, taken = [TURNS], [helper.make_tensor_value_info("block/turn", TensorProto.BOOL, [])]
    else:
        outer += [
            _stored(port, (depth, *port.shape), places[port.name], f"stacked/{port.name}") for port in part.weights
        ]
        fed = [f"stacked/{port.name}" for port in part.weights]
        taken = [helper.make_tensor_value_info(p.name, TensorProto.FLOAT, p.shape) for p in part.weights]
    rows = part.stem.outputs[0].shape
    inner = helper.make_graph(
        list(body.node),
        "block",
        [helper.make_tensor_value_info(f"block/{ROWS}", TensorProto.FLOAT, rows), *taken],
        [helper.make_tensor_value_info(f"block/{NEXT}", TensorProto.FLOAT, rows)],
        initializer=small,
        value_info=list(body.value_info),
    )
    scan = helper.make_node("Scan", [ROWS, *fed], [LAST], name="blocks", body=inner, num_scan_inputs=len(fed))
    graph = helper.make_graph(
        [*stem.graph.node, scan, *head.graph.node],
        "denoiser",
        list(stem.graph.input),
        list(head.graph.output),
        initializer=outer,
        value_info=[*stem.graph.value_info, *head.graph.value_info],
    )
    model = helper.make_model(graph, opset_imports=list(stem.opset_import), ir_version=stem.ir_version)
    assert not any(len(m.functions) for m in (stem, block, head))
    return model


def _rename(graph: Any, prefix: str, kept: set[str], names: Mapping[str, str] | None = None) -> None:
    """Put a prefix before all names in a graph, except kept ones, so that graphs can be joined."""

    def new(name: str) -> str:
        return (names or {}).get(name) or (name if name in kept or not name else prefix + name)

    for node in graph.node:
        assert not any(attribute.HasField("g") for attribute in node.attribute)
        node.name = prefix + node.name
        node.input[:] = [new(name) for name in node.input]
        node.output[:] = [new(name) for name in node.output]
    for entry in (*graph.initializer, *graph.value_info, *graph.input, *graph.output):
        entry.name = new(entry.name)


def _stored(port: Port, shape: tuple[int, ...], place: int, name: str = "") -> Any:
    """Return a tensor whose numbers lie in the file."""
    from onnx import TensorProto

    tensor = TensorProto(name=name or port.name, data_type=TensorProto.FLOAT, dims=shape)
    tensor.data_location = TensorProto.EXTERNAL
    facts = (("location", BLOCKS), ("offset", str(place)), ("length", str(NUMBER_BYTES * prod(shape))))
    for key, value in facts:
        tensor.external_data.add(key=key, value=value)
    return tensor
