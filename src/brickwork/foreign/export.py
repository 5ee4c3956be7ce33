"""A model as a folder that diffusers opens: a scheduler with the model's noise levels, the model's file, a pipeline."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from brickwork.diffusion.process import Cosine, DiscreteVp, Edm, LinearFlow, NoiseProcess, Vp
from brickwork.doors import door
from brickwork.errors import ConfigError, MissingExtraError
from brickwork.files.suppressed import suppressed
from brickwork.files.whole import whole_folder
from brickwork.model.checkpoint import save
from brickwork.model.model import Model

PIPELINE = '''"""Draws with a model of brickwork (pip install "brickwork[train,peers]")."""

from brickwork.foreign.pipeline import BrickworkPipeline as Base


class BrickworkPipeline(Base):
    """Pipeline of this folder."""
'''
README = """# {name}

A model of brickwork as a pipeline of diffusers (`pip install "brickwork[train,peers]"`):

```python
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("{name}", custom_pipeline="{name}", trust_remote_code=True)
pipeline({call}num_inference_steps=25).images[0]
```
"""


@door("exporting")
def export_to_diffusers(model: Model, out: str | Path) -> None:
    """Write a folder that ``DiffusionPipeline.from_pretrained(out, custom_pipeline=out)`` opens.

    Args:
        model: Model in pixels or latents, with classes or text; a model with an image condition is refused.
        out: Folder to write; an existing one is replaced as a whole.

    Raises:
        ConfigError: The model has an image condition, or no scheduler has its noise levels.
        MissingExtraError: diffusers is not installed.
        OutputError: The folder cannot be written.
    """
    try:
        with suppressed():
            import diffusers
    except ImportError as error:
        raise MissingExtraError("peers", "diffusers", "exporting to diffusers") from error
    if model.condition_channels:
        raise ConfigError("export: this model has an image condition, and its pipeline has none; use bw.edit")
    name, settings = scheduler_for(model.process)
    out = Path(out)
    with whole_folder(out) as folder:
        getattr(diffusers, name)(**settings).save_pretrained(folder / "scheduler")
        save(model, folder / "network" / "model.safetensors")
        index = {
            "_class_name": ["pipeline", "BrickworkPipeline"],
            "_diffusers_version": diffusers.__version__,
            "network": ["brickwork.foreign.pipeline", "BrickworkNetwork"],
            "scheduler": ["diffusers", name],
        }
        (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
        (folder / "pipeline.py").write_text(PIPELINE)
        call = "labels=0, " if model.num_classes else 'prompt="...", ' if model.text_shape else ""
        (folder / "README.md").write_text(README.format(name=out.name, call=call))


def scheduler_for(process: NoiseProcess) -> tuple[str, dict[str, Any]]:
    """Return a scheduler's name and settings for the noise levels of a process.

    Raises:
        ConfigError: There is none.
    """
    if isinstance(process, LinearFlow):
        return "FlowMatchEulerDiscreteScheduler", {"shift": 1.0}
    if isinstance(process, Edm):
        sizes = {"sigma_min": process.t_min, "sigma_max": process.t_max, "sigma_data": process.sigma_data}
        return "EDMEulerScheduler", sizes
    steps: dict[str, Any] = {"clip_sample": False, "timestep_spacing": "trailing", "num_train_timesteps": 1000}
    if isinstance(process, DiscreteVp):
        curve = "scaled_linear" if process.even == "sqrt-beta" else "linear"
        ends = {"beta_start": process.beta_start, "beta_end": process.beta_end, "beta_schedule": curve}
        return "DDIMScheduler", steps | ends | {"num_train_timesteps": process.num_levels}
    if isinstance(process, Vp | Cosine):
        return "DDIMScheduler", steps | {"trained_betas": betas_of(process)}
    raise ConfigError(f"export: no scheduler of diffusers has the noise levels of {type(process).__name__}")


def betas_of(process: NoiseProcess, steps: int = 1000) -> list[float]:
    """Return the betas of a process in discrete time whose levels at steps 1, 2, ... are those at t_max / steps, ..."""
    alphas = [1 / (1 + float(process.level(process.t_max * step / steps)) ** 2) for step in range(steps + 1)]
    return [1 - after / before for before, after in pairwise(alphas)]
