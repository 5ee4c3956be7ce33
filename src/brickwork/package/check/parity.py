"""Parity: the same seeds drawn by the model and by its package, compared before anything is rounded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, log10
from typing import Any, final

import numpy as np
import torch

from brickwork.device.runner import Runner
from brickwork.diffusion.denoiser import Denoiser
from brickwork.diffusion.gaussian import normals
from brickwork.errors import ParityError
from brickwork.model.model import Model
from brickwork.package.spec import PackageSpec
from brickwork.sampling.canvas import Canvas, Whole
from brickwork.sampling.loop import sample_x0
from brickwork.sampling.plan import PlanRule
from brickwork.sampling.sampler import Sampler
from brickwork.sampling.solvers import DpmSolverPP, EulerMaruyama, Heun, Solver

SEEDS = (0, 1, 2, 3)
NUM_STEPS = 10


@final
@dataclass(frozen=True, kw_only=True)
class Parity:
    """The difference between a package's pictures and its model's.

    Attributes:
        db: PSNR of whole pictures on [-1, 1], peak 2, before rounding: the least of all comparisons.
        largest: Largest error of a pixel, on [-1, 1].
        equal: True where all 8-bit pictures are the same.
    """

    db: float
    largest: float
    equal: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the figures, ready for JSON; no difference at all is 999 dB."""
        return {"db": min(self.db, 999.0), "largest_error": self.largest, "equal_8_bit": self.equal}


def psnr(a: np.ndarray, b: np.ndarray, peak: float = 2.0) -> float:
    """Return 10 log10(peak² / mean squared error), in dB; infinite where nothing differs."""
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return inf if error == 0 else 10 * log10(peak**2 / error)


def check_parity(model: Model, runner: Runner, spec: PackageSpec, say: Callable[[str], object]) -> dict[str, Any]:
    """Compare every size, number of blocks and plan of a package with its model.

    Args:
        model: Model that was packed.
        runner: Package, opened.
        spec: Description that it was written by.
        say: Called with each result.

    Returns:
        The manifest's entry on parity, ready for JSON.

    Raises:
        ParityError: One is below the floor of the package's precision.
    """
    floor, how = spec.precision.floor_db, sampler_of(model, spec.sampler)
    solver = spec.sampler.to_entry()["solver"]
    told = f"{how.steps} steps of {solver}, seeds {SEEDS[0]} to {SEEDS[-1]}"
    found: dict[str, Any] = {"checked": True, "floor_db": floor, "how": told, "results": []}
    counts = [model.num_parts] if spec.layout == "stack" else runner.counts
    cases: list[tuple[int, PlanRule | None]] = [(count, None) for count in counts]
    if spec.sampler.plan is not None:
        cases.append((model.num_parts, spec.sampler.plan))
    for height, width in runner.sizes:
        for count, plan in cases:
            name = str(plan or count)
            result = compare(
                at_size(model.first(count), height, width),
                runner.at(height, width).first(min(count, runner.num_parts)),
                model,
                wishes(model, height, width),
                how.but(plan=plan),
            )
            found["results"].append({"plan": name, "height": height, "width": width, **result.to_dict()})
            say(f"{name} parts at {height}x{width}: {result.db:.1f} dB, largest error {result.largest:.2g}")
            if floor is not None and not result.db >= floor:
                raise ParityError(
                    f"{spec.title}, {name} parts at {height}x{width}: {result.db:.1f} dB against the model, at least "
                    f"{floor:.0f} are needed; nothing was kept"
                )
    found["db"] = min(result["db"] for result in found["results"])
    return found


def sampler_of(model: Model, sampler: Sampler) -> Sampler:
    """Return a sampler for a comparison: the manifest's, in fewer steps, guided, and without fresh noise."""
    guided = sampler.guidance == 1 and (model.num_classes or model.text_shape is not None)
    return sampler.but(
        steps=min(sampler.steps, NUM_STEPS),
        solver=deterministic(sampler.solver),
        guidance=2.0 if guided else sampler.guidance,
        plan=None,
    )


def wishes(model: Model, height: int, width: int) -> dict[str, Any]:
    """Return labels, text and image conditions to compare with; they are arbitrary, and the same every time."""
    found: dict[str, Any] = {}
    if model.num_classes:
        found["labels"] = [seed % model.num_classes for seed in SEEDS]
    if model.text_shape is not None:
        found["text"] = normals(SEEDS, 1000, model.text_shape)
    if model.condition_channels:
        found["image"] = normals(SEEDS, 1001, (model.condition_channels, height, width))
    return found


def deterministic(solver: Solver) -> Solver:
    """Return a solver itself, or one without noise in its place: two noisy runs that round differently drift apart."""
    noisy = isinstance(solver, EulerMaruyama) or getattr(solver, "eta", 0) or getattr(solver, "churn", 0)
    return (Heun() if isinstance(solver, Heun) else DpmSolverPP()) if noisy else solver


def eager_pixels(model: Model, x0: torch.Tensor) -> np.ndarray:
    """Decode x0 in model space to pictures in [-1, 1], (B, C, H, W), before rounding."""
    decode = getattr(model.codec, "autoencoder", None)
    if decode is None:
        return x0.cpu().numpy()
    codec: Any = model.codec
    with torch.no_grad():
        return decode.decode(x0 * codec.std + codec.mean).cpu().numpy()


def compare(eager: Denoiser, packed: Runner, model: Model, asked: dict[str, Any], how: Sampler) -> Parity:
    """Draw the same seeds by a model and by a package, and compare the pictures.

    Args:
        eager: The model, its first blocks, or the model at another size.
        packed: The package, with as many blocks and at the same size.
        model: Decodes what eager draws.
        asked: Labels, text and image conditions.
        how: The sampler.
    """
    with torch.no_grad():
        theirs = eager_pixels(model, sample_x0(eager, seeds=SEEDS, how=how, **asked))
    with np.errstate(all="ignore"):  # pixels that are not finite fail below
        ours = packed.pixels(sample_x0(packed, seeds=SEEDS, how=how, **asked))
        rounded = [np.clip(np.rint((pixels + 1) * 127.5), 0, 255) for pixels in (theirs, ours)]
        each = [psnr(a, b) for a, b in zip(theirs, ours, strict=True)]
    return Parity(
        db=min(each) if np.isfinite(ours).all() else -inf,
        largest=float(np.abs(theirs - ours).max()),
        equal=bool((rounded[0] == rounded[1]).all()),
    )


def at_size(denoise: Denoiser, height: int, width: int) -> Denoiser:
    """Return the denoiser for another size of x; the same object if it has that size already."""
    return denoise if denoise.shape[1:] == (height, width) else Canvas(denoise, height, width, Whole())
