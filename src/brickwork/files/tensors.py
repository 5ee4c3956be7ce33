"""Safetensors files, written whole or not at all, and read without unpickling anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from brickwork.errors import OutputError
from brickwork.files.header import open_tensors
from brickwork.files.whole import whole_file


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file; a reader finds the old file or the new one, whatever happens meanwhile.

    Raises:
        OutputError: The place cannot be written or the disk is full. The previous file is whole.
    """
    path = Path(path)
    try:
        with whole_file(path) as part:
            save_file({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, part, dict(metadata))
            _sort_metadata(part)
    except SafetensorError as error:  # safetensors reports a full disk like this
        raise OutputError(f"{path}: cannot be written ({error}); free some space or choose another place") from error


def _sort_metadata(path: Path | str) -> None:
    """Sort the metadata of a file, which safetensors writes in random order, so that equal contents are equal bytes."""
    with open(path, "r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        assert len(text) <= length, "sorting keys makes no text longer"
        file.seek(8)
        file.write(text.ljust(length))  # spaces after the text, as safetensors pads it


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read all tensors of a safetensors file, on the CPU, and its metadata.

    Raises:
        CheckpointError: Missing, truncated, or no safetensors file.
    """
    with open_tensors(Path(path)) as file:
        return {k: file.get_tensor(k) for k in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
