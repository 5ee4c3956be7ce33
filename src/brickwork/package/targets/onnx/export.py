"""Export to ONNX: a torch graph becomes an ONNX graph, and its weights move into the file that all graphs share."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from brickwork.files.manifest import Graph
from brickwork.files.suppressed import suppressed
from brickwork.package.graph import GraphSpec
from brickwork.package.targets.toolkit import Toolkit
from brickwork.package.weights import WEIGHTS, Weights

TOOLKIT = Toolkit(title="ONNX Runtime", extra="onnx", packages=("onnx", "onnxscript", "onnxruntime"))
SUFFIX = ".onnx"
OPSET = 20
SMALL = 1024  # bytes; smaller constants stay in the graph


def to_onnx(spec: GraphSpec) -> Any:
    """Return the onnx.ModelProto of a graph, its weights inside."""
    import torch

    with suppressed():
        program = torch.onnx.export(
            spec.export(),
            dynamo=True,
            opset_version=OPSET,
            input_names=[port.name for port in spec.inputs],
            output_names=[port.name for port in spec.outputs],
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def write_graph(spec: GraphSpec, model: Any, folder: Path, shared: Weights) -> Graph:
    """Write a graph into a folder, its weights into the shared file; return its entry in the manifest."""
    name = spec.stem + SUFFIX
    strip(model)
    for tensor in model.graph.initializer:
        take(tensor, shared)
    (folder / name).write_bytes(model.SerializeToString(deterministic=True))
    return spec.entry(name, count_ops(model), weights=(WEIGHTS,))


def count_ops(model: Any) -> dict[str, int]:
    """Count each operator's occurrences, those in inner graphs too."""

    def walk(graph: Any) -> Counter[str]:
        found: Counter[str] = Counter()
        for node in graph.node:
            found[node.op_type] += 1
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    found += walk(attribute.g)
        return found

    return dict(sorted(walk(model.graph).items()))


def strip(model: Any) -> None:
    """Remove the notes that an export leaves for debugging: they include paths of this machine."""
    del model.metadata_props[:]
    model.doc_string = ""
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        graph.doc_string = ""
        del graph.metadata_props[:]
        for entry in (*graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
            entry.doc_string = ""
            del entry.metadata_props[:]
        for node in graph.node:
            graphs += [attribute.g for attribute in node.attribute if attribute.HasField("g")]


def take(tensor: Any, shared: Weights) -> None:
    """Move the bytes of an onnx.TensorProto into the shared file; small constants stay where they are."""
    from onnx import TensorProto, numpy_helper

    if tensor.data_location == TensorProto.EXTERNAL:
        return
    data = tensor.raw_data or numpy_helper.to_array(tensor).tobytes()
    if len(data) < SMALL:
        return
    place = shared.put(data)
    for kind in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
        tensor.ClearField(kind)
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in (("location", WEIGHTS), ("offset", str(place)), ("length", str(len(data)))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
