"""A web page that draws, of the ONNX target's graphs, onnxruntime-web and plain JavaScript. No build step, no CDN."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from brickwork.package.targets.base import Target
from brickwork.package.targets.browser import ort_web
from brickwork.package.targets.onnx.export import TOOLKIT
from brickwork.package.targets.onnx.target import PRECISIONS, write


def accompany(folder: Path, source: str) -> dict[str, str]:
    """Write the page and its runtime beside the graphs; return the runtime's version.

    Args:
        folder: Folder of the package.
        source: Folder of the user's own with the files of onnxruntime-web; "" takes the pinned tarball of npm.

    Raises:
        PackageError: The runtime cannot be had.
    """
    for file in sorted(files("brickwork").joinpath("web").iterdir(), key=lambda file: file.name):
        (folder / file.name).write_bytes(file.read_bytes())
    return {ort_web.NAME: ort_web.copy_to(folder, source)}


TARGET = Target(name="browser", precisions=PRECISIONS, toolkit=TOOLKIT, write=write, accompany=accompany)
