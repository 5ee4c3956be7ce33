"""A model cut at its equal blocks: stem, one block whose weights are inputs, and head, each a graph of its own.

Stem, then the block once for each set of weights, then head are the whole denoiser D(x, sigma, ...) exactly: the
layers before and after the blocks are the model's own forward, traced with a stand-in in the blocks' place.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from brickwork.errors import ConfigError
from brickwork.files.manifest import Port
from brickwork.model.model import Model
from brickwork.package.graph import DenoiserDoor, GraphSpec, denoiser

ROWS, NEXT = "rows", "next_rows"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Cut:
    """The graphs of one size and batch.

    Attributes:
        stem: (x, sigma, conditions) → (rows, shared conditioning).
        block: (rows, shared conditioning, weights) → rows.
        head: (rows, x, sigma, conditions) → x0.
        weights: Inputs of the block that are weights.
    """

    stem: GraphSpec
    block: GraphSpec
    head: GraphSpec
    weights: tuple[Port, ...]


def blocks_of(model: Model) -> list[nn.Module]:
    """Return the equal blocks of a model in order; a single one where all share its weights.

    Raises:
        ConfigError: It is not made of equal blocks alone.
    """
    backbone, way_out = model.backbone, "pack it with layout whole"
    name, blocks = type(backbone).__name__, getattr(backbone, "blocks", None)
    if model.guest is not None:
        raise ConfigError(f"one block for all layers: a guest runs before the blocks of this {name}; {way_out}")
    if not isinstance(blocks, nn.ModuleList):
        raise ConfigError(f"one block for all layers: the parts of {name} are not equal blocks in a row; {way_out}")
    if len(getattr(backbone, "merges", ())) or getattr(backbone.config, "long_skip", "none") != "none":
        raise ConfigError(
            f"one block for all layers: long skips join the blocks of this {name} in pairs, so that rows of all depths "
            f"are kept; {way_out}"
        )
    found = list(blocks)
    shapes = [[(name, weight.shape) for name, weight in block.named_parameters()] for block in found]
    assert all(shape == shapes[0] for shape in shapes)
    assert not list(blocks.buffers())
    return found


def weight_of(block: nn.Module, name: str) -> np.ndarray:
    """Return a weight of a block as its graph takes it, float32."""
    return block.get_parameter(name).detach().float().contiguous().numpy()


def cut(model: Model, height: int, width: int, batch: int) -> Cut:
    """Cut a model for images of one size and a batch of rows.

    Raises:
        ConfigError: It is not made of equal blocks alone.
    """
    block = blocks_of(model)[0]
    whole = denoiser(model, height, width, batch)
    where = {"height": height, "width": width, "batch": batch}
    conditions = whole.inputs[2:]
    tap = _Tap()
    before = DenoiserDoor(_with_blocks(model, tap.keep), conditions)
    arguments = whole.arguments()
    with torch.no_grad():
        before.eval()(*arguments)
    rows, given = tap.seen
    leaves, spec = tree_flatten(given)
    varies = _varying(StemDoor(before, tap), arguments, leaves)
    # Values that depend on no input, such as a table of rotations, are constants of the block's graph.
    told = [k for k, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and varies[k]]
    at_rows = Port(name=ROWS, dtype="float32", shape=tuple(rows.shape))
    at_told = [Port(name=f"told_{i}", dtype="float32", shape=tuple(leaves[k].shape)) for i, k in enumerate(told)]
    names_of_weights = [name for name, _ in block.named_parameters()]
    weights = tuple(Port(name=n, dtype="float32", shape=weight_of(block, n).shape) for n in names_of_weights)
    back = _Tap()
    after = DenoiserDoor(_with_blocks(model, back.give), conditions)
    return Cut(
        stem=GraphSpec(
            role="stem",
            module=StemDoor(before, tap, told),
            inputs=whole.inputs,
            outputs=(at_rows, *at_told),
            **where,
        ),
        block=GraphSpec(
            role="block",
            module=BlockDoor(block, leaves, spec, told),
            inputs=(at_rows, *at_told, *weights),
            outputs=(Port(name=NEXT, dtype="float32", shape=at_rows.shape),),
            **where,
        ),
        head=GraphSpec(
            role="head",
            module=HeadDoor(after, back),
            inputs=(at_rows, *whole.inputs),
            outputs=whole.outputs,
            **where,
        ),
        weights=weights,
    )


@final
class StemDoor(nn.Module):
    """All before the blocks as a graph: (x, sigma, conditions) → (rows, shared conditioning).

    Args:
        model: The model with the tap in its blocks' place.
        tap: Records the blocks' arguments.
        told: True for each of a block's further arguments, flattened, that is an output; by default all tensors.
    """

    def __init__(self, model: DenoiserDoor, tap: _Tap, told: Sequence[int] | None = None) -> None:
        super().__init__()
        self.model, self.tap, self.told = model, tap, told

    def forward(self, x: Tensor, sigma: Tensor, *told: Tensor) -> tuple[Tensor, ...]:
        """Return the rows, then the tensors of the shared conditioning."""
        self.model(x, sigma, *told)
        rows, given = self.tap.seen
        leaves = tree_flatten(given)[0]
        if self.told is None:
            return rows, *(leaf for leaf in leaves if isinstance(leaf, Tensor))
        return rows, *(leaves[k] for k in self.told)


@final
class BlockDoor(nn.Module):
    """One block as a graph whose weights are inputs: (rows, shared conditioning, weights) → rows.

    Args:
        block: The block whose weights are replaced.
        leaves, spec: Its arguments after the rows, flattened.
        told: True for each of them that is an input; the others are constants.
    """

    def __init__(self, block: nn.Module, leaves: Sequence[Any], spec: TreeSpec, told: Sequence[int]) -> None:
        super().__init__()
        self.block = [block]  # in a list, so that its weights are no parameters of this module
        self.leaves, self.spec, self.told = list(leaves), spec, tuple(told)
        self.names = [name for name, _ in block.named_parameters()]

    def forward(self, rows: Tensor, *inputs: Tensor) -> Tensor:
        """Run the block with weights that are inputs; the shape of the rows stays."""
        leaves = list(self.leaves)
        for k, value in zip(self.told, inputs, strict=False):
            leaves[k] = value
        weights = dict(zip(self.names, inputs[len(self.told) :], strict=True))
        with _Flat():
            return torch.func.functional_call(self.block[0], weights, (rows, *tree_unflatten(leaves, self.spec)))


@final
class HeadDoor(nn.Module):
    """All after the blocks as a graph: (rows, x, sigma, conditions) → x0.

    Args:
        model: The model with the tap in its blocks' place.
        tap: Returns the graph's rows in place of the blocks' result.
    """

    def __init__(self, model: DenoiserDoor, tap: _Tap) -> None:
        super().__init__()
        self.model, self.tap = model, tap

    def forward(self, rows: Tensor, x: Tensor, sigma: Tensor, *told: Tensor) -> Tensor:
        """Estimate x0, fp32."""
        self.tap.seen = rows, ()
        return self.model(x, sigma, *told)


@final
class _Flat(TorchFunctionMode):
    """Context in which linear layers over several images are one matrix product that takes weights as (out, in).

    A product over more axes transposes them first, which copies the weights at every call; weights that are stored
    transposed, so that no copy is needed, still cost 5 % more than this (ONNX Runtime 1.31, 258 rows, 512 x 2048).
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear and args[0].ndim > 2:
            x, *rest = args
            return func(x.flatten(0, -2), *rest, **(kwargs or {})).view(*x.shape[:-1], -1)
        return func(*args, **(kwargs or {}))


