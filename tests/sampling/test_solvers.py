import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from brickwork.diffusion.arrays import Array
from brickwork.diffusion.process import DiscreteVp, Edm, LinearFlow, Vp
from brickwork.diffusion.schedule import Karras, LinearTime, LogSnr
from brickwork.errors import ArgumentError
from brickwork.sampling.loop import integrate
from brickwork.sampling.solvers import SOLVERS, Ddim, DpmSolverPP, EulerMaruyama, Heun, Solver


def silent() -> Array:
    raise AssertionError("an ODE solver asked for noise")


class Tape:
    """Normal numbers that can be played twice."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0) -> None:
        self.rng, self.shape, self.played = np.random.default_rng(seed), shape, 0

    def __call__(self) -> np.ndarray:
        self.played += 1
        return self.rng.standard_normal(self.shape)


def start(process: Any, count: int = 64) -> np.ndarray:
    return process.sigma_max * np.random.default_rng(1).standard_normal(count)


def test_euler_by_hand(mixture: Any) -> None:
    sigmas = Karras().sigmas(Edm(), 25)
    x = hand = start(Edm())
    for s, s_next in pairwise(sigmas):
        hand = hand + (s_next - s) * (hand - mixture.denoise(hand, s)) / s
    got = integrate(mixture.denoise, x, sigmas, Ddim(), silent)
    np.testing.assert_allclose(got, hand, rtol=1e-12, atol=1e-12)


def test_euler_is_euler_on_the_flow(mixture: Any) -> None:
    """In the flow's own space, x_own' = x_own + dt * velocity, with the velocity a network would predict."""
    process, steps = LinearFlow(), 40
    sigmas = LinearTime().sigmas(process, steps)
    x = start(process)
    own, dt = x * (1 - process.t_max), -process.t_max / steps
    for i in range(steps):
        t = process.t_max * (1 - i / steps)
        x0 = mixture.denoise(own / (1 - t), t / (1 - t))
        eps = (own - (1 - t) * x0) / t
        own = own + dt * (eps - x0)
    got = integrate(mixture.denoise, x, sigmas, Ddim(), silent)
    np.testing.assert_allclose(got, own, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_ddim_is_equation_12(mixture: Any, eta: float) -> None:
    """DDIM as written, in the variance-preserving process's own space; alpha there is our alpha squared."""
    process = Vp()
    sigmas = LogSnr().sigmas(process, 20)
    x, noise = start(process), Tape((64,))
    alpha = lambda s: 1 / (1 + s * s)  # noqa: E731
    own = x * math.sqrt(alpha(sigmas[0]))
    for s, s_next in pairwise(sigmas):
        a, b = alpha(s), alpha(s_next)
        eps = (own - math.sqrt(a) * mixture.denoise(own / math.sqrt(a), s)) / math.sqrt(1 - a)
        tau = eta * math.sqrt((1 - b) / (1 - a)) * math.sqrt(1 - a / b)  # Eq. 16
        x0 = (own - math.sqrt(1 - a) * eps) / math.sqrt(a)
        own = math.sqrt(b) * x0 + math.sqrt(max(0.0, 1 - b - tau**2)) * eps
        own = own + tau * noise() if tau > 0 else own
    got = integrate(mixture.denoise, x, sigmas, Ddim(eta=eta), Tape((64,)))
    np.testing.assert_allclose(got, own, rtol=1e-9, atol=1e-9)


def vp_eps(denoise: Callable[[np.ndarray, float], np.ndarray], own: np.ndarray, t: float) -> np.ndarray:
    """The noise that a perfect eps network would predict at time t of Vp."""
    alpha = math.exp(-0.25 * t**2 * 19.9 - 0.5 * t * 0.1)
    sigma = math.sqrt(-math.expm1(2 * math.log(alpha)))
    return (own - alpha * denoise(own / alpha, sigma / alpha)) / sigma


