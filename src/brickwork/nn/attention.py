"""Attention kernels: the fastest one for a shape is found by timing once, and remembered so that runs resume exactly.

All kernels compute softmax(q k^T / sqrt(d)) v and agree to rounding; their speeds differ by up to nine times, and which
one wins depends on device, dtype, length and on whether gradients are wanted. Nothing is decided by a device's name.
Without gradients the choice does not depend on the batch size: kernels differ in rounding, and a picture must not
change with the others that are drawn in the same batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from brickwork.errors import UnknownNameError
from brickwork.nn import linear as products
from brickwork.nn.constant import constant_in_graphs
from brickwork.nn.linear import product

Heads = Float[Tensor, "B h T d"]
Kernel = Callable[[Heads, Heads, Heads], Heads]

NOMINAL_BATCH = 8  # inference is measured with this many images, whatever the batch is
REPEATS = 3  # timed runs of each candidate; the fastest counts, as noise only ever adds time
MAX_SCORE_BYTES = 2**29  # the matmul form holds B·h·T² scores for the backward pass: beyond this it is not a candidate
TILE_BYTES = 2**22  # without gradients matmul holds scores of this size at a time: they stay in a processor's cache
MIN_LONG_ROWS = 128  # tokens from which one matrix product per head pays


def fused(q: Heads, k: Heads, v: Heads) -> Heads:
    """Compute attention by torch's fused kernel, whose scores never leave the cache."""
    return F.scaled_dot_product_attention(q, k, v)


def fused_fp32(q: Heads, k: Heads, v: Heads) -> Heads:
    """Compute attention by the fused kernel on float32 copies: its bf16 backward pass is slow on some CPUs."""
    return F.scaled_dot_product_attention(q.float(), k.float(), v.float()).to(q.dtype)


