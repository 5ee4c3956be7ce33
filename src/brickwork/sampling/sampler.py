"""Sampler: all options of drawing pictures, except their content, as one frozen value.

Words are read once, when a sampler is made; code that draws, measures, packs or writes files uses the values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Annotated, Any, TypedDict, Unpack, final

import numpy as np

from brickwork.bounds import INFINITE
from brickwork.diffusion.process import NoiseProcess
from brickwork.diffusion.schedule import SCHEDULES, Karras, Levels, Schedule
from brickwork.doors import door
from brickwork.errors import ArgumentError
from brickwork.sampling.options import choose, word_of
from brickwork.sampling.plan import PlanRule, read_plan
from brickwork.sampling.solvers import SOLVERS, DpmSolverPP, Solver

STEPS = 50
"""Default number of steps."""
MAX_STEPS = 100_000
"""Most steps."""

KEYS = ("steps", "solver", "grid", "guidance", "guidance_interval", "plan")
"""Keys of a sampler in JSON, as manifests and pictures hold them since version 0.1; grid is the schedule."""

OWN = "levels:"
"""Prefix of the word for a schedule of custom levels, as in "levels:80,10,1,0"."""


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
    """Options of drawing pictures: solver, steps, schedule, guidance, plan, batch size.

    Solver, schedule and plan are values, or words that are read when the sampler is made: "heun", "heun:churn=10",
    "karras:rho=5", "pg:0.3". None, or leaving one out, takes the default.

    Attributes:
        steps: Steps of the solver, at least 1; by default 50. Custom levels fix their number.
        solver: Method of one step; by default ``DpmSolverPP()``.
        schedule: Noise levels that are visited; by default ``Karras()``. A list of numbers that fall to 0 gives custom
            levels (``Levels``).
        guidance: Scale of classifier-free guidance; 1.0 is off, larger follows the condition more.
        guidance_interval: Noise levels (low, high] that are guided.
        plan: Blocks of the model that run, by noise level; None for all of them.
        batch_size: Pictures at a time; changes speed and memory, not pictures.

    Raises:
        ArgumentError: A number is out of its range, or a word cannot be read.
        UnknownNameError: No solver or schedule has this name.
    """

    steps: int
    solver: Solver
    schedule: Schedule
    guidance: float
    guidance_interval: tuple[float, float]
    plan: PlanRule | None
    batch_size: int

    @door("drawing")
    def __init__(
        self,
        *,
        steps: int | None = None,
        solver: Solver | str | None = None,
        schedule: Schedule | str | Sequence[float] | None = None,
        guidance: float = 1.0,
        guidance_interval: tuple[Annotated[float, INFINITE], Annotated[float, INFINITE]] = (0.0, inf),
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

        A new schedule that fixes the number of steps, or replaces one that did, sets it, unless steps are passed too.

        Raises:
            ArgumentError: A field is refused, as by the sampler itself.
        """
        if "schedule" in changes and "steps" not in changes:
            spaced = _as_schedule(changes["schedule"])
            changes = {**changes, "schedule": spaced}
            if spaced.num_steps is not None or self.schedule.num_steps is not None:
                changes = {**changes, "steps": STEPS if spaced.num_steps is None else spaced.num_steps}
        return replace(self, **changes) if changes else self

    def for_parts(self, parts: int) -> Sampler:
        """Return this sampler with its plan made for a model of so many blocks.

        Raises:
            ArgumentError: The plan does not fit such a model.
        """
        return self if self.plan is None else replace(self, plan=self.plan.of_parts(parts))

    def sigmas(self, process: NoiseProcess) -> np.ndarray:
        """Return the noise levels of a run, (steps + 1,) float64, falling to 0."""
        return self.schedule.sigmas(process, self.steps)

    def bound(self, process: NoiseProcess) -> Solver:
        """Return the solver, bound to the run of this sampler."""
        return self.solver.bind(process, self.steps)

    def evaluations(self) -> int:
        """Count the evaluations of the denoiser for one picture, guidance aside."""
        return self.solver.evaluations(self.steps)

    def to_entry(self) -> dict[str, Any]:
        """Return the sampler in words, ready for JSON, without the batch size, which changes no picture.

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
        """Read an entry of ``to_entry`` or ``to_facts``, or one in a package or picture of 0.1.

        Args:
            entry: Words and numbers by ``KEYS``; "schedule" may stand for "grid". A missing key takes the default of a
                new sampler, and all other keys are ignored, as a picture has many.

        Raises:
            ArgumentError: The sampler refuses a value.
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
        """Return ``to_entry`` with its levels as text, for a picture's file."""
        return self.to_entry() | {"guidance_interval": [str(level) for level in self.guidance_interval]}

    def __str__(self) -> str:
        """Return one line for people."""
        guidance = "no guidance" if self.guidance == 1 else f"guidance {self.guidance:g}"
        plan = "" if self.plan is None else f", plan {self.plan}"
        solver, schedule = word_of(self.solver, SOLVERS), schedule_word(self.schedule)
        return f"{self.steps} steps of {solver} on {schedule}, {guidance}{plan}"


def read_schedule(text: str) -> Schedule:
    """Read a schedule: "karras", "karras:rho=5", or custom levels as in "levels:80,10,1,0".

    Raises:
        UnknownNameError: No schedule has this name.
        ArgumentError: An option does not exist, or the levels are invalid.
    """
    if text.startswith(OWN):
        return Levels(text.removeprefix(OWN).split(","))  # pyright: ignore[reportArgumentType]  (read there)
    return choose("schedule", text, SCHEDULES)


def schedule_word(schedule: Schedule) -> str:
    """Return the word that ``read_schedule`` reads.

    Raises:
        ExtensionError: The schedule's class is registered under no name.
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
    if steps > MAX_STEPS:
        raise ArgumentError(f"steps {steps}: a sampler takes at most {MAX_STEPS:,}; more draw the same picture")
    if own is not None and steps != own:
        raise ArgumentError(f"steps {steps} with a schedule of {own + 1} levels: leave the steps out")
    return int(steps)


def _as_guidance(guidance: float) -> float:
    if isinstance(guidance, bool | str) or not isfinite(guidance):
        raise ArgumentError(f"guidance {guidance}: it must be a finite number; 1.0 is off")
    return float(guidance)


def _as_interval(interval: tuple[float, float]) -> tuple[float, float]:
    low, high = interval
    if not low < high:  # nan fails this
        raise ArgumentError(
            f"guidance interval {low} to {high}: its first level must be below its second; 0 inf is all"
        )
    return float(low), float(high)


def _as_batch_size(batch_size: int) -> int:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise ArgumentError(f"batch size {batch_size}: a batch holds at least 1 image")
    return int(batch_size)
