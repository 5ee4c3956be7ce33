"""One safetensors file, written whole or not at all, and read without unpickling anything."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from brickwork.errors import CheckpointError, OutputError


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file that is either the old one or the new one, whatever happens meanwhile.

    A temporary file beside it is written, flushed to the disk and renamed over it; then the folder is flushed.

    Raises:
        OutputError: The place cannot be written or the disk is full. The previous file is whole.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        save_file({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, temporary, dict(metadata))
        os.chmod(temporary, 0o644)
        _flush(temporary)
        os.replace(temporary, path)
        temporary = None
        _flush(str(path.parent))
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise OutputError(f"cannot write {path}: {reason}; free some space or choose another place") from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files that a killed :func:`write_tensors` to ``path`` left beside it."""
    for leftover in path.parent.glob(f".{path.name}.*"):
        leftover.unlink(missing_ok=True)


def _flush(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_tensors(path: Path) -> Any:
    """Open a safetensors file, or say in one line why it is none.

    Raises:
        CheckpointError: Missing, truncated, a pickle, or no safetensors file.
    """
    if not path.exists():
        raise CheckpointError(f"no file {path}: give one that is there")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        with path.open("rb") as file:
            start = file.read(2)
        if start in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            raise CheckpointError(
                f"{path} is a pickle, and brickwork unpickles nothing: `brickwork import` reads published networks, "
                "else save its weights as safetensors"
            ) from error
        raise CheckpointError(f"{path} is no whole safetensors file ({error}): copy or train it again") from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file, on the CPU, and its metadata.

    Raises:
        CheckpointError: Missing, truncated, or no safetensors file.
    """
    with open_tensors(Path(path)) as file:
        return {k: file.get_tensor(k) for k in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
