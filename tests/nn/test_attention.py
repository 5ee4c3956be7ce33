"""Kernels agree, and which one runs is known, recordable and restorable."""

import pytest
import torch
from torch import Tensor

from brickwork.errors import UnknownNameError
from brickwork.nn import attention
from brickwork.nn import linear as products
from brickwork.nn.attention import KERNELS, attend, kernel_choices, set_kernel_choices, use_kernel
from brickwork.nn.linear import is_available


@pytest.fixture(autouse=True)
def _forget() -> None:
    set_kernel_choices({})


def qkv(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, 7, 8, generator=generator).to(dtype).requires_grad_() for _ in range(3)]


def by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v, one row at a time in float64."""
    q, k, v = q.double(), k.double(), v.double()
    out = torch.zeros_like(q)
    for row in range(q.shape[2]):
        weights = (q[:, :, row : row + 1] * k).sum(-1) / 8**0.5
        weights = weights.exp() / weights.exp().sum(-1, keepdim=True)
        out[:, :, row] = (weights[..., None] * v).sum(2)
    return out.transpose(1, 2).flatten(2)


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_equal_the_formula_forward_and_backward(name: str) -> None:
    tensors = qkv()
    with use_kernel(name):
        out = attend(*tensors)
    expected = by_hand(*tensors)
    assert torch.allclose(out.double(), expected, atol=1e-6)
    seed = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    got = torch.autograd.grad(out, tensors, seed)
    want = torch.autograd.grad(expected, tensors, seed.double())
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("name", KERNELS)
def test_bf16_stays_bf16_and_close_also_under_autocast(name: str) -> None:
    tensors = qkv(torch.bfloat16)
    with use_kernel(name), torch.autocast("cpu", torch.bfloat16):
        out = attend(*tensors)
    assert out.dtype == torch.bfloat16
    assert torch.allclose(out.double(), by_hand(*tensors), atol=0.03)


def test_fp32_kernel_is_not_undone_by_autocast() -> None:
    tensors = qkv(torch.bfloat16)
    with use_kernel("fused-fp32"), torch.autocast("cpu", torch.bfloat16):
        out = attend(*tensors)
    exact = by_hand(*tensors).bfloat16()
    assert (out == exact).double().mean() > 0.95  # rounded once, at the end


def test_measured_once_per_key(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def measure(*key: object) -> dict[str, float]:
        calls.append(key)
        return {"matmul": 2.0, "fused": 1.0}

    monkeypatch.setattr(attention, "measure", measure)
    attend(*qkv())
    attend(*qkv())
    assert kernel_choices() == {"cpu/float32/7x8/8/train": "fused"}
    with torch.no_grad():
        attend(*qkv())
    assert list(kernel_choices()) == ["cpu/float32/7x8/8/train", "cpu/float32/7x8/3h/infer"]
    assert len(calls) == 2


def test_without_gradients_the_batch_does_not_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels round differently: a picture must not depend on how many are drawn with it."""
    batches = []

    def measure(_: str, __: str, B: int, *rest: object) -> dict[str, float]:
        batches.append(B)
        return {"matmul": 1.0, "fused": 2.0}

    monkeypatch.setattr(attention, "measure", measure)
    with torch.no_grad():
        for B in (1, 8, 3, 500):
            attend(*(torch.zeros(B, 3, 7, 8) for _ in range(3)))
    assert kernel_choices() == {"cpu/float32/7x8/3h/infer": "matmul"}
    assert batches == [attention.NOMINAL_BATCH]
    train = [attention.kernel_key("cpu", "float32", B, 3, 7, 8, training=True) for B in (1, 8)]
    assert train == ["cpu/float32/7x8/4/train", "cpu/float32/7x8/32/train"]


@pytest.mark.parametrize("limit", [1, 3 * 7 * 7 * 4, 4 * 7 * 7 * 4, 2**22])
def test_tiles_change_no_bit(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Without gradients the matrix form goes by a few heads at a time, here of six."""
    tensors = [tensor.detach() for tensor in qkv()]
    whole = (tensors[0] * 8**-0.5 @ tensors[1].mT).softmax(-1) @ tensors[2]
    monkeypatch.setattr(attention, "TILE_BYTES", limit)
    assert torch.equal(attention.matmul(*tensors), whole)
    assert torch.equal(attention.matmul(*qkv()), whole)  # with gradients


def test_without_gradients_no_kernel_needs_the_whole_batch_of_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = []
    by_torch = torch.bmm

    def bmm(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
        largest.append(out.nbytes)
        return by_torch(a, b, out=out)

    monkeypatch.setattr(attention, "TILE_BYTES", 4 * 7 * 7 * 4)
    monkeypatch.setattr(torch, "bmm", bmm)
    attention.matmul(*(torch.zeros(50, 3, 7, 7) for _ in range(3)))
    assert max(largest) == 4 * 7 * 7 * 4


def test_one_head_after_the_other_keeps_no_scores() -> None:
    kept = []
    q, k, v = (torch.zeros(2, 3, 50, 8, requires_grad=True) for _ in range(3))

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        attention.heads(q, k, v)
    assert sum(kept) == 3 * q.nbytes


@pytest.mark.parametrize("training", [True, False])
def test_a_kernel_that_cannot_be_had_is_not_chosen(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without AVX-512 oneDNN has no bf16 products, and says so when it is asked for one."""

    def missing(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        raise RuntimeError("could not create a primitive descriptor")

    monkeypatch.setitem(attention.KERNELS, "matmul", missing)
    seconds = attention.measure("cpu", "bfloat16", 2, 3, 20, 8, training)
    assert seconds["matmul"] == float("inf")
    assert all(0 < value < 60 for name, value in seconds.items() if name != "matmul")


def test_choices_are_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    attend(*qkv())
    products.library("cpu", "float32", False)
    saved = kernel_choices()
    assert len(saved) == 2
    set_kernel_choices({})
    assert kernel_choices() == {}
    set_kernel_choices(saved)
    monkeypatch.setattr(attention, "measure", None)  # a restored key is not measured again
    monkeypatch.setattr(products, "measure", None)
    attend(*qkv())
    products.library("cpu", "float32", False)
    assert kernel_choices() == saved


def test_measuring_draws_no_random_number_and_leaves_no_gradient() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    tensors = qkv()
    attend(*tensors)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(tensor.grad is None for tensor in tensors)


def test_every_candidate_is_timed() -> None:
    seconds = attention.measure("cpu", "bfloat16", 2, 3, 7, 8, training=True)
    assert set(seconds) == {"matmul", "fused", "fused-fp32"}
    assert all(0 < s < 10 for s in seconds.values())


def test_long_sequences_never_hold_their_scores() -> None:
    for device in ("cpu", "cuda"):
        assert "matmul" not in attention.candidates(device, "float32", 64, 8, 4097)
    assert attention.candidates("cuda", "float32", 64, 8, 4097) == ["fused"]


def test_heads_one_by_one_are_for_long_sequences() -> None:
    short, long = (attention.candidates("cpu", "bfloat16", 1, 1, rows) for rows in (64, 256))
    there = is_available("cpu", torch.bfloat16)  # not on every processor
    assert set(long) - set(short) == ({"heads"} if there else set())


def test_measuring_works_in_inference_mode() -> None:
    with torch.inference_mode():
        assert attend(*qkv()).shape == (2, 7, 24)


def test_unknown_kernels_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="fused"), use_kernel("fusd"):
        pass
    with pytest.raises(UnknownNameError):
        set_kernel_choices({"cpu/float32/7x8/8/train": "magic"})