def test_euler_maruyama_is_the_published_loop(mixture: Any) -> None:
    """A straight transcription of the reverse SDE of Vp: 1,000 uniform steps of its own time from t = 1."""
    steps, own, noise = 1000, np.random.default_rng(1).standard_normal(64), Tape((64,), seed=2)
    x = own / float(Vp().at(1.0).alpha)
    for i in range(steps):
        t, dt = 1 - i / steps, -1 / steps
        beta = 0.1 + t * 19.9
        std = math.sqrt(1 - math.exp(-0.5 * t**2 * 19.9 - t * 0.1))
        score = -vp_eps(mixture.denoise, own, t) / std
        own = own + (-0.5 * beta * own - beta * score) * dt
        own = own + math.sqrt(beta) * math.sqrt(-dt) * noise() if i < steps - 1 else own
    played, replay = noise.played, Tape((64,), seed=2)
    solver = EulerMaruyama().bind(Vp(), steps)
    got = integrate(mixture.denoise, x, LinearTime().sigmas(Vp(), steps), solver, replay)
    assert replay.played == played == steps - 1
    np.testing.assert_allclose(got, own, rtol=1e-9, atol=1e-9)


def test_heun_is_algorithm_2(mixture: Any) -> None:
    """EDM's stochastic sampler as written, churned between two levels only."""
    steps, churn, low, high, size = 18, 8.0, 0.05, 50.0, 1.003
    sigmas = Karras().sigmas(Edm(), steps)
    x = hand = start(Edm())
    noise = Tape((64,), seed=3)
    for t, t_next in pairwise(sigmas):
        gamma = min(churn / steps, math.sqrt(2) - 1) if low <= t <= high else 0.0
        t_hat = t + gamma * t
        if gamma > 0:
            hand = hand + math.sqrt(t_hat**2 - t**2) * size * noise()
        d = (hand - mixture.denoise(hand, t_hat)) / t_hat
        ahead = hand + (t_next - t_hat) * d
        if t_next != 0:
            d_next = (ahead - mixture.denoise(ahead, t_next)) / t_next
            ahead = hand + (t_next - t_hat) * (0.5 * d + 0.5 * d_next)
        hand = ahead
    solver = Heun(churn=churn, churn_min=low, churn_max=high, churn_noise=size).bind(Edm(), steps)
    got = integrate(mixture.denoise, x, sigmas, solver, Tape((64,), seed=3))
    np.testing.assert_allclose(got, hand, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", SOLVERS)
def test_evaluations_are_counted_right(mixture: Any, name: str) -> None:
    solver, steps, calls = SOLVERS[name](), 7, 0

    def counted(x: np.ndarray, s: float) -> np.ndarray:
        nonlocal calls
        calls += 1
        assert s > 0
        return mixture.denoise(x, s)

    integrate(counted, start(Vp()), Karras().sigmas(Vp(), steps), solver.bind(Vp(), steps), Tape((64,)))
    assert calls == solver.evaluations(steps)
    assert solver.calls * steps >= calls > (solver.calls - 1) * steps


@pytest.mark.parametrize("name", [name for name in SOLVERS if name != "euler-maruyama"])
def test_one_step_is_the_estimate_itself(mixture: Any, name: str) -> None:
    """From the top straight to 0 every method returns D, but for the one that steps in the process's own time."""
    x = start(Vp())
    got = integrate(mixture.denoise, x, [Vp().sigma_max, 0.0], SOLVERS[name]().bind(Vp(), 1), silent)
    np.testing.assert_array_equal(got, mixture.denoise(x, Vp().sigma_max))


@pytest.mark.parametrize("name", [*SOLVERS, "churned"])
def test_torch_and_numpy_agree(name: str) -> None:
    """The same float64 numbers come out; float32 stays float32."""
    solver: Solver = Heun(churn=5.0) if name == "churned" else SOLVERS[name](**({"eta": 0.5} if name == "ddim" else {}))
    solver = solver.bind(Vp(), 12)
    sigmas = Karras().sigmas(Vp(), 12)
    tape, replay = Tape((8, 1, 2, 2)), Tape((8, 1, 2, 2))
    denoise = lambda x, s: x / (1 + s * s)  # noqa: E731
    x = start(Vp(), 32).reshape(8, 1, 2, 2)
    ours = integrate(denoise, x, sigmas, solver, tape)
    theirs = integrate(denoise, torch.from_numpy(x), sigmas, solver, lambda: torch.from_numpy(replay()))
    np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-12)
    small = Tape((8, 1, 2, 2))
    single = integrate(denoise, x.astype(np.float32), sigmas, solver, lambda: small().astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, ours, rtol=1e-3, atol=1e-4)


