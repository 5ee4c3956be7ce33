"""U-ViT: published counts, the published forward with the same weights, conditions, positions, skips, errors."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from tiny_backbones import UVIT as TINY
from tiny_backbones import UVIT_BASE as BASE
from torch import Tensor
from uvit_transcription import published, transcription

from brickwork.backbone.contract import inputs_of, largest, random_network
from brickwork.backbone.presets import PRESETS
from brickwork.backbone.uvit import Uvit
from brickwork.codec.base import Pixels
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.prediction import Eps
from brickwork.diffusion.process import Vp
from brickwork.errors import ConfigError
from brickwork.model.cost import cost
from brickwork.model.model import Model
from brickwork.training.denoiser.transfer import transfer

ALL = pytest.mark.parametrize("config", TINY.values(), ids=TINY.keys())
SIZES = {name: config for name, config in PRESETS.items() if isinstance(config, Uvit.Config)}


def network(config: Uvit.Config) -> Uvit:
    """Build a network with every weight random."""
    return cast(Uvit, random_network(config))


# ---- the published forward -------------------------------------------------------------------------------------------


def loaded(w: dict[str, Tensor], config: Uvit.Config) -> Uvit:
    """The same weights in ours, by names written out here a second time."""
    half, extras = config.depth // 2, config.num_extra
    places = [*(f"in_blocks.{k}" for k in range(half)), "mid_block", *(f"out_blocks.{k}" for k in range(half))]
    pairs = {"patchify.conv": "patch_embed.proj", "head.norm": "norm", "head.head": "decoder_pred"}
    pairs |= {"final_conv": "final_layer", "text.linear": "context_embed", "classes.table": "label_emb"}
    for k, place in enumerate(places):
        pairs |= {f"blocks.{k}.norm_attention": f"{place}.norm1", f"blocks.{k}.norm_mlp": f"{place}.norm2"}
        pairs |= {f"blocks.{k}.attention.{part}": f"{place}.attn.{part}" for part in ("qkv", "proj")}
        pairs |= {f"blocks.{k}.mlp.widen": f"{place}.mlp.fc1", f"blocks.{k}.mlp.narrow": f"{place}.mlp.fc2"}
        if k > half:
            pairs[f"merges.{2 * half - k}"] = f"{place}.skip_linear"
    state = {
        f"{ours}.{kind}": w[f"{theirs}.{kind}"]
        for ours, theirs in pairs.items()
        for kind in ("weight", "bias")
        if f"{theirs}.{kind}" in w
    }
    state |= {"position.extra": w["pos_embed"][:, :extras], "position.table": w["pos_embed"][:, extras:]}
    model = config.build()
    model.load_state_dict(state)
    return model.eval()


@pytest.mark.parametrize(
    "name", [name for name in TINY if name not in ("image condition", "text and classes", "checkpointing")]
)
def test_the_published_forward_with_the_same_weights(name: str) -> None:
    config = TINY[name]
    weights = published(config)
    model = loaded(weights, config)
    x, t, condition = inputs_of(config)
    labels = None if condition.labels is None else torch.tensor([3, 5])  # 5 is the row of no class
    with torch.no_grad():
        theirs = transcription(weights, config.num_heads, x, t, labels, condition.text)
        ours = model(x, t, condition)
    assert largest(ours, theirs) < 1e-5 * theirs.abs().max().item()


def test_the_published_forward_at_the_width_and_depth_of_the_small_network() -> None:
    config = replace(PRESETS["uvit-s-2"], size=16)
    assert isinstance(config, Uvit.Config)
    weights = published(config)
    x, t, _ = inputs_of(config)
    with torch.no_grad():
        theirs = transcription(weights, 8, x, t)
        assert largest(loaded(weights, config)(x, t, Condition()), theirs) < 1e-5 * theirs.abs().max().item()


# ---- counts ----------------------------------------------------------------------------------------------------------


def by_hand(c: Uvit.Config) -> tuple[int, int]:
    """Parameters and MACs."""
    d, N, inner = c.width, c.grid[0] ** 2, c.patch**2 * c.channels
    T = c.num_extra + N
    parameters = c.depth * (12 * d * d + 10 * d) + c.depth // 2 * (2 * d * d + d) + T * d
    parameters += (c.num_classes + 1 if c.num_classes else 0) * d + (c.text_width * d + d if c.text_length else 0)
    parameters += c.patch**2 * c.in_channels * d + d + 2 * d + d * inner + inner
    macs = c.depth * (12 * T * d * d + 2 * T * T * d) + c.depth // 2 * 2 * d * d * T
    macs += N * d * (inner + c.patch**2 * c.in_channels) + c.text_length * c.text_width * d
    if c.final_conv:
        parameters += 9 * c.channels**2 + c.channels
        macs += 9 * c.channels**2 * c.size**2
    return parameters, macs


@ALL
def test_counted_equals_hand_formula(config: Uvit.Config) -> None:
    counted = cost(config)
    assert (counted.parameters, counted.macs) == by_hand(config)


@pytest.mark.parametrize("name", ["uvit-s-2", "uvit-h-2"])
def test_the_counter_agrees_on_whole_sizes(name: str) -> None:
    counted = cost(SIZES[name])
    assert (counted.parameters, counted.macs) == by_hand(SIZES[name])


# Published sizes in M; GMAC of the specification.
TABLE = {
    "uvit-s-2": (44, 12.2), "uvit-s-4": (44, None), "uvit-s-2-coco": (45, None), "uvit-s-2-deep": (58, None),
    "uvit-m-4": (131, None), "uvit-l-4": (287, None), "uvit-l-2": (287, 76.5), "uvit-h-2": (501, 133.2),
    "uvit-l-4-512": (287, None), "uvit-h-4-512": (501, None),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_presets_have_the_published_sizes(name: str) -> None:
    parameters, macs = by_hand(SIZES[name])
    millions, gmac = TABLE[name]
    assert round(parameters / 1e6) == millions
    assert gmac is None or round(macs / 1e9, 1) == gmac
    if name == "uvit-s-2":
        assert round(parameters / 1e6, 1) == 44.3


# ---- the network -----------------------------------------------------------------------------------------------------


def test_a_few_steps_learn_a_picture() -> None:
    torch.manual_seed(0)
    model = Uvit.Config(**BASE).build()
    x, number, condition = inputs_of(model.config)
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=2e-3), []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (model(x, number, condition) - x.flip(2)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_other_sizes_are_taken_with_one_warning() -> None:
    model = network(Uvit.Config(**BASE))
    given = inputs_of(model.config, 16, 16)
    with pytest.warns(UserWarning, match="8x8 tokens for a model of 4x4"):
        assert model(*given).shape == given[0].shape
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(*given)
    assert model.config.multiple == 2


def test_weights_move_to_another_size_and_other_classes() -> None:
    def model(**options: Any) -> Model:
        return Model(network(Uvit.Config(**{**BASE, **options})), Vp(), Eps(), Pixels())

    result = transfer(model(), model(size=16, num_classes=7))
    assert [text.split(" ")[0] for text in result.resized] == ["classes.table.weight", "position.table"]
    assert not result.fresh
    assert not result.unused


# ---- errors ----------------------------------------------------------------------------------------------------------


def test_no_block_can_be_left_out() -> None:
    model = network(Uvit.Config(**BASE))
    assert model.num_parts == 5
    assert model.first(5) is model
    with pytest.raises(ConfigError, match="long_skip 'concat': blocks are joined in pairs"):
        model.first(4)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"depth": 12}, "depth 12: must be odd, one block between two equal halves; take 13"),
        ({"size": 7}, "size 7 is not divisible by patch 2: take 6"),
        ({"heads": 3}, "width 32 is not divisible by heads 3: take heads 2"),
        ({"heads": 0}, "heads 0: must be at least 1"),
        ({"patch": 0}, "patch 0: must be at least 1"),
    ],
)
def test_impossible_configs_say_value_rule_and_way_out(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Uvit.Config(**{**BASE, **options})
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
