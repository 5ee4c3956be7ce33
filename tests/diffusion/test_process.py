import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from brickwork.diffusion.arrays import like, namespace
from brickwork.diffusion.process import PROCESSES, Coefficients, Cosine, DiscreteVp, Edm, LinearFlow, NoiseProcess, Vp
from brickwork.errors import ConfigError

ALL = [pytest.param(make(), id=name) for name, make in PROCESSES.items()]


def times(process: NoiseProcess, count: int = 997) -> np.ndarray:
    return np.linspace(process.t_min, process.t_max, count)


@pytest.mark.parametrize("process", ALL)
def test_time_comes_back_from_level(process: NoiseProcess) -> None:
    t = times(process)
    np.testing.assert_allclose(process.t_of(process.level(t)), t, rtol=2e-15)
    # float32: a few roundings, over the whole range
    t32 = t.astype(np.float32)
    np.testing.assert_allclose(process.t_of(process.level(t32)), t32, rtol=1e-6)


@pytest.mark.parametrize("process", ALL)
def test_fp32_time_of_a_float64_level(process: NoiseProcess) -> None:
    t = times(process)
    level = np.asarray(process.level(t)).astype(np.float32)
    found = np.asarray(process.t_of(level), dtype=np.float64)
    np.testing.assert_allclose(found, process.t_of(level.astype(np.float64)), rtol=5e-7)


@pytest.mark.parametrize("process", ALL)
def test_slopes_are_those_of_finite_differences(process: NoiseProcess) -> None:
    # t off the indices of DiscreteVp, where its slope jumps
    t = times(process)[1:-1] + 0.137 * (process.t_max - process.t_min) / 1000
    t, h = t[t < process.t_max - 1e-4], 1e-6 * (process.t_max - process.t_min)
    c, up, down = process.at(t), process.at(t + h), process.at(t - h)
    np.testing.assert_allclose(c.d_alpha, (up.alpha - down.alpha) / (2 * h), rtol=2e-6, atol=1e-9)
    np.testing.assert_allclose(c.d_sigma, (up.sigma - down.sigma) / (2 * h), rtol=2e-6, atol=1e-9)
    np.testing.assert_allclose(process.level(t), c.sigma / c.alpha, rtol=1e-12)


@pytest.mark.parametrize("process", [Vp(), DiscreteVp(), Cosine()], ids=["vp", "discrete-vp", "cosine"])
def test_variance_is_preserved(process: NoiseProcess) -> None:
    c = process.at(times(process))
    np.testing.assert_allclose(c.alpha**2 + c.sigma**2, 1.0, rtol=1e-14)


@pytest.mark.parametrize("process", ALL)
def test_ends(process: NoiseProcess) -> None:
    assert float(process.level(0.0)) == 0.0
    assert float(process.t_of(0.0)) == 0.0
    assert process.sigma_max == float(process.level(process.t_max))
    assert 0 < process.sigma_min < process.sigma_max
    assert np.all(np.diff(process.level(times(process))) > 0)


@pytest.mark.parametrize("process", ALL)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_torch_numpy_and_floats_agree(process: NoiseProcess, dtype: type) -> None:
    t = times(process, 23).astype(dtype)
    tensor, tolerance = torch.from_numpy(t), 2e-6 if dtype == np.float32 else 1e-13
    c, d = process.at(t), process.at(tensor)
    pairs = [
        *((getattr(c, name), getattr(d, name)) for name in ("alpha", "sigma", "d_alpha", "d_sigma")),
        *((f(t), f(tensor)) for f in (process.level, process.t_of, process.c_noise, process.c_in)),
    ]
    for ours, theirs in pairs:
        assert isinstance(theirs, torch.Tensor)
        assert ours.dtype == dtype
        assert theirs.dtype == tensor.dtype
        np.testing.assert_allclose(theirs.numpy(), ours, rtol=tolerance, atol=1e-7 if dtype == np.float32 else 1e-14)
    one = process.at(float(t[5]))
    np.testing.assert_allclose(float(one.sigma), c.sigma[5], rtol=tolerance)
    np.testing.assert_allclose(float(process.t_of(float(t[5]))), process.t_of(t)[5], rtol=tolerance)


QUICK = ("vp", "edm")
EXPORTED = [pytest.param(*one.values, id=one.id, marks=[pytest.mark.slow] * (one.id not in QUICK)) for one in ALL]


@pytest.mark.parametrize("process", EXPORTED)
def test_exports(process: NoiseProcess) -> None:
    class Door(torch.nn.Module):
        def forward(self, level: torch.Tensor) -> tuple[torch.Tensor, ...]:
            t = process.t_of(level)
            c = process.at(t).expand(4)
            return t, process.c_noise(t), process.c_in(t), c.alpha, c.d_sigma

    level = torch.tensor([0.005, 0.3, 2.0, 14.0])
    for strict in (False, True):
        graph = torch.export.export(Door(), (torch.rand(4) + 0.1,), strict=strict).module()
        for exported, eager in zip(graph(level), Door()(level), strict=True):
            # expm1 and log1p are series in graphs: one unit in the last place from a processor's own round.
            torch.testing.assert_close(exported, eager, rtol=1.2e-7, atol=0)


