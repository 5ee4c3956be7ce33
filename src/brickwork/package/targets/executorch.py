"""ExecuTorch's graphs: a .pte file each, weights inside, for XNNPACK's kernels on processors of phones and desktops.

XNNPACK takes runs of operators, and every border between two runs costs a copy and another packing of data; so
operators that it has no kernel for are first decomposed into those that it has: attention as two batched products, a
layer norm's means as products with a column of equal weights. Little is left to ExecuTorch's own kernels: arithmetic of
the noise level, as XNNPACK's logarithms and sines are exact to four digits only, the table of classes, and rearranging
of pixels in more than the six dimensions that XNNPACK supports.

A graph's ops are those of ExecuTorch's edge dialect, without namespace and overload: "xnnpack.linear" for one that
XNNPACK takes, "embedding" for one of ExecuTorch's kernels, and "delegate" for each run of XNNPACK.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram

from brickwork.files.manifest import Graph
from brickwork.files.suppressed import suppressed
from brickwork.package.graph import GraphSpec
from brickwork.package.precision import Precision
from brickwork.package.targets.base import Target
from brickwork.package.targets.toolkit import Toolkit

GRAPH = ".pte"
MAX_DIMS = 6  # most dimensions of a tensor in XNNPACK: XNN_MAX_TENSOR_DIMS


def write(specs: Sequence[GraphSpec], folder: Path, precision: Precision) -> list[Graph]:
    """Write every graph; return their entries."""
    assert precision.name == "fp32"
    return [write_graph(spec, folder) for spec in specs]


def write_graph(spec: GraphSpec, folder: Path) -> Graph:
    """Lower one graph and write it."""
    program = spec.export()
    with suppressed():
        data, ops = lower(program)
    (folder / (spec.stem + GRAPH)).write_bytes(data)
    return spec.entry(spec.stem + GRAPH, ops)


def lower(program: ExportedProgram) -> tuple[bytes, dict[str, int]]:
    """Lower a graph; return the bytes of its file, and its operators."""
    from executorch.exir import to_edge_transform_and_lower
    from executorch.exir.passes.constant_prop_pass import constant_prop_pass

    program = constant_prop_pass(program.run_decompositions(rewritten()))
    edge = to_edge_transform_and_lower(program, partitioner=[partitioner()])
    ops = count_ops(edge.exported_program())
    return bytes(edge.to_executorch().buffer), ops


def count_ops(program: ExportedProgram) -> dict[str, int]:
    """Count each operator's occurrences; the head of this file explains their names."""
    found: Counter[str] = Counter()
    for node in program.graph.nodes:
        if node.op == "get_attr" and hasattr(lowered := getattr(program.graph_module, node.target), "original_module"):
            found["delegate"] += 1
            found.update(f"xnnpack.{name}" for name in _names(lowered.original_module))
    found.update(_names(program))
    return dict(sorted(found.items()))


def _names(program: ExportedProgram) -> Iterator[str]:
    for node in program.graph.nodes:
        if node.op == "call_function" and hasattr(node.target, "_schema"):
            yield node.target._schema.name.partition("::")[2].removesuffix("_copy")


def partitioner() -> Any:
    """Return the rule by which XNNPACK takes nodes: none of too many dimensions, no functions of the noise level."""
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
    from executorch.backends.xnnpack.partition.config.generic_node_configs import (
        CosConfig,
        ExpConfig,
        LogConfig,
        SinConfig,
    )
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    def within(config: Any) -> Any:
        def check_constraints(self: Any, node: Any, program: Any) -> bool:
            values = [part.meta.get("val") for part in (node, *node.all_input_nodes)]
            small = all(value.dim() <= MAX_DIMS for value in values if isinstance(value, Tensor))
            return small and config.check_constraints(self, node, program)

        return type(config.__name__, (config,), {"check_constraints": check_constraints})

    level = (CosConfig, ExpConfig, LogConfig, SinConfig)
    configs = [within(config) for config in ALL_PARTITIONER_CONFIGS if config not in level]
    return XnnpackPartitioner(configs=configs)


