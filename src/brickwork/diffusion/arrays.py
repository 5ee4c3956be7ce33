"""Array functions for torch tensors, numpy arrays and plain floats alike, without importing torch.

A torch tensor can only exist where torch has been imported already: it is found in ``sys.modules``, never imported.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any
"""A torch tensor, a numpy array or a python float; results are of the caller's kind."""


def namespace(x: Array) -> Any:
    """Return the module whose ``exp``, ``where``, ... work on x: torch for a tensor, numpy for all else."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(x, torch.Tensor) else np


def no_graph() -> AbstractContextManager[Any]:
    """Return a context in which torch records nothing to differentiate; it does nothing where torch is not imported."""
    torch = sys.modules.get("torch")
    return nullcontext() if torch is None else torch.no_grad()


def like(values: Array, x: Array) -> Array:
    """Convert numbers into an array of x's kind, dtype and device."""
    if isinstance(x, float | int):
        return np.asarray(values, dtype=np.float64)
    return namespace(x).asarray(values, dtype=x.dtype, device=x.device)


def log1p(x: Array) -> Array:
    """Return ln(1 + x) for x ≥ 0, without cancellation at small x.

    Graph formats lack this operator, and exporters write ln(1 + x) instead; so in an exported graph it is a series
    below 0.5: 2 (z + z³/3 + z⁵/5 + ...), z = x / (2 + x).
    """
    if not _traced(x):
        return namespace(x).log1p(x)
    z = x / (2 + x)
    square = z * z
    series = square * (1 / 13)
    for k in range(11, 1, -2):
        series = (series + 1 / k) * square
    return namespace(x).where(x < 0.5, 2 * z * (1 + series), namespace(x).log(1 + x))


def expm1(x: Array) -> Array:
    """Return e^x - 1 without cancellation at small x; in an exported graph by a series there, as ``log1p`` does."""
    if not _traced(x):
        return namespace(x).expm1(x)
    series = 1 + x * (1 / 9)
    for k in range(8, 1, -1):
        series = 1 + x * (1 / k) * series
    return namespace(x).where(abs(x) < 0.5, x * series, namespace(x).exp(x) - 1)


def _traced(x: Array) -> bool:
    """Tell whether x is a tensor of a graph that is being exported."""
    torch = namespace(x)
    return torch is not np and torch.compiler.is_exporting()
