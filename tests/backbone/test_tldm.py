"""Transformer-LDM: counts, conditions as rows, positions, skips, parts, the exported graph, and exact resumes."""

from __future__ import annotations

import os
import signal
import warnings
from collections import Counter
from dataclasses import asdict, replace
from math import inf
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_backbones import TEXT
from tiny_backbones import TLDM as TINY
from tiny_backbones import TLDM_BASE as BASE
from torch import Tensor, nn

from brickwork.backbone.contract import inputs_of, largest, random_network, size_of
from brickwork.backbone.presets import PRESETS
from brickwork.backbone.tldm import Tldm
from brickwork.codec.base import Pixels
from brickwork.data.dataset import Dataset
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.prediction import Velocity
from brickwork.diffusion.process import LinearFlow
from brickwork.errors import ArgumentError, ConfigError
from brickwork.model.cost import cost
from brickwork.model.model import Model
from brickwork.nn.attention import use_kernel
from brickwork.sampling.guidance import Guided
from brickwork.training.denoiser.loop import train
from brickwork.training.denoiser.recipe import Recipe, Report
from brickwork.training.denoiser.transfer import transfer
from brickwork.training.run.trainer import Trainer

ALL = pytest.mark.parametrize("config", TINY.values(), ids=TINY.keys())
SIZES = {name: config for name, config in PRESETS.items() if isinstance(config, Tldm.Config)}


def network(config: Tldm.Config) -> Tldm:
    """Build a network with every weight random."""
    return cast(Tldm, random_network(config))


