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
    "Condition": "brickwork.diffusion.denoiser",
    "Cosine": "brickwork.diffusion.process",
    "DataConfig": "brickwork.data.config",
    "Ddim": "brickwork.sampling.solvers",
    "Denoiser": "brickwork.diffusion.denoiser",
    "DiscreteVp": "brickwork.diffusion.process",
    "Dit": "brickwork.backbone.dit",
    "DpmSolverPP": "brickwork.sampling.solvers",
    "Edm": "brickwork.diffusion.process",
    "EdmF": "brickwork.diffusion.prediction",
    "EdmWeight": "brickwork.training.denoiser.loss",
    "Eps": "brickwork.diffusion.prediction",
    "EulerMaruyama": "brickwork.sampling.solvers",
    "Grey": "brickwork.codec.given",
    "Guided": "brickwork.sampling.guidance",
    "Heun": "brickwork.sampling.solvers",
    "Karras": "brickwork.diffusion.schedule",
    "Latents": "brickwork.codec.latents",
    "Lego": "brickwork.backbone.lego",
    "LinearFlow": "brickwork.diffusion.process",
    "LinearTime": "brickwork.diffusion.schedule",
    "LogNormal": "brickwork.training.denoiser.times",
    "LogSnr": "brickwork.diffusion.schedule",
    "LogitNormal": "brickwork.training.denoiser.times",
    "MinSnr": "brickwork.training.denoiser.loss",
    "Model": "brickwork.model.model",
    "Pixels": "brickwork.codec.base",
    "Packing": "brickwork.package.packing",
    "Plain": "brickwork.training.denoiser.loss",
    "Plan": "brickwork.sampling.plan",
    "Planned": "brickwork.sampling.plan",
    "Published": "brickwork.codec.published",
    "Recipe": "brickwork.training.denoiser.recipe",
    "Report": "brickwork.training.denoiser.recipe",
    "Stoic": "brickwork.backbone.stoic",
    "T5": "brickwork.text.published",
    "Tldm": "brickwork.backbone.tldm",
    "Unet": "brickwork.backbone.unet",
    "Uniform": "brickwork.training.denoiser.times",
    "Uvit": "brickwork.backbone.uvit",
    "V": "brickwork.diffusion.prediction",
    "Velocity": "brickwork.diffusion.prediction",
    "Vp": "brickwork.diffusion.process",
    "Words": "brickwork.text.small",
    "X0": "brickwork.diffusion.prediction",
    "cost": "brickwork.model.cost",
    "edit": "brickwork.sampling.edit",
    "evaluate": "brickwork.quality.evaluate",
    "from_pretrained": "brickwork.model.hub",
    "import_weights": "brickwork.foreign.formats",
    "load": "brickwork.model.checkpoint",
    "load_codec": "brickwork.codec.file",
    "load_dataset": "brickwork.data.dataset",
    "load_heldout": "brickwork.data.dataset",
    "load_recipe": "brickwork.training.denoiser.recipe_file",
    "open_package": "brickwork.device.runner",
    "pack": "brickwork.package.pack",
    "preset": "brickwork.backbone.presets",
    "push_to_hub": "brickwork.model.hub",
    "sample": "brickwork.sampling.loop",
    "save": "brickwork.model.checkpoint",
    "save_codec": "brickwork.codec.file",
    "save_png": "brickwork.files.picture",
    "sheet": "brickwork.files.picture",
    "train": "brickwork.training.denoiser.loop",
    "train_autoencoder": "brickwork.training.autoencoder.loop",
    "verify": "brickwork.files.manifest",
}

__all__ = sorted([*_HOME, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]  (looked up when used)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'brickwork' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
