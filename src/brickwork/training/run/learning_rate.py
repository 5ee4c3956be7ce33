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


def learning_rate(*, lr: float, warmup: int, schedule: LrSchedule, step: int, spent: float) -> float:
    """Return the learning rate of a step: linear warm-up, times 1 or half a cosine over the budget.

    ``lr * min(1, (step + 1) / warmup) * (1 + cos(pi * spent)) / 2``

    Args:
        lr: Largest learning rate.
        warmup: Steps of the warm-up; 0 for none.
        schedule: "constant" leaves the cosine out.
        step: Steps done before this one, from 0.
        spent: Share of the budget spent before this step, 0 to 1.
    """
    rising = min(1.0, (step + 1) / warmup) if warmup else 1.0
    falling = 0.5 * (1 + math.cos(math.pi * min(spent, 1.0))) if schedule == "cosine" else 1.0
    return lr * rising * falling
