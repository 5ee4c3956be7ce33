"""Layouts "stack" and "scan": graphs in which the model's block stands once, beside a file with all blocks' weights.

"stack": a stem, one block whose weights are inputs, and a head. "scan": one graph, in which ONNX's Scan runs the same
block over weights that lie stacked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from brickwork.device.stack import BLOCKS
from brickwork.files.manifest import Graph
from brickwork.model.model import Model
from brickwork.package.graph import GraphSpec
from brickwork.package.layouts.blocks import entries_of, write_weights
from brickwork.package.layouts.cut import Cut, blocks_of, cut
from brickwork.package.targets.onnx.export import to_onnx, write_graph
from brickwork.package.targets.onnx.scan import scanned
from brickwork.package.weights import WEIGHTS, Weights
from brickwork.package.workload import workload

WORKLOAD = "workload.json"


def write_stack(model: Model, specs: Sequence[GraphSpec], folder: Path, *, layout: str) -> list[Graph]:
    """Write the graphs of a package in which the block stands once, and the weights of all blocks.

    Args:
        model: Made of equal blocks.
        specs: The graphs of a package of whole graphs; its denoisers are cut, all others are written as they are.
        folder: Folder of the package.
        layout: "stack" or "scan".

    Raises:
        ConfigError: The model is not made of equal blocks alone.
    """
    blocks = blocks_of(model)
    places = write_weights(folder / BLOCKS, entries_of(blocks, stacked=layout == "scan"))
    graphs: list[Graph] = []
    cuts: dict[tuple[int, int, int], tuple[Cut, list[Any]]] = {}
    with open(folder / WEIGHTS, "wb") as file:
        shared = Weights(file)
        for spec in specs:
            if spec.role != "denoiser":
                graphs.append(write_graph(spec, to_onnx(spec), folder, shared))
                continue
            key = spec.height, spec.width, spec.batch
            fresh = key not in cuts
            if fresh:
                part = cut(model, *key)
                cuts[key] = part, [to_onnx(piece) for piece in (part.stem, part.block, part.head)]
            part, models = cuts[key]
            if layout == "scan":
                joined = scanned(part, models, spec.parts, places, len(blocks))
                graphs.append(_reads_blocks(write_graph(spec, joined, folder, shared)))
            elif fresh:
                written = zip((part.stem, part.block, part.head), models, strict=True)
                stem, block, head = (write_graph(piece, proto, folder, shared) for piece, proto in written)
                graphs += [stem, _reads_blocks(block), head]
    if layout == "stack":
        workload(model).save(folder / WORKLOAD)
    return graphs


def _reads_blocks(graph: Graph) -> Graph:
    return replace(graph, weights=(*graph.weights, BLOCKS))
