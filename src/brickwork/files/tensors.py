"""One safetensors file, written whole or not at all, and read without unpickling anything."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from brickwork.errors import OutputError
from brickwork.files.header import open_tensors


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


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file, on the CPU, and its metadata.

    Raises:
        CheckpointError: Missing, truncated, or no safetensors file.
    """
    with open_tensors(Path(path)) as file:
        return {k: file.get_tensor(k) for k in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
