"""The n-th batch: images, noise, times and hidden labels, pure functions of (seed, step): no generator is saved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from brickwork.data.dataset import Dataset
from brickwork.data.order import flips, indices
from brickwork.model import Model
from brickwork.sampling.denoiser import Condition
from brickwork.sampling.gaussian import DROPOUT, TIME, TRAINING, integers, uniform
from brickwork.training.parts import chosen_windows
from brickwork.training.recipe import Recipe
from brickwork.training.state import STREAMS, Counters


@final
@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one optimizer step looks at."""

    x0: Tensor
    """Clean images in model space, (B, C, H, W)."""
    noise: Tensor
    """Standard normal, like x0."""
    t: np.ndarray
    """Times, float64 (B,)."""
    condition: Condition
    """Labels, some hidden (-1)."""
    windows: tuple[np.ndarray, ...] = ()
    """For each brick the windows to look at, bool (B, N); nothing for all."""

    def parts(self, count: int) -> Iterator[Batch]:
        """The batch in equal parts."""
        size = len(self.t) // count
        for rows in (slice(i * size, (i + 1) * size) for i in range(count)):
            yield Batch(
                x0=self.x0[rows],
                noise=self.noise[rows],
                t=self.t[rows],
                condition=self.condition[rows],
                windows=tuple(some[rows] for some in self.windows),
            )


def draw_batch(recipe: Recipe, data: Dataset, model: Model, counters: Counters) -> Batch:
    """The batch of the next step.

    The noise is drawn by torch on the training device: it is the same at every resume on that kind of device.

    Args:
        recipe: Batch size, times, label dropout and seed.
        data: Training images.
        model: Whose model space, device and process.
        counters: Which step is next, and how often the run was rolled back, which shifts noise, times and hiding.
    """
    step, shift = counters.step, STREAMS * counters.rollbacks
    rows = indices(recipe.seed, counters.images_seen, recipe.batch, len(data))
    mirrored = flips(recipe.seed, counters.images_seen, recipe.batch) if data.flip else None
    x0 = model.encode(data.batch(rows, mirrored))
    generator = torch.Generator(x0.device)
    generator.manual_seed(int(integers(recipe.seed, step, 1, stream=TRAINING + shift)[0] >> np.uint64(1)))
    noise = torch.randn(x0.shape, generator=generator, device=x0.device)
    t = recipe.times.draw(uniform(recipe.seed, step, recipe.batch, stream=TIME + shift), model.process)
    windows = chosen_windows(recipe.parts, model.backbone.config.num_windows, recipe.batch, recipe.seed, step, shift)
    if model.num_classes == 0 or data.labels is None:
        return Batch(x0=x0, noise=noise, t=t, condition=Condition(), windows=windows)
    hidden = uniform(recipe.seed, step, recipe.batch, stream=DROPOUT + shift) < recipe.label_dropout
    labels = torch.from_numpy(np.where(hidden, -1, data.labels[rows])).to(x0.device, non_blocking=True)
    return Batch(x0=x0, noise=noise, t=t, condition=Condition(labels=labels), windows=windows)
