"""What fewer bits cost: a package against its model on the same images, noise and seeds, and the bound it must keep.

Two numbers, each as a share above fp32. The loss: the mean over noise levels of (error of the package / error of the
model) - 1, so that no level outweighs another by the size of its error. The distance: Fréchet's, to the same real
images, of as many pictures drawn from the same seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from brickwork.device.runner import Runner
from brickwork.diffusion.gaussian import MEASURE, normals
from brickwork.diffusion.schedule import SCHEDULES, Karras
from brickwork.errors import ArgumentError, ParityError
from brickwork.model.model import Model
from brickwork.package.check.parity import at_size
from brickwork.package.packing import Packing
from brickwork.package.precision import Inputs
from brickwork.quality.distance import Frechet, frechet
from brickwork.quality.evaluate import (
    class_shares,
    compare_classes,
    fitting,
    proportional,
    relabelled,
    trained_on,
    wishes_of,
)
from brickwork.quality.features import features
from brickwork.quality.heldout import LevelLoss, chosen, condition_of, held_out_loss
from brickwork.quality.reference import Reference
from brickwork.sampling.loop import sample
from brickwork.sampling.options import choose
from brickwork.sampling.planned import Planned
from brickwork.sampling.solvers import SOLVERS

NUM_LEVELS, NUM_SAMPLES = 16, 128
DISTANCE_SHARE = 5
"""By how much more the distance may rise than the loss: it is the coarser of the two."""
DRAW = 100  # of the noise that calibrates; the loss draws from 0 on


@final
class Encoding:
    """A denoiser with its model's way of taking pictures and captions in: what a loss is taken of.

    Args:
        denoise: A package, a graph, or the model itself at another size.
        model: Encodes, and says what the denoiser does not.
    """

    def __init__(self, denoise: Any, model: Model) -> None:
        self.denoise, self.model = denoise, model

    def __getattr__(self, name: str) -> Any:
        return getattr(self.denoise if hasattr(self.denoise, name) else self.model, name)

    def __call__(self, x: Any, sigma: Any, condition: Any) -> Any:
        """The estimate of x0."""
        return self.denoise(x, sigma, condition)

    def encode(self, images: np.ndarray) -> Any:
        """Pictures to model space, by the model; an array of the denoiser's kind."""
        with torch.no_grad():
            return self.denoise.asarray(self.model.encode(images).cpu().numpy())

    def embed_text(self, captions: Any) -> np.ndarray:
        """Captions as embedded tokens, by the model."""
        return self.model.embed_text(captions)

    @property
    def reads_text(self) -> bool:
        """Whether the model has a text encoder."""
        return self.model.reads_text


def real_images(model: Any, data: str | Path | Reference | None, what: str) -> Reference:
    """The images to calibrate with or to compare on, as the model was trained on them.

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
    """Inputs of the denoiser as drawing meets them: training images at the levels of a sampler's grid.

    One in four has no class and no text, as guidance asks.

    Args:
        model: Whose inputs.
        data: Path or name of the images.
        say: Told what is going on.
        num_samples: How many rows.
        num_levels: Over how many noise levels they are spread.

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


def loss_rise(ours: tuple[LevelLoss, ...], theirs: tuple[LevelLoss, ...]) -> tuple[float, ...]:
    """By how much a loss is above another, as a share, at each noise level."""
    return tuple(a.x0_error / b.x0_error - 1 for a, b in zip(ours, theirs, strict=True))


