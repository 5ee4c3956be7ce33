"""Each solver's error falls as its order says, on data whose denoiser and whose flow are known exactly."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from brickwork.diffusion.process import Edm, Vp
from brickwork.diffusion.schedule import Karras, LinearTime, LogSnr
from brickwork.sampling.loop import integrate
from brickwork.sampling.solvers import Ddim, DpmSolverPP, EulerMaruyama, Heun, Solver

ODE = {"euler": Ddim(), "heun": Heun(), "dpm2m": DpmSolverPP(order=2), "dpm3m": DpmSolverPP(order=3)}


def levels(grid: str, top: float, low: float, steps: int) -> np.ndarray:
    """A grid that ends above 0: the last step of a multistep method, to 0, is of first order by design."""
    rho = {"karras": 7.0, "log-snr": 1e4}[grid]
    return np.linspace(top ** (1 / rho), low ** (1 / rho), steps + 1) ** rho


def silent() -> Any:
    raise AssertionError("an ODE solver asked for noise")


def slopes(errors: list[float]) -> np.ndarray:
    return np.log2(np.array(errors[:-1]) / np.array(errors[1:]))


@pytest.mark.parametrize("grid", ["karras", "log-snr"])
@pytest.mark.parametrize("name", ODE)
def test_order_on_a_mixture(mixture: Any, name: str, grid: str) -> None:
    """Steps are halved twice. The start is high: there D hardly moves, so that a multistep method's first, low-order
    steps do not hide its order."""
    top, low = 80.0, 0.1
    x = top * np.linspace(-2, 2, 9)
    exact = mixture.flow(x, top, low)
    solver, first = ODE[name], {"euler": 320, "heun": 80}.get(name, 80)
    runs = [integrate(mixture.denoise, x, levels(grid, top, low, first << i), solver, silent) for i in range(4)]
    found = slopes([float(np.sqrt(np.mean((run - exact) ** 2))) for run in runs])
    assert np.all(np.abs(found - solver.order) < 0.25), found


@pytest.mark.parametrize("name", ODE)
def test_order_on_a_gaussian(gaussian: Any, name: str) -> None:
    """One Gaussian: x - mean scales with sqrt(variance + s²)."""
    top, low, mean, variance = 40.0, 0.05, 0.7, 0.25
    x = top * np.linspace(-2, 2, 5)
    exact = mean + (x - mean) * math.sqrt((variance + low**2) / (variance + top**2))
    np.testing.assert_allclose(gaussian.flow(x, top, low), exact, atol=1e-12)
    solver = ODE[name]
    runs = [integrate(gaussian.denoise, x, levels("log-snr", top, low, 80 << i), solver, silent) for i in range(4)]
    found = slopes([float(np.abs(run - exact).max()) for run in runs])
    assert np.all(found > solver.order - 0.25), found  # or better: parts of the third order's error cancel here


def test_the_published_third_order_is_a_second(mixture: Any) -> None:
    """Half the curvature costs an order, and at equal steps several times the error: why it is not our default."""
    top, low = 80.0, 0.1
    x = top * np.linspace(-2, 2, 9)
    exact = mixture.flow(x, top, low)

    def error(solver: Solver, steps: int) -> float:
        got = integrate(mixture.denoise, x, levels("log-snr", top, low, steps), solver, silent)
        return float(np.sqrt(np.mean((got - exact) ** 2)))

    ours, published = DpmSolverPP(order=3), DpmSolverPP(order=3, half_curvature=True)
    assert slopes([error(published, n) for n in (320, 640, 1280)]) == pytest.approx([2, 2], abs=0.2)
    assert error(ours, 640) < 0.2 * error(published, 640)


# --- Stochastic methods: the error of mean and variance ---

STOCHASTIC = {
    "ddim": (Ddim(eta=1.0), LogSnr(), 1),
    "ddim-half": (Ddim(eta=0.5), LogSnr(), 1),
    "heun-churn": (Heun(churn=20.0), Karras(), 2),
    "euler-maruyama": (EulerMaruyama(), LinearTime(), 1),
}


def moments(gaussian: Any, solver: Solver, sigmas: np.ndarray) -> tuple[float, float]:
    """Mean and variance that a solver ends with, from N(0, sigmas[0]²), without drawing a number.

    The denoiser of a Gaussian is affine, so a step is x' = a x + b + c z: a, b, c are read off, and moments follow.
    """
    mean, variance = 0.0, float(sigmas[0]) ** 2
    for s, s_next in pairwise(sigmas):

        def step(x: float, z: float, s: float = float(s), s_next: float = float(s_next)) -> float:
            out, _ = solver.step(gaussian.denoise, np.array([x]), s, s_next, lambda: np.array([z]), ())
            return float(out[0])

        b = step(0.0, 0.0)
        a, c = step(1.0, 0.0) - b, step(0.0, 1.0) - b
        mean, variance = a * mean + b, a * a * variance + c * c
    return mean, variance


@pytest.mark.parametrize("name", STOCHASTIC)
def test_weak_order(gaussian: Any, name: str) -> None:
    """The error of mean and variance together falls with the order."""
    solver, grid, order = STOCHASTIC[name]
    process = Edm() if name == "heun-churn" else Vp()
    errors = []
    for steps in (100, 200, 400, 800):
        sigmas = grid.sigmas(process, steps)
        mean, variance = moments(gaussian, solver.bind(process, steps), sigmas)
        errors.append(abs(mean - gaussian.mean()) + abs(variance - gaussian.variance()))
    found = slopes(errors)
    assert np.all(found > order - 0.3), (found, errors)
    assert errors[-1] < 0.01


@pytest.mark.parametrize("name", STOCHASTIC)
def test_samples_of_a_mixture(mixture: Any, name: str) -> None:
    """Mean, variance and the share of each mode, over many samples."""
    solver, grid, _ = STOCHASTIC[name]
    process, steps, count = (Edm() if name == "heun-churn" else Vp()), 200, 20_000
    rng = np.random.default_rng(5)
    x = process.sigma_max * rng.standard_normal(count)
    got = integrate(
        mixture.denoise, x, grid.sigmas(process, steps), solver.bind(process, steps), lambda: rng.standard_normal(count)
    )
    spread = math.sqrt(mixture.variance() / count)
    assert got.mean() == pytest.approx(mixture.mean(), abs=4 * spread + 0.01)
    assert got.var() == pytest.approx(mixture.variance(), abs=0.03)
    assert (got < 0).mean() == pytest.approx(mixture.cdf(0.0, 0.0), abs=0.02)
