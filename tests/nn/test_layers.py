"""Layers against their formulas."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from brickwork.nn.layers import (
    Attention,
    Block,
    Depthwise,
    HeadNorm,
    grid_rotation,
    grid_sinusoid,
    initialize,
    rotate,
    sinusoid,
)


def test_sinusoid_is_cosines_then_sines_of_period_10000() -> None:
    got = sinusoid(torch.tensor([0.0, 999.0]), 8)
    assert got.shape == (2, 8)
    assert got[0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    for i in range(4):
        angle = 999 * 10_000 ** (-i / 4)
        assert math.isclose(got[1, i], math.cos(angle), abs_tol=1e-4)
        assert math.isclose(got[1, 4 + i], math.sin(angle), abs_tol=1e-4)


def test_sinusoid_stays_float32_for_half_precision() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert sinusoid(torch.tensor([998.4]), 64).dtype == torch.float32
    near = sinusoid(torch.tensor([998.4, 998.5]), 64)
    assert (near[0] - near[1]).abs().max() > 0.05  # in bf16 both numbers are 1000


def test_grid_sinusoid_tells_row_and_column() -> None:
    table = grid_sinusoid((3, 5), 16).unflatten(0, (3, 5))
    assert torch.equal(table[1, 0, :8], table[1, 4, :8])
    assert torch.equal(table[0, 3, 8:], table[2, 3, 8:])
    assert torch.cdist(table.flatten(0, 1), table.flatten(0, 1)).add(torch.eye(15)).min() > 0.1


def test_rotation_makes_scores_relative_and_leaves_extra_rows() -> None:
    rotation = grid_rotation((4, 4), 8, num_extra=2)
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, 1, 1, 8, generator=generator).expand(1, 1, 18, 8) for _ in range(2))
    q_turned, k_turned = rotate(q, rotation), rotate(k, rotation)
    assert torch.equal(q_turned[:, :, :2], q[:, :, :2])
    assert torch.allclose(q_turned.norm(dim=-1), q.norm(dim=-1))
    scores = (q_turned @ k_turned.transpose(-2, -1))[0, 0, 2:, 2:].view(4, 4, 4, 4)
    # One step down and two right of each other, wherever that is.
    assert torch.allclose(scores[0, 0, 1, 2], scores[2, 1, 3, 3], atol=1e-5)
    assert not torch.allclose(scores[0, 0, 1, 2], scores[0, 0, 2, 1], atol=1e-3)


def test_head_norm_is_root_mean_square() -> None:
    norm = HeadNorm(4)
    nn.init.constant_(norm.scale, 3.0)
    x = torch.tensor([[[[1.0, -2.0, 3.0, 4.0]]]])
    assert torch.allclose(norm(x), 3 * x / math.sqrt(30 / 4))
    assert norm(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("heads", [1, 4])
def test_attention_equals_torchs_own(heads: int) -> None:
    torch.manual_seed(0)
    ours, theirs = Attention(32, heads), nn.MultiheadAttention(32, heads, bias=True, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv.weight)
        theirs.in_proj_bias.zero_()
        theirs.out_proj.weight.copy_(ours.proj.weight)
        theirs.out_proj.bias.copy_(ours.proj.bias)
    x = torch.randn(2, 9, 32)
    assert torch.allclose(ours(x), theirs(x, x, x)[0], atol=1e-6)


def test_block_equals_torchs_own() -> None:
    torch.manual_seed(0)
    ours = Block(32, 4, 4, qk_norm=False, depthwise=False, modulated=False)
    theirs = nn.TransformerEncoderLayer(32, 4, 128, 0.0, "gelu", batch_first=True, norm_first=True)
    with torch.no_grad():
        ours.mlp.widen.load_state_dict(theirs.linear1.state_dict())
        ours.mlp.narrow.load_state_dict(theirs.linear2.state_dict())
        ours.attention.qkv.weight.copy_(theirs.self_attn.in_proj_weight)
        ours.attention.proj.load_state_dict(theirs.self_attn.out_proj.state_dict())
    x = torch.randn(2, 9, 32)
    assert torch.allclose(ours(x, (3, 3)), theirs(x), atol=1e-5)


def test_depthwise_adds_a_zero_padded_convolution_and_spares_extra_rows() -> None:
    layer = Depthwise(2)
    nn.init.zeros_(layer.conv.bias) if layer.conv.bias is not None else None
    nn.init.ones_(layer.conv.weight)
    x = torch.ones(1, 1 + 9, 2)
    out = layer(x, (3, 3))
    assert out[0, 0].tolist() == [1, 1]
    # 1 + the number of neighbours within the image
    assert out[0, 1:, 0].tolist() == [5, 7, 5, 7, 10, 7, 5, 7, 5]


def test_modulated_block_starts_as_the_identity() -> None:
    block = Block(32, 4, 4, qk_norm=False, depthwise=False, modulated=True)
    initialize(block)
    x = torch.randn(2, 9, 32)
    assert torch.equal(block(x, (3, 3), None, torch.randn(2, 32)), x)


def test_initialisation() -> None:
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(256, 256), nn.Conv2d(3, 3, 3))
    before = layer[1].state_dict()["weight"].clone()
    initialize(layer)
    linear = layer.get_submodule("0").state_dict()
    assert abs(linear["weight"].std().item() - 0.02) < 0.001
    assert not linear["bias"].any()
    assert torch.equal(layer.get_submodule("1").state_dict()["weight"], before)


COMPILED = """
import torch
from brickwork.nn.attention import kernel_choices
from brickwork.nn.layers import Block
torch.manual_seed(0)
block = Block(32, 2, 4, qk_norm=True, depthwise=True, modulated=False)
x = torch.randn(2, 11, 32)
compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
assert torch.allclose(compiled(x, (3, 3)), block(x, (3, 3)), atol=1e-5)
assert list(kernel_choices()) == ["cpu/float32/11x16/4/train", "cpu/float32/train/product"]
"""


def test_block_compiles_into_one_graph_and_equals_eager() -> None:
    """In a process of its own: the checks of these tests are nothing a compiler can follow."""
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
