"""A pipeline of diffusers around a model: what ``DiffusionPipeline.from_pretrained`` opens in an exported folder.

The folder's own pipeline.py imports this module, so that the folder holds no other code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin
from diffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from diffusers.schedulers.scheduling_utils import SchedulerMixin

from brickwork.diffusion.gaussian import Seed, Seeds
from brickwork.files.picture import as_pillow
from brickwork.foreign.schedulers import draw_by_scheduler
from brickwork.model.checkpoint import load, save
from brickwork.model.model import Model
from brickwork.sampling.conditions import Labels, Texts

FILE = "model.safetensors"
"""Name of the model's file in the network's folder."""


class BrickworkNetwork(ModelMixin, ConfigMixin):
    """A model as a component of a pipeline: it is saved and loaded as a model file of brickwork."""

    config_name = "config.json"
    model: Model

    @classmethod
    def around(cls, model: Model) -> Self:
        """Return the component of a model."""
        component = cls()
        component.model = model
        return component

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **_: Any) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Load the model of a folder.

        Raises:
            CheckpointError: The file is missing or damaged.
        """
        return cls.around(load(Path(pretrained_model_name_or_path) / FILE))

    def save_pretrained(self, save_directory: str | Path, **_: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Write the model into a folder."""
        save(self.model, Path(save_directory) / FILE)


class BrickworkPipeline(DiffusionPipeline):
    """Pipeline that draws with a model by any scheduler that ``draw_by_scheduler`` takes.

    Args:
        network: The model.
        scheduler: The scheduler; assign another one to ``scheduler`` at any time.
    """

    def __init__(self, network: BrickworkNetwork, scheduler: SchedulerMixin) -> None:
        super().__init__()
        self.register_modules(network=network, scheduler=scheduler)

    @torch.no_grad()
    def __call__(
        self,
        labels: Labels | None = None,
        prompt: Texts | None = None,
        negative_prompt: Texts | None = None,
        seeds: Seed | Seeds = 0,
        num_inference_steps: int = 25,
        guidance_scale: float = 1.0,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> Any:
        """Draw pictures.

        Args:
            labels: Classes by number or name, one for all or one for each picture.
            prompt: Captions, for a model that takes text.
            negative_prompt: Captions that guidance steers away from.
            seeds: Seeds, one per picture; the same seed draws the same picture.
            num_inference_steps: Steps of the scheduler.
            guidance_scale: Guidance scale; 1 is off.
            output_type: "pil", or "np" for uint8 (N, H, W, C).
            return_dict: Return an ImagePipelineOutput instead of a tuple.
        """
        pictures = draw_by_scheduler(
            self.network.model,
            self.scheduler,
            seeds=seeds,
            labels=labels,
            text=prompt,
            negative=negative_prompt,
            guidance=guidance_scale,
            steps=num_inference_steps,
            progress=not self.__dict__.get("_progress_bar_config", {}).get("disable", False),
        )
        images = [as_pillow(picture) for picture in pictures] if output_type == "pil" else pictures
        return ImagePipelineOutput(images=images) if return_dict else (images,)
