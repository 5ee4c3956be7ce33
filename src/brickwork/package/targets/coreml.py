"""Core ML's ML Programs for Apple's devices. They are converted and their structure is checked; nothing here runs them.

Core ML's own format is a folder, NAME.mlpackage; packages of this library are flat, so each graph is a zip archive of
that folder. On a Mac: ``unzip '*.mlpackage.zip'``, then drop the .mlpackage into Xcode, or open it with
``coremltools.models.MLModel("denoiser-p8-32x32-b2.mlpackage")``. Its inputs and outputs have the names and shapes that
the manifest states; labels are int32 there, as Core ML has no int64. The loop over noise levels is the manifest's
solver, as in every package.

fp16 is for the Neural Engine: from the first matrix product to the last, while x, sigma, the arithmetic of noise levels
and the estimate stay fp32.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import NAMESPACE_URL, uuid5
from zipfile import ZipFile, ZipInfo

import numpy as np

from brickwork.errors import PackageError
from brickwork.files.manifest import Graph, Port
from brickwork.files.suppressed import suppressed
from brickwork.package.graph import GraphSpec
from brickwork.package.precision import Precision
from brickwork.package.targets.base import Target
from brickwork.package.targets.toolkit import Toolkit

ARCHIVE = ".mlpackage.zip"
SPEC, WEIGHTS = "Data/com.apple.CoreML/model.mlmodel", "Data/com.apple.CoreML/weights/weight.bin"
MEMBERS = ("Manifest.json", SPEC, WEIGHTS)
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip archive can hold
PRODUCTS = ("linear", "conv", "matmul")


def write(specs: Sequence[GraphSpec], folder: Path, precision: Precision) -> list[Graph]:
    """Write every graph with its weights; return their entries."""
    return [write_graph(spec, folder, precision) for spec in specs]


def write_graph(spec: GraphSpec, folder: Path, precision: Precision) -> Graph:
    """Convert one graph, write it, and read it again to check it."""
    name = spec.stem + ARCHIVE
    with suppressed(), TemporaryDirectory(dir=folder) as aside:
        package = Path(aside) / (spec.stem + ".mlpackage")
        to_coreml(spec, precision).save(str(package))
        archive(package, folder / name)
    return spec.entry(name, check(folder / name, spec.inputs, spec.outputs))


def to_coreml(spec: GraphSpec, precision: Precision) -> Any:
    """Convert a graph to a coremltools.models.MLModel with the names of its ports."""
    import coremltools
    import torch

    # The converter reads all operators of the training dialect but one, which is decomposed here.
    table = torch.export.default_decompositions()
    addcmul = torch.ops.aten.addcmul.default
    program = spec.export().run_decompositions({addcmul: table[addcmul]})
    half = coremltools.transform.FP16ComputePrecision(op_selector=is_between)
    model = coremltools.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=coremltools.target.iOS17,
        compute_precision=coremltools.precision.FLOAT32 if precision.name == "fp32" else half,
        outputs=[coremltools.TensorType(port.name, dtype=np.float32) for port in spec.outputs],
        skip_model_load=True,
    )
    proto = model.get_spec()
    for feature, port in zip(list(proto.description.input), spec.inputs, strict=True):
        if feature.name != port.name:
            coremltools.utils.rename_feature(proto, feature.name, port.name)
    return coremltools.models.MLModel(proto, weights_dir=model.weights_dir, skip_model_load=True)


def is_between(op: Any) -> bool:
    """Return True if an operator may be fp16: it is a product, or has products on either side."""
    return op.op_type in PRODUCTS or (_reaches(op, _before) and _reaches(op, _after))


def _before(op: Any) -> list[Any]:
    found = [var for value in op.inputs.values() for var in (value if isinstance(value, tuple | list) else (value,))]
    return [var.op for var in found if var is not None and var.op is not None]


def _after(op: Any) -> list[Any]:
    return [child for var in op.outputs for child in var.child_ops]


def _reaches(op: Any, onward: Any) -> bool:
    """Return True if a walk along a graph from an operator meets a product."""
    seen, waiting = set(), onward(op)
    while waiting:
        other = waiting.pop()
        if other.op_type in PRODUCTS:
            return True
        if id(other) not in seen:
            seen.add(id(other))
            waiting += onward(other)
    return False


def archive(package: Path, out: Path) -> None:
    """Write a .mlpackage as an archive, the same bytes for the same model."""
    table = _renamed((package / MEMBERS[0]).read_text(encoding="utf-8")).encode()
    spec = _spec((package / SPEC).read_bytes()).SerializeToString(deterministic=True)
    with ZipFile(out, "w") as file:
        for name, data in zip(MEMBERS, (table, spec, (package / WEIGHTS).read_bytes()), strict=True):
            file.writestr(ZipInfo(f"{package.name}/{name}", LONG_AGO), data)


def _renamed(table: str) -> str:
    """Return the table of a .mlpackage's members with keys made from their paths; coremltools draws them at random."""
    entries = json.loads(table)["itemInfoEntries"]
    for key, entry in entries.items():
        table = table.replace(key, str(uuid5(NAMESPACE_URL, entry["path"])).upper())
    return json.dumps(json.loads(table), indent=1, sort_keys=True)  # new keys need sorting again


