"""Solvers: one step from a noise level to a lower one. The loop over levels is in loop.py.

All work in sigma space, x = x0 + s * noise, where the probability-flow ODE is dx/ds = (x - D(x, s)) / s for every
process (EDM, 2206.00364, Eqs. 1 and 3 with sigma(t) = t). Levels are python floats, so a step's scalars are float64.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import expm1, inf, log, sqrt
from typing import TypeAlias, final

from brickwork.diffusion.arrays import Array
from brickwork.diffusion.process import NoiseProcess
from brickwork.errors import ArgumentError
from brickwork.registry import Registry

Denoise: TypeAlias = Callable[[Array, float], Array]
"""D(x, s) with the condition bound; s is one level for the whole batch."""
Noise: TypeAlias = Callable[[], Array]
"""Source of fresh standard normal numbers like x, others at each call."""
Memory: TypeAlias = tuple[tuple[float, Array], ...]
"""Memory of a multistep method: earlier (-ln s, D), the latest first. Empty at the start."""


class Solver(ABC):
    """Method of one step.

    Attributes:
        order: Power of the step size with which the error at the end falls; stochastic: of mean and variance.
        calls: Evaluations of the denoiser in one step.
    """

    order: int
    calls: int

    def evaluations(self, steps: int) -> int:
        """Return the evaluations of the denoiser in a whole run down to level 0."""
        return self.calls * steps

    def bind(self, process: NoiseProcess, steps: int) -> Solver:
        """Return this solver for a run of this process and number of steps; most ignore both."""
        return self

    @abstractmethod
    def step(
        self, denoise: Denoise, x: Array, s: float, s_next: float, noise: Noise, memory: Memory
    ) -> tuple[Array, Memory]:
        """Take one step, from x at level s to x at level s_next.

        Args:
            denoise: Estimates x0 at a level above 0.
            x: Noisy images, (B, C, H, W), or any shape whose rows are independent.
            s: Level of x.
            s_next: Next level, below s; at 0 the result is an estimate of x0.
            noise: Called only by stochastic methods, a fixed number of times at given levels.
            memory: Memory that the last step returned.
        """


@final
@dataclass(frozen=True, kw_only=True)
class Ddim(Solver):
    """DDIM; with eta = 0 the Euler step x + (s_next - s) dx/ds, whatever the process.

    x' = D + sqrt(s'² - tau²) (x - D) / s + tau z, tau = eta s' sqrt(1 - s'² / s²): docs/derivations/waist.md.

    Source: Song et al., 2010.02502, Eqs. 12 and 16.

    Attributes:
        eta: Amount of fresh noise, from 0 (none: the ODE) to 1 (as much as DDPM's ancestral sampling).
    """

    order, calls = 1, 1
    eta: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values that the method cannot use."""
        if not 0 <= self.eta <= 1:
            raise ArgumentError(f"eta {self.eta}: DDIM's share of fresh noise lies between 0 and 1")

    def step(
        self, denoise: Denoise, x: Array, s: float, s_next: float, noise: Noise, memory: Memory
    ) -> tuple[Array, Memory]:
        """Take the step of Eqs. 12 and 16 in sigma space."""
        d = denoise(x, s)
        tau = self.eta * s_next * sqrt(1 - (s_next / s) ** 2)
        x = d + sqrt(s_next**2 - tau**2) / s * (x - d)
        return (x + tau * noise() if tau > 0 else x), memory


@final
@dataclass(frozen=True, kw_only=True)
class Heun(Solver):
    """Heun's second-order step, after a churn that adds noise and goes back up a little; the last step is Euler's.

    Source: Karras et al., 2206.00364, Algorithm 2 (S_churn, S_tmin, S_tmax, S_noise); without churn, Algorithm 1.

    Attributes:
        churn: Noise put back over the whole run, shared out over the steps; 0 for the ODE. One step at most doubles s².
        churn_min: Lowest level that is churned.
        churn_max: Highest level that is churned.
        churn_noise: Size of the noise put back; a little above 1 makes up for a denoiser that removes too much.
        steps: Number of steps of the run; set by ``bind``.
    """

    order, calls = 2, 2
    churn: float = 0.0
    churn_min: float = 0.0
    churn_max: float = inf
    churn_noise: float = 1.0
    steps: int | None = None

    def __post_init__(self) -> None:
        """Refuse values that the method cannot use."""
        for name in ("churn", "churn_min", "churn_max", "churn_noise"):
            if not getattr(self, name) >= 0:
                raise ArgumentError(f"{name} {getattr(self, name)}: it must be a number, 0 or more")

    def evaluations(self, steps: int) -> int:
        """Return two evaluations per step, but one for the last, which is Euler's."""
        return 2 * steps - 1

    def bind(self, process: NoiseProcess, steps: int) -> Heun:
        """Set the number of steps that share the churn."""
        return replace(self, steps=steps)

    def _gamma(self, s: float) -> float:
        if self.churn == 0 or not self.churn_min <= s <= self.churn_max:
            return 0.0
        assert self.steps is not None, "Heun with churn must be bound to a run"
        return min(self.churn / self.steps, sqrt(2) - 1)

    def step(
        self, denoise: Denoise, x: Array, s: float, s_next: float, noise: Noise, memory: Memory
    ) -> tuple[Array, Memory]:
        """Take one turn of the loop of Algorithm 2."""
        if (gamma := self._gamma(s)) > 0:
            x = x + s * sqrt(gamma * (2 + gamma)) * self.churn_noise * noise()
            s = s * (1 + gamma)
        d = denoise(x, s)
        if s_next == 0:
            return d, memory  # the Euler step to 0: x - s (x - D) / s
        slope = (x - d) / s
        ahead = x + (s_next - s) * slope
        slope_next = (ahead - denoise(ahead, s_next)) / s_next
        return x + (s_next - s) * 0.5 * (slope + slope_next), memory


@final
@dataclass(frozen=True, kw_only=True)
class DpmSolverPP(Solver):
    """DPM-Solver++ multistep, "2M" and "3M": D is extrapolated over lambda = -ln s from the last two or three calls.

    With h = lambda' - lambda, x' = e^-h x + (1 - e^-h) D + (h - 1 + e^-h) D' + (h²/2 - h + 1 - e^-h) D'', the slopes
    from divided differences; 2M as published takes (1 - e^-h) h / 2 in place of the factor of D'. The first steps have
    fewer earlier values to use, and the step to 0 (h infinite) is D itself.

    Source: Lu et al., 2211.01095, Algorithm 2; the third order in docs/derivations/waist.md.

    Attributes:
        order: Order of the method, 2 or 3.
        half_curvature: Third order only. The authors' program, and those that follow it, take the second divided
            difference for D'', which is half of it, and so lose the third order. True does the same.
    """

    calls = 1
    order: int = 2
    half_curvature: bool = False

    def __post_init__(self) -> None:
        """Refuse values that the method cannot use."""
        if self.order not in (2, 3):
            raise ArgumentError(f"order {self.order}: DPM-Solver++ multistep has order 2 or 3; for order 1 take Ddim()")

    def step(
        self, denoise: Denoise, x: Array, s: float, s_next: float, noise: Noise, memory: Memory
    ) -> tuple[Array, Memory]:
        """Take the update above; keeps order - 1 earlier estimates."""
        d, now = denoise(x, s), -log(s)
        past = ((now, d), *memory)[: self.order]
        if s_next == 0:
            return d, past
        h = log(s / s_next)
        whole = -expm1(-h)  # 1 - e^-h
        x = x - whole * (x - d)
        if len(past) == 1:
            return x, past
        slope = self._slope(past[0], past[1])
        if len(past) == 2:
            return x + 0.5 * h * whole * slope, past
        bend = (slope - self._slope(past[1], past[2])) / (past[0][0] - past[2][0])  # half of D''
        slope = slope + (past[0][0] - past[1][0]) * bend
        curvature = bend if self.half_curvature else 2 * bend
        return x + (h - whole) * slope + (0.5 * h * h - h + whole) * curvature, past

    @staticmethod
    def _slope(later: tuple[float, Array], earlier: tuple[float, Array]) -> Array:
        return (later[1] - earlier[1]) / (later[0] - earlier[0])


@final
@dataclass(frozen=True, kw_only=True)
class EulerMaruyama(Solver):
    """Euler-Maruyama on the reverse SDE, in the process's own time and space; no noise on the step to 0.

    dx = (f x - g² score) dt + g dw, with f = d_alpha / alpha, g² = 2 sigma (d_sigma - f sigma) and
    score = (alpha D - x) / sigma².
    The published use is Vp with the schedule LinearTime and 1,000 steps.

    Source: Song et al., 2011.13456, Eq. 6; f and g for any alpha and sigma: Kingma et al., 2107.00630, Appendix.

    Attributes:
        process: Process whose time is used; set by ``bind``.
    """

    order, calls = 1, 1
    process: NoiseProcess | None = None

    def bind(self, process: NoiseProcess, steps: int) -> EulerMaruyama:
        """Set the process in whose time to step, unless one is set."""
        return replace(self, process=process) if self.process is None else self

    def step(
        self, denoise: Denoise, x: Array, s: float, s_next: float, noise: Noise, memory: Memory
    ) -> tuple[Array, Memory]:
        """Convert x to the process's own space, take one step there, and convert back."""
        assert self.process is not None, "EulerMaruyama must be bound to a process"
        t, t_next = float(self.process.t_of(s)), float(self.process.t_of(s_next)) if s_next > 0 else 0.0
        c, dt = self.process.at(t), t_next - t
        alpha, sigma = float(c.alpha), float(c.sigma)
        f = float(c.d_alpha) / alpha
        g2 = 2 * sigma * (float(c.d_sigma) - f * sigma)
        own = alpha * x
        score = (alpha * denoise(x, s) - own) / sigma**2
        own = own + dt * (f * own - g2 * score)
        if s_next == 0:
            return own, memory  # alpha = 1 at t = 0
        own = own + sqrt(g2 * -dt) * noise()
        return own / float(self.process.at(t_next).alpha), memory


SOLVERS = Registry[Callable[..., Solver]](
    "solver",
    Solver,
    {
        "ddim": Ddim,
        "euler": Ddim,
        "heun": Heun,
        "dpm2m": partial(DpmSolverPP, order=2),
        "dpm3m": partial(DpmSolverPP, order=3),
        "euler-maruyama": EulerMaruyama,
    },
)
