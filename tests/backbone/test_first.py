"""The first n parts of a network: a network that shares the weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from brickwork.backbone.base import BackboneConfig
from brickwork.backbone.stoic import Stoic
from brickwork.codec.base import Pixels
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.prediction import Velocity
from brickwork.diffusion.process import LinearFlow
from brickwork.errors import ArgumentError, ConfigError
from brickwork.model.model import Model


def inputs(config: BackboneConfig) -> tuple[Tensor, Tensor, Condition]:
    x = torch.randn(2, config.channels, config.size, config.size)
    labels = torch.tensor([0, -1]) if config.num_classes else None
    text = torch.randn(2, config.text_length, config.text_width) if config.text_length else None
    return x, torch.tensor([3.0, 700.0]), Condition(labels=labels, text=text)


def test_all_parts_are_the_network_itself(tiny: Stoic.Config) -> None:
    backbone = tiny.build()
    assert tiny.num_parts == backbone.num_parts == tiny.depth
    assert tiny.first(tiny.depth) == tiny
    assert backbone.first(tiny.depth) is backbone


def test_first_is_the_shallower_network_with_the_same_weights(tiny: Stoic.Config) -> None:
    """Against a fresh network of that depth, into which the weights are copied by name."""
    torch.manual_seed(0)
    backbone = tiny.build().eval()
    for n in range(1, tiny.depth):
        if tiny.long_skip != "none":
            with pytest.raises(ConfigError, match="long_skip 'none'"):
                backbone.first(n)
            continue
        part = backbone.first(n)
        assert part.config == tiny.first(n)
        assert (part.config.num_parts, len(part.get_submodule("blocks")._modules)) == (
            n,
            1 if tiny.share_weights else n,
        )
        alone = part.config.build().eval()
        wanted = alone.state_dict()
        alone.load_state_dict({name: weight for name, weight in backbone.state_dict().items() if name in wanted})
        given = inputs(tiny)
        assert torch.equal(part(*given), alone(*given))
        own = {id(parameter) for parameter in backbone.parameters()}
        assert {id(parameter) for parameter in part.parameters()} <= own
        assert all(tensor.device.type == "cpu" for tensor in (*part.parameters(), *part.buffers()))
        assert not part.training
        again = part.first(n).first(1)
        assert torch.equal(again(*given), backbone.first(1)(*given))


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
