"""DiT: published counts, parity with diffusers' network of the same weights, conditions, positions, parts, errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from tiny_backbones import DIT as TINY
from tiny_backbones import DIT_BASE as BASE
from torch import Tensor, nn

from brickwork.backbone.contract import inputs_of, largest, random_network
from brickwork.backbone.dit import Dit
from brickwork.backbone.presets import PRESETS
from brickwork.codec.base import Pixels
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.prediction import Eps
from brickwork.diffusion.process import DiscreteVp
from brickwork.errors import ConfigError
from brickwork.model.cost import cost
from brickwork.model.model import Model
from brickwork.nn.layers import sinusoid
from brickwork.training.denoiser.transfer import transfer

ALL = pytest.mark.parametrize("config", TINY.values(), ids=TINY.keys())
SIZES = {name: config for name, config in PRESETS.items() if isinstance(config, Dit.Config)}


def network(config: Dit.Config) -> Dit:
    """Build a network with every weight random."""
    return cast(Dit, random_network(config))


# ---- parity ----------------------------------------------------------------------------------------------------------


class Waves(nn.Module):
    """The published sinusoid. diffusers' own divides by one wave less, 127, and is another network's input."""

    def forward(self, timesteps: Tensor) -> Tensor:
        return sinusoid(timesteps, 256)


def of_diffusers(config: Dit.Config, w: dict[str, Tensor]) -> nn.Module:
    """diffusers' network of the same sizes with the same weights; it repeats the embeddings in every block."""
    from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel

    theirs = DiTTransformer2DModel(
        num_attention_heads=config.num_heads,
        attention_head_dim=config.width // config.num_heads,
        in_channels=config.channels,
        out_channels=config.channels * (2 if config.variance else 1),
        num_layers=config.depth,
        sample_size=config.size,
        patch_size=config.patch,
        num_embeds_ada_norm=config.num_classes,
        norm_eps=1e-6,
    )
    pairs = {"pos_embed.proj": "patchify.conv", "proj_out_1": "head.modulation", "proj_out_2": "head.linear"}
    thirds = {}
    for k in range(config.depth):
        block, ours = f"transformer_blocks.{k}", f"blocks.{k}"
        pairs |= {f"{block}.norm1.linear": f"{ours}.modulation", f"{block}.attn1.to_out.0": f"{ours}.attention.proj"}
        pairs |= {f"{block}.ff.net.0.proj": f"{ours}.mlp.widen", f"{block}.ff.net.2": f"{ours}.mlp.narrow"}
        pairs |= {f"{block}.norm1.emb.timestep_embedder.linear_1": "time.first"}
        pairs |= {f"{block}.norm1.emb.timestep_embedder.linear_2": "time.second"}
        pairs |= {f"{block}.norm1.emb.class_embedder.embedding_table": "classes.table"}
        for name, kind in ((name, kind) for name in "qkv" for kind in ("weight", "bias")):
            part = w[f"{ours}.attention.qkv.{kind}"].chunk(3)["qkv".index(name)]
            thirds[f"{block}.attn1.to_{name}.{kind}"] = part
    state = {
        f"{their}.{kind}": w[f"{ours}.{kind}"]
        for their, ours in pairs.items()
        for kind in ("weight", "bias")
        if f"{ours}.{kind}" in w
    }
    theirs.load_state_dict(state | thirds)
    for part in theirs.modules():
        if hasattr(part, "time_proj"):
            part.time_proj = Waves()
    return theirs.eval()


@pytest.mark.parametrize("name", ["plain", "variance", "patch 4"])
def test_diffusers_with_the_same_weights(name: str) -> None:
    config = TINY[name]
    model = network(config).eval()
    x, number, _ = inputs_of(config)
    labels = torch.tensor([3, 5])  # 5 is the row of no class
    with torch.no_grad():
        theirs = of_diffusers(config, model.state_dict())(x, number, labels).sample[:, : config.channels]
        ours = model(x, number, Condition(labels=torch.tensor([3, -1])))
    assert largest(ours, theirs) < 1e-5 * theirs.abs().max().item()


def test_diffusers_at_the_width_of_the_small_network() -> None:
    config = replace(SIZES["dit-s-2"], depth=4)
    model = network(config).eval()
    x, number, _ = inputs_of(config)
    labels = torch.tensor([3, 999])
    with torch.no_grad():
        theirs = of_diffusers(config, model.state_dict())(x, number, labels).sample[:, :4]
        assert largest(model(x, number, Condition(labels=labels)), theirs) < 1e-5 * theirs.abs().max().item()


# ---- counts ----------------------------------------------------------------------------------------------------------


