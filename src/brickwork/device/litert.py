"""LiteRT runtime: opens the files that ``package/targets/litert.py`` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np

from brickwork.errors import PackageError
from brickwork.files.manifest import Graph, Manifest
from brickwork.files.suppressed import suppressed

EXTRA, PACKAGE = "litert", "ai-edge-litert"


def start() -> None:
    """Import the runtime."""
    import ai_edge_litert.interpreter  # noqa: F401


def load(path: Path, graph: Graph, manifest: Manifest, threads: int | None) -> LitertProgram:
    """Open the graph in a file; see ``brickwork.device.program``."""
    from ai_edge_litert.interpreter import Interpreter

    with suppressed():
        interpreter = Interpreter(model_path=str(path), num_threads=threads)
    return LitertProgram(interpreter, graph)


@final
class LitertProgram:
    """An opened interpreter as a function of arrays.

    Graphs of LiteRT take int32 where the manifest says int64.

    Args:
        interpreter: Opened.
        graph: The manifest's entry, with names of inputs and outputs.

    Raises:
        PackageError: The file is of another graph.
    """

    def __init__(self, interpreter: Any, graph: Graph) -> None:
        self.run = interpreter.get_signature_runner()  # its one signature: args_0, args_1, ... → output_0, ...
        self.names = {port.name: f"args_{i}" for i, port in enumerate(graph.inputs)}
        self.outputs = [f"output_{i}" for i in range(len(graph.outputs))]
        found = self.run.get_input_details()
        shapes = {name: tuple(details["shape"].tolist()) for name, details in found.items()}
        if shapes != (wanted := {f"args_{i}": port.shape for i, port in enumerate(graph.inputs)}):
            raise PackageError(f"{graph.file} takes {shapes}, its manifest says {wanted}: pack it again")
        self.dtypes = {name: found[arg]["dtype"] for name, arg in self.names.items()}

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        """Run the graph; see ``brickwork.device.program.Program``."""
        found = self.run(
            **{arg: inputs[name].astype(self.dtypes[name], copy=False) for name, arg in self.names.items()}
        )
        return tuple(found[name] for name in self.outputs)
