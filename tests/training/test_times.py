from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from brickwork.diffusion.process import PROCESSES, Edm, NoiseProcess
from brickwork.errors import ConfigError
from brickwork.training.denoiser.times import TIMES, LogitNormal, LogNormal, Uniform, normal_quantile


def test_normal_quantile() -> None:
    u = np.array([1e-9, 0.1, 0.5, 0.975])
    np.testing.assert_allclose(normal_quantile(u), [NormalDist().inv_cdf(x) for x in u], rtol=1e-8, atol=1e-12)


def test_quartiles_by_hand() -> None:
    flow, u = Edm(t_min=1.0, t_max=2.0), np.array([0.25, 0.5, 0.75])
    np.testing.assert_allclose(Uniform().draw(u, flow), 1 + u)
    z = NormalDist().inv_cdf(0.75)
    expected = [1 + 1 / (1 + np.exp(-0.5 - 2 * x)) for x in (-z, 0, z)]
    np.testing.assert_allclose(LogitNormal(mean=0.5, std=2).draw(u, flow), expected, rtol=1e-9)
    np.testing.assert_allclose(LogNormal().draw(u, Edm()), np.exp(-1.2 + 1.2 * np.array([-z, 0, z])), rtol=1e-9)


def test_log_normal_means_the_level_whatever_the_process() -> None:
    u = np.linspace(0.1, 0.9, 9)
    for name, kind in PROCESSES.items():
        process = kind()
        level = process.level(LogNormal().draw(u, process))
        np.testing.assert_allclose(level, np.exp(-1.2 + 1.2 * normal_quantile(u)), rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("process", [kind() for kind in PROCESSES.values()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("name", TIMES)
def test_times_stay_inside(name: str, process: NoiseProcess) -> None:
    t = TIMES[name]().draw(np.array([1e-12, 0.5, 1 - 1e-12]), process)
    assert (t >= process.t_min).all()
    assert (t <= process.t_max).all()


def test_stratified_puts_one_time_into_each_share() -> None:
    u = np.random.default_rng(0).random(100)
    t = Uniform(stratified=True).draw(u, Edm(t_min=1.0, t_max=2.0))
    assert (np.floor((t - 1) * 100) == np.arange(100)).all()


def test_a_spread_of_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"times\.std 0: must be above 0"):
        LogNormal(std=0)
