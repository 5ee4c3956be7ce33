"""The dtype of new weights: float32, whatever a program's default dtype is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def float32_default() -> Iterator[None]:
    """Make float32 torch's default dtype, also as a decorator; it holds for all threads, where the default differs."""
    before = torch.get_default_dtype()
    if before is torch.float32:
        yield
        return
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