@final
class _Tap:
    """A tap in the blocks' place: it records their arguments, or returns the rows that were set."""

    seen: tuple[Tensor, tuple[Any, ...]]

    def keep(self, rows: Tensor, *arguments: Any) -> Tensor:
        self.seen = rows, arguments
        return rows

    def give(self, rows: Tensor, *arguments: Any) -> Tensor:
        return self.seen[0]


@final
class _Instead(nn.Module):
    """A module that stands in the place of all blocks."""

    def __init__(self, act: Callable[..., Tensor]) -> None:
        super().__init__()
        self.act = act

    def forward(self, rows: Tensor, *arguments: Any) -> Tensor:
        return self.act(rows, *arguments)


def _with_blocks(model: Model, act: Callable[..., Tensor]) -> Model:
    """Return the model with a function in its blocks' place; its other layers are the same ones, not copies."""
    backbone, whole = copy.copy(model.backbone), copy.copy(model)
    backbone._modules = {**model.backbone._modules, "blocks": nn.ModuleList([_Instead(act)])}
    whole._modules = {**model._modules, "backbone": backbone}
    return whole


def _varying(stem: StemDoor, arguments: tuple[Tensor, ...], leaves: Sequence[Any]) -> list[bool]:
    """Return for each of the blocks' arguments True if it depends on some input of the model."""
    tensors = [k for k, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    reached: dict[int, bool] = {}
    if tensors:
        with torch.no_grad():
            program = torch.export.export(stem.eval(), arguments, strict=False)
        reached = dict(zip(tensors, _reached(program)[1:], strict=True))
    return [reached.get(k, False) for k in range(len(leaves))]


def _reached(program: ExportedProgram) -> list[bool]:
    """Return for each output True if it depends on an input, and not on weights alone."""
    inputs, seen = set(program.graph_signature.user_inputs), set()
    for node in program.graph.nodes:
        if node.name in inputs or (node.op == "call_function" and any(n in seen for n in node.all_input_nodes)):
            seen.add(node)
    outputs = next(node for node in program.graph.nodes if node.op == "output").args[0]
    return [node in seen for node in outputs]
