"""The target: one kind of device runtime that packages are written for, as one frozen value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, final

from brickwork.files.manifest import Graph
from brickwork.model.model import Model
from brickwork.package.graph import GraphSpec
from brickwork.package.precision import Precision
from brickwork.package.targets.toolkit import Toolkit

Write: TypeAlias = Callable[[Sequence[GraphSpec], Path, Precision], list[Graph]]
"""Function that writes whole graphs into a folder and returns their entries in the manifest."""
WriteStack: TypeAlias = Callable[[Model, Sequence[GraphSpec], Path], list[Graph]]
"""Function that writes graphs with the model's block only once, and all blocks' weights, and returns their entries."""
Accompany: TypeAlias = Callable[[Path, str], dict[str, str]]
"""Function that puts files beside the graphs of a folder, some from a user's folder ("" for none); returns versions."""


def nothing_beside(folder: Path, source: str) -> dict[str, str]:
    """Write nothing beside the graphs."""
    return {}


@final
@dataclass(frozen=True, kw_only=True)
class Target:
    """A kind of device runtime that packages are written for.

    Attributes:
        name: Its name on the command line and in manifests.
        precisions: Names of the precisions that it has, see ``brickwork.package.precision``.
        toolkit: Python packages that write, and where possible run, its graphs.
        write: Writer of whole graphs.
        stacks: Writers of the layouts in which the model's block stands once, by layout.
        accompany: Writer of further files.
        elsewhere: Reason why its packages do not run on this kind of machine; "" where they do.
    """

    name: str
    precisions: tuple[str, ...]
    toolkit: Toolkit
    write: Write
    stacks: Mapping[str, WriteStack] = field(default_factory=dict)
    accompany: Accompany = nothing_beside
    elsewhere: str = ""

    @property
    def suffix(self) -> str:
        """End of a package's name, as in ".onnx"."""
        return f".{self.name}"

    @property
    def layouts(self) -> tuple[str, ...]:
        """Names of the layouts that it has."""
        return ("whole", *self.stacks)

    @property
    def runs_here(self) -> bool:
        """True where its packages run on this kind of machine."""
        return not self.elsewhere
