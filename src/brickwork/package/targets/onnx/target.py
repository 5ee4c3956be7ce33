"""ONNX graphs for ONNX Runtime, on a desktop or in a browser. All graphs of a package share one file of weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brickwork.files.manifest import Graph
from brickwork.package.graph import Source, quiet
from brickwork.package.installed import installed
from brickwork.package.precision import Precision
from brickwork.package.targets.onnx.quantize import quantized
from brickwork.package.weights import WEIGHTS, Weights

SUFFIX = ".onnx"
LAYOUTS = ("whole", "stack", "scan")
PRECISIONS = ("fp32", "fp16", "int8", "int8-static", "int4")
OPSET = 20
SMALL = 1024  # bytes; smaller constants stay in the graph


def versions() -> dict[str, str]:
    """Of what writes and runs these graphs.

    Raises:
        MissingExtraError: The extra "onnx" is not installed.
    """
    return installed("onnx", "packing for ONNX Runtime", "onnx", "onnxscript", "onnxruntime")


def write(sources: Sequence[Source], folder: Path, precision: Precision) -> list[Graph]:
    """Write every graph, and the weights of all into one file; returns their entries."""
    versions()
    with open(folder / WEIGHTS, "wb") as file:
        shared = Weights(file)
        return [
            write_graph(source, quantized(to_onnx(source), source, precision), folder, shared) for source in sources
        ]


def to_onnx(source: Source) -> Any:
    """The onnx.ModelProto of a graph, weights inside."""
    import torch

    with quiet():
        program = torch.onnx.export(
            source.export(),
            dynamo=True,
            opset_version=OPSET,
            input_names=[port.name for port in source.inputs],
            output_names=[port.name for port in source.outputs],
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def write_graph(source: Source, model: Any, folder: Path, shared: Weights) -> Graph:
    """Move the weights of a graph out and write it."""
    name = source.stem + SUFFIX
    strip(model)
    for tensor in model.graph.initializer:
        take(tensor, shared)
    (folder / name).write_bytes(model.SerializeToString(deterministic=True))
    return source.entry(name, count_ops(model), weights=(WEIGHTS,))


def count_ops(model: Any) -> dict[str, int]:
    """How often each operator occurs, those of inner graphs too."""

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
    """Take out what only people who debug an export want: paths of this machine among it."""
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
    """Move the bytes of an onnx.TensorProto into the file."""
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
