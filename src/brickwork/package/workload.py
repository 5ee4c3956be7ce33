"""Workload of the block that a model repeats, read from the block's exported graph; ``sheet`` states the rules."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from brickwork.backbone.base import Backbone, BackboneConfig
from brickwork.backbone.lego import Lego
from brickwork.diffusion.denoiser import Condition
from brickwork.errors import ArgumentError, ConfigError
from brickwork.files.manifest import Port
from brickwork.model.hosted import HostedConfig
from brickwork.model.model import Model
from brickwork.nn.floats import float32_default
from brickwork.package.graph import GraphSpec
from brickwork.package.layouts.cut import NEXT, ROWS, BlockDoor, weight_of
from brickwork.package.sheet import Block, Operator, Shape, Workload
from brickwork.package.targets.onnx.export import TOOLKIT, to_onnx

SAME_NUMBERS = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"}
PICKING = {"Slice", "Gather", "Split"}


@float32_default()
def workload(
    model: Model | BackboneConfig, *, size: int | None = None, batch: int = 1, number_bytes: int = 4
) -> Workload:
    """Return the sheet of the block that a model repeats, from the block's exported graph; weights do not matter.

    Args:
        model: A model, or the config of a backbone.
        size: Height and width of x in model space; by default the model's own.
        batch: Rows of x at once.
        number_bytes: Bytes of every weight and activation: 4 for fp32, 2 for fp16, 1 for int8.

    Raises:
        ConfigError: The model repeats no block, or does not take the size.
        ArgumentError: A number is not positive.
        MissingExtraError: The extra "onnx" is not installed.
    """
    TOOLKIT.versions()
    config = model.backbone.config if isinstance(model, Model) else model
    config = config.bricks if isinstance(config, HostedConfig) else config
    for name, value in (("batch", batch), ("number bytes", number_bytes)):
        if value < 1:
            raise ArgumentError(f"{name} {value}: give a whole number from 1 on")
    config = config if size is None else config.at_size(size)
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
        spec = _spec_of(network.get_submodule(f"{name}.0"), rows, given, fixed)
        blocks.append(_sheet(name, count, spec, to_onnx(spec), number_bytes))
    return Workload(size=config.size, batch=batch, number_bytes=number_bytes, blocks=tuple(blocks))


def _shallow(config: BackboneConfig) -> tuple[Backbone, dict[str, int]]:
    """Build a network with one block of each geometry; return it and each one's repeats by the name of their list."""
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
    image = torch.zeros(batch, config.condition_channels, *x.shape[2:]) if config.condition_channels else None
    labels = torch.zeros(batch, dtype=torch.long) if config.num_classes else None
    return x, torch.ones(batch), Condition(labels=labels, text=text, image=image)


def _spec_of(block: nn.Module, rows: Tensor, given: tuple[Any, ...], fixed: set[int]) -> GraphSpec:
    """Return the block's graph; tables of the network are constants in it."""
    leaves, spec = tree_flatten(given)
    told = [
        k
        for k, leaf in enumerate(leaves)
        if isinstance(leaf, Tensor) and leaf.untyped_storage().data_ptr() not in fixed
    ]
    at_rows = Port(name=ROWS, dtype="float32", shape=tuple(rows.shape))
    at_told = [Port(name=f"told_{i}", dtype="float32", shape=tuple(leaves[k].shape)) for i, k in enumerate(told)]
    names = [name for name, _ in block.named_parameters()]
    return GraphSpec(
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


def _sheet(name: str, repeats: int, spec: GraphSpec, model: Any, number_bytes: int) -> Block:
    from onnx import shape_inference

    graph = shape_inference.infer_shapes(model).graph
    shapes: dict[str, Shape] = {
        value.name: tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    first = {spec.inputs[0].name, *(port.name for port in spec.inputs if port.name.startswith("told_"))}
    weights = {port.name for port in spec.inputs} - first
    tables = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer if tensor.data_type == 1}
    numbers = {tensor.name for tensor in graph.initializer} - tables.keys()
    shapes |= tables
    operators = []
    for node in graph.node:
        inputs = [name for name in node.input if name and name not in numbers]
        operators.append(_operator(node, inputs, shapes, weights, tables.keys(), number_bytes))
    told = tuple(port.shape for port in spec.inputs if port.name in first)[1:]
    return Block(
        name=name,
        repeats=repeats,
        rows=spec.inputs[0].shape,
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
    """Count a node's MACs: output elements times the terms summed in each; 0 for all but products."""
    if node.op_type == "MatMul":
        return prod(output) * inputs[0][-1]
    if node.op_type == "Gemm":
        turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return prod(output) * inputs[0][0 if turned else 1]
    if node.op_type == "Conv":
        return prod(output) * prod(inputs[1][1:])
    assert node.op_type not in ("Einsum", "ConvTranspose", "Attention"), f"products of {node.op_type} are not counted"
    return 0
