import numpy as np
import pytest

from brickwork.diffusion.process import PROCESSES, Edm, LinearFlow, Vp
from brickwork.diffusion.schedule import SCHEDULES, Karras, LinearTime, LogSnr
from brickwork.errors import ArgumentError


@pytest.mark.parametrize("process_name", PROCESSES)
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 18, 1000])
def test_falls_from_the_top_to_zero(name: str, process_name: str, steps: int) -> None:
    process = PROCESSES[process_name]()
    sigmas = SCHEDULES[name]().sigmas(process, steps)
    assert sigmas.shape == (steps + 1,)
    assert sigmas.dtype == np.float64
    assert sigmas[0] == process.sigma_max
    assert sigmas[-1] == 0
    assert np.all(np.diff(sigmas) < 0)


def test_karras_is_equation_5() -> None:
    n, rho, top, low = 18, 7, 80.0, 0.002
    hand = [(top ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - top ** (1 / rho))) ** rho for i in range(n)]
    np.testing.assert_allclose(Karras().sigmas(Edm(), n), [*hand, 0.0], rtol=1e-12)


def test_log_snr_has_one_ratio() -> None:
    sigmas = LogSnr().sigmas(Vp(), 10)[:-1]
    np.testing.assert_allclose(sigmas[1:] / sigmas[:-1], sigmas[1] / sigmas[0], rtol=1e-12)
    assert sigmas[-1] == pytest.approx(Vp().sigma_min)


def test_linear_is_even_in_time() -> None:
    np.testing.assert_allclose(Vp().t_of(LinearTime().sigmas(Vp(), 4)), [1.0, 0.75, 0.5, 0.25, 0.0], atol=1e-14)
    np.testing.assert_allclose(LinearTime().sigmas(LinearFlow(t_max=0.5), 2), [1.0, 1 / 3, 0.0], rtol=1e-14)


@pytest.mark.parametrize("steps", [0, -3, 2.5, True])
def test_refuses_no_steps(steps: int) -> None:
    with pytest.raises(ArgumentError, match="at least 1"):
        Karras().sigmas(Vp(), steps)
