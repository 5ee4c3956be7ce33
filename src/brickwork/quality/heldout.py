"""Held-out loss by noise level: the error of a denoiser on fixed (image, noise, level) triples.

The same function draws a run's curve and fills the report of an evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import log
from typing import Any, Protocol, final

import numpy as np
import torch

from brickwork.data.dataset import Dataset
from brickwork.diffusion.arrays import Array, like, namespace
from brickwork.diffusion.denoiser import Condition, Denoiser, EmbedsText, Encodes, MakesImageCondition, capabilities_of
from brickwork.diffusion.gaussian import MEASURE, integers, normals
from brickwork.errors import ArgumentError
from brickwork.files.bars import Bar
from brickwork.sampling.wrapper import ability

LEVELS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
"""Noise levels sigma at which the loss is measured: octaves, log-SNR 6.0 to -3.7. Every process of the package reaches
them, so that models of different processes compare."""

SIGMA_DATA = 0.5
"""Standard deviation of the data that ``LevelLoss.share`` compares with."""


class Measurable(Denoiser, Encodes, Protocol):
    """Denoiser that can also encode pictures."""


@final
@dataclass(frozen=True, kw_only=True)
class LevelLoss:
    """Error of the estimate of x0 at one noise level.

    Attributes:
        sigma: The noise level.
        log_snr: -2 ln sigma.
        eps_error: x0_error / sigma², the mean squared error of the noise that D implies; 1 for D = x.
        x0_error: Mean of (D - x0)² over images, places and channels, in model space.
        num_images: Number of images.
    """

    sigma: float
    log_snr: float
    eps_error: float
    x0_error: float
    num_images: int

    @property
    def share(self) -> float:
        """x0_error over the error of the best denoiser of white data of standard deviation 0.5.

        That denoiser has 1 at every level. The factor is EDM's weighting, 2206.00364, Table 1.
        """
        return self.x0_error * (self.sigma**-2.0 + SIGMA_DATA**-2.0)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields by name."""
        return asdict(self)


def chosen(count: int, num: int) -> np.ndarray:
    """Return a fixed choice of num of count rows, (num,) int64, rising; all rows if there are fewer.

    It is no prefix, since the first images of a folder may all be of one class.
    """
    order = np.argsort(integers(0, 0, count, stream=MEASURE), kind="stable")
    return np.sort(order[:num]).astype(np.int64)


def held_out_loss(
    model: Measurable,
    data: Dataset,
    *,
    num_images: int = 512,
    labelled: bool = True,
    batch_size: int = 64,
    progress: bool = False,
    on_batch: Callable[[], object] | None = None,
) -> tuple[LevelLoss, ...]:
    """Measure the loss of a denoiser by noise level.

    Image i of the data gets the noise of seed i, draw = number of the level, in every call and for every model.

    Args:
        model: A denoiser that can encode pictures.
        data: Images that it was not trained on, of its size.
        num_images: Number of images to use, by a fixed choice.
        labelled: Condition the model on the label of each image; its classes must then be the data's.
        batch_size: Images at a time.
        progress: Show a bar.
        on_batch: Function called after each evaluation of the denoiser; it may raise to end the measurement.

    Returns:
        One entry for each of ``LEVELS`` that the model's process reaches.
    """
    if num_images < 1:
        raise ArgumentError(f"{num_images} images for the held-out loss: take at least 1")
    low, high = model.process.sigma_min, model.process.sigma_max
    levels = [(i, sigma) for i, sigma in enumerate(LEVELS) if low <= sigma <= high]
    rows = chosen(len(data), num_images)
    sums = dict.fromkeys(LEVELS, 0.0)
    with (
        torch.no_grad(),
        Bar(total=len(rows) * len(levels), desc="held-out loss", unit="image", disable=not progress) as bar,
    ):
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            x0 = model.encode(data.batch(batch))
            condition = condition_of(model, data, batch, x0, labelled)
            for draw, sigma in levels:
                noise = like(normals(batch, draw, tuple(x0.shape[1:]), stream=MEASURE), x0)
                level = namespace(x0).zeros_like(x0[:, 0, 0, 0]) + sigma
                error = model(x0 + sigma * noise, level, condition) - x0
                sums[sigma] += float((error * error).mean()) * len(batch)
                bar.update(len(batch))
                if on_batch is not None:
                    on_batch()
    return tuple(
        LevelLoss(
            sigma=sigma,
            log_snr=-2 * log(sigma),
            eps_error=sums[sigma] / len(rows) / sigma**2,
            x0_error=sums[sigma] / len(rows),
            num_images=len(rows),
        )
        for _, sigma in levels
    )


def condition_of(model: Measurable, data: Dataset, rows: np.ndarray, x: Array, labelled: bool) -> Condition:
    """Return the conditions of some images: labels, captions if the model reads text, image conditions; like x."""
    labels, text, image = None, None, None
    if model.num_classes:
        known = data.labels[rows] if labelled and data.labels is not None else np.full(len(rows), -1)
        labels = namespace(x).asarray(known.astype(np.int64), device=x.device)
    if model.text_shape is not None:
        text = like(told_text(model, data, rows), x)
    if capabilities_of(model).condition_channels:
        image = like(image_condition_of(model, data.batch(rows)), x)
    return Condition(labels=labels, text=text, image=image)


def told_text(model: Denoiser, data: Dataset, rows: np.ndarray) -> np.ndarray:
    """Return embedded captions of some images, (B, M, E); zeros (no text) if there are none or the model reads none."""
    assert model.text_shape is not None
    encoder = ability(model, EmbedsText) if capabilities_of(model).reads_text else None
    if data.captions is None or encoder is None:
        return np.zeros((len(rows), *model.text_shape), np.float32)
    return encoder.embed_text([data.captions[i] for i in rows])


def image_condition_of(model: Denoiser, pictures: np.ndarray) -> np.ndarray:
    """Make a model's image condition from pictures: uint8 (N, H, W, C) → float32 (N, G, h, w).

    Raises:
        ArgumentError: The model needs an image condition, and cannot make it.
    """
    maker = ability(model, MakesImageCondition)
    if maker is None:
        raise ArgumentError(
            f"{type(model).__name__} takes an image condition and has no method as_image_condition, uint8 (N, H, W, C) "
            "to (N, G, h, w): add it, as Model has one"
        )
    return maker.as_image_condition(pictures)
