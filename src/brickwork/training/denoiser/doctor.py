"""The doctor of runs: from log, recipe, model file and last sheet it tells why pictures are bad, and the remedy."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from brickwork.data.decode import Decoder
from brickwork.data.regular import read_regular
from brickwork.errors import CheckpointError, ConfigError, DataError
from brickwork.files.picture import PADDING, enlargement, read_facts
from brickwork.model.header import MODEL_FILE, stored_header
from brickwork.quality.symptoms import Symptom, symptoms
from brickwork.training.denoiser.recipe import Recipe
from brickwork.training.denoiser.recipe_file import load_recipe
from brickwork.training.run.budget import FEW_STEPS, LAG
from brickwork.training.run.curve import points_of
from brickwork.training.run.ema import ramped
from brickwork.training.run.folder import LOG_FILE
from brickwork.training.run.journal import read_journal
from brickwork.training.run.learned import COPIES, NEAREST, Log, held_out, numbers, rise, told_rise
from brickwork.training.run.recipe_file import RECIPE_FILE

MAX_SHEET = 64 << 20
"""Largest sheet that is read, in bytes."""
SHAPES = 0.4
"""Held-out loss at noise level 0.4 above which pictures are mostly noise: shapes come at about 0.2 (docs/log.md)."""
SHAPES_LEVEL = "0.4"
FEW_PICTURES = 1000
"""Training pictures below which a network soon remembers them."""
MANY_PASSES = 100
"""Passes over few pictures from which on they are likely to be remembered."""
STEEP = 10.0
"""Gradient norm over the clipping norm, above which the learning rate or the data are suspicious."""
MINOR = 40
"""Weight of what explains no bad picture."""
SLOWER = 2.0
"""Fall of the speed within a run that is worth a word."""


@final
@dataclass(frozen=True, kw_only=True)
class Case:
    """Everything that is known of a run."""

    folder: Path
    """The run folder."""
    recipe: Recipe
    """Its recipe."""
    lines: Log
    """Lines of its log."""
    facts: Mapping[str, Any]
    """Facts of training in its model file; none where there is no model."""
    seen: tuple[Symptom, ...] | None
    """Faults on its last sheet; None without a sheet that can be read."""

    @property
    def steps(self) -> int:
        """Optimizer steps done."""
        return _largest([*numbers(self.lines, "step"), *numbers([self.facts], "steps")])

    @property
    def images(self) -> int:
        """Images seen."""
        return _largest([*numbers(self.lines, "images"), *numbers([self.facts], "images")])

    @property
    def quoted(self) -> str:
        """The run folder as a word of a command."""
        return shlex.quote(str(self.folder))


@final
@dataclass(frozen=True, kw_only=True)
class Remedy:
    """A reason for bad pictures, and what to change."""

    weight: int
    """Importance, 0 to 100."""
    reason: str
    """What was found, and what follows."""
    change: str
    """What to do."""


def examine_run(folder: Path) -> tuple[Case, list[Remedy]]:
    """Examine a run; return what is known of it, and the reasons for bad pictures, the most important first.

    Raises:
        ConfigError: The folder holds no run of a model.
    """
    case = case_of(folder)
    found = [remedy for check in CHECKS for remedy in check(case)]
    if all(remedy.weight < MINOR for remedy in found):
        found += _symptoms_alone(case)
    return case, sorted(found, key=lambda remedy: -remedy.weight)


def case_of(folder: Path) -> Case:
    """Read a run folder; a model or a sheet that cannot be read counts as missing.

    Raises:
        ConfigError: The folder holds no run of a model.
    """
    if not (folder / RECIPE_FILE).is_file():
        raise ConfigError(f"{folder} holds no {RECIPE_FILE}: give a folder that `brickwork train` wrote")
    recipe = load_recipe(folder)
    try:
        facts = stored_header(folder / MODEL_FILE)[0]["training"]
    except (CheckpointError, OSError):
        facts = {}
    lines = read_journal(folder / LOG_FILE)
    seen = seen_on(folder, recipe)
    return Case(folder=folder, recipe=recipe, lines=lines, facts=facts if isinstance(facts, dict) else {}, seen=seen)


def told(case: Case) -> list[str]:
    """Describe a run in two lines: what it did, and what its last sheet shows."""
    speeds = numbers(case.lines, "images_per_second")
    speed = f", {np.median(speeds):,.0f} images/s" if speeds else ""
    device = f" on {case.facts['device']}" if isinstance(case.facts.get("device"), str) else ""
    losses = [loss for _, loss in points_of(case.lines, "loss")]
    loss = f"; loss {losses[0]:.3g}, at last {losses[-1]:.3g}" if losses else ""
    held = [one.mean for one in held_out(case.lines)]
    held_text = f"; held-out loss {held[-1]:.3g}" if held else ""
    sheet = "no sheet to see" if case.seen is None else "; ".join(LOOKS[one] for one in case.seen) or "no fault to see"
    return [
        f"{case.folder}: steps {case.steps:,}, images {case.images:,}{speed}{device}{loss}{held_text}",
        f"last sheet: {sheet}",
    ]


LOOKS: dict[Symptom, str] = {
    "noise": "noise",
    "flat": "pictures of one colour",
    "clipped": "nothing but the darkest and the lightest colours",
    "grey": "colour pictures without colour",
    "alike": "pictures that are all alike",
    "blurred": "blurred pictures",
}
"""What each symptom looks like."""


def _largest(values: Sequence[float]) -> int:
    """Return the largest finite number as a whole one; 0 where there is none."""
    return int(max((value for value in values if math.isfinite(value)), default=0))


# ---- the last sheet ---------------------------------------------------------------------------------------------


def seen_on(folder: Path, recipe: Recipe) -> tuple[Symptom, ...] | None:
    """Return the faults that the last sheet shows; None where none can be read."""
    sheets = sorted((folder / "samples").glob("*.png"))
    side = recipe.data.size or recipe.backbone.size
    for path in reversed(sheets[-3:]):
        try:
            columns = len(read_facts(path)["seeds"])
            picture = Decoder().decode(read_regular(path, path.name, MAX_SHEET), path.name)
            return tuple(symptoms(pictures_on(picture, side, columns)))
        except (DataError, KeyError, TypeError, ValueError):
            continue
    return None


def pictures_on(sheet: np.ndarray, side: int, columns: int) -> np.ndarray:
    """Return the pictures of a run's sheet, uint8 (N, H, W, C); captions to the left of them are left out.

    Raises:
        ValueError: The sheet is too small for so many.
    """
    scale, gap = enlargement(side), PADDING
    step = side * scale + gap
    rows = (len(sheet) - gap) // step
    left = sheet.shape[1] - gap - columns * step
    if rows < 1 or columns < 1 or left < 0:
        raise ValueError("a sheet of another size")
    cells = [(gap + row * step, left + gap + column * step) for row in range(rows) for column in range(columns)]
    return np.stack([sheet[y : y + side * scale : scale, x : x + side * scale : scale] for y, x in cells])


# ---- reasons ----------------------------------------------------------------------------------------------------


def _not_finite(case: Case) -> Iterator[Remedy]:
    """Find losses that were not finite: rollbacks, and NaN in the log."""
    rolled = [line for line in case.lines if line.get("event") == "rolled back"]
    broken = [loss for loss in numbers(case.lines, "loss") if not math.isfinite(loss)]
    if rolled or broken:
        precision = "" if case.recipe.precision == "fp32" else ", --precision fp32"
        yield Remedy(
            weight=100,
            reason=f"the loss was not finite {max(len(rolled), len(broken))} times, and the run went back each time: "
            "the learning rate is too high for this network and precision",
            change=f"begin anew with --lr {case.recipe.lr / 3:.1g}{precision} and --clip 1",
        )


def _few_steps(case: Case) -> Iterator[Remedy]:
    """Find a run of too few steps for pictures."""
    if case.steps < FEW_STEPS:
        yield Remedy(
            weight=90,
            reason=f"the run made {case.steps:,} steps: with fewer than {FEW_STEPS} pictures are noise, whatever else "
            "is right; shapes come after some thousand",
            change="a longer budget (--minutes, or --more-minutes for a finished run), a smaller --batch, a smaller "
            "network or a smaller --size",
        )


def _warm_up(case: Case) -> Iterator[Remedy]:
    """Find a learning rate that never rose to its height."""
    recipe = case.recipe
    if recipe.warmup >= 1 and case.steps < recipe.warmup:
        yield Remedy(
            weight=95,
            reason=f"the warm-up takes {recipe.warmup:g} steps and the run made {case.steps:,}: the learning rate "
            "never reached its height, and little was learned",
            change="--warmup 0.05, a share of the budget",
        )


def _lagging(case: Case) -> Iterator[Remedy]:
    """Find an average that still holds much of the start; the average draws sheets and is the model."""
    recipe, seen = case.recipe, case.images
    half_life = ramped(recipe.ema_half_life, recipe.ema_rampup, seen)
    if half_life and seen < LAG * half_life:
        yield Remedy(
            weight=92,
            reason=f"the average forgets half of the old weights in {half_life:,.0f} images and the run saw {seen:,}: "
            "the model that is kept and drawn still holds much of the start, so it looks like noise or grey",
            change=f"leave --ema-rampup at 0.05, or set --ema-half-life {max(seen // 20, 1)}",
        )


def _rate(case: Case) -> Iterator[Remedy]:
    """Find a learning rate that is too high or too low by the course of the loss and the gradients."""
    losses = [loss for _, loss in points_of(case.lines, "loss") if math.isfinite(loss)]
    recipe, norms = case.recipe, [norm for norm in numbers(case.lines, "gradient_norm") if math.isfinite(norm)]
    part = max(1, len(losses) // 5)
    means = [float(np.mean(losses[i : i + part])) for i in range(0, len(losses) - part + 1, part)]
    if len(means) > 2 and means[-1] > 1.1 * min(means):
        yield Remedy(
            weight=75,
            reason=f"the training loss rose again, from {min(means):.3g} to {means[-1]:.3g}: the learning rate "
            f"{recipe.lr:g} is too high",
            change=f"--lr {recipe.lr / 3:.1g}",
        )
    elif len(means) > 2 and case.steps >= FEW_STEPS and means[-1] > 0.9 * means[0]:
        low = recipe.lr < 2e-4
        yield Remedy(
            weight=70,
            reason=f"the training loss hardly fell, from {means[0]:.3g} to {means[-1]:.3g}: the learning rate "
            f"{recipe.lr:g} is {'too low' if low else 'too high or too low'} here",
            change=f"--lr {1e-3 if low else recipe.lr / 3:.1g}",
        )
    if norms and recipe.clip and float(np.median(norms)) > STEEP * recipe.clip:
        yield Remedy(
            weight=45,
            reason=f"gradients have a norm of {np.median(norms):.3g} and are clipped to {recipe.clip:g} at nearly "
            "every step: learning is slow and jumps",
            change=f"--lr {recipe.lr / 3:.1g}, or look at the images with `brickwork data`: a few odd ones may do this",
        )


def _remembering(case: Case) -> Iterator[Remedy]:
    """Find a network that remembers its pictures."""
    many = case.facts.get("data_images")
    change = "more pictures, a smaller network (--backbone.width, --backbone.depth), or a shorter run"
    if risen := rise(case.lines):
        yield Remedy(
            weight=80, reason=told_rise(*risen), change=f"{change}: about {risen[0].images:,} images were best"
        )
    ratios = numbers(case.lines, NEAREST)
    if ratios and ratios[-1] < COPIES:
        reason = (
            f"drawn pictures are copies of training pictures: the nearest is at {ratios[-1]:.2f} of the usual distance"
        )
        yield Remedy(weight=78, reason=reason, change=change)
    elif not risen and isinstance(many, int) and 0 < many < FEW_PICTURES and case.images > MANY_PASSES * many:
        yield Remedy(
            weight=35,
            reason=f"{many:,} pictures were seen {case.images / many:,.0f} times each: a network remembers so few",
            change=f"{change}; --flip where mirrored pictures are right",
        )


def _too_soon(case: Case) -> Iterator[Remedy]:
    """Find a run that is healthy and simply not there yet."""
    known = held_out(case.lines)
    loss = known[-1].levels.get(SHAPES_LEVEL) if known else None
    if loss is not None and loss > SHAPES and case.steps >= FEW_STEPS:
        yield Remedy(
            weight=60,
            reason=f"the held-out loss at noise level {SHAPES_LEVEL} is {loss:.2f} after {case.images:,} images: above "
            f"{SHAPES} pictures are mostly noise, shapes come at about 0.2",
            change=f"train longer: `brickwork train {case.quoted} --more-minutes 60`; a smaller --size or --batch gets "
            "there sooner",
        )


def _unfinished(case: Case) -> Iterator[Remedy]:
    """Find a run that was stopped."""
    if case.facts.get("finished") is False:
        yield Remedy(
            weight=50,
            reason=f"the run is not finished, it was saved at step {case.steps:,}: under a cosine pictures become "
            "clear near the end of the budget",
            change=f"`brickwork train {case.quoted}` goes on",
        )


def _device(case: Case) -> Iterator[Remedy]:
    """Find a run on the processor where an accelerator is, and one that became slower."""
    there = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else ""
    if case.facts.get("device") == "cpu" and there:
        reason = f"the run was computed on the cpu, and this machine has {there}"
        yield Remedy(weight=55, reason=reason, change=f"--device {there}")
    speeds = numbers(case.lines, "images_per_second")
    if len(speeds) >= 8:
        first, last = (float(np.median(part)) for part in (speeds[: len(speeds) // 2], speeds[-(len(speeds) // 4) :]))
        if first > SLOWER * last:
            yield Remedy(
                weight=30,
                reason=f"speed fell from {first:,.0f} to {last:,.0f} images/s within the run",
                change="see what else runs on this machine, and whether it is hot",
            )


def _nothing_held_out(case: Case) -> Iterator[Remedy]:
    """Find a run that cannot tell learning from remembering."""
    if case.lines and case.steps >= FEW_STEPS and not held_out(case.lines):
        yield Remedy(
            weight=25,
            reason="no held-out loss was measured, so nobody can tell learning from remembering",
            change="--holdout 0.05, and more pictures if there are very few",
        )


def _symptoms_alone(case: Case) -> Iterator[Remedy]:
    """Find words for what the last sheet shows, where the log gives no reason."""
    for one in case.seen or ():
        yield Remedy(weight=MINOR, reason=f"the last sheet shows {LOOKS[one]}", change=ALONE[one])


ALONE: dict[Symptom, str] = {
    "noise": "train longer; and draw with more --steps, as few steps leave noise",
    "flat": "see by `brickwork data` whether the images are what you think; then a lower --lr",
    "clipped": "draw with a lower --guidance; then a lower --lr and --precision fp32",
    "grey": "train longer: colours come after shapes; if the images are grey, --channels 1 learns faster",
    "alike": "see by `brickwork data` whether the images are alike or few; draw with a lower --guidance",
    "blurred": "train longer: detail comes last; a smaller --size or a smaller stride makes more of the same time",
}
"""Advice by symptom, where no reason is known."""

CHECKS: tuple[Callable[[Case], Iterator[Remedy]], ...] = (
    _not_finite,
    _few_steps,
    _warm_up,
    _lagging,
    _rate,
    _remembering,
    _too_soon,
    _unfinished,
    _device,
    _nothing_held_out,
)
"""Everything that is looked for."""
