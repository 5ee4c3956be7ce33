"""Eager against packaged: the same seeds drawn by both, compared before anything is rounded."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log10
from typing import Any, final

import numpy as np
import torch

from brickwork.device.runner import Runner
from brickwork.diffusion.denoiser import Denoiser
from brickwork.model.model import Model
from brickwork.sampling.canvas import Canvas, Whole
from brickwork.sampling.loop import sample_x0
from brickwork.sampling.planned import Planned
from brickwork.sampling.solvers import DpmSolverPP, EulerMaruyama, Heun, Solver

SEEDS = (0, 1, 2, 3)
NUM_STEPS = 10


@final
@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far a package's pictures are from its model's.

    Attributes:
        db: PSNR of whole pictures on [-1, 1], peak 2, before rounding: the least over what was compared.
        largest: Largest error of a pixel, on [-1, 1].
        equal: Whether all 8-bit pictures are the same.
    """

    db: float
    largest: float
    equal: bool

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; no difference at all is 999 dB."""
        return {"db": min(self.db, 999.0), "largest_error": self.largest, "equal_8_bit": self.equal}


def psnr(a: np.ndarray, b: np.ndarray, peak: float = 2.0) -> float:
    """10 log10(peak² / mean squared error), in dB."""
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return inf if error == 0 else 10 * log10(peak**2 / error)


def deterministic(solver: Solver) -> Solver:
    """A solver itself, or one without noise in its place: two noisy runs that round differently drift apart."""
    noisy = isinstance(solver, EulerMaruyama) or getattr(solver, "eta", 0) or getattr(solver, "churn", 0)
    return (Heun() if isinstance(solver, Heun) else DpmSolverPP()) if noisy else solver


def eager_pixels(model: Model, x0: torch.Tensor) -> np.ndarray:
    """Model space to pictures in [-1, 1], (B, C, H, W), before rounding."""
    decode = getattr(model.codec, "autoencoder", None)
    if decode is None:
        return x0.cpu().numpy()
    codec: Any = model.codec
    with torch.no_grad():
        return decode.decode(x0 * codec.std + codec.mean).cpu().numpy()


def compare(eager: Denoiser, packed: Denoiser, model: Model, runner: Runner, how: dict[str, Any]) -> Parity:
    """Draw the same seeds by both.

    Args:
        eager: The model, perhaps under a plan.
        packed: The package, under the same plan.
        model: Decodes what eager draws.
        runner: Decodes what the package draws.
        how: Seeds, labels and everything else that ``sample_x0`` takes.
    """
    with torch.no_grad():
        theirs = eager_pixels(model, sample_x0(eager, **how))
    with np.errstate(all="ignore"):  # what is no number is told below
        ours = runner.pixels(sample_x0(packed, **how))
        rounded = [np.clip(np.rint((pixels + 1) * 127.5), 0, 255) for pixels in (theirs, ours)]
        each = [psnr(a, b) for a, b in zip(theirs, ours, strict=True)]
    return Parity(
        db=min(each) if np.isfinite(ours).all() else -inf,
        largest=float(np.abs(theirs - ours).max()),
        equal=bool((rounded[0] == rounded[1]).all()),
    )


def planned(denoise: Any, plan: str | None) -> Denoiser:
    """Under a plan, or as it is."""
    return denoise if plan is None else Planned.of(denoise, plan)


def at_size(denoise: Denoiser, height: int, width: int) -> Denoiser:
    """A denoiser of x of another size than its own, or itself."""
    return denoise if denoise.shape[1:] == (height, width) else Canvas(denoise, height, width, Whole())
