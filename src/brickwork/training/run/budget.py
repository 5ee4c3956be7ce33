"""Allowance of a budget: the batch that leaves it enough steps, and a warning where it is too short to learn from."""

from __future__ import annotations

import math
from collections.abc import Callable

from brickwork.training.run.ema import ramped
from brickwork.training.run.recipe import RunRecipe

BATCHES = (16, 32, 64, 128)
"""Batches to choose from. Where steps are few, the smaller one learns more of equally many images (docs/log.md)."""
ENOUGH_STEPS = 2000
"""Steps that a larger batch must leave the budget."""
LAG = 4.0
"""Half-lives of the average that a budget must see, so that it does not lag."""
FEW_STEPS = 200
"""Steps below which a run is said to be too short for pictures."""


def num_steps(recipe: RunRecipe, batch: int, seconds: float = 0.0) -> float:
    """Return the steps that the budget makes; infinite if only the clock ends it and a step's time is not known.

    Args:
        recipe: Its budgets; the one that is spent first counts.
        batch: Images in a step.
        seconds: Seconds that a step takes; 0 if not known.
    """
    steps = recipe.steps or math.inf
    images = recipe.images / batch if recipe.images else math.inf
    clock = 60 * (recipe.minutes - recipe.restart) / seconds if recipe.minutes and seconds else math.inf
    return min(steps, images, clock)


def choose_batch(
    recipe: RunRecipe, num_images: int, time_step: Callable[[int], float], multiple: int = 1
) -> tuple[int, str]:
    """Choose the largest batch that leaves the budget two thousand steps; return it, and a line with the reason.

    A set of fewer images than a batch is no reason for a larger one. A budget in steps alone takes the largest.

    Args:
        recipe: Its budgets.
        num_images: Images of the data set.
        time_step: Times a step of a batch, in seconds; infinite if it does not fit into memory. It is called only for
            a budget in minutes.
        multiple: The batch is rounded up to a multiple of this number.
    """
    enough, chosen, made = min(ENOUGH_STEPS, recipe.steps or ENOUGH_STEPS), 0, 0.0
    for least in BATCHES:
        batch = math.ceil(least / multiple) * multiple
        fits = batch <= num_images and num_steps(recipe, batch) >= enough
        if chosen and (made < enough or not fits):  # a larger batch makes no more steps
            break
        steps = num_steps(recipe, batch, time_step(batch) if recipe.minutes else 0.0)
        if chosen and steps < enough:
            break
        chosen, made = batch, steps
    return chosen, f"batch {chosen}, chosen: the budget makes about {made:,.0f} steps of it"


def foretold_batch(recipe: RunRecipe, num_images: int, multiple: int = 1) -> str:
    """Describe the batch that a run will choose, as far as that is known without timing a step."""
    if recipe.minutes:
        return f"batch: {BATCHES[0]} to {BATCHES[-1]}, chosen by timing a step when the run begins"
    return choose_batch(recipe, num_images, lambda batch: 0.0, multiple)[1]


def warnings(recipe: RunRecipe, seconds: float = 0.0) -> list[str]:
    """Return lines that warn of a budget too short to learn from, for the warm-up, or for the average.

    Args:
        recipe: Its batch is known.
        seconds: Seconds that a step takes; 0 if not known.
    """
    steps, told = num_steps(recipe, recipe.batch, seconds), []
    about = f"the budget makes about {steps:,.0f} steps of {recipe.batch} images"
    if steps < FEW_STEPS:
        more = FEW_STEPS / max(steps, 1)
        told.append(
            f"{about}: with fewer than {FEW_STEPS} a model draws little but noise; give {math.ceil(more)} times the "
            "budget or more, a smaller network, or smaller images (data.size)"
        )
    if recipe.warmup >= 1 and steps < recipe.warmup:
        told.append(
            f"{about} and warmup = {recipe.warmup:g} steps: the learning rate never reaches lr; give a longer budget, "
            "or a share of it, as warmup = 0.05"
        )
    lag = _lag(recipe, steps)
    return [*told, lag] if lag else told


def _lag(recipe: RunRecipe, steps: float) -> str:
    """Return a line that warns of an average that still holds much of the start when the budget ends; "" for none."""
    seen, half_life = steps * recipe.batch, recipe.ema_half_life
    if not half_life or LAG * ramped(half_life, recipe.ema_rampup, seen) <= seen:
        return ""
    return (
        f"ema_half_life = {half_life:g} images and the budget sees about {seen:,.0f}: the average, which is kept and "
        f"drawn, would lag far behind; leave ema_rampup at its 0.05, or set ema_half_life = {seen / 20:.0f} or less"
    )
