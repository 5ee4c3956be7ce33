"""LiteRT's graphs, formerly TensorFlow Lite's: a .tflite file each, weights inside.

Graphs come from litert-torch, integers from ai-edge-quantizer. What a precision says of them:

- fp32: all of it.
- int8: weights int8, a scale a row; activations int8 by the range of each call.
- int4: weights of 4 bits, a scale for each group of 32, activations as for int8; a matrix whose rows cannot be cut into
  groups has a scale a row.

Of the last two only the matrix products of repeated blocks know, as in every package. Whole numbers have 32 bits
inside: labels and tokens are converted on the device.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from brickwork.device.mute import muted
from brickwork.errors import MissingExtraError
from brickwork.manifest import Graph
from brickwork.package.graph import Source, quiet
from brickwork.package.precision import Precision, is_within
from brickwork.package.quantize import block_lists

SUFFIX = ".litert"
LAYOUTS = ("whole",)
PRECISIONS = ("fp32", "int8", "int4")
GRAPH = ".tflite"
GROUP = 32  # weights of 4 bits that share a scale


def versions() -> dict[str, str]:
    """Of what writes and runs these graphs.

    Raises:
        MissingExtraError: The extra "litert" is not installed.
    """
    try:
        return {name: version(name) for name in ("litert-torch", "ai-edge-quantizer", "ai-edge-litert")}
    except ImportError as error:
        raise MissingExtraError("litert", str(error), "packing for LiteRT") from error


def write(sources: Sequence[Source], folder: Path, precision: Precision) -> list[Graph]:
    """Write every graph; returns their entries."""
    versions()
    return [write_graph(source, folder, precision) for source in sources]


def write_graph(source: Source, folder: Path, precision: Precision) -> Graph:
    """Convert one graph and write it."""
    data = to_litert(source)
    if precision.name != "fp32" and source.role == "denoiser":  # the others run once a picture
        data = quantize(data, source, precision)
    (folder / (source.stem + GRAPH)).write_bytes(data)
    return Graph(
        role=source.role,
        file=source.stem + GRAPH,
        parts=source.parts,
        height=source.height,
        width=source.width,
        batch=source.batch,
        inputs=source.inputs,
        outputs=source.outputs,
        ops=count_ops(data),
    )


def to_litert(source: Source) -> bytes:
    """The bytes of a graph in fp32, its inputs and outputs numbered in order."""
    import torch

    with silent(), quiet(), torch.no_grad():
        with muted():
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
    """A graph with the integers of a precision."""
    products = dict(products_of(data, source, precision.keep))
    if not products:
        return data
    with silent(), quiet():
        from ai_edge_quantizer.qtyping import QuantGranularity, TFLOperationName
        from ai_edge_quantizer.quantizer import Quantizer

        quantizer = Quantizer(bytearray(data))
        for scope, width in products.items():
            groups = precision.name == "int4" and width % GROUP == 0
            quantizer.add_dynamic_config(
                regex=f"^{re.escape(scope)}$",
                operation_name=TFLOperationName.FULLY_CONNECTED,
                num_bits=4 if precision.name == "int4" else 8,
                granularity=QuantGranularity.BLOCKWISE_32 if groups else QuantGranularity.CHANNELWISE,
            )
        written = quantizer.quantize(enable_progress_bar=False, enable_progress_report=False).quantized_model
    assert written is not None
    return bytes(written)


def products_of(data: bytes, source: Source, keep: Sequence[str]) -> Iterator[tuple[str, int]]:
    """The matrix products with a weight of a repeated block, less those that are kept: (scope, numbers of a row).

    The scope is the quantizer's name for an operator: those of its outputs, each followed by a semicolon.
    """
    model, kinds = read(data), operator_names()
    names, lists = names_of(source), block_lists(source)
    (graph,) = model.subgraphs
    for op in graph.operators:
        if kinds[code_of(model, op)] != "FULLY_CONNECTED":
            continue
        weight = graph.tensors[op.inputs[1]]
        values = model.buffers[weight.buffer].data
        found = [] if values is None else names.get(hashlib.sha256(np.ascontiguousarray(values)).digest(), [])
        if any(is_within(name, lists) for name in found) and not any(is_within(name, keep) for name in found):
            yield "".join(f"{graph.tensors[index].name.decode()};" for index in op.outputs), int(weight.shape[-1])


def names_of(source: Source) -> dict[bytes, list[str]]:
    """The model's names for weights by the hash of their numbers: the converter keeps no names."""
    found: dict[bytes, list[str]] = {}
    for name, weight in source.module.named_parameters():
        digest = hashlib.sha256(np.ascontiguousarray(weight.detach().cpu().numpy())).digest()
        found.setdefault(digest, []).append(name.removeprefix("model."))
    return found


@contextmanager
def silent() -> Iterator[None]:
    """Converter and quantizer draw progress and log what they do; packing says what there is to say."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    os.environ.setdefault("LITERT_TORCH_SHOW_PROGRESS", "n")
    try:
        yield
    finally:
        root.setLevel(level)
