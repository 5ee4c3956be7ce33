"""The share of the budget that is spent, and the learning rate at that point."""

from __future__ import annotations

import math
from typing import Literal

LrSchedule = Literal["constant", "cosine"]


def budget_spent(
    *, steps: int = 0, images: int = 0, minutes: float = 0.0, step: int, images_seen: int, seconds: float
) -> float:
    """Return the share of the budget that is spent; training ends at 1.

    Of several budgets the one that is nearest its end counts; a budget of 0 is none.

    Args:
        steps: Budget in optimizer steps.
        images: Budget in images seen.
        minutes: Budget in minutes by the clock.
        step: Optimizer steps done.
        images_seen: Images seen.
        seconds: Seconds spent.
    """
    budgets = ((step, steps), (images_seen, images), (seconds, 60 * minutes))
    return max((done / budget for done, budget in budgets if budget), default=0.0)


def learning_rate(*, lr: float, warmup: float, schedule: LrSchedule, step: int, spent: float, reached: float) -> float:
    """Return the learning rate of a step: linear warm-up, times 1 or half a cosine over the budget.

    ``lr * min(1, (step + 1) / warmup) * (1 + cos(pi * spent)) / 2``; a warm-up below 1 is a share of the budget, and
    ``min(1, reached / warmup)`` is in its place.

    Args:
        lr: Largest learning rate.
        warmup: Length of the warm-up: below 1 a share of the budget, from 1 on a number of steps; 0 for none.
        schedule: "constant" leaves the cosine out.
        step: Steps done before this one, from 0.
        spent: Share of the budget spent before this step, 0 to 1.
        reached: Share of the whole budget spent once this step is done.
    """
    rising = 1.0
    if warmup:
        rising = min(1.0, (reached if warmup < 1 else step + 1) / warmup)
    falling = 0.5 * (1 + math.cos(math.pi * min(spent, 1.0))) if schedule == "cosine" else 1.0
    return lr * rising * falling
