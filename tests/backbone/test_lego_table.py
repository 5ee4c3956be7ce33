"""Parameters and MACs of the published sizes: ours, and theirs, who compute the modulation in each window."""

import pytest
import torch
from lego_transcription import BrickShape, Transcription
from torch.utils.flop_counter import FlopCounterMode

from brickwork.backbone.lego import Lego
from brickwork.backbone.presets import PRESETS
from brickwork.model.cost import cost

# Zheng et al. 2024, released configurations: millions of parameters with the fixed position tables, and GMAC of one
# evaluation with the modulation repeated in every window, 1000 classes for L and XL. Computed from the released code.
TABLE = {
    "lego-s-pg-64": (33.8, 20.4),
    "lego-s-pr-64": (33.8, 20.4),
    "lego-s-u-32": (61.2, 7.4),
    "lego-s-u-64": (61.6, 36.7),
    "lego-l-pg-64": (501.6, 275.4),
    "lego-l-pr-64": (501.6, 275.4),
    "lego-l-pg-64-old": (463.8, 273.6),
    "lego-l-pr-64-old": (463.8, 273.6),
    "lego-l-pg-32": (463.3, 56.8),
    "lego-l-pr-32": (463.3, 56.8),
    "lego-l-u-32": (884.3, 106.3),
    "lego-l-u-64": (885.9, 463.3),
    "lego-xl-pg-32": (729.4, 81.3),
    "lego-xl-pr-32": (729.4, 81.3),
    "lego-xl-pg-64": (730.2, 350.3),
    "lego-xl-pr-64": (730.2, 350.3),
    "lego-xl-u-32": (1262.0, 143.0),
    "lego-xl-u-64": (1359.4, 626.5),
}


def config(name: str) -> Lego.Config:
    """A preset's."""
    found = PRESETS[name]
    assert isinstance(found, Lego.Config)
    return found


def by_hand(c: Lego.Config) -> tuple[int, int, int]:
    """Trainable parameters, numbers in position tables, MACs of one evaluation."""
    V, C, m = c.vector_width, c.channels, c.mlp_ratio
    parameters = 256 * V + V + V * V + V + (c.num_classes * V + V if c.num_classes else 0)
    tables, macs = 0, 256 * V + V * V
    for k, brick in enumerate(c.bricks):
        D, N, side = brick.width, brick.depth, (brick.window or c.size) // brick.patch
        T, rows = side**2, (c.size // brick.patch) ** 2  # tokens of one window, and of all
        cin, cout = (C * (2 if k else 1) + 2) * brick.patch**2, C * brick.patch**2
        tables += T * D
        weights = N * (4 + 2 * m) * D * D + cin * D + D * cout  # of what runs on every token
        modulation = (6 * N + 2) * V * D  # of what runs once per image
        biases = N * (3 + 1 + m + 1 + 6) * D + 2 * D + D + cout
        parameters += weights + modulation + biases
        macs += rows * weights + modulation + N * 2 * rows * T * D
    return parameters, tables, macs


QUICK = ("lego-s-pg-64", "lego-s-pr-64", "lego-s-u-32", "lego-l-pg-32", "lego-xl-pg-32")


@pytest.mark.parametrize("name", [pytest.param(k, marks=[pytest.mark.slow] * (k not in QUICK)) for k in TABLE])
def test_published_size(name: str) -> None:
    c, (millions, gmacs) = config(name), TABLE[name]
    counted = cost(c)
    assert f"{counted.parameters_with_tables / 1e6:.1f}" == str(millions)
    assert f"{(counted.macs + c.repeated_macs) / 1e9:.1f}" == str(gmacs)
    parameters, tables, macs = by_hand(c)
    assert (counted.parameters, counted.macs) == (parameters, macs)
    assert counted.parameters_with_tables == parameters + tables
    assert sum(part.macs for part in counted.parts.values()) == macs


@pytest.mark.parametrize(
    "name",
    [
        "lego-s-pg-64",
        pytest.param("lego-s-u-32", marks=pytest.mark.slow),
        pytest.param("lego-xl-pg-32", marks=pytest.mark.slow),
    ],
)
def test_the_transcription_costs_what_the_authors_pay(name: str) -> None:
    """Counted by torch on the published forward itself, on tensors without memory."""
    c = config(name)
    shapes = [BrickShape(brick.window or c.size, brick.patch, brick.depth) for brick in c.bricks]
    with torch.device("meta"):
        theirs = Transcription(shapes, width=c.vector_width, heads=c.bricks[0].heads, channels=c.channels,
                               num_classes=c.num_classes)  # fmt: skip
        x, number, one_hot = torch.empty(1, c.channels, c.size, c.size), torch.empty(1), torch.empty(1, c.num_classes)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        theirs(x, number, one_hot)
    label = c.num_classes * c.vector_width  # theirs multiplies by zeros, ours looks a row up
    assert counter.get_total_flops() // 2 == cost(c).macs + c.repeated_macs + label
    numbers = sum(value.numel() for value in theirs.state_dict().values())
    assert numbers == cost(c).parameters_with_tables


@pytest.mark.parametrize(
    ("name", "published", "ours"),
    [
        ("lego-xl-pg-32", ["18.5", "3.5", "59.3"], "78.9"),
        ("lego-s-pg-64", ["4.2", "0.5", "15.7"], "19.8"),
        ("lego-l-pg-64-old", ["87.6", "5.5", "180.5"], "262.9"),
    ],
)
def test_cost_of_each_brick(name: str, published: list[str], ours: str) -> None:
    """GMAC. Bricks of small windows cost less in ours, the whole image's as much."""
    c = config(name)
    counted = cost(c)
    spared = [c.first(n).repeated_macs for n in range(1, c.num_parts + 1)]
    theirs = [counted.parts[f"bricks.{k}"].macs + spared[k] - (spared[k - 1] if k else 0) for k in range(c.num_parts)]
    assert [f"{macs / 1e9:.1f}" for macs in theirs] == published
    assert f"{counted.macs / 1e9:.1f}" == ours
