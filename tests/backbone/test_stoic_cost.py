"""Two ways to count that know nothing of each other: running on meta tensors, and a formula on paper."""

from typing import Any

import pytest
import torch
from tiny_backbones import STOIC

from brickwork.backbone.stoic import Stoic
from brickwork.diffusion.denoiser import Condition
from brickwork.model.cost import Cost, cost
from brickwork.nn.attention import use_kernel


def stoic(**options: Any) -> Stoic.Config:
    """A config from loosely typed options."""
    return Stoic.Config(**options)


def by_hand(c: Stoic.Config) -> tuple[int, int, int]:
    """Parameters, MACs, MACs of attention."""
    L, N, S, C, r, k = c.width, c.depth, c.stride, c.channels, c.mlp_ratio, c.kernel_size
    pixels, T = c.size**2, (c.size // c.stride) ** 2
    class_rows = c.num_class_tokens if c.num_classes else 0
    rows = T + (c.time == "token") + class_rows + c.text_length
    inputs = c.in_channels + 2 * (c.position == "coordinates")

    hidden = L // 2
    widths = [inputs, *[hidden] * (c.stem_layers - 1), L]
    sides = [k, *[3] * (c.stem_layers - 1)]
    stem = sum(a * b * side**2 for a, b, side in zip(widths, widths[1:], sides, strict=False))
    parameters = stem + sum(widths[1:])
    macs = stem * T

    parameters += (c.num_classes + 1) * class_rows * L
    if c.text_length:
        parameters += c.text_width * L + L
        macs += c.text_length * c.text_width * L
    if c.position == "learned":
        parameters += T * L
    if c.time == "adaln":
        parameters += 2 * (L * L + L)
        macs += 2 * L * L

    linear = 3 * L * L + L * L + 2 * r * L * L
    block = linear + L + (r + 1) * L + 4 * L
    if c.qk_norm:
        block += 2 * L // c.num_heads
    if c.depthwise:
        block += 10 * L
        macs += N * 9 * L * T
    if c.time == "adaln":
        block += 6 * L * L + 6 * L
        macs += N * 6 * L * L
    parameters += block * (1 if c.share_weights else N)
    attention = N * 2 * rows**2 * L
    macs += N * linear * rows + attention

    if c.long_skip == "concat":
        parameters += (N // 2) * (2 * L * L + L)
        macs += (N // 2) * 2 * L * L * rows
    if c.decoder != "slice_channels":
        parameters += 2 * L + L * S * S * C + S * S * C
        macs += T * L * S * S * C
    if c.decoder == "linear_tokens":
        parameters += T * rows + T
        macs += T * rows * L
    if c.final_conv:
        parameters += 9 * C * C + C
        macs += 9 * C * C * pixels
    return parameters, macs, attention


@pytest.mark.parametrize("tiny", STOIC.values(), ids=STOIC.keys())
def test_counted_equals_hand_formula(tiny: Stoic.Config) -> None:
    counted = cost(tiny)
    parameters, macs, attention = by_hand(tiny)
    assert counted.parameters == parameters
    assert counted.macs == macs
    assert counted.macs - counted.macs_without_attention == attention
    assert sum(part.parameters for part in counted.parts.values()) == parameters
    assert sum(part.macs for part in counted.parts.values()) == macs
    tables = {"sincos": tiny.grid[0] ** 2 * tiny.width, "rope": 0}
    if tiny.position != "rope":
        assert counted.parameters_with_tables == parameters + tables.get(tiny.position, 0)
    assert counted.parameters == sum(p.numel() for p in tiny.build().parameters())


# Of the U-ViT family and of STOIC, computed from published formulas. Columns: parameters in M without and with concat
# merges; GMAC (and without attention) at 32x32 stride 2, none and concat; at 32x32 stride 1, which 64x64 at stride 2
# equals; of a 4x32x32 latent at stride 2 with 77 tokens of text of width 768.
TABLE = {
    (12, 512): ((37.8, 41.0), ((10.5, 9.7), (11.3, 10.5), (51.6, 38.7), (54.8, 41.9), (14.0, 12.7))),
    (13, 512): ((41.0, 44.1), ((11.4, 10.5), (12.2, 11.3), (55.9, 41.9), (59.1, 45.2), (15.2, 13.7))),
    (16, 512): ((50.4, 54.6), ((14.0, 12.9), (15.1, 14.0), (68.8, 51.6), (73.1, 55.9), (18.7, 16.9))),
    (32, 512): ((100.8, 109.2), ((28.0, 25.9), (30.2, 28.0), (137.6, 103.2), (146.2, 111.8), (37.3, 33.7))),
    (12, 768): ((85.1, 92.1), ((23.1, 21.8), (24.9, 23.7), (106.5, 87.1), (113.7, 94.3), (30.5, 28.4))),
    (16, 768): ((113.4, 122.8), ((30.7, 29.1), (33.2, 31.5), (141.9, 116.1), (151.6, 125.8), (40.6, 37.9))),
    (32, 768): ((226.8, 245.7), ((61.5, 58.2), (66.3, 63.1), (283.8, 232.2), (303.2, 251.5), (81.2, 75.7))),
    (64, 1024): ((806, 873), ((216, None), (233, None), (963, None), (1032, None), (284, None))),
    (128, 1024): ((1612, 1746), ((431, None), (466, None), (1926, None), (2064, None), (567, None))),
    (64, 1536): ((1813, 1964), ((479, None), (517, None), (2064, None), (2219, None), (627, None))),
    (128, 1536): ((3626, 3928), ((957, None), (1035, None), (4128, None), (4437, None), (1254, None))),
}
TEXT = {"channels": 4, "text_length": 77, "text_width": 768}
COLUMNS = ({}, {"long_skip": "concat"}, {"size": 64}, {"size": 64, "long_skip": "concat"}, TEXT)


def agrees(value: float, cell: float, deep: bool) -> bool:
    """To the table's rounding: one decimal, none in the deep half. Two cells (12.65 and 16.85) were rounded twice."""
    if deep:
        return round(value) == cell
    once, twice = (f"{v + 1e-9:.1f}" for v in (value, round(value, 2)))
    return str(cell) in (once, twice)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]}x{row[1]}")
def test_formula_gives_every_cell_of_the_table(row: tuple[int, int]) -> None:
    """The formula, which the test above ties to the counter; the counter itself runs on one row below."""
    depth, width = row
    millions, cells = TABLE[row]
    deep = depth >= 64
    for skip, cell in zip(("none", "concat"), millions, strict=True):
        config = stoic(depth=depth, width=width, long_skip=skip)
        assert agrees(by_hand(config)[0] / 1e6, cell, deep), (skip, by_hand(config)[0])
    for options, (total, bare) in zip(COLUMNS, cells, strict=True):
        config = stoic(depth=depth, width=width, **options)
        _, macs, attention = by_hand(config)
        assert agrees(macs / 1e9, total, deep), (options, macs)
        assert bare is None or agrees((macs - attention) / 1e9, bare, deep), (options, macs - attention)


@pytest.mark.parametrize("options", [*COLUMNS, {"stride": 1}], ids=str)
def test_counter_gives_the_first_row_of_the_table(options: dict) -> None:
    config = stoic(depth=12, width=512, **options)
    assert (cost(config).parameters, cost(config).macs) == by_hand(config)[:2]


def test_stride_1_is_64_pixels_at_stride_2() -> None:
    a, b = (by_hand(stoic(depth=12, width=512, **o)) for o in ({"stride": 1}, {"stride": 2, "size": 64}))
    assert agrees(a[1] / 1e9, 51.6, False)
    assert abs(a[1] - b[1]) < 0.02e9


def test_64_pixels_at_stride_1_is_mostly_attention() -> None:
    counted: Cost = cost(Stoic.Config(depth=12, width=512, stride=1, size=64))
    assert round(counted.macs / 1e9) == 361
    assert round(counted.macs_without_attention / 1e9) == 155


def test_kept_bytes_are_what_autograd_saves() -> None:
    """The matrix form of attention on real tensors, against the count on meta tensors."""
    config = Stoic.Config(size=8, width=32, depth=3, heads=2, num_classes=5, depthwise=True)
    model = config.build()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    x = torch.zeros(1, 3, 8, 8)
    with use_kernel("matmul"), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = model(x, torch.zeros(1), Condition(labels=torch.zeros(1, dtype=torch.long)))
    expected = sum(saved.values())
    counted = cost(config).training_bytes
    slack = x.nbytes + out.nbytes + 4096  # the image, the result, and indices
    assert abs(counted - expected) <= slack
