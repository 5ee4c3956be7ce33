"""Noise processes: how signal and noise mix at time t, and how a network sees both (EDM's c_in and c_noise).

In a process's *own space* x_own = alpha(t) * x0 + sigma(t) * eps. In *sigma space*, nicknamed the *waist*, all
processes look alike: x = x0 + level * eps with level = sigma / alpha, so x = x_own / alpha. At t = 0, alpha = 1 and
sigma = 0. Everything here takes python floats, numpy arrays or torch tensors and returns the same kind; floats are
computed in float64.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import cos, inf, pi, tan
from typing import Annotated, Literal, final

import numpy as np

from brickwork.bounds import above, check_fields
from brickwork.diffusion.arrays import Array, expm1, like, log1p, namespace
from brickwork.errors import ConfigError
from brickwork.registry import Registry

MAX_STEPS = 1_000_000
"""Most steps of a process in discrete time."""


@final
@dataclass(frozen=True, kw_only=True)
class Coefficients:
    """Factors of signal and noise at one time, and their slopes in the process's own time.

    Attributes:
        alpha: Factor of the clean image, 1 at t = 0.
        sigma: Factor of the unit noise in own space, 0 at t = 0.
        d_alpha: d alpha / dt.
        d_sigma: d sigma / dt; infinite at t = 0 for the variance-preserving processes.
    """

    alpha: Array
    sigma: Array
    d_alpha: Array
    d_sigma: Array

    def expand(self, ndim: int = 4) -> Coefficients:
        """Return the same, shaped to broadcast against ndim axes: (B,) becomes (B, 1, ..., 1); floats stay floats."""

        def tall(value: Array) -> Array:
            axes = getattr(value, "ndim", 0)
            return value.reshape(value.shape + (1,) * (ndim - axes)) if axes else value

        return Coefficients(
            alpha=tall(self.alpha), sigma=tall(self.sigma), d_alpha=tall(self.d_alpha), d_sigma=tall(self.d_sigma)
        )


class NoiseProcess(ABC):
    """Noise process: turns an image into noise as t rises from 0 to t_max.

    Attributes:
        t_min: The least time that a network is trained at.
        t_max: The largest time that a network is trained at, where sampling starts.
    """

    t_min: float
    t_max: float

    def __post_init__(self) -> None:
        """Refuse times or noise levels that do not rise.

        Raises:
            ConfigError: The times do not rise from above 0, or their levels do not.
        """
        if not 0 < self.t_min < self.t_max < inf:
            raise ConfigError(
                f"process times {self.t_min} to {self.t_max}: they must rise from above 0; set t_min and t_max"
            )
        with np.errstate(all="ignore"):
            low, high = self.sigma_min, self.sigma_max
        if not 0 < low < high < inf:
            raise ConfigError(
                f"process times {self.t_min} to {self.t_max} have noise levels {low:.4g} to {high:.4g}: these must be "
                "finite and rise from above 0; set t_min and t_max, or leave the rest at its defaults"
            )

    @abstractmethod
    def at(self, t: Array) -> Coefficients:
        """Return the coefficients at t, of t's kind and shape."""

    @abstractmethod
    def level(self, t: Array) -> Array:
        """Return the noise level sigma / alpha; it rises with t, from 0 at t = 0."""

    @abstractmethod
    def t_of(self, level: Array) -> Array:
        """Return the time of a level, the inverse of ``level``; free of cancellation, so that float32 suffices."""

    def c_noise(self, t: Array) -> Array:
        """Return c_noise, the network's input for the time t, (B,); 999 t by default."""
        return 999 * t

    def c_in(self, t: Array) -> Array:
        """Return c_in, the factor of x in a network's input, (B,); alpha by default."""
        return self.at(t).alpha

    @property
    def sigma_min(self) -> float:
        """Noise level at t_min."""
        return float(self.level(self.t_min))

    @property
    def sigma_max(self) -> float:
        """Noise level at t_max."""
        return float(self.level(self.t_max))


