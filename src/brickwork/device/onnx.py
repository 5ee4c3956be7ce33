"""ONNX Runtime: opens the files that ``brickwork.package.targets.onnx`` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np

from brickwork.files.manifest import Graph, Manifest

EXTRA, PACKAGE = "onnx", "onnxruntime"


def start() -> None:
    """Import the runtime."""
    import onnxruntime  # noqa: F401


def load(path: Path, graph: Graph, manifest: Manifest, threads: int | None) -> OnnxProgram:
    """Open the graph in a file; see ``brickwork.device.program``."""
    return OnnxProgram(session(path, threads), graph)


def session(path: Path, threads: int | None, **entries: str) -> Any:
    """Open a graph as an onnxruntime.InferenceSession on the CPU that prints nothing of its own.

    Args:
        path: The graph.
        threads: Threads within an operator; None for one per core.
        entries: Configuration entries of the session, "." as "__".
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # no log: errors are raised as well, and reported by this library
    if threads is not None:
        options.intra_op_num_threads = threads
    for key, value in entries.items():
        options.add_session_config_entry(key.replace("__", "."), value)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@final
class OnnxProgram:
    """An open session as a function of arrays.

    Args:
        session: Open.
        graph: The manifest's entry, with names of inputs and outputs.
    """

    def __init__(self, session: Any, graph: Graph) -> None:
        self.session = session
        self.inputs = [port.name for port in graph.inputs]
        self.outputs = [port.name for port in graph.outputs]

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        """Run the graph; see ``brickwork.device.program.Program``."""
        return tuple(self.session.run(self.outputs, {name: inputs[name] for name in self.inputs}))
