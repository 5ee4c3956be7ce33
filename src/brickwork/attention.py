"""Which attention kernel is fastest here: found by measuring once, remembered, and restorable for exact resumes.

All kernels compute softmax(q k^T / sqrt(d)) v and agree to rounding; their speeds differ by up to nine times, and which
one wins depends on device, dtype, length and on whether gradients are wanted. No name of a device is asked.
Without gradients the choice does not depend on the batch: kernels differ in rounding, and a picture must not change
with the company it is drawn in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from brickwork.errors import UnknownNameError

Heads = Float[Tensor, "B h T d"]
Kernel = Callable[[Heads, Heads, Heads], Heads]

NOMINAL_BATCH = 8  # inference is measured with this many images, whatever the batch is
REPEATS = 3  # timed runs of each candidate; the fastest counts, since noise only ever adds
MAX_SCORE_BYTES = 2**29  # the matmul form holds B·h·T² scores per block: beyond this it is not a candidate


def fused(q: Heads, k: Heads, v: Heads) -> Heads:
    """torch's fused kernel: scores never leave the cache."""
    return F.scaled_dot_product_attention(q, k, v)


def fused_fp32(q: Heads, k: Heads, v: Heads) -> Heads:
    """The fused kernel on float32 copies: its bf16 backward is slow on some CPUs."""
    return F.scaled_dot_product_attention(q.float(), k.float(), v.float()).to(q.dtype)


def matmul(q: Heads, k: Heads, v: Heads) -> Heads:
    """Two matrix products around a softmax."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    return scores.softmax(dim=-1) @ v


KERNELS: dict[str, Kernel] = {"matmul": matmul, "fused": fused, "fused-fp32": fused_fp32}

_choices: dict[str, str] = {}
_forced: list[str] = []


def kernel_choices() -> dict[str, str]:
    """What has been measured so far in this process: key → kernel name; save it beside a training state."""
    return dict(_choices)


def set_kernel_choices(choices: Mapping[str, str]) -> None:
    """Restore recorded choices, so that a resumed run repeats the same rounding. Other keys are forgotten.

    Raises:
        UnknownNameError: A kernel that this version does not have.
    """
    for name in choices.values():
        _check(name)
    _choices.clear()
    _choices.update(choices)


@contextmanager
def use_kernel(name: str) -> Iterator[None]:
    """Within the context every attention uses this kernel and nothing is measured."""
    _check(name)
    _forced.append(name)
    try:
        yield
    finally:
        _forced.pop()


def attend(q: Heads, k: Heads, v: Heads) -> Float[Tensor, "B T D"]:
    """softmax(q k^T / sqrt(d)) v with the kernel that is fastest here, heads merged."""
    if _forced:
        name = _forced[-1]
    elif torch.compiler.is_exporting():
        name = "fused"  # one operator that every target knows
    elif q.device.type == "meta":
        name = "matmul"  # nothing to time; products that can be counted
    else:
        training = torch.is_grad_enabled() and q.requires_grad
        B, h, T, d = q.shape
        name = _fastest(q.device.type, str(q.dtype).removeprefix("torch."), B, h, T, d, training)
        if name == "matmul" and not training and _score_bytes(q.dtype, B, h, T) > MAX_SCORE_BYTES:
            step = max(1, MAX_SCORE_BYTES // _score_bytes(q.dtype, 1, h, T))
            with _no_autocast(q.device):
                parts = zip(q.split(step), k.split(step), v.split(step), strict=True)
                return torch.cat([_merged(matmul, *part) for part in parts])
    with _no_autocast(q.device):
        return _merged(KERNELS[name], q, k, v)


def kernel_key(device: str, dtype: str, B: int, h: int, T: int, d: int, training: bool) -> str:
    """Device, dtype, rows x head width, and whether gradients are wanted.

    With gradients also batch·heads, up to a power of two; without, heads alone.
    """
    count = f"{1 << (B * h - 1).bit_length()}/train" if training else f"{h}h/infer"
    return f"{device}/{dtype}/{T}x{d}/{count}"


def candidates(dtype: str, B: int, h: int, T: int) -> list[str]:
    """Kernels worth timing for such tensors."""
    small = _score_bytes(getattr(torch, dtype), B, h, T) <= MAX_SCORE_BYTES
    return [*(["matmul"] if small else []), "fused", *(["fused-fp32"] if dtype != "float32" else [])]


def measure(device: str, dtype: str, B: int, h: int, T: int, d: int, training: bool) -> dict[str, float]:
    """Seconds of each candidate: forward, and backward where gradients are wanted; draws no random number."""
    best = dict.fromkeys(candidates(dtype, B, h, T), float("inf"))
    # Hooks of an outer activation checkpoint must not see these graphs: only the innermost pair of hooks is called.
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x)
    with torch.inference_mode(False), torch.set_grad_enabled(training), _no_autocast(torch.device(device)), hooks:
        values = torch.linspace(-1, 1, B * h * T * d, device=device).to(getattr(torch, dtype)).view(B, h, T, d)
        q, k, v = (values.clone().requires_grad_(training) for _ in range(3))
        for repeat in range(REPEATS + 1):
            for name in best:
                seconds = _seconds(KERNELS[name], q, k, v, training)
                if repeat > 0:  # the first run fills caches
                    best[name] = min(best[name], seconds)
    return best


@torch.compiler.assume_constant_result
def _fastest(device: str, dtype: str, B: int, h: int, T: int, d: int, training: bool) -> str:
    """The remembered choice, or a measured one; a compiled graph keeps what was true when it was compiled."""
    key = kernel_key(device, dtype, B, h, T, d, training)
    if key not in _choices:
        seconds = measure(device, dtype, B if training else NOMINAL_BATCH, h, T, d, training)
        _choices[key] = min(seconds, key=lambda name: seconds[name])
    return _choices[key]


def _score_bytes(dtype: torch.dtype, B: int, h: int, T: int) -> int:
    return B * h * T * T * dtype.itemsize


def _no_autocast(device: torch.device) -> AbstractContextManager[object]:
    """q, k and v have their dtype by now; autocast would undo the casts of a kernel."""
    if device.type == "meta" or not torch.is_autocast_enabled(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def _seconds(kernel: Kernel, q: Heads, k: Heads, v: Heads, training: bool) -> float:
    _wait(q.device)
    start = time.perf_counter()
    out = _merged(kernel, q, k, v)
    if training:
        torch.autograd.grad(out, (q, k, v), torch.ones_like(out))
    _wait(q.device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _merged(kernel: Kernel, q: Heads, k: Heads, v: Heads) -> Float[Tensor, "B T D"]:
    return kernel(q, k, v).transpose(1, 2).flatten(2)


def _check(name: str) -> None:
    if name not in KERNELS:
        raise UnknownNameError("attention kernel", name, KERNELS)
