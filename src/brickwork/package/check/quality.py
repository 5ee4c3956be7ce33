"""The cost of fewer bits: a package against its model on the same images, noise and seeds, and the bound it must keep.

Two numbers, each as a share above fp32. The loss: the mean over noise levels of (error of the package / error of the
model) - 1, so that no level outweighs another by the size of its error. The distance: Fréchet distance to the same real
images, for as many pictures drawn from the same seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from brickwork.device.runner import Runner
from brickwork.errors import ParityError
from brickwork.model.model import Model
from brickwork.package.check.calibrate import Encoding, real_images
from brickwork.package.check.parity import at_size
from brickwork.package.precision import QualityBound
from brickwork.package.spec import PackageSpec
from brickwork.quality.distance import Frechet, frechet
from brickwork.quality.evaluate import (
    class_shares,
    compare_classes,
    proportional,
    relabelled,
    trained_on,
    wishes_of,
)
from brickwork.quality.features import features
from brickwork.quality.heldout import LevelLoss, held_out_loss
from brickwork.quality.reference import Reference
from brickwork.sampling.loop import sample

DISTANCE_SHARE = 5
"""Factor by which the distance may rise more than the loss: it is the coarser of the two."""


@final
@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of fewer bits, as shares above fp32.

    Attributes:
        losses: Held-out loss at each noise level, of the package and of the model.
        distances: Fréchet distance, of the package and of the model.
        bound: Bound that they are held to.
    """

    losses: tuple[tuple[LevelLoss, ...], tuple[LevelLoss, ...]]
    distances: tuple[Frechet, Frechet]
    bound: QualityBound

    @property
    def by_level(self) -> tuple[float, ...]:
        """Rise of the loss at each noise level."""
        return loss_rise(*self.losses)

    @property
    def loss(self) -> float:
        """Mean rise of the loss."""
        return float(np.mean(self.by_level))

    @property
    def distance(self) -> float:
        """Rise of the distance."""
        return self.distances[0].value / self.distances[1].value - 1

    @property
    def max_distance_increase(self) -> float:
        """Largest allowed rise of the distance."""
        return DISTANCE_SHARE * self.bound.max_loss_increase

    @property
    def is_bearable(self) -> bool:
        """True where both are within the bound."""
        return self.loss <= self.bound.max_loss_increase and self.distance <= self.max_distance_increase

    def to_dict(self) -> dict[str, Any]:
        """Return all figures, ready for JSON."""
        ours, theirs = self.losses
        return {
            "loss_increase": self.loss,
            "distance_increase": self.distance,
            "max_loss_increase": self.bound.max_loss_increase,
            "max_distance_increase": self.max_distance_increase,
            "loss": {
                "images": ours[0].num_images,
                "how": "mean over levels of the share by which the mean squared error of x0 rises",
                "levels": [
                    {"sigma": a.sigma, "x0_error": a.x0_error, "fp32_x0_error": b.x0_error, "increase": share}
                    for a, b, share in zip(ours, theirs, self.by_level, strict=True)
                ],
            },
            "distance": {
                "value": self.distances[0].value,
                "fp32_value": self.distances[1].value,
                "pictures": self.bound.num_pictures,
                "seeds": f"0-{self.bound.num_pictures - 1}",
                "features": self.distances[0].net,
            },
        }

    def __str__(self) -> str:
        """Return a line for people."""
        most = self.bound.max_loss_increase, self.max_distance_increase
        return (
            f"held-out loss {self.loss:+.2%} against fp32 (at most {most[0]:+.2%}), Fréchet distance "
            f"{self.distances[0].value:.4g} against {self.distances[1].value:.4g}, {self.distance:+.2%} (at most "
            f"{most[1]:+.2%})"
        )


def loss_rise(ours: tuple[LevelLoss, ...], theirs: tuple[LevelLoss, ...]) -> tuple[float, ...]:
    """Return the rise of a loss above another at each noise level, as a share."""
    return tuple(a.x0_error / b.x0_error - 1 for a, b in zip(ours, theirs, strict=True))


def check_quality(
    model: Model,
    runner: Runner,
    spec: PackageSpec,
    data: str | Path | Reference | None,
    say: Callable[[str], object],
) -> dict[str, Any]:
    """Measure a package against its model.

    The package runs all the blocks that it has, at the first of its sizes, and draws as its manifest says.

    Args:
        model: Model that was packed, in fp32.
        runner: Package, opened.
        spec: Description that it was written by; says the bound.
        data: Path or name of real images with a held-out part.
        say: Called with progress messages.

    Returns:
        The manifest's entry on quality, ready for JSON.

    Raises:
        ParityError: The package is worse than the bound allows.
        ArgumentError: No images are named.
    """
    eager: Any = Encoding(at_size(model.first(runner.parts), runner.height, runner.width), model)
    reference = real_images(eager, data, f"the quality of a package in {spec.precision.name}")
    places, notes = compare_classes(eager, reference)
    notes += trained_on(eager, reference)
    held_out, bound = relabelled(reference.held_out, places), spec.bound
    say(f"quality: loss on {min(bound.num_images, len(held_out))} held-out images, {bound.num_pictures} pictures")
    how: dict[str, Any] = {"num_images": bound.num_images, "labelled": places is not None}
    both: tuple[Any, Any] = Encoding(runner, model), eager
    losses = held_out_loss(both[0], held_out, **how), held_out_loss(both[1], held_out, **how)
    cost = Cost(losses=losses, distances=_distances(eager, runner, reference, spec, places), bound=bound)
    say(str(cost))
    if not cost.is_bearable:
        raise ParityError(
            f"{spec.title}: held-out loss {cost.loss:+.2%} against fp32, at most {bound.max_loss_increase:+.2%}; "
            f"Fréchet distance {cost.distance:+.2%}, at most {cost.max_distance_increase:+.2%}; nothing was kept: "
            "leave the most sensitive layers in fp32 (--fp32-layers; `brickwork sensitivity` finds them), allow more "
            "(--max-loss-increase), or take another precision"
        )
    found = cost.to_dict()
    found["loss"] |= {"data": reference.held_out.name, "data_sha256": reference.held_out.digest}
    return {**found, "keep": list(spec.precision.fp32_layers), "notes": notes}


def _distances(
    eager: Any, runner: Runner, reference: Reference, spec: PackageSpec, places: np.ndarray | None
) -> tuple[Frechet, Frechet]:
    """Return the distances of pictures that the package, and the model, draw from the same seeds."""
    count = spec.bound.num_pictures
    asked = wishes_of(eager, reference, count)
    if eager.num_classes:
        asked["labels"] = proportional(class_shares(eager, reference, places), count)

    def distance(denoise: Any) -> Frechet:
        pictures = sample(at_size(denoise, runner.height, runner.width), seeds=range(count), how=spec.sampler, **asked)
        return frechet(reference.statistics_of(features(pictures)), reference.statistics)

    return distance(runner), distance(eager.model.first(runner.parts))
