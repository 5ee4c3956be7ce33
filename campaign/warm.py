"""Imports that many forks need, done once in this process; none of them starts a thread."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module

LAZY = (
    *("matplotlib.pyplot", "matplotlib.figure", "matplotlib.backends.backend_agg"),
    *("onnx", "onnxscript", "onnxruntime", "torch.onnx", "torch._dynamo", "torch.export"),
    *("diffusers", "transformers", "pyarrow", "pyarrow.parquet", "sklearn.datasets", "tyro"),
    *("brickwork.package.pack", "brickwork.package.targets.onnx.export", "brickwork.training.denoiser.loop"),
)
"""Modules that are imported where they are first used."""


def warm() -> None:
    """Import them, and make an optimizer, which imports more."""
    import torch

    for name in LAZY:
        with suppress(ImportError):
            import_module(name)
    torch.optim.AdamW([torch.zeros(1)])
