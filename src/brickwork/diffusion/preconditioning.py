"""EDM's preconditioning: four coefficients that turn a network into a denoiser, for every process and prediction.

    D(x, sigma) = c_skip x + c_out F(c_in x, c_noise)

A process sets how its networks see an image and a time (c_in, c_noise), a prediction what their output means (c_skip,
c_out). Everything takes python floats, numpy arrays or torch tensors and returns the same kind.

Source: Karras et al. 2022, "Elucidating the design space of diffusion-based generative models" (EDM, 2206.00364), Eq. 7
and Table 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from brickwork.diffusion.arrays import Array
from brickwork.diffusion.prediction import Prediction
from brickwork.diffusion.process import NoiseProcess


@final
@dataclass(frozen=True, kw_only=True)
class Preconditioning:
    """Coefficients at one noise level for each image.

    Shapes: (B,) each; ``expand`` makes skip, out and in_ broadcast against images.

    Attributes:
        sigma: Noise level, as in x = x0 + sigma·noise.
        skip: Factor of x in the estimate of x0.
        out: Factor of the network's output in the estimate of x0.
        in_: Factor of x in the network's input.
        noise: The number that tells the network its noise level.
    """

    sigma: Array
    skip: Array
    out: Array
    in_: Array
    noise: Array

    def expand(self, ndim: int = 4) -> Preconditioning:
        """Return the same with skip, out and in_ of shape (B, 1, ..., 1), ndim axes; floats stay floats."""

        def tall(value: Array) -> Array:
            axes = getattr(value, "ndim", 0)
            return value.reshape(value.shape + (1,) * (ndim - axes)) if axes else value

        return Preconditioning(
            sigma=self.sigma, skip=tall(self.skip), out=tall(self.out), in_=tall(self.in_), noise=self.noise
        )


def precondition(process: NoiseProcess, prediction: Prediction, sigma: Array) -> Preconditioning:
    """Return the coefficients at noise levels sigma (B,), above 0. EDM, Eq. 7."""
    return _coefficients(process, prediction, process.t_of(sigma), sigma)


def precondition_at(process: NoiseProcess, prediction: Prediction, t: Array) -> Preconditioning:
    """Return the coefficients at times t (B,) of the process, where training draws times and not noise levels."""
    return _coefficients(process, prediction, t, process.level(t))


def _coefficients(process: NoiseProcess, prediction: Prediction, t: Array, sigma: Array) -> Preconditioning:
    """Collect the coefficients of process and prediction at a time and its noise level."""
    c = process.at(t)
    return Preconditioning(
        sigma=sigma,
        skip=prediction.c_skip(c),
        out=prediction.c_out(c),
        in_=process.c_in(t),
        noise=process.c_noise(t),
    )
