"""What one block asks of hardware: every operator of its graph with shapes, multiplications and bytes moved.

Rules, said once. 1 MAC = one multiplication with its addition = 2 FLOP; counted are matrix products and convolutions,
as ``brickwork.model.cost`` does. An operator reads each input and writes each output once, weights apart from
activations; one that only looks at the same numbers in another shape moves nothing, one that picks reads what it picks.
That is what a runtime moves that fuses nothing. Least is what any runtime must move for a block that fits on the chip:
its weights, the rows and what the block is told in, the rows out. Intensity is FLOP per byte.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from brickwork.backbone.base import Backbone, BackboneConfig
from brickwork.backbone.lego import Lego
from brickwork.diffusion.denoiser import Condition
from brickwork.errors import ArgumentError, ConfigError
from brickwork.files.manifest import Port
from brickwork.files.whole import write_whole
from brickwork.model.model import Model
from brickwork.package.graph import Source
from brickwork.package.layouts.cut import NEXT, ROWS, BlockDoor, weight_of
from brickwork.package.targets.onnx.target import to_onnx, versions

SAME_NUMBERS = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"}
PICKING = {"Slice", "Gather", "Split"}
Shape = tuple[int, ...]


@final
@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator of a block.

    Attributes:
        name: The layer whose weights it reads, or of the value that it makes.
        kind: As ONNX names it.
        inputs, outputs: Shapes; those of shape arguments left out.
        macs: Multiplications, each with its addition.
        weight_bytes: Of weights and fixed tables that it reads.
        read_bytes: Of activations that it reads.
        written_bytes: Of activations that it writes.
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
        """All that it reads and writes."""
        return self.weight_bytes + self.read_bytes + self.written_bytes


@final
@dataclass(frozen=True, kw_only=True)
class Block:
    """The sheet of one block.

    Attributes:
        name: Where the model has it.
        repeats: How many blocks of this geometry follow each other.
        rows: Shape of what goes from block to block.
        told: Shapes of what every block is told besides.
        operators: In the order of the graph.
    """

    name: str
    repeats: int
    rows: Shape
    told: tuple[Shape, ...]
    operators: tuple[Operator, ...]
    number_bytes: int

    def total(self, key: str) -> int:
        """Sum of an operator's figure over the block."""
        return sum(getattr(operator, key) for operator in self.operators)

    @property
    def least_bytes(self) -> int:
        """What must be moved if nothing but rows enters and leaves."""
        return self.total("weight_bytes") + self.number_bytes * (2 * prod(self.rows) + sum(map(prod, self.told)))

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
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
        """A table for people."""
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
        number_bytes: Of a number: 4 for fp32.
        blocks: In order.
    """

    size: int
    batch: int
    number_bytes: int
    blocks: tuple[Block, ...]

    @property
    def macs(self) -> int:
        """Of all blocks of the model; stem and head are not in it."""
        return sum(block.repeats * block.total("macs") for block in self.blocks)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "unit": {"macs": "1 MAC = 2 FLOP", "intensity": "FLOP per byte moved"},
            "size": self.size,
            "batch": self.batch,
            "number_bytes": self.number_bytes,
            "macs_of_all_blocks": self.macs,
            "blocks": [block.to_dict() for block in self.blocks],
        }

    def save(self, path: Path) -> None:
        """Write the sheet as JSON.

        Raises:
            OutputError: The place cannot be written.
        """
        write_whole(path, (json.dumps(self.to_dict(), indent=1) + "\n").encode())

    def __str__(self) -> str:
        """Tables for people."""
        told = f"x of {self.size}x{self.size}, batch {self.batch}, {self.number_bytes} bytes a number; 1 MAC = 2 FLOP"
        return "\n\n".join([told, *map(str, self.blocks), f"all blocks: {self.macs / 1e9:.4g} GMAC"])


def workload(
    model: Model | BackboneConfig, *, size: int | None = None, batch: int = 1, number_bytes: int = 4
) -> Workload:
    """The sheet of the block that a model repeats, from the block's exported graph; weights do not matter.

    Args:
        model: Or the config of a backbone.
        size: Height and width of x in model space; by default the model's own.
        batch: Rows of x at once.
        number_bytes: Of every weight and activation: 4 for fp32, 2 for fp16, 1 for int8.

    Raises:
        ConfigError: The model repeats no block, or does not take the size.
        ArgumentError: A number that is none of something.
        MissingExtraError: The extra "onnx" is not installed.
    """
    versions()
    config = model.backbone.config if isinstance(model, Model) else model
    for name, value in (("batch", batch), ("number bytes", number_bytes)):
        if value < 1:
            raise ArgumentError(f"{name} {value}: give a whole number from 1 on")
    config = config if size is None else dataclasses.replace(config, size=size)
    network, repeats = _shallow(config)
    seen: dict[str, tuple[Tensor, tuple[Any, ...]]] = {}

    def keep(name: str) -> Any:
        def hook(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            seen[name] = arguments[0], arguments[1:]

        return network.get_submodule(f"{name}.0").register_forward_pre_hook(hook)

    handles = [keep(name) for name in repeats]
    with torch.no_grad():
        network.eval()(*_inputs(config, batch))
    for handle in handles:
        handle.remove()
    fixed = {table.untyped_storage().data_ptr() for table in network.buffers()}
    blocks = []
    for name, count in repeats.items():
        rows, given = seen[name]
        source = _source(network.get_submodule(f"{name}.0"), rows, given, fixed)
        blocks.append(_sheet(name, count, source, to_onnx(source), number_bytes))
    return Workload(size=config.size, batch=batch, number_bytes=number_bytes, blocks=tuple(blocks))


def intensity(macs: int, num_bytes: int) -> float:
    """FLOP per byte; 0 where nothing is multiplied."""
    return 2 * macs / num_bytes if macs else 0.0


def words(shape: Sequence[int]) -> str:
    """A shape, as 1x258x512."""
    return "x".join(map(str, shape)) or "1"


def _figures(macs: int, weights: int, read: int, written: int, moved: int) -> tuple[str, ...]:
    kilobytes = (f"{count / 1e3:,.1f}" if count else "" for count in (weights, read, written))
    return f"{macs / 1e6:,.3f}" if macs else "", *kilobytes, f"{intensity(macs, moved):.4g}" if macs else ""


def _shallow(config: BackboneConfig) -> tuple[Backbone, dict[str, int]]:
    """A network with one block of each geometry, and how often each is repeated, by the name of their list."""
    if isinstance(config, Lego.Config):
        bricks = tuple(dataclasses.replace(brick, depth=1) for brick in config.bricks)
        network = dataclasses.replace(config, bricks=bricks, previous="output", guest=False).build()
        return network, {f"bricks.{k}.blocks": brick.depth for k, brick in enumerate(config.bricks)}
    depth: int | None = getattr(config, "depth", None)
    if depth is None:
        name = type(config).__qualname__.removesuffix("Config")
        raise ConfigError(f"one block's workload: {name} repeats no block; take STOIC, LEGO, TLDM, DiT or U-ViT")
    one: dict[str, Any] = {"depth": 1}
    return dataclasses.replace(config, **one).build(), {"blocks": depth}


def _inputs(config: BackboneConfig, batch: int) -> tuple[Tensor, Tensor, Condition]:
    x = torch.zeros(batch, config.channels, config.size, config.size)
    text = torch.zeros(batch, config.text_length, config.text_width) if config.text_length else None
    given = torch.zeros(batch, config.given_channels, *x.shape[2:]) if config.given_channels else None
    labels = torch.zeros(batch, dtype=torch.long) if config.num_classes else None
    return x, torch.ones(batch), Condition(labels=labels, text=text, given=given)


def _source(block: nn.Module, rows: Tensor, given: tuple[Any, ...], fixed: set[int]) -> Source:
    """The block's graph; tables of the network are constants in it."""
    leaves, spec = tree_flatten(given)
    told = [
        k
        for k, leaf in enumerate(leaves)
        if isinstance(leaf, Tensor) and leaf.untyped_storage().data_ptr() not in fixed
    ]
    at_rows = Port(name=ROWS, dtype="float32", shape=tuple(rows.shape))
    at_told = [Port(name=f"told_{i}", dtype="float32", shape=tuple(leaves[k].shape)) for i, k in enumerate(told)]
    names = [name for name, _ in block.named_parameters()]
    return Source(
        role="block",
        module=BlockDoor(block, leaves, spec, told),
        inputs=(
            at_rows,
            *at_told,
            *(Port(name=name, dtype="float32", shape=weight_of(block, name).shape) for name in names),
        ),
        outputs=(dataclasses.replace(at_rows, name=NEXT),),
        batch=len(rows),
    )


