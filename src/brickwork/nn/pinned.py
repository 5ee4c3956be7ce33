"""Arithmetic without choices by timing: the same kernels and the same order of sums in every run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from brickwork.errors import ConfigError
from brickwork.nn.attention import use_kernel

KERNEL = "fused"
"""The attention kernel that is used then: no device lacks it, and its memory grows with the number of tokens alone."""


@contextmanager
def pinned(active: bool = True) -> Iterator[None]:
    """Make every kernel in the context the same at each run, where ``active``; else change nothing.

    Raises:
        ConfigError: Something in the context has no such kernel on its device.
    """
    if not active:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may sum in another order
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        with use_kernel(KERNEL):
            yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        reason = str(error).split(". ")[0].splitlines()[0]
        raise ConfigError(f"deterministic = true does not work here ({reason}): set it to false") from error
    finally:
        torch.use_deterministic_algorithms(before)
