"""fp32 or bf16, whichever trains faster here: found by timing the run's own step in both, by no processor's name.

A processor with units for bf16 multiplies several times as fast in it as in fp32, one that merely knows the instruction
may need twice the time, and one that must imitate it twelve times (docs/log.md has the figures). What is timed is the
run's first step, uncompiled and on some of its images; where bricks are trained one by one, the first brick's.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch
from tqdm.auto import tqdm

from brickwork.model.model import Precision
from brickwork.nn.attention import kernel_choices, set_kernel_choices, wait

MARGIN = 1.1  # bf16 must be so much faster: where the two are alike, the choice shall not be a matter of luck
ROUNDS = 3  # timed runs of each; the fastest counts, since noise only ever adds
CLEAR = 3.0  # one round is enough where one of them is so many times as fast
OBVIOUS = 10.0  # and the first, in which bf16 also chooses its kernels, where fp32 is
FEW = 8  # images of the first run, which tells how many make a step long enough
SECONDS = 0.2  # of a step that can be timed

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")

Step = Callable[[Precision, int], object]


def faster_precision(step: Step, images: int, device: torch.device, *, progress: bool = False) -> tuple[Precision, str]:
    """The precision in which a step takes less time, and a line that says by how much.

    Kernels that attention and products chose before, they choose again.

    Args:
        step: One pass there and back in a precision over so many images, which changes nothing.
        images: Most that it can take.
        device: Where it runs.
        progress: Say on standard error what is going on.
    """
    if progress:
        tqdm.write("timing a step in fp32 and in bf16", file=sys.stderr)
    known = kernel_choices()
    seconds = _times(step, images, device)
    set_kernel_choices(known)
    faster: Precision = "bf16" if seconds["bf16"] * MARGIN < seconds["fp32"] else "fp32"
    rates = [f"{1 / value:,.0f} images/s in {name}" for name, value in seconds.items()]
    return faster, f"precision {faster}, the faster here: {', '.join(rates)}"


def _times(step: Step, images: int, device: torch.device) -> dict[Precision, float]:
    """Of a step in each precision, best of a few rounds, in which they take turns; infinite where it cannot be had."""
    best: dict[Precision, float] = dict.fromkeys(PRECISIONS, float("inf"))
    count = min(images, FEW)
    _seconds(step, "fp32", count, device)
    count = int(min(images, max(count, count * SECONDS / _seconds(step, "fp32", count, device))))
    for turn in range(ROUNDS + 1):
        now: dict[Precision, float] = {name: _seconds(step, name, count, device) for name in PRECISIONS}
        if turn == 0 and now["bf16"] < OBVIOUS * now["fp32"]:  # kernels are chosen and caches filled
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
