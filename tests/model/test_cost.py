"""Totals, the table for people, and the presets that are too large to allocate."""

import dataclasses
import json
import time

import pytest

from brickwork.backbone.presets import preset
from brickwork.backbone.stoic import Stoic
from brickwork.errors import ArgumentError, ConfigError
from brickwork.model.cost import cost, plan_macs
from brickwork.sampling.plan import Plan


def test_reference_preset() -> None:
    counted = cost(preset("stoic-12x512-s2"))
    assert round(counted.parameters / 1e6, 1) == 37.8
    assert round(counted.macs / 1e9, 1) == 10.5
    assert round(counted.macs_without_attention / 1e9, 1) == 9.7
    assert counted.size == 32


def test_largest_preset_counts_without_its_weights() -> None:
    start = time.process_time()
    counted = cost(preset("stoic-128x1536-s2"))
    assert time.process_time() - start < 20  # 14 GB would take longer to fill, if they fit
    assert round(counted.parameters / 1e6) == 3626
    assert round(counted.macs / 1e9) == 957


def test_size_counts_another_image() -> None:
    config = Stoic.Config(size=8, width=32, depth=2, stride=2, position="learned")
    larger = cost(config, size=16)
    assert larger == cost(Stoic.Config(size=16, width=32, depth=2, stride=2, position="learned"))
    assert larger.parameters - cost(config).parameters == (64 - 16) * 32
    with pytest.raises(ConfigError, match="not divisible by stride 2"):
        cost(config, size=9)


def test_macs_of_a_sampled_image() -> None:
    counted = cost(Stoic.Config(size=8, width=32, depth=1))
    assert counted.macs_per_image(50) == 50 * counted.macs
    assert counted.macs_per_image(50, guided=True) == 100 * counted.macs


def test_macs_of_a_plan_by_hand() -> None:
    """T rows of width L: a block is 12 T L² + 2 T² L; what is around the blocks runs whatever the plan."""
    T, L = 16, 32
    config = Stoic.Config(size=4, width=L, depth=3, stride=1, channels=1, time="add", final_conv=False)
    block, ends = 12 * T * L**2 + 2 * T**2 * L, T * L * 9 + T * L
    calls = [(80.0, 1), (5.0, 2), (4.9, 2), (0.3, 2), (0.1, 1)]
    plan = Plan(thresholds=(5.0, 0.2), counts=(3, 2, 1))
    assert plan_macs(config, plan, calls) == 8 * ends + (3 + 2 * 3 + 2 * 2 + 2 * 2 + 1) * block
    whole = Plan(counts=(3,))
    assert plan_macs(config, whole, calls) == 8 * cost(config).macs == 8 * (ends + 3 * block)
    assert plan_macs(config, whole, calls, size=8) == 8 * cost(config, size=8).macs
    with pytest.raises(ArgumentError, match="take a whole number from 1 to 3"):
        plan_macs(config, Plan(counts=(4,)), calls)
    with pytest.raises(ConfigError, match="long_skip"):
        plan_macs(dataclasses.replace(config, long_skip="add"), plan, calls)


def test_activations_of_a_shallow_network_by_hand() -> None:
    """Widest moment of a block: the residual h, its norm, the MLP's hidden rows before and after GELU."""
    config = Stoic.Config(size=16, width=64, depth=2, stride=1, time="add", mlp_ratio=16, final_conv=False)
    rows, L, word = 256, 64, 4
    scores = rows * rows * word
    assert cost(config).score_bytes == scores
    hidden = rows * 16 * L * word
    assert 2 * hidden <= cost(config).activation_bytes <= 2 * hidden + 6 * rows * L * word


def test_activation_bytes_of_each_part_by_hand() -> None:
    """One block, one head, T rows of width L: results of each operation, views not counted."""
    T, L, word = 16, 32, 4
    config = Stoic.Config(size=4, width=L, depth=1, heads=1, stride=1, channels=1, time="add", final_conv=False)
    by_hand = {
        "stem": T * L,
        "blocks.norms": 2 * (T * L + 2 * T),  # rows, and a mean and a spread of each
        "blocks.qkv": 3 * T * L,
        "blocks.attention": 3 * T * L + T * L + 2 * T * T + T * L,  # q, k, v apart; q scaled; scores, softmax; result
        "blocks.proj": T * L,
        "blocks.mlp": 2 * T * 4 * L + T * L,  # before and after GELU
        "blocks": 2 * T * L,  # residual additions
    }
    parts = cost(config).parts
    assert {name: parts[name].activation_bytes for name in by_hand} == {k: v * word for k, v in by_hand.items()}
    deeper = cost(dataclasses.replace(config, depth=3)).parts
    assert deeper["blocks.mlp"].activation_bytes == 3 * parts["blocks.mlp"].activation_bytes


def test_activations_do_not_grow_with_depth_unless_skipped_or_trained() -> None:
    def count(**options: object) -> tuple[int, int]:
        counted = cost(Stoic.Config(**{"size": 8, "width": 32, "heads": 1, **options}))
        return counted.activation_bytes, counted.training_bytes

    assert count(depth=4)[0] == count(depth=8)[0]
    assert count(depth=8, long_skip="add")[0] > count(depth=4, long_skip="add")[0]
    assert count(depth=8)[1] > 1.8 * count(depth=4)[1]
    assert count(depth=8, checkpointing=True)[1] < count(depth=8)[1] / 4


def test_json_and_table() -> None:
    counted = cost(Stoic.Config(size=8, width=32, depth=2, num_classes=3, depthwise=True))
    assert json.loads(json.dumps(counted.to_dict()))["macs"] == counted.macs
    table = str(counted)
    for name in ("stem", "embed", "blocks.qkv", "blocks.attention", "blocks.proj", "blocks.mlp", "blocks.depthwise",
                 "blocks.norms", "MB made", "decoder", "final_conv", "total", "1 MAC = 2 FLOP"):  # fmt: skip
        assert name in table
