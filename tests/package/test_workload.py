"""The sheet of one block against a count by hand and against ``brickwork.model.cost``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_models import CONFIGS, tiny_model

from brickwork.backbone.lego import Lego
from brickwork.backbone.stoic import Stoic
from brickwork.backbone.tldm import Tldm
from brickwork.backbone.unet import Unet
from brickwork.errors import ArgumentError, ConfigError
from brickwork.model.cost import cost
from brickwork.package.sheet import Operator
from brickwork.package.workload import workload

PLAIN = Stoic.Config(size=8, channels=3, num_classes=5, width=32, heads=2, depth=3)
T, L, H = 4 * 4 + 2, 32, 2  # rows: image, time, class; width; heads


def test_a_block_by_hand() -> None:
    """Every product of the plain block, and every byte that a product moves."""
    (block,) = workload(PLAIN).blocks
    assert (block.name, block.repeats, block.rows, block.told) == ("blocks", 3, (1, T, L), ())
    products = {
        "attention.qkv": (T * L * 3 * L, 4 * 3 * L * L, 4 * T * L, 4 * T * 3 * L),
        "attention.proj": (T * L * L, 4 * (L * L + L), 4 * T * L, 4 * T * L),
        "mlp.widen": (4 * T * L * L, 4 * (4 * L * L + 4 * L), 4 * T * L, 4 * T * 4 * L),
        "mlp.narrow": (4 * T * L * L, 4 * (4 * L * L + L), 4 * T * 4 * L, 4 * T * L),
    }
    found = {item.name: item for item in block.operators if item.kind == "Gemm"}
    assert {name: figures(item) for name, item in found.items()} == products
    scores, mixed = (item for item in block.operators if item.kind == "MatMul")
    assert figures(scores) == (T * T * L, 0, 4 * 2 * T * L, 4 * H * T * T)
    assert figures(mixed) == (T * T * L, 0, 4 * (H * T * T + T * L), 4 * T * L)
    assert block.total("macs") == 12 * T * L * L + 2 * T * T * L
    norms = [item for item in block.operators if item.kind == "LayerNormalization"]
    assert [figures(item) for item in norms] == [(0, 4 * 2 * L, 4 * T * L, 4 * T * L)] * 2
    weights = 12 * L * L + 10 * L
    assert block.total("weight_bytes") == 4 * weights + 2 * 4  # and the two scales of the attention
    assert block.least_bytes == block.total("weight_bytes") + 4 * 2 * T * L
    views = [item for item in block.operators if item.kind in ("Reshape", "Squeeze")]
    assert views
    assert not any(item.moved_bytes for item in views)


def figures(item: Operator) -> tuple[int, int, int, int]:
    return item.macs, item.weight_bytes, item.read_bytes, item.written_bytes


CROSSED = Tldm.Config(size=8, channels=3, num_classes=5, width=32, heads=2, depth=3, conditioning="cross_attention")


QUICK = ("stoic", "tldm", "cross")
COUNTED = [name for name in CONFIGS if name != "lego"] + ["cross"]


@pytest.mark.parametrize("name", [pytest.param(k, marks=[pytest.mark.slow] * (k not in QUICK)) for k in COUNTED])
def test_macs_are_those_of_counting(name: str) -> None:
    config = CROSSED if name == "cross" else CONFIGS[name]
    parts = cost(config).parts
    assert workload(config).macs == sum(part.macs for key, part in parts.items() if key.startswith("blocks"))


def test_bricks_have_a_sheet_each() -> None:
    config = CONFIGS["lego"]
    assert isinstance(config, Lego.Config)
    sheet = workload(config)
    assert [block.name for block in sheet.blocks] == ["bricks.0.blocks", "bricks.1.blocks", "bricks.2.blocks"]
    windows, whole = sheet.blocks[:2]
    rows, modulation = 4 * 4, 32 * 6 * 32
    assert windows.total("macs") == 12 * rows * L * L + 2 * rows * 4 * L + modulation  # windows of 2x2 rows
    assert whole.total("macs") == 12 * rows * L * L + 2 * rows * rows * L + modulation


def test_batch_size_and_bytes() -> None:
    """Everything but weights grows with the batch; bytes go with the size of a number."""
    one, two = workload(PLAIN), workload(PLAIN, batch=2, number_bytes=2)
    assert two.macs == 2 * one.macs
    for key, factor in (("weight_bytes", 0.5), ("read_bytes", 1), ("written_bytes", 1)):
        assert two.blocks[0].total(key) == factor * one.blocks[0].total(key)
    large = workload(PLAIN, size=16).blocks[0]
    rows = 8 * 8 + 2
    assert large.rows == (1, rows, L)
    assert large.total("macs") == 12 * rows * L * L + 2 * rows * rows * L


def test_of_a_model_as_json_and_table(tmp_path: Path) -> None:
    model = tiny_model("dit")
    sheet = workload(model)
    sheet.save(tmp_path / "a.json")
    read = json.loads((tmp_path / "a.json").read_text())
    (block,) = read["blocks"]
    assert block["told"] == [[1, 32]]
    assert block["total"]["macs"] == sum(item["macs"] for item in block["operators"])
    total = block["total"]
    assert total["intensity"] == pytest.approx(2 * total["macs"] / total["moved_bytes"])
    table = str(sheet)
    assert "attention.qkv" in table
    assert f"{total['macs'] / 1e6:,.3f}" in table
    assert max(len(line) for line in table.splitlines()) < 180


@pytest.mark.parametrize(("how", "said"), [({"batch": 0}, "batch 0"), ({"number_bytes": -1}, "number bytes -1")])
def test_numbers_that_are_none(how: dict[str, int], said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        workload(PLAIN, **how)


def test_a_model_that_repeats_nothing() -> None:
    with pytest.raises(ConfigError, match="repeats no block"):
        workload(Unet.Config())
