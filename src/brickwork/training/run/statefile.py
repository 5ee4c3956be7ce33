"""Training states as files: tensors, and a header with the rest that exact resuming needs; written atomically."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, final

import torch
from torch import Tensor

from brickwork.bounds import at_least, between, up_to
from brickwork.errors import CheckpointError, short
from brickwork.files.plain import read_json
from brickwork.files.schema import Reader
from brickwork.files.tensors import read_tensors, write_tensors

FORMAT = 1
STREAMS = 16
"""Offset of the random streams per rollback to a saved state: larger than every stream of the gaussian module."""
MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's moments, by torch's names."""

READER = Reader(error=CheckpointError, form="json", subject="its header", mend="choose another out folder")
"""Reader of the headers of states."""
StateKind = Literal["brickwork-state", "brickwork-autoencoder-state"]
OF: dict[StateKind, str] = {"brickwork-state": "a model", "brickwork-autoencoder-state": "an autoencoder"}


Count = Annotated[int, up_to(0, below=1 << 32)]
"""A number of steps: noise is drawn by numbers of 32 bits."""


@dataclass(kw_only=True)
class Counters:
    """The position of a run."""

    step: Count = 0
    """Optimizer steps done."""
    images_seen: Annotated[int, up_to(0, below=1 << 63)] = 0
    """Images of all steps."""
    seconds: Annotated[float, at_least(0)] = 0.0
    """Seconds by the clock, over all sittings."""
    rollbacks: Annotated[int, between(0, 1_000_000)] = 0
    """Rollbacks to a saved state after a loss that was not finite; each shifts the noise, to avoid the same failure."""
    since_log: Count = 0
    """Steps since the last line of the log."""


@final
@dataclass(frozen=True, kw_only=True)
class StateHeader:
    """The header of a saved state.

    Attributes:
        format: Version of this table.
        counters: The position of the run.
        recipe: The resolved recipe, as TOML; "" for none.
        data, guest, init, codec: Digests of what the run began with; "" for none.
        device, threads: Where it was computed; "" and 0 where that is unknown.
        kernels: Choices of attention kernels and of libraries of products, by use.
    """

    format: int = FORMAT
    counters: Counters
    recipe: str = ""
    data: str = ""
    guest: str = ""
    init: str = ""
    codec: str = ""
    device: str = ""
    threads: Annotated[int, at_least(0)] = 0
    kernels: dict[str, str] = field(default_factory=dict)


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


def read_state(path: Path, kind: StateKind) -> tuple[dict[str, Tensor], StateHeader]:
    """Return tensors and header of a saved state.

    Raises:
        CheckpointError: Missing, truncated, or no training state of this kind.
    """
    tensors, metadata = read_tensors(path, finite=False)  # a moment may overflow, and its weight then stays
    return tensors, _header(path, kind, metadata)


def check_tensors(
    own: Mapping[str, Tensor], moments: Iterable[Mapping[str, Tensor]], found: Mapping[str, Tensor]
) -> None:
    """Refuse a state whose tensors are not those of this run.

    Args:
        own: Weights and sums of this run, by name; a state has them all.
        moments: For each parameter tensors of the shapes and dtypes of its optimizer's numbers, by name; a state has
            all of a parameter that was ever updated, else none.
        found: The state's tensors.

    Raises:
        CheckpointError: A name, a shape or a dtype differs.
    """
    parts = [own, *(one for one in moments if one.keys() & found.keys())]
    wanted = {name: _kind_of(tensor) for part in parts for name, tensor in part.items()}
    kinds = {name: _kind_of(tensor) for name, tensor in found.items()}
    if odd := sorted(name for name in wanted | kinds if wanted.get(name) != kinds.get(name)):
        raise CheckpointError(f"the saved state does not fit the model ({short(odd[0])}): choose another out folder")


def _kind_of(tensor: Tensor) -> tuple[torch.dtype, tuple[int, ...]]:
    return tensor.dtype, tuple(tensor.shape)


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Return True if every number of every tensor is finite."""
    found = [tensor.isfinite().all().cpu() for tensor in tensors]
    return all(bool(one) for one in found)


def _header(path: Path, kind: StateKind, metadata: Mapping[str, str]) -> StateHeader:
    try:
        header = read_json(metadata[kind])
        version = header["format"]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is no training state of {OF[kind]}: choose another out folder") from error
    if version != FORMAT:
        raise CheckpointError(f"{path} is a training state of format {short(version)}, this brickwork resumes {FORMAT}")
    try:
        return READER.config(StateHeader, header)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
