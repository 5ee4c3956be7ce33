"""Training states as files: tensors, and a header with the rest that exact resuming needs; written atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from brickwork.errors import CheckpointError
from brickwork.files.header import open_tensors
from brickwork.files.tensors import read_tensors, write_tensors

FORMAT = 1
STREAMS = 16
"""Offset of the random streams per rollback to a saved state: larger than every stream of the gaussian module."""
MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's moments, by torch's names."""

StateKind = Literal["brickwork-state", "brickwork-autoencoder-state"]
OF: dict[StateKind, str] = {"brickwork-state": "a model", "brickwork-autoencoder-state": "an autoencoder"}


@dataclass(kw_only=True)
class Counters:
    """The position of a run."""

    step: int = 0
    """Optimizer steps done."""
    images_seen: int = 0
    """Images of all steps."""
    seconds: float = 0.0
    """Seconds by the clock, over all sittings."""
    rollbacks: int = 0
    """Rollbacks to a saved state after a loss that was not finite; each shifts the noise, to avoid the same failure."""
    since_log: int = 0
    """Steps since the last line of the log."""


def write_state(
    path: Path, kind: StateKind, tensors: Mapping[str, Tensor], counters: Counters, record: Mapping[str, Any]
) -> None:
    """Write a state, atomically.

    Args:
        path: The file.
        kind: Kind of state.
        tensors: Weights and moments.
        counters: The position of the run.
        record: JSON-like facts to keep beside: recipe and data.

    Raises:
        OutputError: The place cannot be written; the previous file is whole.
    """
    header = {"format": FORMAT, "counters": asdict(counters), **record}
    write_tensors(path, tensors, {kind: json.dumps(header)})


def read_state(path: Path, kind: StateKind) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and header of a saved state.

    Raises:
        CheckpointError: Missing, truncated, or no training state of this kind.
    """
    tensors, metadata = read_tensors(path)
    return tensors, _header(path, kind, metadata)


def read_header(path: Path, kind: StateKind) -> dict[str, Any]:
    """Return the header alone of a saved state.

    Raises:
        CheckpointError: Missing, truncated, or no training state of this kind.
    """
    return _header(path, kind, open_tensors(path).metadata() or {})


def check_tensors(own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Refuse a state whose weights are not those of this run; moments of the optimizers do not count.

    Raises:
        CheckpointError: A name or a shape differs.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in own.items()}
    shapes = {name: tuple(t.shape) for name, t in found.items() if not name.startswith("adamw.")}
    if wanted != shapes:
        odd = sorted(k for k in wanted | shapes if wanted.get(k) != shapes.get(k))
        raise CheckpointError(f"the saved state does not fit the model ({odd[0]}): choose another out folder")


def _header(path: Path, kind: StateKind, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        header = json.loads(metadata[kind])
        version = int(header["format"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is no training state of {OF[kind]}: choose another out folder") from error
    if version != FORMAT:
        raise CheckpointError(f"{path} is a training state of format {version}, this brickwork resumes {FORMAT}")
    return header
