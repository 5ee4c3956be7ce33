"""Image-diffusion models of fixed-size, reusable, skippable blocks, from the first training step to the picture.

The public names are looked up when they are first used, so that ``import brickwork`` brings in no torch.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Condition": "brickwork.sampling.denoiser",
    "Cosine": "brickwork.sampling.process",
    "Ddim": "brickwork.sampling.solvers",
    "Denoiser": "brickwork.sampling.denoiser",
    "DiscreteVp": "brickwork.sampling.process",
    "DpmSolverPP": "brickwork.sampling.solvers",
    "Edm": "brickwork.sampling.process",
    "EulerMaruyama": "brickwork.sampling.solvers",
    "Guided": "brickwork.sampling.denoiser",
    "Heun": "brickwork.sampling.solvers",
    "LinearFlow": "brickwork.sampling.process",
    "Model": "brickwork.model",
    "Pixels": "brickwork.codec.base",
    "Recipe": "brickwork.train.recipe",
    "Stoic": "brickwork.backbone.stoic",
    "Vp": "brickwork.sampling.process",
    "BrickworkError": "brickwork.errors",
    "cost": "brickwork.cost",
    "evaluate": "brickwork.measure.evaluate",
    "from_pretrained": "brickwork.checkpoint",
    "load": "brickwork.checkpoint",
    "preset": "brickwork.backbone.presets",
    "push_to_hub": "brickwork.checkpoint",
    "sample": "brickwork.sampling.loop",
    "save": "brickwork.checkpoint",
    "train": "brickwork.train.loop",
}

__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'brickwork' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
