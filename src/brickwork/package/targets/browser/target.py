"""A page that draws: the graphs of the ONNX target, onnxruntime-web, and plain JavaScript. No build step, no CDN."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from brickwork.files.manifest import Graph
from brickwork.package.graph import Source
from brickwork.package.packing import Packing
from brickwork.package.precision import Precision
from brickwork.package.targets.browser import ort_web
from brickwork.package.targets.onnx import target as onnx

SUFFIX = ".browser"
LAYOUTS = ("whole",)
PRECISIONS = onnx.PRECISIONS


def versions() -> dict[str, str]:
    """Of what writes and checks the graphs; see ``brickwork.package.targets.onnx.target``."""
    return onnx.versions()


def write(sources: Sequence[Source], folder: Path, precision: Precision) -> list[Graph]:
    """The graphs; see ``brickwork.package.targets.onnx.target``."""
    return onnx.write(sources, folder, precision)


def accompany(folder: Path, packing: Packing) -> dict[str, str]:
    """Write the page and its runtime beside the graphs; returns the runtime's version.

    Raises:
        PackageError: The runtime cannot be had.
    """
    for file in sorted(files("brickwork").joinpath("web").iterdir(), key=lambda file: file.name):
        (folder / file.name).write_bytes(file.read_bytes())
    return {ort_web.NAME: ort_web.copy_to(folder, packing.ort_web)}