# ---- operators in terms of others -------------------------------------------------------------------------------


def rewritten() -> dict[Any, Callable[..., Any]]:
    """Return decompositions of operators that XNNPACK has no kernel for into those that it has."""
    aten = torch.ops.aten
    return {
        aten.scaled_dot_product_attention.default: _attention,
        aten.layer_norm.default: _layer_norm,
        aten.matmul.default: _matmul,
        aten.unbind.int: _unbind,
        aten.select.int: _select,
        aten.split.Tensor: _split,
        aten.split_with_sizes.default: _split_with_sizes,
        aten.chunk.default: _chunk,
        aten.addcmul.default: _addcmul,
        aten.gelu.default: _gelu,
    }


def _attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Compute softmax(q k^T / sqrt(d)) v, heads and images as one axis."""
    assert (dropout, causal, enable_gqa) == (0.0, False, False)
    *rows, T, d = q.shape
    q, k, v = (part.reshape(-1, *part.shape[-2:]) for part in (q, k, v))
    scores = torch.bmm(q * (d**-0.5 if scale is None else scale), k.transpose(1, 2))
    if mask is not None:
        assert mask.dtype.is_floating_point
        scores = scores + mask.expand(*rows, T, mask.shape[-1]).reshape(scores.shape)
    return torch.bmm(torch.softmax(scores, dim=-1), v).reshape(*rows, T, v.shape[-1])


def _layer_norm(
    x: Tensor,
    shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn: bool = True,
) -> Tensor:
    """Compute (x - mean) / sqrt(variance + eps) over the last axis; each mean is a product."""
    (width,) = shape
    mean = torch.full((1, width), 1 / width)
    x = x - torch.nn.functional.linear(x, mean)
    x = x * torch.rsqrt(torch.nn.functional.linear(x * x, mean) + eps)
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _matmul(a: Tensor, b: Tensor) -> Tensor:
    """Multiply tensors of equally many axes, or by a matrix on the right."""
    if a.ndim < 2 or b.ndim < 2:
        return NotImplemented
    if b.ndim == 2:
        return torch.mm(a.reshape(-1, a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[-1])
    rows = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (part.expand(*rows, *part.shape[-2:]).reshape(-1, *part.shape[-2:]) for part in (a, b))
    return torch.bmm(a, b).reshape(*rows, a.shape[-2], b.shape[-1])


def _select(x: Tensor, axis: int, index: int) -> Tensor:
    axis, index = axis % x.ndim, index % x.shape[axis]
    return x.narrow(axis, index, 1).reshape(*x.shape[:axis], *x.shape[axis + 1 :])


def _unbind(x: Tensor, axis: int = 0) -> list[Tensor]:
    return [_select(x, axis, index) for index in range(x.shape[axis])]


def _split_with_sizes(x: Tensor, sizes: Sequence[int], axis: int = 0) -> list[Tensor]:
    starts = np.cumsum([0, *sizes]).tolist()
    return [x.narrow(axis, start, size) for start, size in zip(starts, sizes, strict=False)]


def _split(x: Tensor, size: int, axis: int = 0) -> list[Tensor]:
    length = x.shape[axis]
    return _split_with_sizes(x, [min(size, length - start) for start in range(0, length, size)], axis)


def _chunk(x: Tensor, chunks: int, axis: int = 0) -> list[Tensor]:
    return _split(x, -(-x.shape[axis] // chunks), axis)


def _addcmul(x: Tensor, a: Tensor, b: Tensor, *, value: float = 1) -> Tensor:
    """Compute x + value a b."""
    return x + (a * b if value == 1 else value * a * b)


def _gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """Compute the GELU by its tanh formula; XNNPACK's kernel always computes the exact one."""
    if approximate != "tanh":
        return NotImplemented
    return 0.5 * x * (1 + torch.tanh((2 / math.pi) ** 0.5 * (x + 0.044715 * x * x * x)))


TARGET = Target(
    name="executorch",
    precisions=("fp32",),
    toolkit=Toolkit(title="ExecuTorch", extra="executorch", packages=("executorch", "torchao", "torch")),
    write=write,
)
