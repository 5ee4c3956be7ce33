"""Losses against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from brickwork.backbone.base import Backbone, BackboneConfig
from brickwork.codec.base import Pixels
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.prediction import PREDICTIONS, X0, EdmF, Eps, Prediction, V, Velocity
from brickwork.diffusion.process import PROCESSES, Edm, LinearFlow, NoiseProcess, Vp
from brickwork.errors import ConfigError
from brickwork.model.model import Model
from brickwork.training.denoiser.loss import (
    WEIGHTINGS,
    EdmWeight,
    MinSnr,
    Plain,
    Weighting,
    denoising_loss,
    loss_coefficients,
)

ALL_TARGETS = [kind() for kind in PREDICTIONS.values()]
ALL_WEIGHTINGS = [kind() for kind in WEIGHTINGS.values()]
ALL_PROCESSES = [kind() for kind in PROCESSES.values()]


class Constant(Backbone):
    """Puts out one number and remembers what it saw."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor(value))
        self.seen: tuple[Tensor, Tensor] | None = None

    @property
    def config(self) -> BackboneConfig:
        return ConstantConfig(size=2, channels=1)

    def forward(self, x: Tensor, c_noise: Tensor, condition: Condition) -> Tensor:
        self.seen = x, c_noise
        return self.value + x * 0


class ConstantConfig(BackboneConfig):
    def build(self) -> Backbone:
        return Constant(0.0)


def loss_at(process: NoiseProcess, target: Prediction, weighting: Weighting, t: float, output: float) -> float:
    """x0 = 0.5 and noise = -1 everywhere."""
    model = Model(Constant(output), process, target, Pixels(num_channels=1))
    x0 = torch.full((1, 1, 2, 2), 0.5)
    with torch.no_grad():
        return float(denoising_loss(model, x0, -torch.ones_like(x0), np.array([t]), Condition(), weighting))


# Flow at t = 0.25: alpha = 0.75, sigma = 0.25, level = 1/3, SNR = 9. The output is 0.1.
@pytest.mark.parametrize(
    ("target", "weighting", "expected"),
    [
        (Eps(), Plain(), 1.1**2),
        (X0(), Plain(), 0.4**2),
        (Velocity(), Plain(), 1.6**2),  # target: noise - x0 = -1.5
        (V(), Plain(), (0.1 + 0.75 + 0.25 * 0.5) ** 2),
        (X0(), MinSnr(gamma=5), 5 * 0.4**2),
        (X0(), MinSnr(gamma=20), 9 * 0.4**2),
        (Eps(), MinSnr(gamma=5), 5 / 9 * 1.1**2),
        (Eps(), MinSnr(gamma=20), 1.1**2),
        (Velocity(), MinSnr(gamma=5), 5 * 0.25**2 * 1.6**2),  # x0 = x_own - t v
        (X0(), EdmWeight(sigma_data=0.5), (9 + 4) * 0.4**2),
    ],
)
def test_flow_by_hand(target: Prediction, weighting: Weighting, expected: float) -> None:
    assert loss_at(LinearFlow(), target, weighting, 0.25, 0.1) == pytest.approx(expected, rel=1e-6)


def test_edm_weight_of_edm_target_is_one() -> None:
    t = np.geomspace(0.01, 50, 7)
    rows = loss_coefficients(Edm(), EdmF(), EdmWeight(), t)
    np.testing.assert_allclose(rows[5], 1, rtol=1e-12)
    np.testing.assert_allclose(rows[0], 1 / np.sqrt(t**2 + 0.25), rtol=1e-12)
    np.testing.assert_allclose(rows[4], np.log(t) / 4, rtol=1e-12)


def test_the_network_sees_c_in_x_and_c_noise() -> None:
    model = Model(Constant(0.0), Vp(), Eps(), Pixels(num_channels=1))
    x0 = torch.full((1, 1, 2, 2), 0.5)
    denoising_loss(model, x0, -torch.ones_like(x0), np.array([0.5]), Condition(), Plain())
    backbone = model.backbone
    assert isinstance(backbone, Constant)
    assert backbone.seen is not None
    alpha = np.exp(-0.5 * (0.1 * 0.5 + 19.9 * 0.5 * 0.25))
    expected = alpha * 0.5 - np.sqrt(1 - alpha**2)
    assert float(backbone.seen[0][0, 0, 0, 0]) == pytest.approx(expected, rel=1e-6)
    assert float(backbone.seen[1]) == pytest.approx(499.5)


@pytest.mark.parametrize("process", ALL_PROCESSES, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("target", ALL_TARGETS, ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("weighting", ALL_WEIGHTINGS, ids=lambda w: type(w).__name__)
def test_weights_in_either_space_agree(process: NoiseProcess, target: Prediction, weighting: Weighting) -> None:
    """weight * (output - target)^2 is the stated weight on x0's error, at every process and target."""
    generator = np.random.default_rng(0)
    t = np.linspace(process.t_min, process.t_max, 9)[1:-1]
    x0, eps, output = generator.normal(size=(3, 7))
    c = process.at(t)
    error = target.x0(output, c.alpha * x0 + c.sigma * eps, c) - x0
    level = process.level(t)
    stated = {
        Plain: target.c_out(c) ** -2.0,
        MinSnr: np.minimum(level**-2.0, 5),
        EdmWeight: (level**2 + 0.25) / (level * 0.5) ** 2,
    }[type(weighting)]
    _, _, a, b, _, weight = loss_coefficients(process, target, weighting, t)
    np.testing.assert_allclose(weight * (output - a * x0 - b * eps) ** 2, stated * error**2, rtol=1e-6)


@pytest.mark.parametrize("process", ALL_PROCESSES, ids=lambda p: type(p).__name__)
def test_coefficients_are_finite_at_both_ends(process: NoiseProcess) -> None:
    for target in ALL_TARGETS:
        for weighting in ALL_WEIGHTINGS:
            rows = loss_coefficients(process, target, weighting, np.array([process.t_min, process.t_max]))
            assert np.isfinite(rows.astype(np.float32)).all()


@pytest.mark.parametrize("make", [lambda: MinSnr(gamma=0), lambda: EdmWeight(sigma_data=-1)])
def test_impossible_weightings_are_refused(make: Any) -> None:
    with pytest.raises(ConfigError, match="must be above 0"):
        make()
