"""Layouts "stack" and "scan": graphs in which the block stands once, and one file with the weights of all blocks.

"stack": a stem, one block whose weights are inputs, and a head; the weights lie block after block, so that a device
maps the file and hands the graph one block's bytes after the other's. "scan": one graph, in which ONNX's Scan runs the
same block over weights that lie stacked, tensor after tensor. The file is safetensors in both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any, final

from torch import nn

from brickwork.device.stack import BLOCKS, HEADER, NUMBER_BYTES, name_of, read_header
from brickwork.files.manifest import Graph, Piece
from brickwork.model.model import Model
from brickwork.package.graph import Source
from brickwork.package.layouts.cut import Cut, blocks_of, cut, weight_of
from brickwork.package.layouts.scan import scanned
from brickwork.package.targets.onnx.target import to_onnx, versions, write_graph
from brickwork.package.weights import ALIGN, WEIGHTS, Weights
from brickwork.package.workload import workload

CHUNK = 8 << 20  # bytes of stacked weights that are hashed as one piece
WORKLOAD = "workload.json"


@final
@dataclass(frozen=True)
class Entry:
    """A tensor of the file: a weight of one block, or of several, stacked."""

    name: str
    weight: str
    blocks: tuple[nn.Module, ...]
    shape: tuple[int, ...]


def write_stack(model: Model, folder: Path, layout: str, sources: Sequence[Source]) -> list[Graph]:
    """Write the graphs of a package in which the block stands once, and the weights of all blocks.

    Args:
        model: Made of equal blocks.
        folder: Of the package.
        layout: "stack" or "scan".
        sources: The graphs of a package of whole graphs; its denoisers are cut, all others are written as they are.

    Raises:
        ConfigError: The model is not made of equal blocks alone.
        MissingExtraError: The extra "onnx" is not installed.
    """
    versions()
    blocks = blocks_of(model)
    places = write_weights(folder / BLOCKS, entries_of(blocks, stacked=layout == "scan"))
    graphs: list[Graph] = []
    cuts: dict[tuple[int, int, int], tuple[Cut, list[Any]]] = {}
    with open(folder / WEIGHTS, "wb") as file:
        shared = Weights(file)
        for source in sources:
            if source.role != "denoiser":
                graphs.append(write_graph(source, to_onnx(source), folder, shared))
                continue
            key = source.height, source.width, source.batch
            fresh = key not in cuts
            if fresh:
                part = cut(model, *key)
                cuts[key] = part, [to_onnx(piece) for piece in (part.stem, part.block, part.head)]
            part, models = cuts[key]
            if layout == "scan":
                joined = scanned(part, models, source.parts, places, len(blocks))
                graphs.append(_reads_blocks(write_graph(source, joined, folder, shared)))
            elif fresh:
                written = zip((part.stem, part.block, part.head), models, strict=True)
                stem, block, head = (write_graph(piece, proto, folder, shared) for piece, proto in written)
                graphs += [stem, _reads_blocks(block), head]
    if layout == "stack":
        workload(model).save(folder / WORKLOAD)
    return graphs


def _reads_blocks(graph: Graph) -> Graph:
    return replace(graph, weights=(*graph.weights, BLOCKS))


def entries_of(blocks: Sequence[nn.Module], *, stacked: bool) -> list[Entry]:
    """The tensors of the file: block after block, or each weight of all blocks stacked."""
    shapes = {name: weight_of(blocks[0], name).shape for name, _ in blocks[0].named_parameters()}
    if not stacked:
        return [
            Entry(name_of(k, name), name, (block,), shape)
            for k, block in enumerate(blocks)
            for name, shape in shapes.items()
        ]
    if len(blocks) == 1:
        return [Entry(name, name, (blocks[0],), shape) for name, shape in shapes.items()]
    return [Entry(name, name, tuple(blocks), (len(blocks), *shape)) for name, shape in shapes.items()]


def write_weights(path: Path, entries: Sequence[Entry]) -> dict[str, int]:
    """Write a safetensors file, one weight after the other in memory; returns where each tensor starts.

    Every tensor starts at a multiple of 64 bytes. The format allows no gaps, so these are tensors too: "padding.0", ...
    """
    header: dict[str, object] = {}
    places: dict[str, int] = {}
    end = 0
    for k, entry in enumerate(entries):
        size = NUMBER_BYTES * prod(entry.shape)
        places[entry.name] = end
        header[entry.name] = {"dtype": "F32", "shape": list(entry.shape), "data_offsets": [end, end + size]}
        end += size
        if gap := -end % ALIGN:
            header[f"padding.{k}"] = {"dtype": "U8", "shape": [gap], "data_offsets": [end, end + gap]}
            end += gap
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGN)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for entry in entries:
            for block in entry.blocks:
                file.write(weight_of(block, entry.weight).tobytes())
            file.write(bytes(-file.tell() % ALIGN))
    return {name: 8 + len(text) + start for name, start in places.items()}


def pieces_of(folder: Path) -> dict[str, tuple[Piece, ...]]:
    """The pieces of the file with the blocks' weights, which a device checks when it first reads them.

    The header, then every block; of stacked weights, runs of equal length.
    """
    path = folder / BLOCKS
    start, tensors = read_header(path)
    blocks: dict[str, int] = {}
    for name, tensor in tensors.items():
        word, _, number = name.partition(".")
        if word == "blocks":
            key = name_of(int(number.partition(".")[0]))
            blocks[key] = min(blocks.get(key, tensor.start), tensor.start)
    length = path.stat().st_size
    if not blocks:
        blocks = {f"bytes.{k}": at for k, at in enumerate(range(start, length, CHUNK))}
    edges = [(HEADER, 0), *sorted(blocks.items(), key=lambda item: item[1])]
    found = []
    with open(path, "rb") as file:
        for (name, begin), end in zip(edges, [*(at for _, at in edges[1:]), length], strict=True):
            found.append(
                Piece(name=name, start=begin, length=end - begin, sha256=sha256(file.read(end - begin)).hexdigest())
            )
    return {BLOCKS: tuple(found)}
