"""The learning of a run as its log tells it: loss against the start, held-out loss and its rise, speed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from brickwork.training.run.curve import points_of

RISEN = 1.05
"""Held-out loss over its lowest before, from which on it counts as risen."""
COPIES = 0.5
"""Ratio to the nearest training picture below which a picture counts as a copy (Carlini et al. 2023, section 3)."""
NEAREST = "nearest_ratio"
"""Name in the log of that ratio's median over the last sheet."""

Log = Sequence[Mapping[str, Any]]


@final
@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """One measurement on held-out images.

    Attributes:
        images: Images seen before it.
        count: Held-out images that it took.
        levels: Loss by noise level.
    """

    images: int
    count: int
    levels: Mapping[str, float]

    @property
    def mean(self) -> float:
        """Geometric mean over the levels."""
        return math.exp(sum(map(math.log, self.levels.values())) / len(self.levels))


def held_out(lines: Log) -> list[HeldOut]:
    """Return the measurements on held-out images, in order; those that are not all above 0 are left out."""
    found = []
    for line in lines:
        levels, images, count = line.get("held_out"), line.get("images"), line.get("held_out_images", 0)
        if not isinstance(levels, Mapping) or not levels or not isinstance(images, int) or not isinstance(count, int):
            continue
        numbers = {str(name): float(x) for name, x in levels.items() if isinstance(x, int | float) and 0 < x < math.inf}
        if len(numbers) == len(levels):
            found.append(HeldOut(images=images, count=count, levels=numbers))
    return found


def comparable(lines: Log) -> list[HeldOut]:
    """Return the measurements that took the same images at the same levels as the last one."""
    found = held_out(lines)
    return [one for one in found if (one.count, one.levels.keys()) == (found[-1].count, found[-1].levels.keys())]


def rise(lines: Log) -> tuple[HeldOut, HeldOut] | None:
    """Return the lowest held-out loss and the last, where the last is clearly above it; else None."""
    known = comparable(lines)
    lowest = min(known, key=lambda one: one.mean, default=None)
    return (lowest, known[-1]) if lowest is not None and known[-1].mean > RISEN * lowest.mean else None


def told_rise(lowest: HeldOut, last: HeldOut) -> str:
    """Describe a rise of the held-out loss."""
    return (
        f"held-out loss rose from {lowest.mean:.3g} at {lowest.images:,} images to {last.mean:.3g} at {last.images:,}: "
        "the network remembers its pictures"
    )


def learned(lines: Log) -> list[str]:
    """Describe what a run learned, in a few lines; fewer where the log says less."""
    told, losses, known = [], points_of(lines, "loss"), held_out(lines)
    if losses:
        told.append(f"loss {losses[0][1]:.3g} at the start, {losses[-1][1]:.3g} at the end")
    if known:
        same = comparable(lines)
        first = f"{same[0].mean:.3g} at first, " if len(same) > 1 else ""
        told.append(f"held-out loss {first}{known[-1].mean:.3g} at the end, over {known[-1].count} held-out")
    if risen := rise(lines):
        told.append(told_rise(*risen))
    ratios = numbers(lines, NEAREST)
    if ratios:
        how = "like copies of it" if ratios[-1] < COPIES else "no copies"
        told.append(
            f"nearest training picture at {ratios[-1]:.2f} of the usual distance: {how} (0 is the same picture)"
        )
    return told


def numbers(lines: Iterable[Mapping[str, Any]], name: str) -> list[float]:
    """Return all numbers of a name, in the log's order."""
    return [float(line[name]) for line in lines if isinstance(line.get(name), int | float)]
