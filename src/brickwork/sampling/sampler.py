"""The sampler: everything about how pictures are drawn, but for what they show, as one frozen value.

Words are read once, when a sampler is made; whatever draws, measures, packs or writes down uses the values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Any, TypedDict, Unpack, final

import numpy as np

from brickwork.diffusion.process import NoiseProcess
from brickwork.diffusion.schedule import SCHEDULES, Karras, Levels, Schedule
from brickwork.errors import ArgumentError
from brickwork.sampling.options import choose, word_of
from brickwork.sampling.plan import PlanRule, read_plan
from brickwork.sampling.solvers import SOLVERS, DpmSolverPP, Solver

STEPS = 50
"""Steps unless told otherwise."""

KEYS = ("steps", "solver", "grid", "guidance", "guidance_interval", "plan")
"""Keys of a sampler in JSON, as manifests and pictures have held them since version 0.1; grid is the schedule."""

OWN = "levels:"
"""Beginning of the word for a schedule of one's own levels, as in "levels:80,10,1,0"."""


class Changes(TypedDict, total=False):
    """Fields of a ``Sampler`` as keywords: the short form that ``sample``, ``edit`` and ``evaluate`` take."""

    steps: int
    solver: Solver | str | None
    schedule: Schedule | str | Sequence[float] | None
    guidance: float
    guidance_interval: tuple[float, float]
    plan: PlanRule | str | None
    batch_size: int


