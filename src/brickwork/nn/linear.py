"""Linear layers by the fastest matrix-product library: found by timing once, remembered, restored on resume.

torch hands float32 products on a CPU to Intel's MKL, which on other makers' processors runs at half the speed of oneDNN
or less; torch ships both. oneDNN also applies a GELU to a product's rows before they leave the cache. The two agree to
rounding. Nothing is decided by a processor's name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.errors import UnknownNameError
from brickwork.nn.constant import constant_in_graphs

Gelu = Literal["none", "tanh"]

LIBRARIES = ("torch", "onednn")
HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
MARGIN = 1.25  # oneDNN must be this much faster: where the two are alike, noise must not decide
REPEATS = 8  # timed runs of each library; the fastest counts
ENOUGH_ROWS = 4  # float32 products of fewer rows than this take another path, which rounds differently

SUFFIX = "/product"  # ends the keys of choices, after device, dtype, and whether gradients are wanted

USES = ("infer", "train")

_choices: dict[str, str] = {}
_forced: list[str] = []


def choices() -> dict[str, str]:
    """Return the fastest libraries measured so far in this process: key → library."""
    return dict(_choices)


def set_choices(choices: Mapping[str, str]) -> None:
    """Restore recorded choices and forget all others.

    Keys of earlier versions name no use, infer or train: they count for both.

    Raises:
        UnknownNameError: A library is unknown to this version.
    """
    for name in choices.values():
        _check(name)
    _choices.clear()
    for key, name in choices.items():
        place = key.removesuffix(SUFFIX)
        both = place.count("/") == 1
        _choices.update(dict.fromkeys([f"{place}/{use}{SUFFIX}" for use in USES] if both else [key], name))


@contextmanager
def use_library(name: str) -> Iterator[None]:
    """Make linear layers use this library inside the context, where it is available; nothing is measured."""
    _check(name)
    _forced.append(name)
    try:
        yield
    finally:
        _forced.pop()


def _check(name: str) -> None:
    if name not in LIBRARIES:
        raise UnknownNameError("library of products", name, LIBRARIES)


class Linear(nn.Linear):
    """Linear layer x W^T + b, with an optional GELU; weights and their names are those of ``nn.Linear``.

    Args:
        in_features: Width of x.
        out_features: Width of the result.
        bias: Add b.
        gelu: "none" for the exact GELU, "tanh" for its tanh approximation (torch's names); None for no GELU.
    """

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True, gelu: Gelu | None = None) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self.gelu: Gelu | None = gelu

    def forward(self, input: Float[Tensor, "*S K"]) -> Float[Tensor, "*S N"]:  # noqa: A002 - the name torch gives it
        """Apply the layer to the last axis: (..., K) → (..., N)."""
        return linear(input, self.weight, self.bias, self.gelu)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: Gelu | None = None) -> Tensor:
    """Compute gelu(x W^T + b); without gradients a row's bits do not depend on how many rows there are."""
    device, dtype = x.device.type, _dtype(x)
    gradients = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    few = not gradients and device == "cpu" and x.shape[:-1].numel() < ENOUGH_ROWS
    if few and not torch.compiler.is_compiling():
        rows = x.flatten(0, -2)
        padded = F.pad(rows, (0, 0, 0, ENOUGH_ROWS - len(rows)))
        return linear(padded, weight, bias, gelu)[: len(rows)].view(*x.shape[:-1], -1)
    # torch's bf16 products are oneDNN's already; without gradients the GELU can go with them.
    alike = dtype != torch.float32 and (gradients or gelu is None)
    name = str(dtype).removeprefix("torch.")
    if alike or torch.compiler.is_exporting() or library(device, name, gradients) == "torch":
        return _activated(F.linear(x, weight, bias), gelu)
    rows = x.flatten(0, -2)
    if gradients:
        return _activated(_Product.apply(rows, weight, bias).view(*x.shape[:-1], -1), gelu)
    bias = None if bias is None else bias.to(dtype)
    return _onednn(rows.to(dtype), weight.to(dtype), bias, gelu or "").view(*x.shape[:-1], -1)


def product(a: Float[Tensor, "M K"], b: Float[Tensor, "N K"]) -> Float[Tensor, "M N"]:
    """Compute a b^T by oneDNN where it is available, else by torch."""
    if not is_available(a.device.type, a.dtype):
        return a @ b.T
    if torch.is_grad_enabled() and (a.requires_grad or b.requires_grad):
        return _Product.apply(a, b, None)
    return _onednn(a, b, None, "")


def is_available(device: str, dtype: torch.dtype) -> bool:
    """Tell whether oneDNN computes such products here: some builds of torch lack it, some processors lack bf16."""
    return HAS_ONEDNN and device == "cpu" and dtype in (torch.float32, torch.bfloat16) and _works(dtype)


@cache
@constant_in_graphs
def _works(dtype: torch.dtype) -> bool:
    """Try one small product: oneDNN refuses a dtype that the processor lacks only when asked for it."""
    with torch.inference_mode(False), torch.no_grad():
        one = torch.ones(1, 1, dtype=dtype)
        try:
            torch.ops.mkldnn._linear_pointwise(one, one, None, "none", [], "")
        except RuntimeError:
            return False
    return True


@constant_in_graphs
def library(device: str, dtype: str, training: bool) -> str:
    """Return the library to use, timed at the first call for a device, a dtype, and whether gradients are wanted."""
    if not is_available(device, getattr(torch, dtype)):
        return "torch"
    if _forced:
        return _forced[-1]
    key = f"{device}/{dtype}/{USES[training]}{SUFFIX}"
    if key not in _choices:
        seconds = measure(device, dtype, training)
        _choices[key] = "onednn" if seconds["onednn"] * MARGIN < seconds["torch"] else "torch"
    return _choices[key]


def measure(device: str, dtype: str, training: bool) -> dict[str, float]:
    """Time a layer with each library, in processor seconds; draws no random number.

    With gradients: 2048 rows through 256 → 512 and both products of the backward pass, whose operands are transposed.
    Without: 512 rows through 512 → 1024, in bf16 with a GELU, as torch's plain bf16 product is oneDNN's anyway.
    """
    gelu: Gelu | None = None if training or dtype == "float32" else "tanh"
    count, width = (2048, 256) if training else (512, 512)
    with timing(device, training):
        kind = getattr(torch, dtype)
        x = torch.linspace(-1, 1, count * width, device=device).to(kind).view(count, width).requires_grad_(training)
        weight = torch.linspace(-1, 1, 2 * width * width, device=device).to(kind).view(2 * width, width)
        weight.requires_grad_(training)

        def by_torch() -> Tensor:
            return _activated(F.linear(x, weight), gelu)

        def by_onednn() -> Tensor:
            return _Product.apply(x, weight, None) if training else _onednn(x, weight, None, gelu or "")

        best = {"torch": float("inf"), "onednn": float("inf")}
        for _ in range(REPEATS + 1):  # the first run fills caches, and never is the fastest
            for name, run in (("torch", by_torch), ("onednn", by_onednn)):
                best[name] = min(best[name], _seconds(run, (x, weight) if training else ()))
    return best


@contextmanager
def timing(device: str, training: bool) -> Iterator[None]:
    """Open a context for timing a layer inside any pass: autocast off, gradients only where wanted."""
    # Hooks of an outer activation checkpoint must not see these graphs: only the innermost pair of hooks is called.
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x)
    autocast = torch.autocast(device, enabled=False)
    with torch.inference_mode(False), torch.set_grad_enabled(training), autocast, hooks:
        yield


