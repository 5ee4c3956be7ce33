"""More minutes for a finished run: its state goes on, and where the learning rate fell to zero, it rises once more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from brickwork.errors import ConfigError
from brickwork.training.run.folder import STATE_FILE, RunFolder, RunKind
from brickwork.training.run.lock import only_writer
from brickwork.training.run.recipe import RunRecipe
from brickwork.training.run.statefile import Counters, write_state

R = TypeVar("R", bound=RunRecipe)

WARMUP = 0.05
"""Share of the new minutes in which the learning rate rises, where the warm-up was in steps."""
KEPT = ("data", "guest", "init", "codec", "device", "threads", "kernels")
"""Facts of a saved state that stay."""


def longer(recipe: R, minutes: float, now: Counters) -> R:
    """Return the recipe of a finished run with more minutes; other budgets are dropped.

    Under a constant learning rate the run simply goes on. Under a cosine, warm-up and cosine begin anew over the new
    minutes, from the weights and moments as they are; the average goes on and forgets the old ones by its half-life.

    Args:
        recipe: The run's own.
        minutes: Minutes to add.
        now: The position of the run.

    Raises:
        ConfigError: The minutes are not above 0, the run must not look at the clock, it is not finished, or its
            bricks learned one after another.
    """
    if not minutes > 0:
        raise ConfigError(f"{minutes:g} more minutes: give a number above 0")
    if recipe.deterministic:
        raise ConfigError("a run with deterministic = true must not look at the clock: it takes no more minutes")
    if recipe.staged:
        raise ConfigError(
            "its bricks learned one after another, and a longer run would begin with the first again: start a new run "
            'from its model (init), with parts.supervision = "joint"'
        )
    spent = recipe.spent(step=now.step, images_seen=now.images_seen, seconds=now.seconds)
    if spent < 1:
        raise ConfigError(f"the run is not finished, {spent:.0%} of its budget is spent: let it go on first")
    begun = now.seconds / 60
    changes: dict[str, Any] = {"steps": 0, "images": 0, "minutes": begun + minutes}
    if recipe.schedule != "constant":
        changes |= {"restart": begun, "warmup": min(recipe.warmup, WARMUP) if recipe.warmup < 1 else WARMUP}
    return replace(recipe, **changes)


def lengthen_run(path: Path, kind: RunKind[R], minutes: float) -> R:
    """Give a finished run more minutes, in its saved state and its recipe; it is then a run that was interrupted.

    Args:
        path: The run folder.
        kind: The kind of run that is there.
        minutes: Minutes to add.

    Raises:
        ConfigError: The folder holds no run, or ``longer`` refuses.
        CheckpointError: The saved state is broken.
        OutputError: The folder cannot be written.
    """
    folder = RunFolder(path, kind)
    if not folder.holds_run:
        raise ConfigError(f"{path} holds no {STATE_FILE} to go on from: give a folder that `brickwork train` wrote")
    with only_writer(path):
        tensors, header, before = folder.read()
        recipe: Any = longer(before, minutes, header.counters)
        record = {name: getattr(header, name) for name in KEPT} | {"recipe": kind.to_toml(recipe)}
        write_state(path / STATE_FILE, kind.state, tensors, header.counters, record)
        folder.write_recipe(recipe)
    return recipe