def shuffled(image: Tensor, order: Tensor, patch: int) -> Tensor:
    """The patches of an image in another order."""
    side = image.shape[2] // patch
    patches = image.unflatten(3, (side, patch)).unflatten(2, (side, patch)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    return patches[:, order].unflatten(1, (side, side)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


# ---- counts ----------------------------------------------------------------------------------------------------------


def by_hand(c: Tldm.Config) -> tuple[int, int, int]:
    """Parameters, MACs, MACs of attention: the formula of arXiv 2212.14678's nearest relatives, and its options."""
    d, N, I, r = c.width, (c.size // c.patch) ** 2, c.patch**2, c.mlp_ratio  # noqa: E741
    K, M = (c.num_class_tokens if c.num_classes else 0), c.text_length
    in_context, cross, vector = (c.conditioning == k for k in ("in_context", "cross_attention", "adaln_zero"))
    E = 0 if vector else K + 1 + M
    T = E + N if in_context else N

    parameters = (c.num_classes + 1) * K * d + 2 * (d * d + d) + (c.text_width * d + d if M else 0)
    macs = 2 * d * d + (c.text_width * d * (1 if vector else M) if M else 0)
    parameters += (E + N) * d if c.position == "learned" else 0
    parameters += I * c.in_channels * d + d + I * c.channels * d + I * c.channels
    macs += N * d * I * (c.in_channels + c.channels)

    block, linear = (4 + 2 * r) * d * d + (5 + r) * d, (4 + 2 * r) * d * d
    attention = c.depth * 2 * T * T * d
    block += 2 * d // c.num_heads if c.qk_norm else 0
    if vector:
        block += 6 * d * d + 6 * d
        macs += c.depth * 6 * d * d + 2 * d * d
        parameters += 2 * d * d + 2 * d
    else:
        block += 4 * d
        parameters += 2 * d
    if cross:
        block += 2 * d + 4 * d * d + 4 * d + (2 * d // c.num_heads if c.qk_norm else 0)
        parameters += 2 * d
        macs += c.depth * (2 * N + 2 * E) * d * d
        attention += c.depth * 2 * N * E * d
    parameters += c.depth * block
    macs += c.depth * linear * T + attention
    if c.long_skip == "concat":
        parameters += (c.depth // 2) * (2 * d * d + d)
        macs += (c.depth // 2) * 2 * d * d * T
    if c.final_conv:
        parameters += 9 * c.channels**2 + c.channels
        macs += 9 * c.channels**2 * c.size**2
    return parameters, macs, attention


@ALL
def test_counted_equals_hand_formula(config: Tldm.Config) -> None:
    counted = cost(config)
    assert (counted.parameters, counted.macs, counted.macs - counted.macs_without_attention) == by_hand(config)
    assert counted.parameters == sum(p.numel() for p in config.build().parameters())


# Of the specification: parameters in M, GMAC. Its cell of tldm-B, 23.2, was rounded twice from 23.147.
TABLE = {
    "tldm-mini": (9.6, 0.65),
    "tldm-mini-256": (9.7, 2.85),
    "tldm-S": (22.1, 6.10),
    "tldm-B": (87.2, 23.15),
    "tldm-L": (305.7, 81.2),
    "tldm-match-a": (381.3, 101.5),
    "tldm-match-b": (386.7, 102.3),
    "tldm-XL": (450.5, 119.4),
}


LARGE = ("tldm-L", "tldm-match-a", "tldm-match-b", "tldm-XL")


@pytest.mark.parametrize("name", [pytest.param(k, marks=[pytest.mark.slow] * (k in LARGE)) for k in SIZES])
def test_presets_are_the_sizes_of_the_table(name: str) -> None:
    c, counted = SIZES[name], cost(SIZES[name])
    d, inner, E, N = c.width, c.patch**2 * c.channels, 2, (c.size // c.patch) ** 2
    formula = c.depth * (12 * d * d + 13 * d) + (c.num_classes + 1) * d + (E + N) * d + 2 * inner * d + d + inner
    assert counted.parameters == formula + 2 * d * d + 2 * d + 2 * d
    T = E + N
    assert counted.macs == c.depth * (12 * T * d * d + 2 * T * T * d) + 2 * N * inner * d + 2 * d * d
    if name in TABLE:
        millions, gmac = TABLE[name]
        assert round(counted.parameters / 1e6, 1) == millions
        assert abs(counted.macs / 1e9 - gmac) < (0.006 if gmac < 30 else 0.06)


# ---- the network -----------------------------------------------------------------------------------------------------


@ALL
def test_zero_at_the_start_and_told_the_class_after_a_step(config: Tldm.Config) -> None:
    torch.manual_seed(0)
    model = config.build()
    x, number, condition = inputs_of(config)
    assert torch.equal(model(x, number, condition), torch.zeros_like(x))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    # adaLN-Zero has a second gate of zeros between the class and the output: it opens one step later.
    for _ in range(1 if config.conditioning == "in_context" else 3):
        optimizer.zero_grad()
        (model(x, number, condition) - x).square().mean().backward()
        optimizer.step()
    if config.num_classes:
        one, other = (model(x, number, replace(condition, labels=torch.tensor([k, k]))) for k in (0, 1))
        assert largest(one, other) > 1e-6 * size_of(one)


def test_label_minus_one_is_the_null_row_and_no_text_is_zeros() -> None:
    config = Tldm.Config(**BASE, **TEXT, num_class_tokens=2)
    model = network(config)
    x, number, condition = inputs_of(config)
    nothing = Condition(labels=torch.tensor([-1, -1]), text=torch.zeros(2, 4, 12))
    assert torch.equal(model(x, number, nothing), model(x, number, Condition()))
    assert model.classes is not None
    with torch.no_grad():
        model.classes.table.weight[2] = model.classes.table.weight[5]
    as_null = replace(condition, labels=torch.tensor([2, 2]))
    assert torch.equal(model(x, number, as_null), model(x, number, replace(condition, labels=None)))
    with pytest.raises(ArgumentError, match=r"\(4, 12\)"):
        model(x, number, Condition(text=torch.zeros(2, 3, 12)))


def test_skips_pair_first_with_last() -> None:
    """With all blocks the identity, adding the skips of N = 5 gives 3 times the input of the head."""
    seen = []
    for long_skip in ("none", "add"):
        torch.manual_seed(0)
        model = Tldm.Config(**{**BASE, "depth": 5, "long_skip": long_skip}).build()
        for name, parameter in model.blocks.named_parameters():
            if "attention.proj" in name or "mlp.narrow" in name:
                nn.init.zeros_(parameter)
        model.head.register_forward_hook(lambda _, args, out: seen.append(args[0]))
        model(*inputs_of(model.config))
    # Blocks 0 and 1 keep h: h + h = 2h enters block 3, 2h + h = 3h block 4.
    assert torch.allclose(seen[1], 3 * seen[0])


# ---- positions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("conditioning", ["in_context", "adaln_zero", "cross_attention"])
def test_patches_are_a_set_without_the_table_and_not_with_it(conditioning: str) -> None:
    model = network(Tldm.Config(**BASE, conditioning=conditioning))  # pyright: ignore[reportArgumentType]
    x, number, condition = inputs_of(model.config)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(2))

    def moved() -> float:
        out = shuffled(model(x, number, condition), order, 2)
        return largest(model(shuffled(x, order, 2), number, condition), out) / size_of(out)

    assert moved() > 1e-2
    nn.init.zeros_(model.get_parameter("position.table"))
    assert moved() < 1e-5


def test_fixed_positions_tell_places() -> None:
    model = network(Tldm.Config(**BASE, position="sincos"))
    x, number, condition = inputs_of(model.config)
    out = model(x, number, condition).roll(2, 3)
    assert largest(model(x.roll(2, 3), number, condition), out) > 1e-3 * size_of(out)


@ALL
def test_other_sizes_are_taken_with_one_warning(config: Tldm.Config) -> None:
    model = network(config)
    given = inputs_of(config, 2 * config.size, 2 * config.size)
    assert config.multiple == config.patch
    if config.position == "learned":
        with pytest.warns(UserWarning, match="positions are interpolated"):
            assert model(*given).shape == given[0].shape
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model(*given).shape == given[0].shape
        model(*inputs_of(config))


def test_interpolated_positions_are_the_table_stretched() -> None:
    """A table that rises evenly keeps doing so, apart from its border; its own grid gives it back."""
    model = Tldm.Config(size=16, channels=1, width=4, heads=1, depth=1).build()
    position = model.position
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    with torch.no_grad():
        model.get_parameter("position.table")[0] = torch.stack([rows, columns, rows, columns], -1).flatten(0, 1)
        model.get_parameter("position.extra").fill_(9)
        with pytest.warns(UserWarning, match="16x8 tokens for a model of 8x8"):
            table = position(torch.zeros(1, 1 + 16 * 8, 4), (16, 8))
        own = position(torch.zeros(1, 1 + 64, 4), (8, 8))
    assert torch.equal(table[:, 0], torch.full((1, 4), 9.0))
    assert torch.equal(own[:, 1:], model.get_parameter("position.table"))
    stretched = table[0, 1:].unflatten(0, (16, 8))
    assert torch.allclose(stretched[4:12, :, 0], ((torch.arange(4, 12) + 0.5) / 2 - 0.5)[:, None].expand(8, 8))
    assert torch.allclose(stretched[:, 2:6, 1], torch.arange(2.0, 6.0).expand(16, 4))


def test_weights_move_to_another_size_and_other_classes() -> None:
    def model(**options: Any) -> Model:
        return Model(network(Tldm.Config(**{**BASE, "channels": 3, **options})), LinearFlow(), Velocity(), Pixels())

    result = transfer(model(), new := model(size=16, num_classes=7))
    assert result.resized == [
        "classes.table.weight (5 classes kept by name, fresh: 5, 6)",
        "position.table (16 → 64 places)",
    ]
    assert not result.fresh
    assert not result.unused
    assert new.backbone(*inputs_of(Tldm.Config(**{**BASE, "channels": 3, "size": 16}))).isfinite().all()


# ---- parts -----------------------------------------------------------------------------------------------------------


@ALL
def test_fewer_blocks_are_the_shallower_network(config: Tldm.Config) -> None:
    model = network(config).eval()
    assert config.num_parts == config.depth
    if config.long_skip != "none":
        with pytest.raises(ConfigError, match="long_skip 'none'"):
            model.first(1)
        return
    for kept in ((0,), (0, 1), (1, 2)):
        part, alone = model.keep(kept), config.keep(kept).build().eval()
        state = model.state_dict()
        for name in alone.state_dict():
            if name.startswith("blocks."):
                number, rest = name.removeprefix("blocks.").split(".", 1)
                state[name] = model.state_dict()[f"blocks.{kept[int(number)]}.{rest}"]
        alone.load_state_dict({name: state[name] for name in alone.state_dict()})
        assert torch.equal(part(*inputs_of(config)), alone(*inputs_of(config)))
        assert {id(p) for p in part.parameters()} <= {id(p) for p in model.parameters()}
        assert not part.training
    assert model.first(config.depth) is model
    assert len(model.compilable()) == config.depth


# ---- the exported graph ----------------------------------------------------------------------------------------------


class Flat(nn.Module):
    """Tensors in, tensor out: what a graph can take."""

    def __init__(self, model: Tldm) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, x: Tensor, number: Tensor, labels: Tensor | None, text: Tensor | None, image: Tensor | None
    ) -> Tensor:
        return self.model(x, number, Condition(labels=labels, text=text, image=image))


def exported(config: Tldm.Config) -> torch.export.ExportedProgram:
    model = network(config).eval()
    x, number, condition = inputs_of(config)
    arguments = (x, number, condition.labels, condition.text, condition.image)
    with torch.no_grad():
        graph = torch.export.export(Flat(model), arguments)
        expected = model(x, number, condition)
        assert largest(graph.module()(*arguments), expected) < 1e-5 * size_of(expected)
    return graph


# Without products and functions: what moves numbers about, adds and multiplies.
GLUE = {
    "_assert_tensor_metadata.default", "add.Tensor", "arange.default", "chunk.default", "contiguous.default",
    "exp.default", "flatten.using_ints", "getitem", "lt.Scalar", "mT.default", "masked_fill.Scalar", "mul.Tensor",
    "permute.default", "promote_types.default", "reshape.default", "slice.Tensor", "to.dtype", "to.dtype_layout",
    "transpose.int", "unflatten.int", "unsqueeze.default", "view.default",
}  # fmt: skip


def test_the_graph_has_one_convolution_and_no_cross_attention() -> None:
    """Each attention is of all 2 + 16 rows to themselves; the only convolution makes patches."""
    nodes = [node for node in exported(Tldm.Config(**BASE)).graph.nodes if node.op == "call_function"]
    operators = Counter(getattr(node.target, "__name__", str(node.target)).removeprefix("aten.") for node in nodes)
    print(*(f"{count:3} {name}" for name, count in sorted(operators.items())), sep="\n")
    depth = 3
    products = {
        "conv2d.default": 1,
        "linear.default": 4 * depth + 3,
        "scaled_dot_product_attention.default": depth,
        "embedding.default": 1,
        "layer_norm.default": 2 * depth + 1,
        "gelu.default": depth,
        "silu.default": 1,
        "cat.default": 3,  # the sinusoid, the rows, the table
        "cos.default": 1,
        "sin.default": 1,
    }
    assert {name: operators[name] for name in products} == products
    assert set(operators) - set(products) == GLUE
    for node in nodes:
        if "attention" in str(node.target):
            assert {argument.meta["val"].shape[2] for argument in node.args} == {18}


# ---- guidance --------------------------------------------------------------------------------------------------------


def test_guidance_of_one_is_the_conditional_call_and_a_batch_is_two_calls() -> None:
    config = Tldm.Config(**{**BASE, "channels": 3})
    model = Model(network(config), LinearFlow(), Velocity(), Pixels()).eval().requires_grad_(False)
    x, sigma, condition = inputs_of(config)[0], torch.tensor([0.3, 5.0]), Condition(labels=torch.tensor([3, 1]))
    assert torch.equal(Guided(model, 1.0)(x, sigma, condition), model(x, sigma, condition))
    with_class, without = model(x, sigma, condition), model(x, sigma, condition.dropped())
    guided = Guided(model, 3.0, (0.0, inf))(x, sigma, condition)
    expected = without + 3 * (with_class - without)
    assert largest(guided, expected) < 1e-5 * size_of(expected)


# ---- training --------------------------------------------------------------------------------------------------------


def test_a_resumed_training_is_the_same_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    data = Dataset(
        name="noise",
        images=generator.integers(0, 256, (16, 8, 8, 3), dtype=np.uint8),
        labels=generator.integers(0, 2, 16),
        classes=("a", "b"),
        captions=None,
        skipped=(),
        flip=True,
        digest="noise",
    )
    backbone = Tldm.Config(size=8, width=32, depth=2, heads=2, num_class_tokens=2)
    report = Report(log_every=2, eval_every=0, sheet_steps=0, save_minutes=0.0)
    recipe = Recipe(backbone=backbone, batch=4, steps=6, warmup=2, report=report)

    def run(name: str) -> Model:
        with use_kernel("matmul"):
            return train(recipe, data, tmp_path / name, device="cpu", progress=False)

    run("whole")
    after_step = Trainer.after_step

    def stopping(self: Trainer[Any]) -> None:
        after_step(self)
        if self.state.counters.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "after_step", stopping)
        assert not run("halves").facts["finished"]
    assert run("halves").facts["finished"]
    whole, halves = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "halves"))
    assert whole.keys() == halves.keys()
    assert [name for name in whole if not torch.equal(whole[name], halves[name])] == []
    assert whole["head.head.weight"].abs().max() > 0


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": 7}, "size 7 is not divisible by patch 2: take 6"),
        ({"patch": 0}, "patch 0: must be at least 1"),
        ({"heads": 5}, "width 32 is not divisible by heads 5: take heads 4"),
        ({"heads": 0}, "heads 0: must be at least 1"),
        ({"width": 30, "heads": 2}, "width 30: must be a multiple of 4"),
        ({"conditioning": "adaln_zero", "num_class_tokens": 2}, "num_class_tokens 2 with conditioning 'adaln_zero'"),
        ({"num_class_tokens": 0}, "num_class_tokens 0"),
        ({"text_length": 3}, "text_length 3 with text_width 0"),
    ],
)
def test_impossible_configs_say_value_rule_and_way_out(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Tldm.Config(**{**BASE, **options})
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["conditioning", "long_skip", "position"])
def test_unknown_choices_are_refused(name: str) -> None:
    config = object.__new__(Tldm.Config)  # what __init__ does where annotations are not checked, as they are here
    for key, value in {**asdict(Tldm.Config(**BASE)), name: "else"}.items():
        object.__setattr__(config, key, value)
    with pytest.raises(ConfigError, match=f"{name} 'else': must be one of"):
        config.__post_init__()


@pytest.mark.parametrize(("width", "heads"), [(256, 4), (192, 3), (160, 5), (1152, 18), (48, 1)])
def test_default_heads(width: int, heads: int) -> None:
    assert Tldm.Config(width=width).num_heads == heads
