import numpy as np
import pytest
import torch

from brickwork.diffusion.prediction import PREDICTIONS, V, Velocity, convert
from brickwork.diffusion.process import PROCESSES, Edm, LinearFlow, NoiseProcess, Vp

TARGET_NAMES, PROCESS_NAMES = list(PREDICTIONS), list(PROCESSES)


def batch(process: NoiseProcess) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, noise and times over the whole range."""
    rng = np.random.default_rng(0)
    t = np.linspace(process.t_min, process.t_max, 7)
    return rng.uniform(-1, 1, (7, 2, 3, 3)), rng.standard_normal((7, 2, 3, 3)), t


@pytest.mark.parametrize("process_name", PROCESS_NAMES)
@pytest.mark.parametrize("name", TARGET_NAMES)
def test_image_and_noise_come_back(name: str, process_name: str) -> None:
    process, target = PROCESSES[process_name](), PREDICTIONS[name]()
    x0, eps, t = batch(process)
    c = process.at(t).expand()
    x = c.alpha * x0 + c.sigma * eps
    output = target.of(x0, eps, c)
    # The network's part is scaled by c_out: where that is large (the noise, at high levels) so is the rounding.
    np.testing.assert_allclose(target.x0(output, x, c), x0, atol=1e-12)
    np.testing.assert_allclose(target.eps(output, x, c), eps, atol=1e-12)
    np.testing.assert_allclose(target.c_skip(c) * x / c.alpha + target.c_out(c) * output, x0, atol=1e-12)


@pytest.mark.parametrize("process_name", PROCESS_NAMES)
@pytest.mark.parametrize("source", TARGET_NAMES)
@pytest.mark.parametrize("to", TARGET_NAMES)
def test_conversions_round_trip(source: str, to: str, process_name: str) -> None:
    process = PROCESSES[process_name]()
    a, b = PREDICTIONS[source](), PREDICTIONS[to]()
    x0, eps, t = batch(process)
    c = process.at(t).expand()
    x = c.alpha * x0 + c.sigma * eps
    output = a.of(x0, eps, c)
    there = convert(output, x, c, a, b)
    scale = np.abs(b.of(np.ones_like(x0), np.ones_like(x0), c)) + 1
    np.testing.assert_allclose(there / scale, b.of(x0, eps, c) / scale, atol=1e-11)
    np.testing.assert_allclose(convert(there, x, c, b, a), output, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("name", TARGET_NAMES)
def test_torch_agrees(name: str) -> None:
    process, target = Vp(), PREDICTIONS[name]()
    x0, eps, t = batch(process)
    c, d = process.at(t).expand(), process.at(torch.from_numpy(t)).expand()
    ours = target.of(x0, eps, c)
    theirs = target.of(torch.from_numpy(x0), torch.from_numpy(eps), d)
    np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-13, atol=1e-13)


def test_c_out_and_c_skip_by_hand() -> None:
    c = Vp().at(0.4)
    alpha, sigma = float(c.alpha), float(c.sigma)
    hand = {
        "eps": (-sigma / alpha, 1 / alpha),
        "x0": (1.0, 0.0),
        "v": (-sigma, alpha),  # where alpha² + sigma² = 1
        "velocity": (
            sigma / (sigma * c.d_alpha - c.d_sigma * alpha),
            -c.d_sigma / (sigma * c.d_alpha - c.d_sigma * alpha),
        ),
    }
    for name, (c_out, own_skip) in hand.items():
        target = PREDICTIONS[name]()
        assert float(target.c_out(c)) == pytest.approx(float(c_out), rel=1e-14)
        assert float(target.c_skip(c)) == pytest.approx(float(own_skip * c.alpha), rel=1e-14)


def test_edm_is_the_table() -> None:
    # Karras et al., Table 1: c_skip and c_out at the waist, where alpha = 1
    s, data = np.array([0.002, 0.5, 80.0]), 0.5
    c, target = Edm().at(s), PREDICTIONS["edm"]()
    np.testing.assert_allclose(target.c_skip(c), data**2 / (s**2 + data**2), rtol=1e-14)
    np.testing.assert_allclose(target.c_out(c), s * data / np.sqrt(s**2 + data**2), rtol=1e-14)
    # and of another process: its own x is alpha times the waist's
    process = Vp()
    t = process.t_of(s)
    own = process.at(t)
    np.testing.assert_allclose(target.c_skip(own), target.c_skip(c), rtol=1e-12)
    np.testing.assert_allclose(target.c_out(own), target.c_out(c), rtol=1e-12)


def test_edm_has_unit_size() -> None:
    # image of size sigma_data and unit noise: the mix has unit variance at every level and for every process
    for process in (Edm(), Vp(), LinearFlow()):
        a, b = PREDICTIONS["edm"]().mix(process.at(np.linspace(process.t_min, process.t_max, 9)))
        np.testing.assert_allclose((a * 0.5) ** 2 + b**2, 1.0, rtol=1e-13)


def test_velocity_is_the_slope_of_the_path() -> None:
    x0, eps, t = batch(LinearFlow())
    np.testing.assert_allclose(Velocity().of(x0, eps, LinearFlow().at(t).expand()), eps - x0)
    process, h = Vp(), 1e-6
    mid = np.linspace(0.1, 0.9, 7)
    up, down = process.at(mid + h).expand(), process.at(mid - h).expand()
    slope = ((up.alpha - down.alpha) * x0 + (up.sigma - down.sigma) * eps) / (2 * h)
    np.testing.assert_allclose(Velocity().of(x0, eps, process.at(mid).expand()), slope, atol=1e-7)


def test_v_is_well_conditioned_in_fp32() -> None:
    # at both ends of the process, from float32 outputs: nothing is divided by a small number
    process = Vp()
    x0, eps, t = (a.astype(np.float32) for a in batch(process))
    c = process.at(t).expand()
    x = c.alpha * x0 + c.sigma * eps
    np.testing.assert_allclose(V().x0(V().of(x0, eps, c), x, c), x0, atol=2e-6)
