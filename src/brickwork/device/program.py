"""Programs: a graph's file, opened by the runtime of its target, is a function from numpy arrays to numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Protocol, final

import numpy as np

from brickwork.errors import BrickworkError, MissingExtraError, PackageError, UnknownNameError, first_line
from brickwork.files.manifest import Graph, Manifest

RUNTIMES = {
    "onnx": "brickwork.device.onnx",
    "browser": "brickwork.device.onnx",
    "openvino": "brickwork.device.openvino",
    "executorch": "brickwork.device.executorch",
    "litert": "brickwork.device.litert",
}
"""Modules that open each target's files. Each has EXTRA, PACKAGE, ``start()``, which imports the runtime, and
``load(path, graph, manifest, threads)``.
"""


_OF_MEMORY = ("bad_alloc", "memory", "mmap", "allocat")
"""Words in runtimes' messages that mean too little memory."""


class Program(Protocol):
    """An opened graph that can be called."""

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        """Run the graph and return its outputs, in order.

        Args:
            inputs: Arrays by the names of the graph's inputs, of exactly their shapes and dtypes.
        """
        ...


def runtime_of(target: str) -> ModuleType:
    """Return the module that opens packages for a target.

    Raises:
        PackageError: Such packages cannot run on this kind of machine.
        UnknownNameError: There is no such target.
    """
    if target == "coreml":
        raise PackageError("a package for Core ML runs on Apple's devices alone; pack another target to run it here")
    if target not in RUNTIMES:
        raise UnknownNameError("target", target, RUNTIMES)
    return import_module(RUNTIMES[target])


def open_program(folder: Path, graph: Graph, manifest: Manifest, threads: int | None = None) -> Program:
    """Open a graph of a package, whose files were checked, in the package's runtime.

    Args:
        folder: Folder of the package.
        graph: Entry of the graph in the manifest.
        manifest: Manifest of the package.
        threads: Processor threads; by default the runtime's own choice.

    Raises:
        PackageError: A file is damaged, or the runtime cannot open the graph.
        MissingExtraError: The runtime is not installed.
    """
    runtime, path = runtime_of(manifest.target), folder / graph.file
    try:
        return _Guarded(runtime.load(path, graph, manifest, threads), path, graph, manifest)
    except ImportError as error:
        raise MissingExtraError(runtime.EXTRA, runtime.PACKAGE, f"a package for {manifest.target}") from error
    except BrickworkError:
        raise
    except Exception as error:  # runtimes raise errors of many classes, none of them ours
        raise refused(path, graph, manifest, error, "open") from error


@final
class _Guarded:
    """A program that turns its runtime's exceptions into a ``PackageError`` of one line."""

    def __init__(self, program: Program, path: Path, graph: Graph, manifest: Manifest) -> None:
        self.program, self.path, self.graph, self.manifest = program, path, graph, manifest

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        try:
            return self.program(inputs)
        except BrickworkError:
            raise
        except Exception as error:
            raise refused(self.path, self.graph, self.manifest, error, "run") from error


def refused(path: Path, graph: Graph, manifest: Manifest, error: Exception, verb: str) -> PackageError:
    """Turn a runtime's exception into an error of one line, with a way out."""
    said = first_line(error)[:200]
    if isinstance(error, MemoryError) or any(word in said.lower() for word in _OF_MEMORY):
        size = sum(manifest.files[name].length for name in {graph.file, *graph.weights})
        advice = (
            "free some" if manifest.layout == "stack" else "pack it with --layout stack, which holds a block at a time"
        )
        return PackageError(f"{path}: there is not enough memory for its {size / 1e6:.0f} MB ({said}); {advice}")
    return PackageError(f"{path}: {runtime_of(manifest.target).PACKAGE} cannot {verb} it ({said}); pack it again here")
