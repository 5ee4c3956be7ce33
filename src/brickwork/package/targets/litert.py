"""LiteRT's graphs, formerly TensorFlow Lite's: a .tflite file each, weights inside.

Graphs come from litert-torch, integers from ai-edge-quantizer. The precisions:

- fp32: all of it.
- fp16: weights stored as fp16, computed with in fp32.
- int8: weights int8, a scale a row; activations int8 by the range of each call.
- int4: weights of 4 bits, a scale for each group of 32, activations as for int8; a matrix whose rows cannot be cut into
  groups has a scale a row.

The last two apply to the matrix products of repeated blocks of the denoiser only, as in every package. Integers are
int32 inside: labels and tokens are converted on the device.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from brickwork.files.manifest import Graph
from brickwork.files.suppressed import suppressed
from brickwork.package.graph import GraphSpec, block_lists
from brickwork.package.precision import Precision, is_within
from brickwork.package.targets.base import Target
from brickwork.package.targets.toolkit import Toolkit

GRAPH = ".tflite"
KINDS = (
    "FULLY_CONNECTED",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
)  # kinds of layers with weights; the first are matrix products
GROUP = 32  # weights of 4 bits that share a scale


def write(specs: Sequence[GraphSpec], folder: Path, precision: Precision) -> list[Graph]:
    """Write every graph; return their entries."""
    return [write_graph(spec, folder, precision) for spec in specs]


def write_graph(spec: GraphSpec, folder: Path, precision: Precision) -> Graph:
    """Convert one graph and write it."""
    data = to_litert(spec)
    if precision.name == "fp16" or (precision.name != "fp32" and spec.role == "denoiser"):
        data = quantize(data, spec, precision)
    (folder / (spec.stem + GRAPH)).write_bytes(data)
    return spec.entry(spec.stem + GRAPH, count_ops(data))


def to_litert(spec: GraphSpec) -> bytes:
    """Convert a graph to a file in fp32, its inputs and outputs numbered in order."""
    import torch

    with suppressed(), torch.no_grad():
        import litert_torch

        return litert_torch.convert(spec.module.eval(), spec.arguments()).model_content()


def count_ops(data: bytes) -> dict[str, int]:
    """Count each operator's occurrences in the file."""
    model, names = read(data), operator_names()
    found = Counter(names[code_of(model, op)] for graph in model.subgraphs for op in graph.operators)
    return dict(sorted(found.items()))


def read(data: bytes) -> Any:
    """Parse a .tflite file into objects."""
    from ai_edge_litert.schema_py_generated import ModelT

    return ModelT.InitFromPackedBuf(data, 0)


def operator_names() -> dict[int, str]:
    """Return the names of operators, as FULLY_CONNECTED, by their numbers in a file."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    return {number: name for name, number in vars(BuiltinOperator).items() if isinstance(number, int)}


def code_of(model: Any, op: Any) -> int:
    """Return the number of an operator; files store numbers below a hundred in a field of their own."""
    code = model.operatorCodes[op.opcodeIndex]
    return max(code.builtinCode, code.deprecatedBuiltinCode)


# ---- fewer bits -------------------------------------------------------------------------------------------------


def quantize(data: bytes, spec: GraphSpec, precision: Precision) -> bytes:
    """Return a graph with the weights of a precision."""
    kinds = KINDS if precision.name == "fp16" else KINDS[:1]
    lists = [""] if precision.name == "fp16" else block_lists(spec)
    chosen = list(layers_of(data, spec, kinds, lists, precision.fp32_layers))
    if not chosen:
        return data
    with suppressed():
        from ai_edge_quantizer.quantizer import Quantizer

        quantizer = Quantizer(bytearray(data))
        for kind, scope, width in chosen:
            quantizer.update_quantization_recipe(f"^{re.escape(scope)}$", kind, *recipe(precision.name, width))
        written = quantizer.quantize(enable_progress_bar=False, enable_progress_report=False).quantized_model
    assert written is not None
    return bytes(written)


def recipe(name: str, width: int) -> tuple[Any, Any]:
    """Return the quantizer's config and algorithm for a layer; a row of its weight has ``width`` numbers."""
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import (
        ComputePrecision,
        OpQuantizationConfig,
        QuantGranularity,
        TensorDataType,
        TensorQuantizationConfig,
    )

    if name == "fp16":
        half = TensorQuantizationConfig(num_bits=16, dtype=TensorDataType.FLOAT)
        how = OpQuantizationConfig(
            weight_tensor_config=half, compute_precision=ComputePrecision.FLOAT, explicit_dequantize=True
        )
        return how, AlgorithmName.FLOAT_CASTING
    groups = name == "int4" and width % GROUP == 0
    few = TensorQuantizationConfig(
        num_bits=4 if name == "int4" else 8,
        granularity=QuantGranularity.BLOCKWISE_32 if groups else QuantGranularity.CHANNELWISE,
    )
    how = OpQuantizationConfig(weight_tensor_config=few, compute_precision=ComputePrecision.INTEGER)
    return how, AlgorithmName.MIN_MAX_UNIFORM_QUANT


def layers_of(
    data: bytes, spec: GraphSpec, kinds: Sequence[str], lists: Sequence[str], fp32_layers: Sequence[str]
) -> Iterator[tuple[str, str, int]]:
    """Yield the layers of some kinds with a weight inside some modules ("" for all), less those that stay fp32.

    Returns:
        For each its kind; its scope, the quantizer's name for it, made of its outputs' names, each followed by a
        semicolon; and the numbers in a row of its weight.
    """
    model, operators, names = read(data), operator_names(), names_of(spec)
    (graph,) = model.subgraphs
    for op in graph.operators:
        kind, weight = operators[code_of(model, op)], graph.tensors[op.inputs[1]] if len(op.inputs) > 1 else None
        if kind not in kinds or weight is None or model.buffers[weight.buffer].data is None:
            continue
        scope = "".join(f"{graph.tensors[index].name.decode()};" for index in op.outputs)
        found = [name for place in scope.split(";") for name in names.get(place, [])]
        inside = any(part == "" or is_within(name, [part]) for name in found for part in lists)
        if inside and not any(is_within(name, fp32_layers) for name in found):
            yield kind, scope, int(weight.shape[-1])


def names_of(spec: GraphSpec) -> dict[str, list[str]]:
    """Return the model's names for layers by the converter's, which are made of the modules called on the way.

    A list of blocks is not called, so the blocks of two lists of one module share their names. Numbers would not tell
    layers apart: the converter moves factors from one into the next.
    """
    modules = dict(spec.module.named_modules())
    found: dict[str, list[str]] = {}
    for name, module in modules.items():
        words = name.split(".")
        if not any(weight.ndim > 1 for weight in module.parameters(recurse=False)):
            continue
        place = [_title(spec.module)]
        for i in range(len(words)):
            part = modules[".".join(words[: i + 1])]
            if not isinstance(part, nn.ModuleList):
                place.append(f"{_title(part)}_{words[i]}")
        found.setdefault("/".join(place), []).append(name.removeprefix("model."))
    return found


def _title(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


TARGET = Target(
    name="litert",
    precisions=("fp32", "fp16", "int8", "int4"),
    toolkit=Toolkit(
        title="LiteRT",
        packages=("litert-torch", "ai-edge-quantizer", "ai-edge-litert"),
        advice="install litert-torch first, then brickwork, in an environment of their own, as the Makefile's "
        ".venvs/litert",  # its requirements conflict with tyro's
    ),
    write=write,
)