@final
@dataclass(frozen=True, kw_only=True)
class Vp(NoiseProcess):
    """Variance-preserving process whose noise rate beta(t) rises linearly over t in (0, 1].

    ln alpha = -beta_min t / 2 - (beta_max - beta_min) t² / 4, sigma² = 1 - alpha².

    Source: Song et al., 2011.13456, Eqs. 29 and 33.
    """

    beta_min: Annotated[float, above(0)] = 0.1
    beta_max: Annotated[float, above(0)] = 20.0
    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        """Refuse rates that are not above 0."""
        check_fields(self, "process ")
        super().__post_init__()

    def _noise(self, t: Array) -> Array:
        """Return the integral of beta from 0 to t, which is -2 ln alpha."""
        return t * (self.beta_min + t * (0.5 * (self.beta_max - self.beta_min)))

    def at(self, t: Array) -> Coefficients:
        """Return the coefficients; sigma by expm1, exact at small t."""
        xp, total = namespace(t), self._noise(t)
        beta = self.beta_min + t * (self.beta_max - self.beta_min)
        alpha = xp.exp(-0.5 * total)
        sigma = xp.sqrt(-expm1(-total))
        return Coefficients(
            alpha=alpha, sigma=sigma, d_alpha=-0.5 * beta * alpha, d_sigma=0.5 * beta * alpha * alpha / sigma
        )

    def level(self, t: Array) -> Array:
        """Return sqrt(1 / alpha² - 1)."""
        xp = namespace(t)
        return xp.sqrt(expm1(self._noise(t)))

    def t_of(self, level: Array) -> Array:
        """Solve ln(1 + level²) = beta_min t + (beta_max - beta_min) t² / 2 for t."""
        # The quadratic's root in the form without cancellation: a sum in the denominator.
        xp, a, b = namespace(level), self.beta_min, self.beta_max - self.beta_min
        total = log1p(level * level)
        return 2 * total / (a + xp.sqrt(a * a + 2 * b * total))


