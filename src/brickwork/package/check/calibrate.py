"""Images for a package of few bits: those that calibrate its ranges, and encoders for those that judge its quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from brickwork.diffusion.arrays import Array
from brickwork.diffusion.denoiser import Capabilities, Condition, Denoiser
from brickwork.diffusion.gaussian import MEASURE, normals
from brickwork.diffusion.schedule import Karras
from brickwork.errors import ArgumentError
from brickwork.files.manifest import CONDITION_PORTS
from brickwork.model.model import Model
from brickwork.package.precision import Inputs
from brickwork.quality.evaluate import compare_classes, fitting, relabelled
from brickwork.quality.heldout import chosen, condition_of
from brickwork.quality.reference import Reference
from brickwork.sampling.wrapper import Wrapper

NUM_LEVELS, NUM_SAMPLES = 16, 128
DRAW = 100  # first seed of the noise for calibration; the loss draws from 0 on


@final
@dataclass(frozen=True, eq=False)
class Encoding(Wrapper):
    """A denoiser with its model's encoders of pictures and captions, so that its held-out loss can be measured.

    Args:
        inner: A package, a graph, or the model itself at another size.
        model: The model that encodes.
    """

    inner: Denoiser
    model: Model

    @property
    def capabilities(self) -> Capabilities:
        """Declaration of the model's inputs, at the shape of the denoiser."""
        return replace(self.model.capabilities, shape=self.inner.shape, multiple=None)

    @property
    def facts(self) -> dict[str, Any]:
        """Facts about the model's training."""
        return self.model.facts

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the model's file."""
        return self.model.digest

    def estimate(self, x: Array, sigma: Array, condition: Condition) -> Array:
        """Estimate x0 by the denoiser."""
        return self.inner(x, sigma, condition)

    def encode(self, images: np.ndarray) -> Array:
        """Encode pictures by the model; return an array of the denoiser's kind."""
        with torch.no_grad():
            return self.inner.asarray(self.model.encode(images).cpu().numpy())

    def embed_text(self, captions: Sequence[str]) -> np.ndarray:
        """Embed captions by the model."""
        return self.model.embed_text(captions)

    def as_image_condition(self, pictures: np.ndarray) -> np.ndarray:
        """Return the image condition that the model makes of pictures."""
        return self.model.as_image_condition(pictures)


def real_images(model: Any, data: str | Path | Reference | None, what: str) -> Reference:
    """Return the images to calibrate with or to compare on, prepared as for the model's training.

    Raises:
        ArgumentError: None are named, or they are not of the model's shape.
        DataError: They cannot be read, or nothing is held out.
    """
    if data is None:
        raise ArgumentError(f"{what} needs real images: name them (--data PATH or NAME), best those of the training")
    return fitting(model, data, None, False)


def calibration(
    model: Model,
    data: str | Path | Reference | None,
    say: Callable[[str], object],
    *,
    num_samples: int = NUM_SAMPLES,
    num_levels: int = NUM_LEVELS,
) -> list[Inputs]:
    """Return inputs of the denoiser as in sampling: noisy training images at the levels of a sampler's schedule.

    One in four has no class and no text, as guidance asks.

    Args:
        model: Model that is packed.
        data: Path or name of the images.
        say: Called with progress messages.
        num_samples: Number of rows.
        num_levels: Number of noise levels that they are spread over.

    Raises:
        ArgumentError: No images are named, or they are not of the model's shape.
    """
    reference = real_images(model, data, "a package of few bits")
    places, _ = compare_classes(model, reference)
    images = relabelled(reference.train, places)
    rows = np.resize(chosen(len(images), num_samples), num_samples)
    levels = Karras().positive(model.process, num_levels).astype(np.float32)
    say(f"calibration: {num_samples} images of {images.name} at {num_levels} noise levels")
    samples: list[Inputs] = []
    with torch.no_grad():
        for i, row in enumerate(rows):
            x0, one = model.encode(images.batch(rows[i : i + 1])), rows[i : i + 1]
            told = condition_of(model, images, one, x0, labelled=places is not None)
            sigma = levels[i % num_levels : i % num_levels + 1]
            noise = normals([int(row)], DRAW, tuple(x0.shape[1:]), stream=MEASURE)
            inputs = {"x": x0.cpu().numpy() + sigma[:, None, None, None] * noise, "sigma": sigma}
            alone = i // num_levels % 4 == 3
            for field, nothing in (("labels", -1), ("text", 0), ("image", None)):
                value = getattr(told, field)
                if value is not None:
                    value = np.asarray(value.cpu())
                    inputs[CONDITION_PORTS[field]] = (
                        np.full_like(value, nothing) if alone and nothing is not None else value
                    )
            samples.append(inputs)
    return samples
