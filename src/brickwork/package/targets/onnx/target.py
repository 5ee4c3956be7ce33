"""ONNX Runtime, on a desktop or in a browser: the graphs of a package share one file of weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from brickwork.files.manifest import Graph
from brickwork.package.graph import GraphSpec
from brickwork.package.precision import Precision
from brickwork.package.targets.base import Target
from brickwork.package.targets.onnx.export import TOOLKIT, to_onnx, write_graph
from brickwork.package.targets.onnx.quantize import quantized
from brickwork.package.targets.onnx.stack import write_stack
from brickwork.package.weights import WEIGHTS, Weights

PRECISIONS = ("fp32", "fp16", "int8", "int8-static", "int4")


def write(specs: Sequence[GraphSpec], folder: Path, precision: Precision) -> list[Graph]:
    """Write every graph, and the weights of all into one file; return their entries."""
    with open(folder / WEIGHTS, "wb") as file:
        shared = Weights(file)
        return [write_graph(spec, quantized(to_onnx(spec), spec, precision), folder, shared) for spec in specs]


TARGET = Target(
    name="onnx",
    precisions=PRECISIONS,
    toolkit=TOOLKIT,
    write=write,
    stacks={layout: partial(write_stack, layout=layout) for layout in ("stack", "scan")},
)
