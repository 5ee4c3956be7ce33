"""Images for a package of few bits: those that its ranges are calibrated on, and encoders for those it is judged on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from brickwork.diffusion.gaussian import MEASURE, normals
from brickwork.diffusion.schedule import Karras
from brickwork.errors import ArgumentError
from brickwork.model.model import Model
from brickwork.package.precision import Inputs
from brickwork.quality.evaluate import compare_classes, fitting, relabelled
from brickwork.quality.heldout import chosen, condition_of
from brickwork.quality.reference import Reference

NUM_LEVELS, NUM_SAMPLES = 16, 128
DRAW = 100  # of the noise that calibrates; the loss draws from 0 on


@final
class Encoding:
    """A denoiser with its model's encoders of pictures and captions, so that a held-out loss can be taken of it.

    Args:
        denoise: A package, a graph, or the model itself at another size.
        model: Encodes, and says what the denoiser does not.
    """

    def __init__(self, denoise: Any, model: Model) -> None:
        self.denoise, self.model = denoise, model

    def __getattr__(self, name: str) -> Any:
        return getattr(self.denoise if hasattr(self.denoise, name) else self.model, name)

    def __call__(self, x: Any, sigma: Any, condition: Any) -> Any:
        """Estimate x0, as the denoiser."""
        return self.denoise(x, sigma, condition)

    def encode(self, images: np.ndarray) -> Any:
        """Encode pictures by the model; returns an array of the denoiser's kind."""
        with torch.no_grad():
            return self.denoise.asarray(self.model.encode(images).cpu().numpy())

    def embed_text(self, captions: Any) -> np.ndarray:
        """Embed captions by the model."""
        return self.model.embed_text(captions)

    @property
    def reads_text(self) -> bool:
        """Whether the model has a text encoder."""
        return self.model.reads_text


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
    """Return inputs of the denoiser as drawing meets them: training images at the levels of a sampler's schedule.

    One in four has no class and no text, as guidance asks.

    Args:
        model: Model that is packed.
        data: Path or name of the images.
        say: Called with what is going on.
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
            for name, nothing in (("labels", -1), ("text", 0), ("given", None)):
                value = getattr(told, name)
                if value is not None:
                    value = np.asarray(value.cpu())
                    inputs[name] = np.full_like(value, nothing) if alone and nothing is not None else value
            samples.append(inputs)
    return samples
