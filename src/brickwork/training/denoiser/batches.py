"""The n-th batch: images, noise, times, hidden labels and texts are functions of (seed, step), without a generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor

from brickwork.codec.cache import LatentCache, open_latents
from brickwork.codec.latents import Latents
from brickwork.data.dataset import Dataset
from brickwork.data.order import flips, indices
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.gaussian import DROPOUT, TIME, TRAINING, integers, uniform
from brickwork.model.model import Model
from brickwork.text.cache import Embedded, embedded
from brickwork.training.denoiser.parts import chosen_windows
from brickwork.training.denoiser.recipe import Recipe
from brickwork.training.run.group import Group
from brickwork.training.run.statefile import STREAMS, Counters


@final
@dataclass(frozen=True, kw_only=True)
class Batch:
    """The inputs of one optimizer step."""

    x0: Tensor
    """Clean images in model space, (B, C, H, W)."""
    noise: Tensor
    """Standard normal, like x0."""
    t: np.ndarray
    """Times, float64 (B,)."""
    condition: Condition
    """Labels, some hidden (-1); texts, some hidden (zeros); the image condition."""
    windows: tuple[np.ndarray, ...] = ()
    """Windows of each brick whose loss counts, bool (B, N); empty for all."""

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, rows: slice) -> Batch:
        return Batch(
            x0=self.x0[rows],
            noise=self.noise[rows],
            t=self.t[rows],
            condition=self.condition[rows],
            windows=tuple(some[rows] for some in self.windows),
        )

    def chunks(self, count: int) -> Iterator[Batch]:
        """Yield the batch in a number of equal chunks."""
        size = len(self) // count
        return (self[i * size : (i + 1) * size] for i in range(count))


@final
@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Latents and texts that are computed once for all images of a data set, in its order."""

    latents: LatentCache | None = None
    """Latents, for a codec of latents; None to encode every batch."""
    texts: np.ndarray | Embedded | None = None
    """Captions as token numbers, int64 (N, M), or as tokens embedded by a frozen encoder, (N, M, E)."""


def prepare_data(data: Dataset, model: Model, latents: Path | None = None, *, progress: bool = False) -> Prepared:
    """Return latents and tokens of all images.

    Args:
        data: The images and captions.
        model: Its codec and text encoder are used.
        latents: The folder of the latents; by default the user's cache.
        progress: Show bars.

    Raises:
        ConfigError: The folder holds other latents.
        OutputError: It cannot be written.
    """
    codec, texts = model.codec, None
    known = open_latents(data, codec, latents, progress=progress) if isinstance(codec, Latents) else None
    if model.reads_text and data.captions is not None:
        encoder = model.encoder()
        texts = (
            encoder.tokenize(data.captions)
            if model.text_config.trained
            else embedded(encoder, data.captions, progress=progress)
        )
    return Prepared(latents=known, texts=texts)


def draw_batch(
    recipe: Recipe,
    data: Dataset,
    model: Model,
    counters: Counters,
    prepared: Prepared = Prepared(),
    group: Group = Group(),
) -> Batch:
    """Draw the batch of the next step, or this process's share of it: a pure function of seed and position.

    The noise is drawn by torch on the training device: it is the same at every resume on that kind of device, however
    many processes share the batch.

    Args:
        recipe: Batch size, times, label dropout and seed.
        data: Training images.
        model: Its model space, device and process are used.
        counters: Number of the next step, and of rollbacks so far, which shift noise, times and hiding.
        prepared: Latents and texts of the same data and model.
        group: The processes that share the batch.
    """
    step, shift, share = counters.step, STREAMS * counters.rollbacks, group.share(recipe.batch)
    rows = indices(recipe.seed, counters.images_seen, recipe.batch, len(data))[share]
    mirrored = flips(recipe.seed, counters.images_seen, recipe.batch)[share] if data.flip else None
    generator = torch.Generator(model.device)
    generator.manual_seed(int(integers(recipe.seed, step, 1, stream=TRAINING + shift)[0] >> np.uint64(1)))

    def normal(like: Tensor) -> Tensor:
        """Draw normal numbers for the whole batch, and return the rows of this process."""
        return torch.randn((recipe.batch, *like.shape[1:]), generator=generator, device=like.device)[share]

    x0, image = _pictures(data, rows, mirrored, model, prepared.latents, normal)
    noise = normal(x0)
    t = recipe.times.draw(uniform(recipe.seed, step, recipe.batch, stream=TIME + shift)[share], model.process)
    windows = chosen_windows(recipe.parts, model.backbone.config.num_windows, recipe.batch, recipe.seed, step, shift)
    hidden = uniform(recipe.seed, step, recipe.batch, stream=DROPOUT + shift)[share]
    labels = text = None
    if model.num_classes and data.labels is not None:
        labels = np.where(hidden < recipe.label_dropout, -1, data.labels[rows])
    if prepared.texts is not None:
        text = np.array(prepared.texts[rows])
        text[hidden < recipe.text_dropout] = 0
        text = text if text.dtype == np.int64 else text.astype(np.float32)
    labels, text = (
        None if part is None else torch.from_numpy(part).to(x0.device, non_blocking=True) for part in (labels, text)
    )
    condition = Condition(labels=labels, text=text, image=image)
    return Batch(x0=x0, noise=noise, t=t, condition=condition, windows=tuple(some[share] for some in windows))


def _pictures(
    data: Dataset,
    rows: np.ndarray,
    mirrored: np.ndarray | None,
    model: Model,
    latents: LatentCache | None,
    normal: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor | None]:
    """Return clean images in model space, and the images that condition them, if any."""
    image, images = None, None
    if latents is None or model.condition_channels:
        images = torch.from_numpy(data.batch(rows, mirrored))
    if images is not None and model.condition_channels:
        image = model.codec.encode(model.image_condition.degrade(images).to(model.device, non_blocking=True))
    if latents is None:
        assert images is not None
        return model.encode(images.numpy()), image
    mean, deviation = (
        None if part is None else torch.from_numpy(part).to(model.device) for part in latents.batch(rows, mirrored)
    )
    assert mean is not None
    if deviation is not None:
        mean = mean + deviation * normal(mean)
    return mean, image