class _Product(torch.autograd.Function):
    """Product a b^T + bias and its gradients, all by oneDNN."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(a, b)
        return _onednn(a, b, bias, "")

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (grad,) = grads
        a, b = ctx.saved_tensors
        of_a, of_b, of_bias = ctx.needs_input_grad
        return (
            product(grad, b.T) if of_a else None,
            product(grad.T, a.T) if of_b else None,
            grad.sum(0) if of_bias else None,
        )


def _onednn(a: Tensor, b: Tensor, bias: Tensor | None, gelu: str) -> Tensor:
    """Compute gelu(a b^T + bias), without the GELU where ``gelu`` is "", by the operator that torch's compiler uses."""
    if torch.compiler.is_compiling():
        return _in_a_graph(a, b, bias, gelu)
    # The operator takes strided rows too, but by a reference kernel that is a thousand times slower.
    a, b = (t if t.is_contiguous() or t.mT.is_contiguous() else t.contiguous() for t in (a, b))
    if gelu:
        return torch.ops.mkldnn._linear_pointwise(a, b, bias, "gelu", [], gelu)
    return torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], "")


@torch.library.custom_op("brickwork::product", mutates_args=())
def _in_a_graph(a: Tensor, b: Tensor, bias: Tensor | None, gelu: str) -> Tensor:
    """Compute the same in compiled graphs: torch's compiler accepts its own operator only where it placed it itself."""
    return _onednn(a, b, bias, gelu)


@_in_a_graph.register_fake
def _shape(a: Tensor, b: Tensor, bias: Tensor | None, gelu: str) -> Tensor:
    return a.new_empty(len(a), len(b))


def _activated(x: Tensor, gelu: Gelu | None) -> Tensor:
    return x if gelu is None else F.gelu(x, approximate=gelu)


def _dtype(x: Tensor) -> torch.dtype:
    device = x.device.type
    if device != "meta" and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return x.dtype


def _seconds(run: Callable[[], Tensor], gradients_of: tuple[Tensor, ...]) -> float:
    """Return CPU seconds summed over all cores: both libraries use as many, and other programs do not count."""
    start = time.process_time()
    try:
        out = run()
        if gradients_of:
            torch.autograd.grad(out, gradients_of, torch.ones_like(out))
    except RuntimeError:  # a product that this processor or build does not have
        return float("inf")
    return time.process_time() - start
