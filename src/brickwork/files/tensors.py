"""Safetensors files, written whole or not at all, read without unpickling anything, with a digest of every tensor."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from brickwork.errors import CheckpointError, OutputError, UndigestedWarning
from brickwork.files.blocks import block_digest
from brickwork.files.header import (
    DIGESTS,
    UNKNOWN,
    damaged,
    digests_text,
    header_digest,
    kinds_in,
    open_tensors,
    stored_digests,
)
from brickwork.files.whole import whole_file


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file with digests; a reader finds the old file or the new one, whatever happens meanwhile.

    Raises:
        OutputError: The place cannot be written or the disk is full. The previous file is whole.
    """
    path = Path(path)
    plain = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    digests = {name: _tensor_digest(tensor) for name, tensor in plain.items()}
    try:
        with whole_file(path) as part:
            save_file(plain, part, {**metadata, DIGESTS: digests_text(UNKNOWN, digests)})
            with open_tensors(part, checked=False) as file:
                of_header = header_digest(metadata, kinds_in(file), digests)
            _settle_metadata(part, digests_text(of_header, digests))
    except SafetensorError as error:  # safetensors reports a full disk like this
        raise OutputError(f"{path}: cannot be written ({error}); free some space or choose another place") from error


def _settle_metadata(path: Path, digests: str) -> None:
    """Put the digests into a file's metadata, and sort it: safetensors writes it in random order.

    Equal contents are equal bytes then.
    """
    with open(path, "r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted((header["__metadata__"] | {DIGESTS: digests}).items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        assert len(text) <= length, "neither a digest in place of another nor sorting makes a text longer"
        file.seek(8)
        file.write(text.ljust(length))  # spaces after the text, as safetensors pads it


def read_tensors(path: Path, *, finite: bool = True) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read all tensors of a safetensors file, on the CPU, and its metadata without the digests.

    Each tensor is compared with its digest. A file without digests is read, and that is said once per process.

    Args:
        path: The file.
        finite: Refuse tensors that hold NaN or infinity, as weights must not.

    Raises:
        CheckpointError: Missing, truncated, damaged, or no safetensors file; or a number that is not finite.
    """
    path = Path(path)
    with open_tensors(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = dict(file.metadata() or {})
    stated = stored_digests(path, metadata)
    if stated is None:
        _say_undigested(path)
    for name, tensor in tensors.items():
        if stated is not None and _tensor_digest(tensor) != stated[1].get(name):
            raise damaged(path, f"tensor {name}")
        if finite and not is_finite(tensor):
            raise CheckpointError(
                f"{path}: its tensor {name} holds NaN or infinity, and weights must be finite: "
                "give another file, or one saved before they went wrong"
            )
    return tensors, {key: value for key, value in metadata.items() if key != DIGESTS}


def _tensor_digest(tensor: Tensor) -> str:
    """Return the digest of a contiguous tensor's bytes."""
    return block_digest(tensor.flatten().view(torch.uint8).numpy().data)


def is_finite(tensor: Tensor) -> bool:
    """Return True unless a tensor of real numbers holds NaN or infinity; its extremes show either, in one pass."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    return all(bool(torch.isfinite(end)) for end in torch.aminmax(tensor))


_said: list[Path] = []


def _say_undigested(path: Path) -> None:
    """Warn, once per process, of a file without digests."""
    if not _said:
        _said.append(path)
        warnings.warn(
            f"{path} carries no digests, as files of earlier versions, so damage to it is not seen: load it and "
            "save it again to add them (said once)",
            UndigestedWarning,
            stacklevel=3,
        )
