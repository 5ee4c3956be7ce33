"""ExecuTorch runtime: opens the files that ``package/targets/executorch.py`` wrote.

Nothing here imports torch, but ExecuTorch's own Python binding does, when a graph is opened: its tensors are torch's.
On a phone the same files run without it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np

from brickwork.errors import PackageError
from brickwork.files.manifest import Graph, Manifest
from brickwork.files.suppressed import suppressed

EXTRA, PACKAGE = "executorch", "executorch"


def start() -> None:
    """Import the runtime."""
    binding()


def binding() -> Any:
    """Import and return the module executorch.extension.pybindings.portable_lib."""
    with suppressed():  # ExecuTorch warns that its interface may change; constraints.txt pins it
        from executorch.extension.pybindings import portable_lib

        return portable_lib


def load(path: Path, graph: Graph, manifest: Manifest, threads: int | None) -> ExecutorchProgram:
    """Open the graph in a file; see ``brickwork.device.program``.

    Raises:
        PackageError: Graphs of this process run on another number of threads already.
    """
    runtime = binding()
    with suppressed():
        _THREADS.set(runtime, threads)
        program = runtime._load_program(str(path))
        return ExecutorchProgram(program, program.load_method("forward"), graph)


@final
class ExecutorchProgram:
    """A loaded method as a function of arrays.

    Args:
        program: Owner of the method; kept as long as the method.
        method: Loaded.
        graph: The manifest's entry, with names of inputs and outputs.
    """

    def __init__(self, program: Any, method: Any, graph: Graph) -> None:
        self.program, self.method = program, method
        self.tensor = sys.modules["torch"].from_numpy  # the binding has imported torch
        self.ports = graph.inputs
        meta = method.method_meta()
        found = [tuple(meta.input_tensor_meta(i).sizes()) for i in range(meta.num_inputs())]
        if found != (wanted := [port.shape for port in self.ports]):
            raise PackageError(f"{graph.file} takes {found}, its manifest says {wanted}: pack it again")

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        """Run the graph; see ``brickwork.device.program.Program``."""
        told = [self.tensor(np.require(inputs[port.name], port.dtype, ["C", "W"])) for port in self.ports]
        return tuple(found.numpy() for found in self.method(told))


@final
class _Threads:
    """The thread pool that all graphs of a process share; it must not change once a graph holds it."""

    def __init__(self) -> None:
        self.held = False

    def set(self, runtime: Any, threads: int | None) -> None:
        """Set the threads before a graph is opened; None leaves them as they are."""
        if threads is not None and threads != (there := runtime._threadpool_get_thread_count()):
            if self.held:
                raise PackageError(
                    f"{threads} threads: ExecuTorch runs all graphs of a process on the same, and there are {there} "
                    "already; start a process for each number"
                )
            runtime._unsafe_reset_threadpool(threads)
        self.held = True


_THREADS = _Threads()