@final
@dataclass(frozen=True, kw_only=True, init=False)
class Sampler:
    """How pictures are drawn.

    Solver, schedule and plan are values, or words that are read when the sampler is made: "heun", "heun:churn=10",
    "karras:rho=5", "pg:0.3". None, or leaving one out, takes the usual one.

    Attributes:
        steps: Steps of the solver, at least 1; 50 unless told otherwise. Levels of one's own fix their number.
        solver: Takes one step; ``DpmSolverPP()`` unless told otherwise.
        schedule: Noise levels that are visited; ``Karras()`` unless told otherwise. Numbers that fall to 0 are levels
            of one's own (``Levels``).
        guidance: Scale of classifier-free guidance; 1.0 is off, larger follows the condition more.
        guidance_interval: Waist levels (low, high] that are guided.
        plan: Parts of the model that run, by noise level; None for all of them.
        batch_size: Pictures at a time; changes speed and memory, not pictures.

    Raises:
        ArgumentError: A number out of its range, or a word that says nothing of its kind.
        UnknownNameError: No solver or schedule of this name.
    """

    steps: int
    solver: Solver
    schedule: Schedule
    guidance: float
    guidance_interval: tuple[float, float]
    plan: PlanRule | None
    batch_size: int

    def __init__(
        self,
        *,
        steps: int | None = None,
        solver: Solver | str | None = None,
        schedule: Schedule | str | Sequence[float] | None = None,
        guidance: float = 1.0,
        guidance_interval: tuple[float, float] = (0.0, inf),
        plan: PlanRule | str | None = None,
        batch_size: int = 64,
    ) -> None:
        """Read words, and check numbers."""
        spaced = _as_schedule(schedule)
        values = {
            "steps": _as_steps(steps, spaced),
            "solver": _as_solver(solver),
            "schedule": spaced,
            "guidance": _as_guidance(guidance),
            "guidance_interval": _as_interval(guidance_interval),
            "plan": read_plan(plan) if isinstance(plan, str) else plan,
            "batch_size": _as_batch_size(batch_size),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def but(self, **changes: Unpack[Changes]) -> Sampler:
        """Return this sampler with some fields replaced.

        A schedule that fixes the number of steps, or replaces one that did, sets it, unless the steps are given too.

        Raises:
            ArgumentError: As the sampler itself.
        """
        if "schedule" in changes and "steps" not in changes:
            spaced = _as_schedule(changes["schedule"])
            changes = {**changes, "schedule": spaced}
            if spaced.num_steps is not None or self.schedule.num_steps is not None:
                changes = {**changes, "steps": STEPS if spaced.num_steps is None else spaced.num_steps}
        return replace(self, **changes) if changes else self

    def for_parts(self, parts: int) -> Sampler:
        """Return this sampler with its plan made for a model of so many parts.

        Raises:
            ArgumentError: The plan is none for such a model.
        """
        return self if self.plan is None else replace(self, plan=self.plan.of_parts(parts))

    def sigmas(self, process: NoiseProcess) -> np.ndarray:
        """Return the noise levels of a run, (steps + 1,) float64, falling to 0."""
        return self.schedule.sigmas(process, self.steps)

    def bound(self, process: NoiseProcess) -> Solver:
        """Return the solver, which knows the run that it is for."""
        return self.solver.bind(process, self.steps)

    def evaluations(self) -> int:
        """Count the evaluations of the denoiser for one picture, guidance aside."""
        return self.solver.evaluations(self.steps)

    def to_entry(self) -> dict[str, Any]:
        """Return the sampler in words, ready for JSON; all but the batch size, which changes no picture.

        Raises:
            ExtensionError: The class of the solver or of the schedule is registered under no name.
        """
        low, high = self.guidance_interval
        return {
            "steps": self.steps,
            "solver": word_of(self.solver, SOLVERS),
            "grid": schedule_word(self.schedule),
            "guidance": self.guidance,
            "guidance_interval": [low, None if high == inf else high],
            "plan": None if self.plan is None else str(self.plan),
        }

    @classmethod
    def from_entry(cls, entry: Mapping[str, object]) -> Sampler:
        """Read what ``to_entry`` or ``to_facts`` returned, or what a package or picture of 0.1 holds.

        Args:
            entry: Words and numbers by ``KEYS``; "schedule" will do for "grid". A missing key is as a new sampler has
                it, and all other keys are left alone, as a picture has many.

        Raises:
            ArgumentError: A value that the sampler refuses.
        """
        found: dict[str, Any] = {key: entry[key] for key in KEYS if entry.get(key) is not None}
        if "grid" in found or "schedule" in entry:
            found["schedule"] = found.pop("grid", None) or entry["schedule"]
        if "guidance_interval" in found:
            try:
                low, high = found["guidance_interval"]
                found["guidance_interval"] = float(low), inf if high is None else float(high)
            except (TypeError, ValueError):
                raise ArgumentError(
                    f"guidance interval {found['guidance_interval']!r}: give two noise levels, as in 0.2, 6"
                ) from None
        return cls(**found)

    def to_facts(self) -> dict[str, Any]:
        """Return what a picture's file says of how it was drawn: ``to_entry``, its levels as text."""
        return self.to_entry() | {"guidance_interval": [str(level) for level in self.guidance_interval]}

    def __str__(self) -> str:
        """Return a line for people."""
        guidance = "no guidance" if self.guidance == 1 else f"guidance {self.guidance:g}"
        plan = "" if self.plan is None else f", plan {self.plan}"
        solver, schedule = word_of(self.solver, SOLVERS), schedule_word(self.schedule)
        return f"{self.steps} steps of {solver} on {schedule}, {guidance}{plan}"


def read_schedule(text: str) -> Schedule:
    """Read a schedule: "karras", "karras:rho=5", or levels of one's own as in "levels:80,10,1,0".

    Raises:
        UnknownNameError: No schedule of this name.
        ArgumentError: An option that it does not have, or levels that it cannot be.
    """
    if text.startswith(OWN):
        return Levels(text.removeprefix(OWN).split(","))  # pyright: ignore[reportArgumentType]  (read there)
    return choose("schedule", text, SCHEDULES)


def schedule_word(schedule: Schedule) -> str:
    """Return the word that ``read_schedule`` reads.

    Raises:
        ExtensionError: Its class is registered under no name.
    """
    if isinstance(schedule, Levels):
        return OWN + ",".join(repr(level).removesuffix(".0") for level in schedule.values)
    return word_of(schedule, SCHEDULES)


def _as_solver(solver: Solver | str | None) -> Solver:
    if solver is None:
        return DpmSolverPP()
    return choose("solver", solver, SOLVERS) if isinstance(solver, str) else solver


def _as_schedule(schedule: Schedule | str | Sequence[float] | None) -> Schedule:
    if schedule is None:
        return Karras()
    if isinstance(schedule, Schedule):
        return schedule
    return read_schedule(schedule) if isinstance(schedule, str) else Levels(schedule)


def _as_steps(steps: int | None, schedule: Schedule) -> int:
    own = schedule.num_steps
    if steps is None:
        return STEPS if own is None else own
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise ArgumentError(f"steps {steps!r}: a sampler takes a whole number of steps, at least 1")
    if own is not None and steps != own:
        raise ArgumentError(f"steps {steps} with a schedule of {own + 1} levels: leave the steps out")
    return int(steps)


def _as_guidance(guidance: float) -> float:
    if isinstance(guidance, bool | str) or not isfinite(guidance):
        raise ArgumentError(f"guidance {guidance}: it must be a finite number; 1.0 is off")
    return float(guidance)


def _as_interval(interval: tuple[float, float]) -> tuple[float, float]:
    low, high = interval
    if not low < high:  # nan is not below anything
        raise ArgumentError(
            f"guidance interval {low} to {high}: its first level must be below its second; 0 inf is all"
        )
    return float(low), float(high)


def _as_batch_size(batch_size: int) -> int:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise ArgumentError(f"batch size {batch_size}: a batch holds at least 1 image")
    return int(batch_size)
