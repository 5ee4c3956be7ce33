"""A model at the waist: fp32 at its door, one picture a seed, every process and target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from brickwork.backbone.stoic import Stoic
from brickwork.codec.base import Pixels
from brickwork.codec.table import CODECS
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.prediction import PREDICTIONS, EdmF, Prediction, Velocity
from brickwork.diffusion.process import PROCESSES, Edm, LinearFlow, NoiseProcess
from brickwork.errors import ArgumentError
from brickwork.model.checkpoint import load, save
from brickwork.model.header import SHIPPED
from brickwork.model.model import Model
from brickwork.nn.device import choose_device
from brickwork.sampling.loop import sample, sample_x0
from brickwork.sampling.solvers import Ddim, EulerMaruyama, Solver


def make_model(
    process: NoiseProcess | None = None, target: Prediction | None = None, classes: tuple[str, ...] = ()
) -> Model:
    torch.manual_seed(0)
    config = Stoic.Config(width=32, depth=2, heads=2, size=8, channels=1, num_classes=3, depthwise=True)
    process, target = process or LinearFlow(), target or Velocity()
    return Model(config.build(), process, target, Pixels(num_channels=1), classes).eval().requires_grad_(False)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("target", PREDICTIONS)
def test_every_process_draws_with_every_target(process: str, target: str) -> None:
    model = make_model(PROCESSES[process](), PREDICTIONS[target]())
    images = sample(model, seeds=[0, 1], labels=2, steps=3, guidance=2.0)
    assert images.shape == (2, 8, 8, 1)
    assert images.dtype == np.uint8


def test_edm_preconditioning_by_hand() -> None:
    """D = c_skip x + c_out F(c_in x, ln(sigma) / 4): EDM, Eq. 7 and Table 1, with sigma_data = 0.5."""
    model = make_model(Edm(), EdmF())
    x, sigma = torch.randn(2, 1, 8, 8), torch.tensor([0.7, 5.0])
    condition = Condition(labels=torch.tensor([0, 2]))
    s = sigma[:, None, None, None]
    total = s**2 + 0.25
    output = model.backbone(x / total.sqrt(), sigma.log() / 4, condition)
    by_hand = 0.25 / total * x + s * 0.5 / total.sqrt() * output
    torch.testing.assert_close(model(x, sigma, condition), by_hand, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("solver", [Ddim(), Ddim(eta=1.0), EulerMaruyama()])
def test_a_picture_depends_on_its_seed_alone(solver: Solver) -> None:
    """Batches of 1, 3 and 8 differ by the rounding of differently shaped matrix products, and by nothing else."""
    model = make_model()
    draws = [
        sample_x0(model, seeds=range(8), labels=list(range(3)) * 2 + [0, 1], steps=10, solver=solver, batch_size=size)
        for size in (8, 3, 1)
    ]
    for other in draws[1:]:
        assert float((draws[0] - other).abs().max()) < 2e-5 * float(draws[0].abs().max())


def test_bf16_stays_inside() -> None:
    model = make_model()
    x, sigma, condition = torch.randn(2, 1, 8, 8), torch.tensor([0.5, 3.0]), Condition(labels=torch.tensor([0, 1]))
    exact = model(x, sigma, condition)
    model.precision = "bf16"
    rounded = model(x, sigma, condition)
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    assert float((exact - rounded).norm() / exact.norm()) < 0.02


def test_pixels_come_back_exactly() -> None:
    codec = Pixels(num_channels=1)
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    assert torch.equal(codec.decode(codec.encode(every)), every)
    assert float(codec.encode(every).min()) == -1
    assert float(codec.encode(every).max()) == 1
    assert torch.equal(codec.decode(torch.full((1, 1, 2, 2), 7.0)), torch.full((1, 2, 2, 1), 255, dtype=torch.uint8))
    with pytest.raises(ArgumentError, match="uint8"):
        codec.encode(torch.zeros(1, 16, 16, 3))
    assert CODECS["pixels"] is Pixels


def test_classes_by_name_and_number() -> None:
    model = make_model(classes=("cat", "dog", "owl"))
    assert model.class_index("owl") == 2
    assert model.class_index("1") == 1
    for name in ("3", "cow", "-1"):
        with pytest.raises(ArgumentError, match="0 cat, 1 dog, 2 owl"):
            model.class_index(name)


def test_a_device_that_is_not_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ArgumentError, match="this machine has"):
        choose_device("abacus")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_is_small_and_draws(name: str, tmp_path: Path) -> None:
    model = load(name)
    images = sample(model, seeds=range(10), labels=range(10), steps=10, guidance=2.0)
    assert images.std() > 40
    save(model, tmp_path / "copy.safetensors")
    assert (tmp_path / "copy.safetensors").stat().st_size < 2e6
