"""One contract for every registered backbone, on tiny configs of all families and of the options that change one."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_backbones import EVERY, TINY, idle_of
from torch import Tensor, nn

from brickwork.backbone.base import Backbone, BackboneConfig, beside, rows_of_null
from brickwork.backbone.contract import (
    CHECKS,
    Check,
    check_backbone,
    check_export,
    check_gradients,
    inputs_of,
    random_network,
)
from brickwork.backbone.table import BACKBONES
from brickwork.codec.base import Pixels
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.prediction import EdmF
from brickwork.diffusion.process import Edm
from brickwork.errors import ArgumentError
from brickwork.files.schema import from_entry, to_entry
from brickwork.model.checkpoint import load, save
from brickwork.model.cost import cost
from brickwork.model.model import Model

ALL = pytest.mark.parametrize("config", EVERY.values(), ids=EVERY.keys())


def test_every_registered_backbone_is_here() -> None:
    assert TINY.keys() == {name for name, config in BACKBONES.items() if config.__module__.startswith("brickwork.")}
    for name, configs in TINY.items():
        assert {type(config) for config in configs.values()} == {BACKBONES[name]}


def promises() -> list[Any]:
    """Every check of every config; an export takes seconds, so those of a family's options, and of peers, are slow."""
    quick = {id(next(iter(TINY[name].values()))) for name in ("stoic", "lego", "tldm", "uvit")}
    slow = {True: [pytest.mark.slow], False: []}
    return [
        pytest.param(
            check, config, id=f"{check.__name__}-{name}", marks=slow[check is check_export and id(config) not in quick]
        )
        for name, config in EVERY.items()
        for check in CHECKS
    ]


@pytest.mark.parametrize(("check", "config"), promises())
def test_contract(check: Check, config: BackboneConfig) -> None:
    if check is check_gradients:
        check_gradients(config, idle_of(config))
    else:
        check(config)


@ALL
def test_a_config_is_plain_and_comes_back(config: BackboneConfig) -> None:
    entry = json.loads(json.dumps(to_entry(BACKBONES, config)))
    assert from_entry(BACKBONES, entry, "backbone") == config


@ALL
def test_counted_is_what_is_built(config: BackboneConfig) -> None:
    counted, network = cost(config), config.build()
    assert counted.parameters == sum(p.numel() for p in network.parameters())
    assert counted.parameters_with_tables == counted.parameters + sum(table.numel() for table in network.buffers())
    assert counted.macs == sum(part.macs for part in counted.parts.values()) > counted.macs_without_attention > 0


@pytest.mark.parametrize("family", TINY)
def test_a_model_is_saved_and_loaded(family: str, tmp_path: Path) -> None:
    config = replace(next(iter(TINY[family].values())), channels=3)
    model = Model(random_network(config), Edm(), EdmF(), Pixels(num_channels=3)).eval()
    save(model, tmp_path / "a.safetensors")
    again, (x, _, condition) = load(tmp_path / "a.safetensors"), inputs_of(config)
    sigma = torch.tensor([0.5, 3.0])
    assert again.backbone.config == config
    with torch.no_grad():
        assert torch.equal(again(x, sigma, condition), model(x, sigma, condition))


@pytest.mark.parametrize("family", TINY)
def test_refusals_say_what_is_taken(family: str) -> None:
    config = next(iter(TINY[family].values()))
    network, (x, c_noise, condition) = config.build(), inputs_of(config)
    with pytest.raises(ArgumentError, match=f"{config.multiple} must divide both"):
        network(x[:, :, :-1], c_noise, condition)
    with pytest.raises(ArgumentError, match=f"channels: this model takes {config.channels}"):
        network(torch.cat([x, x], dim=1), c_noise, condition)
    with pytest.raises(ArgumentError, match="leave it out"):
        network(x, c_noise, Condition(image=torch.zeros(2, 1, *x.shape[2:])))
    told = replace(config, text_length=4, text_width=12)
    with pytest.raises(ArgumentError, match=r"\(4, 12\)"):
        told.build()(x, c_noise, Condition(text=torch.zeros(2, 3, 12)))


# ---- the checks find what is broken ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FaultyConfig(BackboneConfig):
    """One convolution, and a promise that it breaks."""

    fault: str = ""

    @property
    def multiple(self) -> int | None:
        """Sides of any length."""
        return None if self.fault == "size" else 1

    def build(self) -> Faulty:
        """A fresh network."""
        return Faulty(self)


class Faulty(Backbone):
    """Sums of a convolved image, a time and a class."""

    def __init__(self, config: FaultyConfig) -> None:
        super().__init__()
        self._config = config
        self.conv = nn.Conv2d(config.channels, config.channels, 3, padding=1)
        self.classes = nn.Embedding(config.num_classes + 1, config.channels)
        self.unused = nn.Parameter(torch.zeros(2)) if config.fault == "gradient" else None
        self.hidden = float(torch.rand(()))

    @property
    def config(self) -> FaultyConfig:
        """The config."""
        return self._config

    def forward(self, x: Tensor, c_noise: Tensor, condition: Condition) -> Tensor:
        """Return the sums, or what the fault makes of them."""
        fault, c = self._config.fault, self._config
        x = x if fault == "refusal" else beside(x, condition, c)
        if fault == "refusal":
            x = x[:, : c.channels]
        labels = torch.full((len(x),), -1) if condition.labels is None else condition.labels
        if fault == "nothing" and condition.labels is None:
            labels = torch.zeros(len(x), dtype=torch.long)
        out = self.conv(x) * (1 if fault == "c_noise" else c_noise[:, None, None, None].cos())
        out = out + self.classes(rows_of_null(labels, c.num_classes))[:, :, None, None]
        if fault == "rows":
            out = out + out.mean(dim=0, keepdim=True)
        if fault == "state":
            out = out + self.hidden
        return out[:, :, 1:] if fault == "shape" else out


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("shape", "gives"),
        ("gradient", "unused gets no gradient"),
        ("c_noise", "c_noise changes nothing"),
        ("nothing", "an empty condition asks for something"),
        ("rows", "of a batch differs"),
        ("state", "another's state dict"),
        ("size", "another size: not refused"),
        ("refusal", "an image of other channels: not refused"),
    ],
)
def test_a_broken_promise_is_found(fault: str, says: str) -> None:
    good: dict[str, Any] = {"size": 4, "channels": 2, "num_classes": 3}
    check_backbone(FaultyConfig(**good))
    with pytest.raises(AssertionError, match=says):
        check_backbone(FaultyConfig(**good, fault=fault))
