"""OpenVINO's graphs: a file of XML each, and one file of weights for all of them.

Graphs come from torch.export's program directly. What that holds of a precision:

- fp32: all of it.
- fp16: weights stored as fp16, computed with in fp32, which on processors is the faster way.
- bf16: weights stored as fp16, matrix products in bf16 where the processor has them.
- int8: weights int8, a scale a row; activations of matrix products int8 by the range of each group of 64 in each call.
- int8-static: weights and activations int8, ranges from samples, smoothed (Xiao et al. 2022, 2211.10438).
- int4: weights of matrix products in 4 bits, a scale for each group of 64; activations as for int8.

Whatever quantises is NNCF (extra "openvino"). Text encoder and decoder run once a picture and stay fp32 then.
"""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

import numpy as np
from torch.export import ExportedProgram

from brickwork.device.openvino import GROUP, private
from brickwork.errors import MissingExtraError
from brickwork.manifest import Graph
from brickwork.package.graph import Source
from brickwork.package.precision import Inputs, Precision
from brickwork.package.targets.onnx import WEIGHTS, Weights

SUFFIX = ".openvino"
LAYOUTS = ("whole",)
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int8-static", "int4")
HALVES = ("fp16", "bf16")  # whose files hold weights of 16 bits
GRAPH = ".xml"


def versions() -> dict[str, str]:
    """Of what writes and runs these graphs.

    Raises:
        MissingExtraError: The extra "openvino" is not installed.
    """
    try:
        return {name: version(name) for name in ("openvino", "nncf")}
    except ImportError as error:
        raise MissingExtraError("openvino", str(error), "packing for OpenVINO") from error


def write(sources: Sequence[Source], folder: Path, precision: Precision) -> list[Graph]:
    """Write every graph, and the weights of all into one file; returns their entries."""
    versions()
    with open(folder / WEIGHTS, "wb") as file:
        shared = Weights(file)
        return [write_graph(source, folder, shared, precision) for source in sources]


def write_graph(source: Source, folder: Path, shared: Weights, precision: Precision) -> Graph:
    """Convert one graph and write it, its weights into the shared file."""
    private()
    import openvino

    program = source.export()
    model = to_openvino(source, program)
    if source.role == "denoiser":
        model = quantized(model, source, program, precision)
    with TemporaryDirectory(dir=folder) as aside:
        path = Path(aside) / "graph.xml"
        openvino.save_model(model, path, compress_to_fp16=precision.name in HALVES)
        tree = ElementTree.parse(path)
        ops = tidy(tree.getroot(), np.memmap(path.with_suffix(".bin"), np.uint8, "r"), shared)
    tree.write(folder / (source.stem + GRAPH), encoding="utf-8", xml_declaration=True)
    return Graph(
        role=source.role,
        file=source.stem + GRAPH,
        parts=source.parts,
        height=source.height,
        width=source.width,
        batch=source.batch,
        inputs=source.inputs,
        outputs=source.outputs,
        weights=(WEIGHTS,),
        ops=ops,
    )


def to_openvino(source: Source, program: ExportedProgram) -> Any:
    """The openvino.Model of a graph, of fixed shapes, with the names of its ports."""
    private()
    import openvino

    model = openvino.convert_model(program)
    model.reshape({found: list(port.shape) for found, port in zip(model.inputs, source.inputs, strict=True)})
    for ports, outer in ((model.inputs, source.inputs), (model.outputs, source.outputs)):
        for found, port in zip(ports, outer, strict=True):
            assert tuple(found.shape) == port.shape, f"{port.name}: {found.shape}"
            found.get_tensor().set_names({port.name})
    return model


def tidy(root: ElementTree.Element, data: np.ndarray, shared: Weights) -> dict[str, int]:
    """Point a graph's constants into the shared file, and take out what differs from one conversion to the next.

    Returns:
        Operators and how often each occurs.
    """
    found: Counter[str] = Counter()
    for layer in root.iter("layer"):
        kind = layer.attrib["type"]
        found[kind] += 1
        if kind != "Const":
            continue
        layer.set("name", f"constant_{found[kind]}")  # the converter counts on through all its conversions
        place = layer.find("data")
        assert place is not None
        start, length = int(place.attrib["offset"]), int(place.attrib["size"])
        place.set("offset", str(shared.put(data[start : start + length].tobytes())))
    for facts in root.findall("rt_info"):
        root.remove(facts)
    for element in root.iter():
        element.text, element.tail = (element.text or "").strip() or None, None
    return dict(sorted(found.items()))


# ---- fewer bits -------------------------------------------------------------------------------------------------


def quantized(model: Any, source: Source, program: ExportedProgram, precision: Precision) -> Any:
    """A graph with the weights of a precision; as it is where that is done when it is saved."""
    if not precision.name.startswith("int"):
        return model
    with silent():
        import nncf

        ignored = nncf.IgnoredScope(names=kept(model, program, precision.keep), validate=False)
        if precision.name == "int8-static":
            rows = nncf.Dataset(list(calibration(source, precision.samples)))
            kind = nncf.ModelType.TRANSFORMER
            count = max(len(precision.samples), 1)
            return nncf.quantize(model, rows, subset_size=count, model_type=kind, ignored_scope=ignored)
        if precision.name == "int8":
            return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM, ignored_scope=ignored)
        fallback = nncf.AdvancedCompressionParameters(
            group_size_fallback_mode=nncf.GroupSizeFallbackMode.ADJUST, min_adjusted_group_size=16
        )
        mode = nncf.CompressWeightsMode.INT4_SYM
        return nncf.compress_weights(
            model, mode=mode, group_size=GROUP, ignored_scope=ignored, advanced_parameters=fallback
        )


def kept(model: Any, program: ExportedProgram, keep: Sequence[str]) -> list[str]:
    """Names of the operators that come from parts of the network."""
    inside = set()
    for node in program.graph.nodes:
        paths = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
        if any(f".{path}.".startswith(f".model.{name}.") for path in paths for name in keep):
            inside.add(node.name)
    return [node.get_friendly_name() for node in model.get_ops() if node.get_friendly_name().split("/")[0] in inside]


def calibration(source: Source, samples: Sequence[Inputs]) -> Iterator[dict[str, np.ndarray]]:
    """Samples of one row as calls of a graph: as many in turn as it takes rows, cut or repeated to its size."""
    for start in range(len(samples)):
        rows = [samples[(start + i) % len(samples)] for i in range(source.batch)]
        yield {port.name: np.concatenate([fitted(row[port.name], port.shape) for row in rows]) for port in source.inputs}


def fitted(row: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """One row of the shape that a graph takes, but for the number of rows."""
    for axis, size in enumerate(shape[1:], 1):
        row = np.take(row, range(size), axis, mode="wrap")
    return row


@contextmanager
def silent() -> Iterator[None]:
    """NNCF draws bars and logs what it does; packing says what there is to say."""
    private()
    logger = logging.getLogger("nncf")
    level = logger.level
    try:
        with redirect_stdout(io.StringIO()):
            import nncf  # noqa: F401  # sets the level of its logger when it is imported

            logger.setLevel(logging.ERROR)
            yield
    finally:
        logger.setLevel(level)
