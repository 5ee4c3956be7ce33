"""Headers of safetensors files: metadata and the tensors' names and shapes, read without PyTorch."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from brickwork.errors import CheckpointError


def open_tensors(path: Path, framework: str = "pt") -> Any:
    """Open a safetensors file; for any other file raise an error of one line.

    Args:
        path: Any file.
        framework: Kind of the tensors that are read from it: "pt", or "np", which needs no PyTorch.

    Raises:
        CheckpointError: Missing, truncated, a pickle, or no safetensors file.
    """
    if not path.exists():
        raise CheckpointError(f"no file {path}: give one that is there")
    try:
        return safe_open(path, framework=framework)
    except (SafetensorError, OSError) as error:
        with path.open("rb") as file:
            start = file.read(2)
        if start in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            raise CheckpointError(
                f"{path} is a pickle, and brickwork unpickles nothing: `brickwork import {shlex.quote(str(path))} "
                "--out NEW.safetensors` makes a model of a published network that it knows"
            ) from error
        raise CheckpointError(f"{path} is no whole safetensors file ({error}): copy or train it again") from error


def read_kinds(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return storage dtype and shape of every tensor of a file, by name.

    Raises:
        CheckpointError: Missing, truncated, a pickle, or no safetensors file.
    """
    with open_tensors(path, "np") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        return {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}


def read_metadata(path: Path) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    """Return a file's metadata, and the shape of every tensor by name.

    Raises:
        CheckpointError: Missing, truncated, a pickle, or no safetensors file.
    """
    with open_tensors(path, "np") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        return dict(file.metadata() or {}), shapes
