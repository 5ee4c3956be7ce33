"""The file with the weights of all blocks of a model, for packages whose graph has the block only once.

Layout "stack": block after block, so that a device maps the file and feeds the graph the bytes of one block after
another. Layout "scan": tensor after tensor, each of all blocks. The file is safetensors in both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import final

from torch import nn

from brickwork.device.stack import BLOCKS, HEADER, NUMBER_BYTES, name_of, read_header
from brickwork.files.manifest import Piece
from brickwork.package.layouts.cut import weight_of
from brickwork.package.weights import ALIGN

CHUNK = 8 << 20  # bytes of stacked weights that are hashed as one piece


@final
@dataclass(frozen=True)
class Entry:
    """A tensor of the file: a weight of one block, or of several, stacked."""

    name: str
    weight: str
    blocks: tuple[nn.Module, ...]
    shape: tuple[int, ...]


def entries_of(blocks: Sequence[nn.Module], *, stacked: bool) -> list[Entry]:
    """List the tensors of the file: block after block, or each weight of all blocks stacked."""
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
    """Write a safetensors file with one weight in memory at a time; return where each tensor starts.

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
    """Return the pieces of the file with the blocks' weights, by its name; empty where a package has no such file.

    A device checks each piece when it first reads it: the header, then every block; of stacked weights, runs of equal
    length.
    """
    path = folder / BLOCKS
    if not path.exists():
        return {}
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
