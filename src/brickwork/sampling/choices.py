"""Words of the command line that say how pictures are drawn: solvers, schedules, seeds, classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from tyro.conf import arg
from tyro.constructors import PrimitiveConstructorSpec

from brickwork.diffusion.schedule import SCHEDULES
from brickwork.files.choices import named, parsed
from brickwork.registry import Registry
from brickwork.sampling.options import OPTIONS, choose, parse_seeds
from brickwork.sampling.sampler import Sampler
from brickwork.sampling.solvers import SOLVERS


def named_in(registry: Registry[Any]) -> PrimitiveConstructorSpec[str | None]:
    """Return the rule of words that name a class of a registry, with its options behind a colon."""
    return named(registry, OPTIONS, lambda text: choose(registry.kind, text, registry))


def _shown(seeds: Sequence[int]) -> list[str]:
    """Return seeds as words; a range as one."""
    first, last = seeds[0], seeds[-1]
    whole = len(seeds) > 1 and list(seeds) == list(range(first, last + 1))
    return [f"{first}-{last}"] if whole else [str(seed) for seed in seeds]


SolverWord = Annotated[str, named(SOLVERS, OPTIONS, lambda text: Sampler(solver=text))]
"""Name of a solver, with its options."""
ScheduleWord = Annotated[str, named([*SCHEDULES, "levels"], OPTIONS, lambda text: Sampler(schedule=text))]
"""Name of a schedule, with its options, or custom levels."""
Seeds = Annotated[
    tuple[int, ...],
    PrimitiveConstructorSpec(
        nargs="*",
        metavar="SEED ...",
        instance_from_str=lambda words: tuple(parsed(parse_seeds, words)),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=_shown,
    ),
    arg(aliases=["--seed"]),
]
"""Seeds and ranges of them."""
Labels = Annotated[tuple[str, ...], arg(aliases=["--label"], metavar="CLASS ...")]
"""Classes by number or name."""
