"""One arithmetic for torch tensors, numpy arrays and plain floats, without importing torch.

A torch tensor can only exist where torch has been imported already: it is found in ``sys.modules``, never imported.
"""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any
"""A torch tensor, a numpy array or a python float: whatever the caller computes with; results are of that kind."""


def namespace(x: Array) -> Any:
    """The module whose ``exp``, ``where``, ``asarray``, ... work on x: torch for a tensor, numpy for all else."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(x, torch.Tensor) else np


def like(values: Array, x: Array) -> Array:
    """Numbers as an array of x's kind, dtype and device."""
    if isinstance(x, float | int):
        return np.asarray(values, dtype=np.float64)
    return namespace(x).asarray(values, dtype=x.dtype, device=x.device)