def check_quality(
    model: Model,
    runner: Runner,
    packing: Packing,
    data: str | Path | Reference | None,
    say: Callable[[str], object],
) -> dict[str, Any]:
    """Measure a package against its model, for the manifest.

    The package runs all the parts that it has, at the first of its sizes, and draws as its manifest says.

    Args:
        model: In fp32.
        runner: The package, opened.
        packing: What it was packed with; says the bound.
        data: Path or name of real images with a held-out part.
        say: Told what is going on.

    Raises:
        ParityError: The package is worse than the bound allows.
        ArgumentError: No images are named.
    """
    num_pictures, size = packing.quality_pictures, (runner.height, runner.width)
    eager: Any = Encoding(at_size(model.first(runner.parts), *size), model)
    reference = real_images(eager, data, f"the quality of a package in {packing.precision}")
    places, notes = compare_classes(eager, reference)
    notes += trained_on(eager, reference)
    held_out = relabelled(reference.held_out, places)
    say(f"quality: loss on {min(packing.quality_images, len(held_out))} held-out images, {num_pictures} pictures")
    how: dict[str, Any] = {"num_images": packing.quality_images, "labelled": places is not None}
    both: list[Any] = [Encoding(runner, model), eager]
    losses = [held_out_loss(one, held_out, **how) for one in both]
    distances = _distances(eager, runner, reference, packing, places)
    by_level = loss_rise(*losses)
    rise = float(np.mean(by_level)), distances[0].value / distances[1].value - 1
    bound = packing.max_loss_increase, DISTANCE_SHARE * packing.max_loss_increase
    say(
        f"held-out loss {rise[0]:+.2%} against fp32 (at most {bound[0]:+.2%}), Fréchet distance "
        f"{distances[0].value:.4g} against {distances[1].value:.4g}, {rise[1]:+.2%} (at most {bound[1]:+.2%})"
    )
    if not (rise[0] <= bound[0] and rise[1] <= bound[1]):
        raise ParityError(
            f"{packing.target} in {packing.precision}: held-out loss {rise[0]:+.2%} against fp32, at most "
            f"{bound[0]:+.2%}; Fréchet distance {rise[1]:+.2%}, at most {bound[1]:+.2%}; nothing was kept: leave the "
            "most sensitive layers in fp32 (--keep; `brickwork sensitivity` finds them), allow more "
            "(--max-loss-increase), or take another precision"
        )
    return {
        "loss_increase": rise[0],
        "distance_increase": rise[1],
        "max_loss_increase": bound[0],
        "max_distance_increase": bound[1],
        "loss": {
            "images": losses[0][0].num_images,
            "data": reference.held_out.name,
            "data_sha256": reference.held_out.digest,
            "how": "mean over levels of the share by which the mean squared error of x0 rises",
            "levels": [
                {"sigma": a.sigma, "x0_error": a.x0_error, "fp32_x0_error": b.x0_error, "increase": share}
                for a, b, share in zip(*losses, by_level, strict=True)
            ],
        },
        "distance": {
            "value": distances[0].value,
            "fp32_value": distances[1].value,
            "pictures": num_pictures,
            "seeds": f"0-{num_pictures - 1}",
            "features": distances[0].net,
        },
        "keep": list(packing.keep),
        "notes": notes,
    }


def _distances(
    eager: Any, runner: Runner, reference: Reference, packing: Packing, places: np.ndarray | None
) -> list[Frechet]:
    """Of pictures that the package, then the model, draws from the same seeds, as the manifest says that it draws."""
    how: dict[str, Any] = {
        "steps": packing.steps,
        "solver": choose("solver", packing.solver, SOLVERS),
        "schedule": choose("grid", packing.grid, SCHEDULES),
        "guidance": packing.guidance,
        "guidance_interval": packing.guidance_interval,
    }
    how |= wishes_of(eager, reference, packing.quality_pictures)
    if eager.num_classes:
        how["labels"] = proportional(class_shares(eager, reference, places), packing.quality_pictures)
    drawn_by = [runner, eager.model.first(runner.parts)]
    if packing.plan is not None:
        drawn_by = [Planned.of(denoise, packing.plan) for denoise in drawn_by]
    found = []
    for denoise in drawn_by:
        denoise = at_size(denoise, runner.height, runner.width)
        pictures = sample(denoise, seeds=range(packing.quality_pictures), **how)
        found.append(frechet(reference.statistics_of(features(pictures)), reference.statistics))
    return found