def by_hand(c: Dit.Config) -> tuple[int, int, int]:
    """Parameters, the same with the table of places, MACs."""
    d, T, r = c.width, c.grid[0] ** 2, c.mlp_ratio
    inner, outer = c.patch**2 * c.in_channels, c.patch**2 * c.channels * (2 if c.variance else 1)
    parameters = c.depth * ((10 + 2 * r) * d * d + (11 + r) * d) + inner * d + d + 2 * d * d + 2 * d + d * outer + outer
    parameters += 256 * d + d + d * d + d + (c.num_classes + 1 if c.num_classes else 0) * d
    parameters += c.text_width * d + d if c.text_length else 0
    macs = c.depth * ((4 + 2 * r) * T * d * d + 2 * T * T * d + 6 * d * d) + T * d * (inner + outer) + 2 * d * d
    return parameters, parameters + T * d, macs + 256 * d + d * d + c.text_width * d


@ALL
def test_counted_equals_hand_formula(config: Dit.Config) -> None:
    counted = cost(config)
    assert (counted.parameters, counted.parameters_with_tables, counted.macs) == by_hand(config)


@pytest.mark.parametrize("name", ["dit-s-8", "dit-xl-2"])
def test_the_counter_agrees_on_whole_sizes(name: str) -> None:
    counted = cost(SIZES[name])
    assert (counted.parameters, counted.parameters_with_tables, counted.macs) == by_hand(SIZES[name])


# GMAC of Peebles & Xie 2023, table 4, whose "Gflops" are multiply-accumulates; parameters in M of the same table.
TABLE = {
    "dit-s-8": (33, 0.36), "dit-s-4": (33, 1.41), "dit-s-2": (33, 6.06),
    "dit-b-8": (131, 1.42), "dit-b-4": (130, 5.56), "dit-b-2": (130, 23.01),
    "dit-l-8": (459, 5.01), "dit-l-4": (458, 19.70), "dit-l-2": (458, 80.71),
    "dit-xl-8": (676, 7.39), "dit-xl-4": (675, 29.05), "dit-xl-2": (675, 118.64),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_presets_have_the_published_sizes(name: str) -> None:
    parameters, with_tables, macs = by_hand(SIZES[name])
    millions, gmac = TABLE[name]
    assert abs(macs / 1e9 - gmac) < max(0.006, 3e-4 * gmac)
    assert abs(with_tables / 1e6 - millions) < 0.6
    if name == "dit-xl-2":
        assert (round(parameters / 1e6, 2), round(with_tables / 1e6, 2)) == (674.83, 675.13)


# ---- the network -----------------------------------------------------------------------------------------------------


def test_zero_at_the_start_and_learns() -> None:
    torch.manual_seed(0)
    model = Dit.Config(**BASE, variance=True).build()
    x, number, condition = inputs_of(model.config)
    assert torch.equal(model(x, number, condition), torch.zeros_like(x))
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=5e-3), []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (model(x, number, condition) - x.flip(2)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    one, other = (model(x, number, Condition(labels=torch.tensor([k, k]))) for k in (0, 3))
    assert largest(one, other) > 1e-3


def test_the_half_for_the_variance_is_kept_and_not_used() -> None:
    """Its channels lie behind those of the image, within every pixel of a patch."""
    plain, both = network(TINY["plain"]), network(TINY["variance"])
    state = both.state_dict() | {k: v for k, v in plain.state_dict().items() if not k.startswith("head.linear")}
    for kind in ("weight", "bias"):
        rows = state[f"head.linear.{kind}"].unflatten(0, (4, 2, 4))
        rows[:, 0] = plain.state_dict()[f"head.linear.{kind}"].unflatten(0, (4, 4))
    both.load_state_dict(state)
    assert largest(plain(*inputs_of(TINY["plain"])), both(*inputs_of(TINY["plain"]))) < 1e-5


def test_other_sizes_spread_the_trained_places() -> None:
    """The places of 8x8 tokens on a model of 4x4 have the trained ones' mean."""
    model = network(TINY["plain"])
    given = inputs_of(TINY["plain"], 16, 16)
    assert model.config.multiple == 2
    assert model(*given).shape == given[0].shape
    fine = model.position(torch.zeros(1, 64, 32), (8, 8))[0].unflatten(0, (8, 8))
    coarse = model.position.table.unflatten(0, (4, 4))
    # The last sine of the column turns by 0.01 % a place: there interpolation is linear.
    assert torch.allclose(fine.unflatten(1, (4, 2)).mean(2)[0, :, 7], coarse[0, :, 7], atol=1e-6)


def test_weights_move_to_another_size_and_other_classes() -> None:
    def model(**options: Any) -> Model:
        return Model(network(Dit.Config(**{**BASE, "channels": 3, **options})), DiscreteVp(), Eps(), Pixels())

    result = transfer(model(), model(size=16, num_classes=7))
    assert [text.split(" ")[0] for text in result.resized] == ["classes.table.weight"]
    assert not result.fresh
    assert not result.unused


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": 7}, "size 7 is not divisible by patch 2: take 6"),
        ({"heads": 3}, "width 32 is not divisible by heads 3: take heads 2"),
        ({"width": 30}, "width 30: must be a multiple of 4"),
        ({"heads": 0}, "heads 0: must be at least 1"),
        ({"depth": 0}, "depth 0: must be from 1 to 1024"),
    ],
)
def test_impossible_configs_say_value_rule_and_way_out(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Dit.Config(**{**BASE, **options})
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
