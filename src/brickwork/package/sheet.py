"""A workload sheet: every operator of one block with shapes, multiplications and bytes moved, as tables and JSON.

The rules. 1 MAC = one multiplication with its addition = 2 FLOP; matrix products and convolutions count, as in
``brickwork.model.cost``. An operator reads each input and writes each output once, weights apart from activations; a
view of the same numbers in another shape moves nothing, and an indexing operator reads the numbers that it picks. A
runtime that fuses nothing moves that much. The least is what any runtime must move for a block that fits on the chip:
its weights, the rows and the conditioning in, the rows out. Intensity is FLOP per byte.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeAlias, final

from brickwork.files.whole import write_whole

Shape: TypeAlias = tuple[int, ...]


@final
@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator of a block.

    Attributes:
        name: The layer whose weights it reads, else the value that it makes.
        kind: ONNX's name for it.
        inputs, outputs: Shapes, without those of shape arguments.
        macs: Multiplications, each with its addition.
        weight_bytes: Bytes of weights and fixed tables that it reads.
        read_bytes: Bytes of activations that it reads.
        written_bytes: Bytes of activations that it writes.
    """

    name: str
    kind: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    macs: int
    weight_bytes: int
    read_bytes: int
    written_bytes: int

    @property
    def moved_bytes(self) -> int:
        """Bytes that it reads and writes."""
        return self.weight_bytes + self.read_bytes + self.written_bytes


@final
@dataclass(frozen=True, kw_only=True)
class Block:
    """The sheet of one block.

    Attributes:
        name: Name of the list of blocks in the network.
        repeats: Number of blocks of this geometry that follow each other.
        rows: Shape of the rows that go from block to block.
        told: Shapes of the shared conditioning that every block reads besides.
        operators: Operators in the order of the graph.
        number_bytes: Bytes of a number: 4 for fp32.
    """

    name: str
    repeats: int
    rows: Shape
    told: tuple[Shape, ...]
    operators: tuple[Operator, ...]
    number_bytes: int

    def total(self, key: str) -> int:
        """Return the sum of an operator's figure over the block."""
        return sum(getattr(operator, key) for operator in self.operators)

    @property
    def least_bytes(self) -> int:
        """Bytes that must be moved if only rows enter and leave."""
        return self.total("weight_bytes") + self.number_bytes * (2 * prod(self.rows) + sum(map(prod, self.told)))

    def to_dict(self) -> dict[str, Any]:
        """Return the figures, ready for JSON."""
        keys = ("macs", "weight_bytes", "read_bytes", "written_bytes", "moved_bytes")
        totals = {key: self.total(key) for key in keys}
        operators = [
            asdict(item) | {"moved_bytes": item.moved_bytes, "intensity": intensity(item.macs, item.moved_bytes)}
            for item in self.operators
        ]
        return {
            "name": self.name,
            "repeats": self.repeats,
            "rows": self.rows,
            "told": self.told,
            "total": {
                **totals,
                "least_bytes": self.least_bytes,
                "intensity": intensity(totals["macs"], totals["moved_bytes"]),
                "most_intensity": intensity(totals["macs"], self.least_bytes),
            },
            "operators": operators,
        }

    def __str__(self) -> str:
        """Return a table for people."""
        table = [("layer or value", "operator", "in", "out", "MMAC", "kB weights", "kB read", "kB written", "FLOP/B")]
        table += [
            (
                item.name,
                item.kind,
                " ".join(map(words, item.inputs)),
                " ".join(map(words, item.outputs)),
                *_figures(item.macs, item.weight_bytes, item.read_bytes, item.written_bytes, item.moved_bytes),
            )
            for item in self.operators
        ]
        totals = [self.total(key) for key in ("macs", "weight_bytes", "read_bytes", "written_bytes", "moved_bytes")]
        table.append(("total", "", "", "", *_figures(*totals)))
        widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
        lines = [
            "  ".join(
                cell.ljust(width) if i < 4 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in table
        ]
        least = f"least that must move: {self.least_bytes / 1e3:,.1f} kB"
        most = f"so at most {intensity(totals[0], self.least_bytes):.4g} FLOP per byte"
        return "\n".join([f"{self.name}: {self.repeats} times, rows {words(self.rows)}", *lines, f"{least}, {most}"])


@final
@dataclass(frozen=True, kw_only=True)
class Workload:
    """The sheets of a model's blocks: one where all are alike, one for each brick of LEGO.

    Attributes:
        size: Height and width of x in model space.
        batch: Rows of x at once.
        number_bytes: Bytes of a number: 4 for fp32.
        blocks: Sheets, in order.
    """

    size: int
    batch: int
    number_bytes: int
    blocks: tuple[Block, ...]

    @property
    def macs(self) -> int:
        """Multiplications of all blocks of the model, without stem and head."""
        return sum(block.repeats * block.total("macs") for block in self.blocks)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures, ready for JSON."""
        return {
            "unit": {"macs": "1 MAC = 2 FLOP", "intensity": "FLOP per byte moved"},
            "size": self.size,
            "batch": self.batch,
            "number_bytes": self.number_bytes,
            "macs_of_all_blocks": self.macs,
            "blocks": [block.to_dict() for block in self.blocks],
        }

    def save(self, path: Path) -> None:
        """Write the sheets as JSON.

        Raises:
            OutputError: The place cannot be written.
        """
        write_whole(path, (json.dumps(self.to_dict(), indent=1) + "\n").encode())

    def __str__(self) -> str:
        """Return tables for people."""
        told = f"x of {self.size}x{self.size}, batch {self.batch}, {self.number_bytes} bytes a number; 1 MAC = 2 FLOP"
        return "\n\n".join([told, *map(str, self.blocks), f"all blocks: {self.macs / 1e9:.4g} GMAC"])


def intensity(macs: int, num_bytes: int) -> float:
    """Return FLOP per byte; 0 where nothing is multiplied."""
    return 2 * macs / num_bytes if macs else 0.0


def words(shape: Sequence[int]) -> str:
    """Return a shape for people, as in 1x258x512."""
    return "x".join(map(str, shape)) or "1"


def _figures(macs: int, weights: int, read: int, written: int, moved: int) -> tuple[str, ...]:
    kilobytes = (f"{count / 1e3:,.1f}" if count else "" for count in (weights, read, written))
    return f"{macs / 1e6:,.3f}" if macs else "", *kilobytes, f"{intensity(macs, moved):.4g}" if macs else ""
