"""A model under a plan: as many of its parts run as the plan says, at each evaluation by its own level."""

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
    """A denoiser of parts, the first n of which are a denoiser as well."""

    @property
    def num_parts(self) -> int:
        """How many."""
        ...

    def first(self, n: int) -> Denoiser:
        """The denoiser of the first n parts."""
        ...


@final
@dataclass(frozen=True)
class Planned(Wrapper):
    """A model that runs as many of its parts as a plan says, at each evaluation by its own level.

    Where one number of parts will do for a batch it is one call of that denoiser, bit for bit; where rows differ, each
    number's rows are one call.

    Attributes:
        denoisers: By number of parts, at least those of the plan; all of one kind, as ``first`` makes them.
        plan: Which one at which level.
        inner: The denoiser of the most parts.

    Raises:
        ArgumentError: The plan runs a number of parts that is not among the denoisers.
    """

    denoisers: Mapping[int, Denoiser] = field(repr=False)
    plan: Plan
    inner: Denoiser = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse a plan that asks for what is not there."""
        for count in self.plan.counts:
            if count not in self.denoisers:
                raise ArgumentError(
                    f"plan {self.plan} runs {count} parts at times: there are denoisers of "
                    f"{', '.join(map(str, sorted(self.denoisers)))}; give one of {count} too"
                )
        object.__setattr__(self, "inner", self.denoisers[max(self.denoisers)])

    @classmethod
    def of(cls, model: Divisible, plan: PlanRule | str) -> Planned:
        """A model under a plan, with no more smaller models than the plan has.

        Args:
            model: All of it, which is also what ``full`` is.
            plan: Or a text for ``read_plan``.

        Raises:
            ArgumentError: The text is no plan, or the model is of fewer parts than the plan's, or of one.
        """
        plan = (read_plan(plan) if isinstance(plan, str) else plan).of_parts(model.num_parts)
        smaller = {n: model.first(n) for n in sorted({*plan.counts}) if n < model.num_parts}
        return cls({**smaller, model.num_parts: model}, plan)

    @property
    def full(self) -> Denoiser:
        """Denoiser of the most parts."""
        return self.inner

    def estimate(self, x: Array, sigma: Array, condition: Condition) -> Array:
        """Return the estimate of x0 by as many parts as the plan says; see ``Denoiser``."""
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
    """Put a denoiser under a plan, one on a canvas or guided inside of it.

    A plan without levels, as in "2", is the model of so many parts itself.

    Raises:
        ArgumentError: The denoiser has no parts that could be left out, is under a plan already, or is of fewer parts
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
