from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from brickwork.sampling.process import PROCESSES
from brickwork.training.heldout import LEVELS, loss_by_level


class White:
    """The best denoiser of white data of standard deviation 0.5, which shrinks x; or one that knows nothing."""

    def __init__(self, shrink: bool) -> None:
        self.shrink = shrink

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, condition: Any) -> torch.Tensor:
        return x * (0.25 / (0.25 + sigma**2))[:, None, None, None] if self.shrink else x * 0

    def asarray(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values)


def loss_of(shrink: bool) -> np.ndarray:
    x0 = 0.5 * torch.randn(300, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    model: Any = White(shrink)
    return loss_by_level(model, x0, None, batch_size=128)


def test_the_best_guess_from_size_alone_scores_one() -> None:
    np.testing.assert_allclose(loss_of(True), 1, rtol=0.05)


def test_zero_scores_by_the_formula() -> None:
    np.testing.assert_allclose(loss_of(False), (LEVELS**2 + 0.25) / LEVELS**2, rtol=0.05)


@pytest.mark.parametrize("name", PROCESSES)
def test_every_process_reaches_the_levels(name: str) -> None:
    process = PROCESSES[name]()
    assert process.sigma_min <= LEVELS[0]
    assert LEVELS[-1] <= process.sigma_max