@final
@dataclass(frozen=True, kw_only=True)
class DiscreteVp(NoiseProcess):
    """Variance-preserving process in 1000 steps; by default Stable Diffusion's, with sqrt(beta) linear in the step.

    t is the index of the step, 1 to t_max. Between indices ln(level) is linear in t; below index 1 the level itself is
    linear, so that it reaches 0 at t = 0.

    Source: Rombach et al., 2112.10752; index and beta as in Ho et al., 2006.11239, Eq. 4 and section 4.

    Attributes:
        beta_start, beta_end: The first and the last beta.
        even: The quantity that rises in even steps: "sqrt-beta", or "beta" itself as in DDPM and DiT.
        first_number: The network's input c_noise at index 1: 1, or 0 where its authors count from 0.
        t_min, t_max: Least and largest index.
    """

    beta_start: Annotated[float, above(0, below=1)] = 0.00085
    beta_end: Annotated[float, above(0, below=1)] = 0.012
    even: Literal["sqrt-beta", "beta"] = "sqrt-beta"
    first_number: float = 1.0
    t_min: float = 1.0
    t_max: float = 1000.0

    @property
    def num_levels(self) -> int:
        """Number of steps, the length of the table."""
        return round(self.t_max)

    def __post_init__(self) -> None:
        """Compute the table now: inside a trace by torch it would hold the trace's symbols instead of numbers."""
        check_fields(self, "process ")
        if not 2 <= self.t_max <= MAX_STEPS:
            raise ConfigError(f"process t_max {self.t_max}: it counts steps, 2 to {MAX_STEPS}; 1000 is usual")
        if not 0 <= self.first_number <= MAX_STEPS:
            raise ConfigError(f"process first_number {self.first_number}: networks are told numbers from 0 or from 1")
        power = 0.5 if self.even == "sqrt-beta" else 1.0
        beta = np.linspace(self.beta_start**power, self.beta_end**power, self.num_levels) ** (1 / power)
        levels = np.sqrt(np.expm1(-np.cumsum(np.log1p(-beta))))
        object.__setattr__(self, "_levels", tuple(levels.tolist()))
        object.__setattr__(self, "_slopes", tuple(np.diff(np.log(levels)).tolist()))
        super().__post_init__()

    @property
    def levels(self) -> tuple[float, ...]:
        """Noise levels at index 1, 2, ..., num_levels."""
        return self.__dict__["_levels"]

    def _segment(self, index: Array, x: Array) -> tuple[Array, Array, Array]:
        """Return index, level and d ln(level) / dt up to the next, for whole indices clipped to 1 .. num_levels - 1."""
        xp = namespace(index)
        index = xp.clip(index, 1, self.num_levels - 1)
        row = xp.asarray(index, dtype=xp.int64) - 1
        return like(index, x), like(self.levels[:-1], x)[row], like(self.__dict__["_slopes"], x)[row]

    def at(self, t: Array) -> Coefficients:
        """Return the coefficients of the interpolated level: alpha = 1 / sqrt(1 + level²)."""
        xp = namespace(t)
        _, _, slope = self._segment(xp.floor(t), t)
        level = self.level(t)
        d_level = xp.where(t < 1, slope * 0 + self.levels[0], slope * level)
        alpha = 1 / xp.sqrt(1 + level * level)
        return Coefficients(
            alpha=alpha, sigma=level * alpha, d_alpha=-level * d_level * alpha**3, d_sigma=d_level * alpha**3
        )

    def level(self, t: Array) -> Array:
        """Interpolate the level in the table."""
        xp = namespace(t)
        index, start, slope = self._segment(xp.floor(t), t)
        return xp.where(t < 1, t * self.levels[0], start * xp.exp(slope * (t - index)))

    def t_of(self, level: Array) -> Array:
        """Invert the interpolation."""
        # The index is found by counting the levels below: torch.export and ONNX can express that, but no search.
        xp, first = namespace(level), self.levels[0]
        level = np.asarray(level, dtype=np.float64) if isinstance(level, float | int) else level
        passed = xp.sum(level[..., None] >= like(self.levels, level), -1)
        index, start, slope = self._segment(passed, level)
        above = index + xp.log(xp.clip(level, first, None) / start) / slope
        return xp.where(level < first, level / first, above)

    def c_noise(self, t: Array) -> Array:
        """Return the index, counted from ``first_number``; not rounded."""
        index = namespace(t).clip(t, 1.0, None)
        return index if self.first_number == 1 else index + (self.first_number - 1)


@final
@dataclass(frozen=True, kw_only=True)
class Cosine(NoiseProcess):
    """Variance-preserving process of a cosine: alpha = cos(u) / cos(u0), u = (t + offset) / (1 + offset) * pi / 2.

    At t = 1 alpha is 0 and the noise level infinite. t_max = 0.995 ends at a level of about 128, close to the 152
    where Vp ends: an image of unit size is under 1 % of that noise, and later times have nothing to learn.

    Source: Nichol and Dhariwal, 2102.09672, Eq. 17.
    """

    offset: float = 0.008
    t_min: float = 1e-3
    t_max: float = 0.995

    def __post_init__(self) -> None:
        """Refuse a negative offset, and times past the end of the cosine."""
        if not 0 <= self.offset < inf:
            raise ConfigError(f"process offset {self.offset}: it must be 0 or more; 0.008 is usual")
        _below_one(self.t_max)
        super().__post_init__()

    @property
    def _speed(self) -> float:
        return 0.5 * pi / (1 + self.offset)  # du / dt

    @property
    def _start(self) -> float:
        return self.offset * self._speed  # u at t = 0

    def _root(self, t: Array) -> Array:
        """Return sqrt(cos² u0 - cos² u), as a product of sines, which does not cancel at small t."""
        xp = namespace(t)
        turned = t * self._speed
        return xp.sqrt(xp.sin(turned) * xp.sin(turned + 2 * self._start))

    def at(self, t: Array) -> Coefficients:
        """Return the coefficients: the cosine and its slope."""
        xp, u, norm = namespace(t), t * self._speed + self._start, cos(self._start)
        alpha, sigma = xp.cos(u) / norm, self._root(t) / norm
        d_alpha = -self._speed / norm * xp.sin(u)
        return Coefficients(alpha=alpha, sigma=sigma, d_alpha=d_alpha, d_sigma=-alpha * d_alpha / sigma)

    def level(self, t: Array) -> Array:
        """Return sqrt(cos² u0 - cos² u) / cos u."""
        return self._root(t) / namespace(t).cos(t * self._speed + self._start)

    def t_of(self, level: Array) -> Array:
        """Return the time by way of the tangent of u - u0."""
        # tan² u = tan² u0 + level² / cos² u0; then tan(u - u0), with the difference of tangents as a quotient.
        xp, tan0 = namespace(level), tan(self._start)
        rise = (level / cos(self._start)) ** 2
        tangent = xp.sqrt(rise + tan0 * tan0)
        return xp.arctan(rise / (tangent + tan0) / (1 + tangent * tan0)) / self._speed


