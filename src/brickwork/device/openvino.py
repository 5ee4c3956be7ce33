"""OpenVINO runtime: opens the files that ``package/targets/openvino.py`` wrote."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, final

import numpy as np

from brickwork.errors import PackageError
from brickwork.files.manifest import Graph, Manifest

EXTRA, PACKAGE = "openvino", "openvino"
GROUP = 64  # activations that share a scale in int8


def start() -> None:
    """Import the runtime."""
    core()


def load(path: Path, graph: Graph, manifest: Manifest, threads: int | None) -> OpenvinoProgram:
    """Open the graph in a file; see ``brickwork.device.program``.

    Raises:
        PackageError: Its weights are not in one file.
    """
    if len(graph.weights) != 1:
        raise PackageError(f"{path}: a graph of OpenVINO reads one file of weights, not {len(graph.weights)}")
    runtime = core()
    # With the path of the weights, OpenVINO does not search for them.
    model = runtime.read_model(path, path.parent / graph.weights[0])
    return OpenvinoProgram(runtime.compile_model(model, "CPU", options(manifest.precision, threads)), graph)


def options(precision: str, threads: int | None) -> dict[str, Any]:
    """Return OpenVINO's options for a graph: low latency of single calls, and the manifest's precision."""
    found: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(GROUP if precision in ("int8", "int4") else 0),
    }
    return found if threads is None else {**found, "INFERENCE_NUM_THREADS": threads}


@cache
def core() -> Any:
    """Return the openvino.Core of this process."""
    return toolkit().Core()


def toolkit() -> Any:
    """Import the openvino package, which reports nothing to its makers."""
    private()
    return import_module("openvino")


def private() -> None:
    """Keep OpenVINO from sending usage reports to its makers over the network, which it does by default.

    OpenVINO works without its telemetry module; then nothing is sent and no file is left in the home folder.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]


@final
class OpenvinoProgram:
    """A compiled model as a function of arrays.

    Args:
        compiled: An openvino.CompiledModel.
        graph: The manifest's entry, with names of inputs and outputs.
    """

    def __init__(self, compiled: Any, graph: Graph) -> None:
        self.request = compiled.create_infer_request()
        self.inputs = [port.name for port in graph.inputs]
        self.outputs = [compiled.output(port.name) for port in graph.outputs]

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        """Run the graph; see ``brickwork.device.program.Program``."""
        found = self.request.infer({name: inputs[name] for name in self.inputs}, share_inputs=True)
        return tuple(found[output] for output in self.outputs)