def test_refusals() -> None:
    with pytest.raises(ArgumentError, match="eta"):
        Ddim(eta=1.5)
    with pytest.raises(ArgumentError, match="order 4"):
        DpmSolverPP(order=4)


def test_bind_keeps_a_process_given_before() -> None:
    assert EulerMaruyama(process=Vp()).bind(LinearFlow(), 3) == EulerMaruyama(process=Vp())
    assert Ddim().bind(Vp(), 3) == Ddim()


# --- The same inputs through diffusers' schedulers ---

BETAS = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def own_eps(own: torch.Tensor, s: float) -> torch.Tensor:
    """Some smooth network in own space, not a perfect one."""
    return torch.tanh(own * 0.8) * s / (0.3 + s) + 0.1 * torch.sin(3 * own)


def waist(x: torch.Tensor, s: float) -> torch.Tensor:
    """The same network as a denoiser at the waist."""
    return x - s * own_eps(x / math.sqrt(1 + s * s), s)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim_agrees_with_diffusers(eta: float) -> None:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    scheduler = DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=True, timestep_spacing="leading")
    # its table is float32; the comparison is not about that
    bars = torch.from_numpy(DiscreteVp().at(np.arange(1, 1001.0)).alpha ** 2)
    torch.testing.assert_close(scheduler.alphas_cumprod.double(), bars, rtol=2e-5, atol=0)
    scheduler.alphas_cumprod, scheduler.final_alpha_cumprod = bars, torch.tensor(1.0, dtype=torch.float64)
    scheduler.set_timesteps(20)
    steps = [int(t) for t in scheduler.timesteps]
    own = torch.randn(4, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sigmas = [*DiscreteVp().level(np.array(steps) + 1.0), 0.0]
    tape = Tape((4, 1, 3, 3))
    x = own * math.sqrt(1 + sigmas[0] ** 2)
    for t, s in zip(steps, sigmas, strict=False):
        noise = torch.from_numpy(tape()) if eta > 0 else None
        own = scheduler.step(own_eps(own, s), t, own, eta=eta, variance_noise=noise, return_dict=False)[0]
    replay = Tape((4, 1, 3, 3))
    got = integrate(waist, x, sigmas, Ddim(eta=eta), lambda: torch.from_numpy(replay()))
    torch.testing.assert_close(got, own, rtol=1e-10, atol=1e-10)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers under numpy 2
@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("steps", [8, 20])
def test_dpm_solver_agrees_with_diffusers(order: int, steps: int) -> None:
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(
        **BETAS,
        algorithm_type="dpmsolver++",
        solver_order=order,
        solver_type="midpoint",
        lower_order_final=False,
        final_sigmas_type="zero",
    )
    scheduler.set_timesteps(steps)
    sigmas = [float(s) for s in scheduler.sigmas]
    own = torch.randn(4, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = own * math.sqrt(1 + sigmas[0] ** 2)
    for t, s in zip(scheduler.timesteps, sigmas, strict=False):
        own = scheduler.step(own_eps(own, s), int(t), own, return_dict=False)[0]
    # it halves the second derivative (see half_curvature), and steps in float32
    got = integrate(waist, x, sigmas, DpmSolverPP(order=order, half_curvature=True), silent)
    torch.testing.assert_close(got, own.double(), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", ["churn", "churn_min", "churn_max", "churn_noise"])
@pytest.mark.parametrize("value", [math.nan, -1.0])
def test_an_impossible_churn(name: str, value: float) -> None:
    with pytest.raises(ArgumentError, match=f"{name} {value}"):
        replace(Heun(), **{name: value})
