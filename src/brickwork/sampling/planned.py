"""Denoisers under a plan: at each evaluation, the level decides how many blocks of the model run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, final, runtime_checkable

import numpy as np

from brickwork.diffusion.arrays import Array, namespace
from brickwork.diffusion.denoiser import Condition, Denoiser
from brickwork.errors import ArgumentError
from brickwork.sampling.plan import Plan, PlanRule, read_plan
from brickwork.sampling.wrapper import Wrapper


@runtime_checkable
class Divisible(Denoiser, Protocol):
    """Denoiser of blocks, the first n of which are a denoiser as well."""

    @property
    def num_parts(self) -> int:
        """Number of blocks (or bricks)."""
        ...

    def first(self, n: int) -> Denoiser:
        """Return the denoiser of the first n blocks."""
        ...


@final
@dataclass(frozen=True)
class Planned(Wrapper):
    """Model that runs as many of its blocks as a plan says, at each evaluation by its own level.

    If one number of blocks serves a batch, it is one call of that denoiser, bit for bit; if rows differ, each
    number's rows are one call.

    Attributes:
        denoisers: Denoisers by number of blocks, at least those of the plan; all of one kind, as ``first`` makes them.
        plan: Numbers of blocks by level.
        inner: Denoiser of the most blocks.

    Raises:
        ArgumentError: The plan runs a number of blocks that is not among the denoisers.
    """

    denoisers: Mapping[int, Denoiser] = field(repr=False)
    plan: Plan
    inner: Denoiser = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse a plan that needs a denoiser that is missing."""
        for count in self.plan.counts:
            if count not in self.denoisers:
                raise ArgumentError(
                    f"plan {self.plan} runs {count} parts at times: there are denoisers of "
                    f"{', '.join(map(str, sorted(self.denoisers)))}; give one of {count} too"
                )
        object.__setattr__(self, "inner", self.denoisers[max(self.denoisers)])

    @classmethod
    def of(cls, model: Divisible, plan: PlanRule | str) -> Planned:
        """Put a model under a plan, with no more smaller models than the plan has.

        Args:
            model: The whole model, which is also ``full``.
            plan: A plan, or a text for ``read_plan``.

        Raises:
            ArgumentError: The text is no plan, or the model has one block or fewer blocks than the plan's.
        """
        plan = (read_plan(plan) if isinstance(plan, str) else plan).of_parts(model.num_parts)
        smaller = {n: model.first(n) for n in sorted({*plan.counts}) if n < model.num_parts}
        return cls({**smaller, model.num_parts: model}, plan)

    @property
    def full(self) -> Denoiser:
        """Denoiser of the most blocks."""
        return self.inner

    def estimate(self, x: Array, sigma: Array, condition: Condition) -> Array:
        """Estimate x0 with as many blocks as the plan says; see ``Denoiser``."""
        levels = sigma.tolist()
        counts, rows = {level: self.plan.parts_at(level) for level in set(levels)}, {}
        for row, level in enumerate(levels):
            rows.setdefault(counts[level], []).append(row)
        if len(rows) <= 1:
            return self.denoisers[next(iter(rows), self.plan.counts[0])](x, sigma, condition)
        found = [self.denoisers[n](x[few], sigma[few], condition[few]) for n, few in rows.items()]
        order = np.argsort([row for few in rows.values() for row in few])
        return namespace(x).concatenate(found)[order.tolist()]


def planned(denoise: Denoiser, plan: PlanRule | None) -> Denoiser:
    """Put a denoiser under a plan; of one on a canvas or guided, the inner one.

    A plan without levels, as in "2", gives the model of so many blocks itself.

    Raises:
        ArgumentError: The denoiser has no blocks that could be left out, is under a plan already, or has fewer blocks
            than the plan's.
    """
    if plan is None:
        return denoise
    if isinstance(denoise, Planned):
        raise ArgumentError(f"plan {plan} for a model under plan {denoise.plan}: give one of them")
    if isinstance(denoise, Wrapper):
        return denoise.around(planned(denoise.inner, plan))
    if not isinstance(denoise, Divisible):
        raise ArgumentError(f"plan {plan}: {type(denoise).__name__} has no parts to leave out; draw without a plan")
    if isinstance(plan, Plan) and not plan.thresholds:
        return denoise.first(plan.counts[0])
    return Planned.of(denoise, plan)
