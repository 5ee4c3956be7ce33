"""LiteRT's graphs, formerly TensorFlow Lite's: a .tflite file each, weights inside.

Graphs come from litert-torch, integers from ai-edge-quantizer. What a precision says of them:

- fp32: all of it.
- fp16: weights stored as fp16, computed with in fp32.
- int8: weights int8, a scale a row; activations int8 by the range of each call.
- int4: weights of 4 bits, a scale for each group of 32, activations as for int8; a matrix whose rows cannot be cut into
  groups has a scale a row.

Of the last two only the matrix products of repeated blocks of the denoiser know, as in every package. Whole numbers
have 32 bits inside: labels and tokens are converted on the device.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from brickwork.device.mute import muted
from brickwork.errors import PackageError
from brickwork.files.manifest import Graph
from brickwork.package.graph import Source, block_lists, quiet
from brickwork.package.precision import Precision, is_within

SUFFIX = ".litert"
LAYOUTS = ("whole",)
PRECISIONS = ("fp32", "fp16", "int8", "int4")
GRAPH = ".tflite"
KINDS = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D")  # of layers with weights; the first are matrix products
GROUP = 32  # weights of 4 bits that share a scale


def versions() -> dict[str, str]:
    """Of what writes and runs these graphs.

    Raises:
        PackageError: The converter is not installed; no extra has it, as its requirements do not agree with tyro's.
    """
    try:
        return {name: version(name) for name in ("litert-torch", "ai-edge-quantizer", "ai-edge-litert")}
    except ImportError as error:
        raise PackageError(
            f"packing for LiteRT needs {error.name}, which is no extra: install litert-torch first, then brickwork, "
            "in an environment of their own, as the Makefile's .venvs/litert"
        ) from error


def write(sources: Sequence[Source], folder: Path, precision: Precision) -> list[Graph]:
    """Write every graph; returns their entries."""
    versions()
    return [write_graph(source, folder, precision) for source in sources]


def write_graph(source: Source, folder: Path, precision: Precision) -> Graph:
    """Convert one graph and write it."""
    data = to_litert(source)
    if precision.name == "fp16" or (precision.name != "fp32" and source.role == "denoiser"):
        data = quantize(data, source, precision)
    (folder / (source.stem + GRAPH)).write_bytes(data)
    return source.entry(source.stem + GRAPH, count_ops(data))


def to_litert(source: Source) -> bytes:
    """The bytes of a graph in fp32, its inputs and outputs numbered in order."""
    import torch

    with silent(), torch.no_grad():
        import litert_torch

        return litert_torch.convert(source.module.eval(), source.arguments()).model_content()


def count_ops(data: bytes) -> dict[str, int]:
    """How often each operator of the file occurs."""
    model, names = read(data), operator_names()
    found = Counter(names[code_of(model, op)] for graph in model.subgraphs for op in graph.operators)
    return dict(sorted(found.items()))


def read(data: bytes) -> Any:
    """A .tflite file as objects."""
    from ai_edge_litert.schema_py_generated import ModelT

    return ModelT.InitFromPackedBuf(data, 0)


def operator_names() -> dict[int, str]:
    """FULLY_CONNECTED and the others, by their numbers in a file."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    return {number: name for name, number in vars(BuiltinOperator).items() if isinstance(number, int)}


def code_of(model: Any, op: Any) -> int:
    """The number of an operator; files keep those of the first hundred in a field of their own."""
    code = model.operatorCodes[op.opcodeIndex]
    return max(code.builtinCode, code.deprecatedBuiltinCode)


# ---- fewer bits -------------------------------------------------------------------------------------------------


def quantize(data: bytes, source: Source, precision: Precision) -> bytes:
    """A graph with the weights of a precision."""
    kinds = KINDS if precision.name == "fp16" else KINDS[:1]
    lists = [""] if precision.name == "fp16" else block_lists(source)
    chosen = list(layers_of(data, source, kinds, lists, precision.keep))
    if not chosen:
        return data
    with silent():
        from ai_edge_quantizer.quantizer import Quantizer

        quantizer = Quantizer(bytearray(data))
        for kind, scope, width in chosen:
            quantizer.update_quantization_recipe(f"^{re.escape(scope)}$", kind, *recipe(precision.name, width))
        written = quantizer.quantize(enable_progress_bar=False, enable_progress_report=False).quantized_model
    assert written is not None
    return bytes(written)


def recipe(name: str, width: int) -> tuple[Any, Any]:
    """The quantizer's words for a precision of a layer with so many numbers in a row: what, and by which algorithm."""
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
    data: bytes, source: Source, kinds: Sequence[str], lists: Sequence[str], keep: Sequence[str]
) -> Iterator[tuple[str, str, int]]:
    """The layers of some kinds with a weight inside some modules, "" for all, less what is kept.

    Returns:
        For each its kind; its scope, the quantizer's name for it: those of its outputs, each followed by a semicolon;
        and the numbers in a row of its weight.
    """
    model, operators, names = read(data), operator_names(), names_of(source)
    (graph,) = model.subgraphs
    for op in graph.operators:
        kind, weight = operators[code_of(model, op)], graph.tensors[op.inputs[1]] if len(op.inputs) > 1 else None
        if kind not in kinds or weight is None or model.buffers[weight.buffer].data is None:
            continue
        scope = "".join(f"{graph.tensors[index].name.decode()};" for index in op.outputs)
        found = [name for place in scope.split(";") for name in names.get(place, [])]
        inside = any(part == "" or is_within(name, [part]) for name in found for part in lists)
        if inside and not any(is_within(name, keep) for name in found):
            yield kind, scope, int(weight.shape[-1])


def names_of(source: Source) -> dict[str, list[str]]:
    """The model's names for layers by the converter's, which are those of the modules that were called on the way.

    A list of blocks is not called, so the blocks of two lists of one module share their names. Numbers would not tell
    layers apart: the converter moves factors from one into the next.
    """
    modules = dict(source.module.named_modules())
    found: dict[str, list[str]] = {}
    for name, module in modules.items():
        words = name.split(".")
        if not any(weight.ndim > 1 for weight in module.parameters(recurse=False)):
            continue
        place = [_title(source.module)]
        for i in range(len(words)):
            part = modules[".".join(words[: i + 1])]
            if not isinstance(part, nn.ModuleList):
                place.append(f"{_title(part)}_{words[i]}")
        found.setdefault("/".join(place), []).append(name.removeprefix("model."))
    return found


def _title(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


@contextmanager
def silent() -> Iterator[None]:
    """Converter and quantizer draw progress and log what they do; packing says what there is to say."""
    os.environ.setdefault("LITERT_TORCH_SHOW_PROGRESS", "n")
    with muted(), quiet():
        yield