def test_numbers_by_hand() -> None:
    assert Vp().c_noise(0.5) == 999 * 0.5
    assert Edm().c_noise(np.array([1.0, np.e**4])) == pytest.approx([0.0, 1.0])
    assert DiscreteVp().c_noise(np.array([0.2, 1.0, 17.5, 1000.0])) == pytest.approx([1, 1, 17.5, 1000])
    assert Edm(sigma_data=3.0).c_in(4.0) == pytest.approx(0.2)
    assert LinearFlow().c_in(0.25) == 0.75


def test_coefficients_by_hand() -> None:
    # Vp: the integral of beta over [0, 1] is (0.1 + 20) / 2
    assert float(Vp().at(1.0).alpha) == pytest.approx(np.exp(-0.5 * 10.05))
    # Cosine: Nichol and Dhariwal's alpha_bar = f(t) / f(0)
    f = lambda t: np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2  # noqa: E731
    assert float(Cosine().at(0.3).alpha) ** 2 == pytest.approx(f(0.3) / f(0.0))
    # linear flow: halfway, as much image as noise
    c = LinearFlow().at(0.5)
    assert (c.alpha, c.sigma, c.d_alpha, c.d_sigma) == (0.5, 0.5, -1.0, 1.0)


def test_discrete_vp_is_the_product_of_its_steps() -> None:
    beta = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alpha_bar = np.cumprod(1 - beta)
    index = np.arange(1, 1001.0)
    np.testing.assert_allclose(DiscreteVp().at(index).alpha ** 2, alpha_bar, rtol=1e-12)


def test_discrete_vp_with_even_betas_counted_from_0() -> None:
    """The schedule of DDPM, as DiT's networks were trained and are told of it."""
    process = DiscreteVp(beta_start=1e-4, beta_end=0.02, even="beta", first_number=0.0)
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    index = np.arange(1, 1001.0)
    np.testing.assert_allclose(process.at(index).alpha ** 2, alpha_bar, rtol=1e-12)
    np.testing.assert_allclose(process.c_noise(index), index - 1)


def test_coefficients_meet_images() -> None:
    c = LinearFlow().at(torch.tensor([0.1, 0.2, 0.3])).expand()
    assert c.alpha.shape == (3, 1, 1, 1)
    assert (c.sigma * torch.ones(3, 1, 4, 4)).shape == (3, 1, 4, 4)
    floats = Coefficients(alpha=1.0, sigma=2.0, d_alpha=0.0, d_sigma=1.0)
    assert floats.expand() == floats


def test_namespace_follows_the_array() -> None:
    assert namespace(torch.zeros(1)) is torch
    assert namespace(np.zeros(1)) is np
    assert namespace(1.0) is np
    assert like([1, 2], torch.zeros(1, dtype=torch.float64)).dtype == torch.float64
    assert like([1, 2], np.zeros(1, dtype=np.float32)).dtype == np.float32


def test_the_runtime_brings_in_no_torch() -> None:
    maths = ["process", "prediction", "schedule", "gaussian", "denoiser"]
    modules = [f"diffusion.{name}" for name in maths]
    modules += ["sampling.solvers", "sampling.loop", "files.picture", "files.manifest", "device.runner"]
    code = "\n".join(f"import brickwork.{name}" for name in modules) + "\nimport sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("kind", PROCESSES.values())
@pytest.mark.parametrize("ends", [(0.0, 0.5), (-0.1, 0.5), (0.5, 0.5), (0.5, 0.2), (NAN, 0.5), (0.1, NAN), (0.1, INF)])
def test_impossible_ends(kind: type[NoiseProcess], ends: tuple[float, float]) -> None:
    scale = 1000 if kind is DiscreteVp else 1
    with pytest.raises(ConfigError, match=r"^process (times|t_max|t_min) "):
        kind(t_min=ends[0] * scale, t_max=ends[1] * scale)  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    ("kind", "values", "word"),
    [
        (LinearFlow, {"t_max": 1.0}, "below 1"),
        (Cosine, {"t_max": 1.0}, "below 1"),
        (Cosine, {"offset": -0.1}, "offset"),
        (Vp, {"beta_min": 0.0}, "beta_min"),
        (Vp, {"beta_max": -1.0}, "beta_max"),
        (Vp, {"beta_max": NAN}, "beta_max"),
        (Vp, {"beta_max": 1e6}, "noise levels .* to inf"),
        (Edm, {"sigma_data": 0.0}, "sigma_data"),
        (Edm, {"sigma_data": NAN}, "sigma_data"),
        (DiscreteVp, {"beta_end": 1.0}, "beta_end"),
        (DiscreteVp, {"beta_start": 0.0}, "beta_start"),
        (DiscreteVp, {"t_max": 1.4}, "counts steps"),
        (DiscreteVp, {"t_max": 1e12}, "counts steps"),
        (DiscreteVp, {"even": "time"}, "must be one of sqrt-beta, beta"),
        (DiscreteVp, {"first_number": -1.0}, "first_number"),
    ],
)
def test_impossible_schedules(kind: type[NoiseProcess], values: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        kind(**values)