def matmul(q: Heads, k: Heads, v: Heads) -> Heads:
    """Compute attention by two matrix products around a softmax; without gradients in place, a few heads at a time."""
    q = q * q.shape[-1] ** -0.5
    if q.device.type == "meta" or (torch.is_grad_enabled() and any(t.requires_grad for t in (q, k, v))):
        return _softmax_between(q, k, v)
    if torch.compiler.is_compiling():  # the compiler makes one loop of the softmax, and plans the memory
        step = max(1, MAX_SCORE_BYTES // _score_bytes(q.dtype, 1, *q.shape[1:3]))
        parts = zip(q.split(step), k.split(step), v.split(step), strict=True)
        return torch.cat([_softmax_between(*part) for part in parts])
    limit = TILE_BYTES if q.device.type == "cpu" else MAX_SCORE_BYTES
    step = max(1, limit // _score_bytes(q.dtype, 1, 1, q.shape[2]))
    return _in_tiles(step, q.flatten(0, 1), k.flatten(0, 1).mT, v.flatten(0, 1)).view(q.shape)


def _softmax_between(q: Heads, k: Heads, v: Heads) -> Heads:
    return (q @ k.mT).softmax(dim=-1) @ v


def _in_tiles(step: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    out, scores = torch.empty_like(v), q.new_empty(step if len(q) > step else len(q), q.shape[1], k.shape[2])
    for start in range(0, len(q), step):
        tile = slice(start, start + step)
        scores = torch.bmm(q[tile], k[tile], out=scores[: len(q[tile])])
        torch.bmm(torch.softmax(scores, dim=-1, out=scores), v[tile], out=out[tile])
    return out


def heads(q: Heads, k: Heads, v: Heads) -> Heads:
    """Compute attention head by head with oneDNN; the backward pass computes the scores anew, so none are stored."""
    return _heads(q, k, v)


@torch.library.custom_op("brickwork::heads", mutates_args=())
def _heads(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    for q1, k1, v1, to in zip(*(t.flatten(0, 1) for t in (q, k, v, out)), strict=True):
        to.copy_(product(_shares(q1, k1), v1.mT))
    return out


@torch.library.custom_op("brickwork::heads_backward", mutates_args=())
def _heads_backward(grad: Tensor, q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
    """Return dQ, dK, dV: P = softmax(S), S = q k^T / sqrt(d), dV = P^T dO, dS = P (dP - sum(P dP)), dP = dO V^T."""
    to = [torch.empty_like(t, memory_format=torch.contiguous_format) for t in (q, k, v)]
    scale = q.shape[-1] ** -0.5
    for grad1, q1, k1, v1, dq, dk, dv in zip(*(t.flatten(0, 1) for t in (grad, q, k, v, *to)), strict=True):
        shares = _shares(q1, k1)
        of_scores = torch.ops.aten._softmax_backward_data(product(grad1, v1), shares, -1, q.dtype)
        dq.copy_(product(of_scores, k1.mT) * scale)
        dk.copy_(product(q1.mT, of_scores.mT).mT * scale)  # transposed, so that the larger scores need not be
        dv.copy_(product(grad1.mT, shares.mT).mT)
    return to


def _shares(q: Tensor, k: Tensor) -> Tensor:
    scores = product(q * q.shape[-1] ** -0.5, k)
    return torch.softmax(scores, dim=-1, out=scores)


@_heads.register_fake
def _(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.empty_like(q, memory_format=torch.contiguous_format)


@_heads_backward.register_fake
def _(grad: Tensor, q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
    return [torch.empty_like(t, memory_format=torch.contiguous_format) for t in (q, k, v)]


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


_heads.register_autograd(lambda ctx, grad: tuple(_heads_backward(grad, *ctx.saved_tensors)), setup_context=_keep)


KERNELS: dict[str, Kernel] = {"matmul": matmul, "fused": fused, "fused-fp32": fused_fp32, "heads": heads}

_choices: dict[str, str] = {}
_forced: list[str] = []


def kernel_choices() -> dict[str, str]:
    """Return the fastest kernels measured so far, linear layers' too; save them beside a training state."""
    return {**_choices, **products.choices()}


def set_kernel_choices(choices: Mapping[str, str]) -> None:
    """Restore recorded choices, so that a resumed run repeats the same rounding. Other keys are forgotten.

    Raises:
        UnknownNameError: A kernel is unknown to this version.
    """
    of_products = {key: name for key, name in choices.items() if key.endswith(products.SUFFIX)}
    of_attention = {key: name for key, name in choices.items() if key not in of_products}
    for name in of_attention.values():
        _check(name)
    products.set_choices(of_products)
    _choices.clear()
    _choices.update(of_attention)


@contextmanager
def use_kernel(name: str) -> Iterator[None]:
    """Make every attention in the context use this kernel; linear layers use torch's product, nothing is measured."""
    _check(name)
    _forced.append(name)
    try:
        with products.use_library("torch"):
            yield
    finally:
        _forced.pop()


def attend(q: Heads, k: Heads, v: Heads) -> Float[Tensor, "B T D"]:
    """Compute softmax(q k^T / sqrt(d)) v with the fastest kernel, heads merged: (B, h, T, d) → (B, T, h·d)."""
    if _forced:
        name = _forced[-1]
    elif torch.compiler.is_exporting():
        name = "fused"  # one operator that every package format knows
    elif q.device.type == "meta":
        name = "matmul"  # nothing to time; its matrix products can be counted
    else:
        training = torch.is_grad_enabled() and q.requires_grad
        B, h, T, d = q.shape
        name = _fastest(q.device.type, str(q.dtype).removeprefix("torch."), B, h, T, d, training)
    with _no_autocast(q.device):
        return _merged(KERNELS[name], q, k, v)


def kernel_key(device: str, dtype: str, B: int, h: int, T: int, d: int, training: bool) -> str:
    """Return the name under which a choice is remembered: device, dtype, T x d, and whether gradients are wanted.

    With gradients also B·h, rounded up to a power of two; without, h alone.
    """
    count = f"{1 << (B * h - 1).bit_length()}/train" if training else f"{h}h/infer"
    return f"{device}/{dtype}/{T}x{d}/{count}"


def candidates(device: str, dtype: str, B: int, h: int, T: int) -> list[str]:
    """List the kernels worth timing for tensors of this device, dtype and size."""
    kind = getattr(torch, dtype)
    small = _score_bytes(kind, B, h, T) <= MAX_SCORE_BYTES
    long = T >= MIN_LONG_ROWS and products.is_available(device, kind)
    return [
        *(["matmul"] if small else []),
        "fused",
        *(["fused-fp32"] if dtype != "float32" else []),
        *(["heads"] if long else []),
    ]


def measure(device: str, dtype: str, B: int, h: int, T: int, d: int, training: bool) -> dict[str, float]:
    """Time each candidate, in seconds: forward, and backward where gradients are wanted; draws no random number.

    Infinity stands for a kernel that this processor does not have.
    """
    best = dict.fromkeys(candidates(device, dtype, B, h, T), float("inf"))
    with products.timing(device, training):
        values = torch.linspace(-1, 1, B * h * T * d, device=device).to(getattr(torch, dtype)).view(B, h, T, d)
        q, k, v = (values.clone().requires_grad_(training) for _ in range(3))
        for repeat in range(REPEATS + 1):
            for name in best:
                seconds = _seconds(KERNELS[name], q, k, v, training)
                if repeat > 0:  # the first run fills caches
                    best[name] = min(best[name], seconds)
    return best


@constant_in_graphs
def _fastest(device: str, dtype: str, B: int, h: int, T: int, d: int, training: bool) -> str:
    """Return the remembered choice, or measure; a compiled graph keeps the choice made when it was compiled."""
    key = kernel_key(device, dtype, B, h, T, d, training)
    if key not in _choices:
        seconds = measure(device, dtype, B if training else NOMINAL_BATCH, h, T, d, training)
        _choices[key] = min(seconds, key=lambda name: seconds[name])
    return _choices[key]


def _score_bytes(dtype: torch.dtype, B: int, h: int, T: int) -> int:
    return B * h * T * T * dtype.itemsize


def _no_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Turn autocast off: q, k and v already have their dtype, and autocast would undo a kernel's own casts."""
    if device.type == "meta" or not torch.is_autocast_enabled(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def _seconds(kernel: Kernel, q: Heads, k: Heads, v: Heads, training: bool) -> float:
    wait(q.device)
    start = time.perf_counter()
    try:
        out = _merged(kernel, q, k, v)
        if training:
            torch.autograd.grad(out, (q, k, v), torch.ones_like(out))
    except RuntimeError:  # a kernel that this processor does not have in this dtype
        return float("inf")
    wait(q.device)
    return time.perf_counter() - start


def wait(device: torch.device) -> None:
    """Block until the device has finished all queued work; a no-op on the CPU."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _merged(kernel: Kernel, q: Heads, k: Heads, v: Heads) -> Float[Tensor, "B T D"]:
    return kernel(q, k, v).transpose(1, 2).flatten(2)


def _check(name: str) -> None:
    if name not in KERNELS:
        raise UnknownNameError("attention kernel", name, KERNELS)
