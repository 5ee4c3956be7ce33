"""Image-diffusion models of fixed-size, reusable, skippable blocks, from the first training step to the picture.

The public names are looked up when they are first used, so that ``import brickwork`` brings in no torch.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Autoencoder": "brickwork.codec.autoencoder",
    "AutoencoderRecipe": "brickwork.training.autoencoder.recipe",
    "BrickworkError": "brickwork.errors",
    "Bytes": "brickwork.text.small",
    "Canvas": "brickwork.sampling.canvas",
    "Clip": "brickwork.text.published",
    "Coarse": "brickwork.codec.given",
    "Condition": "brickwork.sampling.denoiser",
    "Cosine": "brickwork.sampling.process",
    "DataConfig": "brickwork.data.config",
    "Ddim": "brickwork.sampling.solvers",
    "Denoiser": "brickwork.sampling.denoiser",
    "DiscreteVp": "brickwork.sampling.process",
    "Dit": "brickwork.backbone.dit",
    "DpmSolverPP": "brickwork.sampling.solvers",
    "Edm": "brickwork.sampling.process",
    "EdmF": "brickwork.sampling.target",
    "EdmWeight": "brickwork.training.loss",
    "Eps": "brickwork.sampling.target",
    "EulerMaruyama": "brickwork.sampling.solvers",
    "Grey": "brickwork.codec.given",
    "Guided": "brickwork.sampling.denoiser",
    "Heun": "brickwork.sampling.solvers",
    "Karras": "brickwork.sampling.grid",
    "Latents": "brickwork.codec.latents",
    "Lego": "brickwork.backbone.lego",
    "LinearFlow": "brickwork.sampling.process",
    "LinearTime": "brickwork.sampling.grid",
    "LogNormal": "brickwork.training.times",
    "LogSnr": "brickwork.sampling.grid",
    "LogitNormal": "brickwork.training.times",
    "MinSnr": "brickwork.training.loss",
    "Model": "brickwork.model",
    "Pixels": "brickwork.codec.base",
    "Packing": "brickwork.package.packing",
    "Plain": "brickwork.training.loss",
    "Plan": "brickwork.sampling.plan",
    "Planned": "brickwork.sampling.plan",
    "Published": "brickwork.codec.published",
    "Recipe": "brickwork.training.recipe",
    "Report": "brickwork.training.recipe",
    "Stoic": "brickwork.backbone.stoic",
    "T5": "brickwork.text.published",
    "Tldm": "brickwork.backbone.tldm",
    "Unet": "brickwork.backbone.unet",
    "Uniform": "brickwork.training.times",
    "Uvit": "brickwork.backbone.uvit",
    "V": "brickwork.sampling.target",
    "Velocity": "brickwork.sampling.target",
    "Vp": "brickwork.sampling.process",
    "Words": "brickwork.text.small",
    "X0": "brickwork.sampling.target",
    "cost": "brickwork.counting",
    "edit": "brickwork.sampling.edit",
    "evaluate": "brickwork.measure.evaluate",
    "from_pretrained": "brickwork.checkpoint",
    "import_weights": "brickwork.foreign.formats",
    "load": "brickwork.checkpoint",
    "load_codec": "brickwork.codec.file",
    "load_dataset": "brickwork.data.dataset",
    "load_heldout": "brickwork.data.dataset",
    "load_recipe": "brickwork.training.recipe_file",
    "open_package": "brickwork.device.runner",
    "pack": "brickwork.package.pack",
    "preset": "brickwork.backbone.presets",
    "push_to_hub": "brickwork.checkpoint",
    "sample": "brickwork.sampling.loop",
    "save": "brickwork.checkpoint",
    "save_codec": "brickwork.codec.file",
    "save_png": "brickwork.sampling.picture",
    "sheet": "brickwork.sampling.picture",
    "train": "brickwork.training.loop",
    "train_autoencoder": "brickwork.training.autoencoder.loop",
    "verify": "brickwork.manifest",
}

__all__ = sorted([*_HOME, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]  (looked up when used)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'brickwork' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
