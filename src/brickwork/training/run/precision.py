"""The choice of fp32 or bf16 by timing the run's own step in both; nothing is decided by a processor's name.

A processor with units for bf16 multiplies several times as fast in it as in fp32, one that merely knows the instruction
may need twice the time, and one that must imitate it twelve times (docs/log.md has the figures). The timed step is the
run's first one, uncompiled and on some of its images; where bricks are trained one by one, the first brick's. A single
product is timed before it: where bf16 is hopeless, even one step in it would take longer than many in fp32.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from brickwork.files.bars import tell
from brickwork.model.model import Precision
from brickwork.nn.attention import kernel_choices, set_kernel_choices, wait

MARGIN = 1.1  # bf16 must be this many times as fast, so that near ties are not decided by luck
ROUNDS = 3  # timed runs of each; the fastest counts, as noise only ever adds time
CLEAR = 3.0  # one round is enough if one precision is this many times as fast
OBVIOUS = 10.0  # no further round, nor a first one, if fp32 is this many times as fast; kernels are chosen in the first
SIDE = 256  # of the square product that is timed before any step: 0.7 ms in fp32 and 50 ms in bf16 without AVX-512
FEW = 8  # images of the first run, from which the number for the timed runs is computed
SECONDS = 0.2  # a timed step lasts about this long

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")

Step = Callable[[Precision, int], object]


def faster_precision(step: Step, images: int, device: torch.device, *, progress: bool = False) -> tuple[Precision, str]:
    """Return the precision in which a step takes less time, and a line that says by how much.

    Attention kernels and matrix products that were chosen before are chosen anew.

    Args:
        step: One forward and backward pass in a precision over a number of images; changes no weight.
        images: Largest number of images that it can take.
        device: The device that trains.
        progress: Show progress on standard error.
    """
    slower = _product_ratio(device)
    if slower > OBVIOUS:
        return "fp32", f"precision fp32, the faster here: a matrix product takes {slower:,.0f} times as long in bf16"
    if progress:
        tell("timing a step in fp32 and in bf16")
    known = kernel_choices()
    seconds = _times(step, images, device)
    set_kernel_choices(known)
    faster: Precision = "bf16" if seconds["bf16"] * MARGIN < seconds["fp32"] else "fp32"
    rates = [f"{1 / value:,.0f} images/s in {name}" for name, value in seconds.items()]
    return faster, f"precision {faster}, the faster here: {', '.join(rates)}"


def _product_ratio(device: torch.device) -> float:
    """Return how many times as long as in fp32 a square product takes in bf16, best of a few rounds each."""
    best: dict[Precision, float] = dict.fromkeys(PRECISIONS, float("inf"))
    factors: dict[Precision, Tensor] = {
        "fp32": torch.ones(SIDE, SIDE, device=device, dtype=torch.float32),
        "bf16": torch.ones(SIDE, SIDE, device=device, dtype=torch.bfloat16),
    }

    def product(name: Precision, _: int) -> None:
        torch.mm(factors[name], factors[name])

    for _ in range(ROUNDS):
        best = {name: min(value, _seconds(product, name, 1, device)) for name, value in best.items()}
    return best["bf16"] / max(best["fp32"], 1e-9)


def _times(step: Step, images: int, device: torch.device) -> dict[Precision, float]:
    """Time a step in each precision in turn, best of a few rounds, in seconds; infinite if it cannot run."""
    best: dict[Precision, float] = dict.fromkeys(PRECISIONS, float("inf"))
    count = min(images, FEW)
    _seconds(step, "fp32", count, device)
    count = int(min(images, max(count, count * SECONDS / _seconds(step, "fp32", count, device))))
    for turn in range(ROUNDS + 1):
        now: dict[Precision, float] = {name: _seconds(step, name, count, device) for name in PRECISIONS}
        if turn == 0 and now["bf16"] < OBVIOUS * now["fp32"]:  # by now kernels are chosen and caches are filled
            continue
        best = {name: min(best[name], value / count) for name, value in now.items()}
        if max(best.values()) > CLEAR * min(best.values()):
            break
    return best


def _seconds(step: Step, precision: Precision, count: int, device: torch.device) -> float:
    wait(device)
    start = time.perf_counter()
    try:
        step(precision, count)
    except (RuntimeError, TypeError):  # an operator that this device does not have in bf16
        if precision == "fp32":
            raise
        return float("inf")
    wait(device)
    return time.perf_counter() - start
