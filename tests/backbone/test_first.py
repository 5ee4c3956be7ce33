"""The first n parts of a network: a network that shares the weights."""

from __future__ import annotations

import pytest
import torch

from brickwork.backbone.stoic import Stoic
from brickwork.codec.base import Pixels
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.prediction import Velocity
from brickwork.diffusion.process import LinearFlow
from brickwork.errors import ArgumentError
from brickwork.model.model import Model


@pytest.mark.parametrize("n", [0, 4, -1, True])
def test_a_number_of_parts_there_is_not(n: int) -> None:
    config = Stoic.Config(size=8, width=32, depth=3)
    backbone = config.build()
    for refuse in (config.first, backbone.first, model_of(backbone).first):
        with pytest.raises(ArgumentError, match=f"the first {n} of 3 parts: take a whole number from 1 to 3"):
            refuse(n)


def model_of(backbone: Stoic) -> Model:
    return Model(backbone, LinearFlow(), Velocity(), Pixels(), facts={"seed": 1}).eval().requires_grad_(False)


def test_a_model_keeps_what_it_is() -> None:
    torch.manual_seed(0)
    model = model_of(Stoic.Config(size=8, width=32, depth=3, num_classes=3).build())
    model.precision, model.digest = "bf16", "abc"
    assert model.num_parts == 3
    assert model.first(3) is model
    part = model.first(2)
    assert (part.num_parts, part.precision, part.digest, part.facts, part.classes) == (
        2, "bf16", "abc", {"seed": 1}, ("0", "1", "2"))  # fmt: skip
    assert not part.training
    x, sigma = torch.randn(2, 3, 8, 8), torch.tensor([0.3, 9.0])
    condition = Condition(labels=torch.tensor([0, 2]))
    assert not torch.equal(part(x, sigma, condition), model(x, sigma, condition))