# ---- the check ----------------------------------------------------------------------------------------------------


def check(path: Path, inputs: Sequence[Port], outputs: Sequence[Port]) -> dict[str, int]:
    """Read an archive and compare it with the expected graph.

    Returns:
        Operators, and how many times each occurs.

    Raises:
        PackageError: Names, shapes or kinds of its inputs or outputs differ, or it reads weights that are not there.
    """
    folder = path.name.removesuffix(".zip")
    with ZipFile(path) as file:
        if sorted(file.namelist()) != sorted(f"{folder}/{name}" for name in MEMBERS):
            raise PackageError(f"{path}: it holds {', '.join(file.namelist())}; pack it again")
        spec, size = _spec(file.read(f"{folder}/{SPEC}")), file.getinfo(f"{folder}/{WEIGHTS}").file_size
    for found, ports in ((spec.description.input, inputs), (spec.description.output, outputs)):
        theirs, ours = [_feature(feature) for feature in found], [_port(port) for port in ports]
        if theirs != ours:
            raise PackageError(f"{path}: Core ML made {theirs} of {ours}; pack another target")
    ops: Counter[str] = Counter()
    for op in _operations(spec):
        ops[op.type] += 1
        blob = op.attributes["val"].blobFileValue if op.type == "const" else None
        if blob is not None and blob.fileName and not (_is_weights(blob.fileName) and blob.offset < size):
            raise PackageError(
                f"{path}: it reads {blob.fileName} at {blob.offset:,}, which is not there; pack it again"
            )
    return dict(sorted(ops.items()))


def _spec(data: bytes) -> Any:
    with suppressed():
        from coremltools.proto import Model_pb2

    return Model_pb2.Model.FromString(data)


def _is_weights(name: str) -> bool:
    return name == "@model_path/weights/weight.bin"


def _feature(feature: Any) -> tuple[str, str, tuple[int, ...]]:
    kind = feature.type.multiArrayType
    return feature.name, kind.ArrayDataType.Name(kind.dataType), tuple(kind.shape)


def _port(port: Port) -> tuple[str, str, tuple[int, ...]]:
    return port.name, {"float32": "FLOAT32", "int64": "INT32"}[port.dtype], port.shape


def _operations(spec: Any) -> Iterator[Any]:
    """Yield all operators of a model, those of inner blocks too."""
    blocks = [
        block for function in spec.mlProgram.functions.values() for block in function.block_specializations.values()
    ]
    while blocks:
        for op in blocks.pop().operations:
            yield op
            blocks += op.blocks


TARGET = Target(
    name="coreml",
    precisions=("fp32", "fp16"),
    toolkit=Toolkit(title="Core ML", extra="coreml", packages=("coremltools",)),
    write=write,
    elsewhere="Core ML runs on Apple's devices alone; only structure was checked",
)