@final
@dataclass(frozen=True, kw_only=True)
class Edm(NoiseProcess):
    """EDM's process: time is the noise level, alpha = 1, sigma = t; c_noise is ln(sigma) / 4, c_in scales to unit size.

    Source: Karras et al., 2206.00364, Table 1.

    Attributes:
        sigma_data: Standard deviation of the data in model space.
        t_min, t_max: Least and largest sigma.
    """

    sigma_data: Annotated[float, above(0)] = 0.5
    t_min: float = 0.002
    t_max: float = 80.0

    def __post_init__(self) -> None:
        """Refuse a sigma_data that is not above 0."""
        check_fields(self, "process ")
        super().__post_init__()

    def at(self, t: Array) -> Coefficients:
        """Return the coefficients (1, t, 0, 1)."""
        zero = t * 0
        return Coefficients(alpha=zero + 1, sigma=t, d_alpha=zero, d_sigma=zero + 1)

    def level(self, t: Array) -> Array:
        """Return t itself."""
        return t

    def t_of(self, level: Array) -> Array:
        """Return the level itself."""
        return level

    def c_noise(self, t: Array) -> Array:
        """Return ln(sigma) / 4."""
        return 0.25 * namespace(t).log(t)

    def c_in(self, t: Array) -> Array:
        """Return 1 / sqrt(sigma² + sigma_data²)."""
        return 1 / namespace(t).sqrt(t * t + self.sigma_data**2)


@dataclass(frozen=True, kw_only=True)
class LinearFlow(NoiseProcess):
    """Straight path from image to noise: alpha = 1 - t, sigma = t.

    The level t / (1 - t) is infinite at t = 1, so sampling starts just below.

    Source: Lipman et al., 2210.02747, Sec. 4.1; Liu et al., 2209.03003 (with time running the other way).
    """

    t_min: float = 1e-3
    t_max: float = 0.999

    def __post_init__(self) -> None:
        """Refuse a t_max whose level is infinite."""
        _below_one(self.t_max)
        super().__post_init__()

    def at(self, t: Array) -> Coefficients:
        """Return the coefficients (1 - t, t, -1, 1)."""
        one = t * 0 + 1
        return Coefficients(alpha=1 - t, sigma=t, d_alpha=-one, d_sigma=one)

    def level(self, t: Array) -> Array:
        """Return t / (1 - t)."""
        return t / (1 - t)

    def t_of(self, level: Array) -> Array:
        """Return level / (1 + level)."""
        return level / (1 + level)


@final
@dataclass(frozen=True, kw_only=True)
class SitFlow(LinearFlow):
    """Straight path of SiT's networks, whose input for the time runs from 0 at the noise to 1 at the image.

    Source: Ma et al., 2401.08740, with the time of their released code.
    """

    def c_noise(self, t: Array) -> Array:
        """Return 1 - t."""
        return 1 - t


PROCESSES = Registry[type[NoiseProcess]](
    "process",
    NoiseProcess,
    {"vp": Vp, "discrete-vp": DiscreteVp, "cosine": Cosine, "edm": Edm, "flow": LinearFlow, "sit-flow": SitFlow},
)


def _below_one(t_max: float) -> None:
    if not t_max < 1:
        raise ConfigError(f"process t_max {t_max}: at time 1 there is no image left; set it below 1, as 0.999")
