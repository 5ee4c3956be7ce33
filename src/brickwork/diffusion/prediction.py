"""Predictions: the quantity that a network learns to output, and the way back from it to the image.

A prediction is a fixed mix of image and noise, a * x0 + b * eps. The noisy x_own = alpha * x0 + sigma * eps is another.
These are two equations in two unknowns: whatever the network predicts, x0 and eps follow by Cramer's rule. The
determinant a * sigma - b * alpha is a sum of terms of one sign for every prediction here, so nothing cancels.

All methods broadcast plainly; coefficients of shape (B,) meet images (B, C, H, W) after ``coefficients.expand()``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from brickwork.diffusion.arrays import Array, namespace
from brickwork.diffusion.process import Coefficients
from brickwork.registry import Registry


class Prediction(ABC):
    """Quantity linear in image and noise that a network learns to predict."""

    @abstractmethod
    def mix(self, c: Coefficients) -> tuple[Array, Array]:
        """Return (a, b) of the prediction a * x0 + b * eps."""

    def of(self, x0: Array, eps: Array, c: Coefficients) -> Array:
        """Return what the network should output for this image and noise."""
        a, b = self.mix(c)
        return a * x0 + b * eps

    def c_skip(self, c: Coefficients) -> Array:
        """Return the factor of x in x0 = c_skip x + c_out output, where x = x_own / alpha. EDM, Eq. 7."""
        a, b = self.mix(c)
        return -b * c.alpha / (a * c.sigma - b * c.alpha)

    def c_out(self, c: Coefficients) -> Array:
        """Return the factor of the output in x0 = c_skip x + c_out output. EDM, Eq. 7."""
        a, b = self.mix(c)
        return c.sigma / (a * c.sigma - b * c.alpha)

    def x0(self, output: Array, x_own: Array, c: Coefficients) -> Array:
        """Return the image that the output stands for."""
        a, b = self.mix(c)
        return (c.sigma * output - b * x_own) / (a * c.sigma - b * c.alpha)

    def eps(self, output: Array, x_own: Array, c: Coefficients) -> Array:
        """Return the unit noise that the output stands for."""
        a, b = self.mix(c)
        return (a * x_own - c.alpha * output) / (a * c.sigma - b * c.alpha)


@final
@dataclass(frozen=True, kw_only=True)
class Eps(Prediction):
    """Prediction of the noise. Source: Ho et al., 2006.11239, Eq. 14."""

    def mix(self, c: Coefficients) -> tuple[Array, Array]:
        """Return (0, 1)."""
        return 0.0, 1.0


@final
@dataclass(frozen=True, kw_only=True)
class X0(Prediction):
    """Prediction of the clean image."""

    def mix(self, c: Coefficients) -> tuple[Array, Array]:
        """Return (1, 0)."""
        return 1.0, 0.0


@final
@dataclass(frozen=True, kw_only=True)
class V(Prediction):
    """Prediction of v = alpha * eps - sigma * x0. Source: Salimans and Ho, 2202.00512, Appendix D."""

    def mix(self, c: Coefficients) -> tuple[Array, Array]:
        """Return (-sigma, alpha)."""
        return -c.sigma, c.alpha


@final
@dataclass(frozen=True, kw_only=True)
class Velocity(Prediction):
    """Prediction of dx_own / dt = d_alpha * x0 + d_sigma * eps (flow: eps - x0). Source: Lipman et al., 2210.02747."""

    def mix(self, c: Coefficients) -> tuple[Array, Array]:
        """Return (d_alpha, d_sigma)."""
        return c.d_alpha, c.d_sigma


@final
@dataclass(frozen=True, kw_only=True)
class EdmF(Prediction):
    """Prediction of EDM's F: a mix of image and noise of unit variance at every level, for data of size sigma_data.

    At noise level s, D = c_skip x + c_out F with c_skip = sigma_data² / (s² + sigma_data²) and
    c_out = s sigma_data / sqrt(s² + sigma_data²). Here F is solved for image and noise, with alpha multiplied through.

    Source: Karras et al., 2206.00364, Eq. 7 and Table 1.
    """

    sigma_data: float = 0.5

    def mix(self, c: Coefficients) -> tuple[Array, Array]:
        """Return (sigma / sigma_data, -sigma_data alpha) / sqrt(sigma² + sigma_data² alpha²)."""
        size = namespace(c.sigma).sqrt(c.sigma * c.sigma + (self.sigma_data * c.alpha) ** 2)
        return c.sigma / (self.sigma_data * size), -self.sigma_data * c.alpha / size


def convert(output: Array, x_own: Array, c: Coefficients, source: Prediction, to: Prediction) -> Array:
    """Convert an output of one prediction into that of another, at the same x_own and time."""
    return to.of(source.x0(output, x_own, c), source.eps(output, x_own, c), c)


PREDICTIONS = Registry[type[Prediction]](
    "prediction", Prediction, {"eps": Eps, "x0": X0, "v": V, "velocity": Velocity, "edm": EdmF}
)