def _sheet(name: str, repeats: int, source: Source, model: Any, number_bytes: int) -> Block:
    from onnx import shape_inference

    graph = shape_inference.infer_shapes(model).graph
    shapes: dict[str, Shape] = {
        value.name: tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    first = {source.inputs[0].name, *(port.name for port in source.inputs if port.name.startswith("told_"))}
    weights = {port.name for port in source.inputs} - first
    tables = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer if tensor.data_type == 1}
    numbers = {tensor.name for tensor in graph.initializer} - tables.keys()
    shapes |= tables
    operators = []
    for node in graph.node:
        inputs = [name for name in node.input if name and name not in numbers]
        operators.append(_operator(node, inputs, shapes, weights, tables.keys(), number_bytes))
    told = tuple(port.shape for port in source.inputs if port.name in first)[1:]
    return Block(
        name=name,
        repeats=repeats,
        rows=source.inputs[0].shape,
        told=told,
        operators=tuple(operators),
        number_bytes=number_bytes,
    )


def _operator(
    node: Any, inputs: list[str], shapes: Mapping[str, Shape], weights: set[str], tables: Any, number_bytes: int
) -> Operator:
    own = [name for name in inputs if name in weights]
    fixed = [name for name in inputs if name in weights or name in tables]
    flowing = [name for name in inputs if name not in fixed]
    written = number_bytes * sum(prod(shapes[name]) for name in node.output)
    read = number_bytes * sum(prod(shapes[name]) for name in flowing)
    still = node.op_type in SAME_NUMBERS
    return Operator(
        name=own[0].rpartition(".")[0] if own else node.output[0],
        kind=node.op_type,
        inputs=tuple(shapes[name] for name in inputs),
        outputs=tuple(shapes[name] for name in node.output),
        macs=_macs(node, [shapes[name] for name in inputs], shapes[node.output[0]]),
        weight_bytes=number_bytes * sum(prod(shapes[name]) for name in fixed),
        read_bytes=0 if still else written if node.op_type in PICKING else read,
        written_bytes=0 if still else written,
    )


def _macs(node: Any, inputs: list[Shape], output: Shape) -> int:
    """Of products and convolutions: numbers that come out, times numbers that each is a sum of."""
    if node.op_type == "MatMul":
        return prod(output) * inputs[0][-1]
    if node.op_type == "Gemm":
        turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return prod(output) * inputs[0][0 if turned else 1]
    if node.op_type == "Conv":
        return prod(output) * prod(inputs[1][1:])
    assert node.op_type not in ("Einsum", "ConvTranspose", "Attention"), f"products of {node.op_type} are not counted"
    return 0
