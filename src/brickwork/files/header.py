"""Headers of safetensors files: metadata and the tensors' names and shapes, read without PyTorch.

The metadata of our files hold digests under the key "brickwork-digests": one of the header, without itself, and one of
each tensor. Files of 0.1 have none.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from brickwork.errors import CheckpointError
from brickwork.files.blocks import block_digest
from brickwork.files.plain import read_json
from brickwork.files.regular import check_name, open_regular, regular_size
from brickwork.memory import is_memory_lack

DIGESTS = "brickwork-digests"
UNKNOWN = "0" * 32
"""Digest of the header where it is not known yet."""


def open_tensors(path: Path, framework: str = "pt", *, checked: bool = True) -> Any:
    """Open a safetensors file; for any other file raise an error of one line.

    Args:
        path: Any file.
        framework: Kind of the tensors that are read from it: "pt", or "np", which needs no PyTorch.
        checked: Compare the header with its digest, where the file has one.

    Raises:
        CheckpointError: Missing, truncated, a pickle, no safetensors file, or its header is not that of its digest.
    """
    try:
        regular_size(path)
        check_name(path)
    except FileNotFoundError:
        raise CheckpointError(f"no file {path}: give one that is there") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: {getattr(error, 'strerror', None) or error}; give another file") from None
    try:
        file = safe_open(path, framework=framework)
    except (SafetensorError, OSError) as error:
        if is_memory_lack(error):
            raise
        with open_regular(path) as file:
            start = file.read(2)
        if start in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            raise CheckpointError(
                f"{path} is a pickle, and brickwork unpickles nothing: `brickwork import {shlex.quote(str(path))} "
                "--out NEW.safetensors` makes a model of a published network that it knows"
            ) from error
        raise CheckpointError(f"{path} is no whole safetensors file ({error}): copy or train it again") from error
    if checked:
        _check_header(path, file)
    return file


def stored_digests(path: Path, metadata: Mapping[str, str]) -> tuple[str, dict[str, str]] | None:
    """Return the digests of the header and of each tensor that a file states; None where it states none.

    Raises:
        CheckpointError: They cannot be read.
    """
    if DIGESTS not in metadata:
        return None
    try:
        found = read_json(metadata[DIGESTS])
        return str(found["header"]), {str(name): str(digest) for name, digest in found["tensors"].items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: its digests cannot be read: copy or download it again") from error


def damaged(path: Path, what: str) -> CheckpointError:
    """Return the error for a header or a tensor that is not that of its digest."""
    return CheckpointError(
        f"{path}: its {what} is not what its digest says, so the file is damaged: copy or download it again "
        f"(a tool that changes a file on purpose must drop {DIGESTS} from its metadata)"
    )


def digests_text(of_header: str, of_tensors: Mapping[str, str]) -> str:
    """Return the text that states digests."""
    return json.dumps({"header": of_header, "tensors": dict(sorted(of_tensors.items()))})


def header_digest(
    metadata: Mapping[str, str], kinds: Mapping[str, tuple[str, tuple[int, ...]]], of_tensors: Mapping[str, str]
) -> str:
    """Return the digest of a header: its metadata, and the storage dtype, shape and digest of every tensor."""
    facts = {key: value for key, value in metadata.items() if key != DIGESTS}
    tables = [facts, {name: [dtype, list(shape)] for name, (dtype, shape) in kinds.items()}, dict(of_tensors)]
    return block_digest(json.dumps(tables, sort_keys=True).encode())


def kinds_in(file: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return storage dtype and shape of every tensor of an open file, by name."""
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
    return {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}


def _check_header(path: Path, file: Any) -> None:
    """Refuse a file whose header is not that of its digest."""
    metadata = dict(file.metadata() or {})
    stated = stored_digests(path, metadata)
    if stated is not None and header_digest(metadata, kinds_in(file), stated[1]) != stated[0]:
        raise damaged(path, "header")


def read_kinds(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return storage dtype and shape of every tensor of a file, by name.

    Raises:
        CheckpointError: Missing, truncated, a pickle, or no safetensors file.
    """
    with open_tensors(path, "np") as file:
        return kinds_in(file)


def read_metadata(path: Path) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    """Return a file's metadata, and the shape of every tensor by name.

    Raises:
        CheckpointError: Missing, truncated, a pickle, or no safetensors file.
    """
    with open_tensors(path, "np") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        return dict(file.metadata() or {}), shapes
