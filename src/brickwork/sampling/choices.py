"""Words of the command line that name one thing of several: its help lists them, and another word is refused at once.

They annotate the fields and arguments of which the command line makes options: ``Annotated[str, one_of(...)]``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Any

from tyro.conf import arg
from tyro.constructors import PrimitiveConstructorSpec

from brickwork.diffusion.schedule import SCHEDULES
from brickwork.errors import BrickworkError, UnknownNameError
from brickwork.registry import Registry
from brickwork.sampling.options import choose, parse_seeds
from brickwork.sampling.sampler import Sampler
from brickwork.sampling.solvers import SOLVERS

OPTIONS = "[:OPTION=VALUE,...]"
"""What may follow the name of a class."""


def one_of(kind: str, names: Collection[str], then: str = "") -> PrimitiveConstructorSpec[str | None]:
    """Return the rule of words that are one of some names.

    Args:
        kind: Kind of thing, for the message.
        names: The names.
        then: What may follow a name, behind a mark of one letter: ":N".
    """

    def check(text: str) -> None:
        name = text.partition(then[0])[0] if then else text
        if name not in names:
            raise UnknownNameError(kind, text, names)

    return _rule(names, f"[{then}]" if then else "", check)


def named_in(registry: Registry[Any]) -> PrimitiveConstructorSpec[str | None]:
    """Return the rule of words that name a class of a registry, with its options behind a colon."""
    return _rule(registry, OPTIONS, lambda text: choose(registry.kind, text, registry))


def _rule(names: Collection[str], then: str, check: Callable[[str], Any]) -> PrimitiveConstructorSpec[str | None]:
    """Return the rule of words that a check lets through; it may raise a BrickworkError."""

    def read(words: list[str]) -> str:
        _read(check, words[0])
        return words[0]

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{{{','.join(names)}}}{then}",
        instance_from_str=read,
        is_instance=lambda value: value is None or isinstance(value, str),
        str_from_instance=lambda value: [str(value)],
    )


def _read(read: Callable[[Any], Any], words: str | list[str]) -> Any:
    """Read words; an error of the library becomes one of the parser.

    Raises:
        ValueError: The words cannot be read.
    """
    try:
        return read(words)
    except BrickworkError as error:
        raise ValueError(str(error)) from None


def _shown(seeds: Sequence[int]) -> list[str]:
    """Return seeds as words; a range as one."""
    first, last = seeds[0], seeds[-1]
    whole = len(seeds) > 1 and list(seeds) == list(range(first, last + 1))
    return [f"{first}-{last}"] if whole else [str(seed) for seed in seeds]


SolverWord = Annotated[str, _rule(SOLVERS, OPTIONS, lambda text: Sampler(solver=text))]
"""Name of a solver, with its options."""
ScheduleWord = Annotated[str, _rule([*SCHEDULES, "levels"], OPTIONS, lambda text: Sampler(schedule=text))]
"""Name of a schedule, with its options, or custom levels."""
Seeds = Annotated[
    tuple[int, ...],
    PrimitiveConstructorSpec(
        nargs="*",
        metavar="SEED ...",
        instance_from_str=lambda words: tuple(_read(parse_seeds, words)),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=_shown,
    ),
    arg(aliases=["--seed"]),
]
"""Seeds and ranges of them."""
Labels = Annotated[tuple[str, ...], arg(aliases=["--label"], metavar="CLASS ...")]
"""Classes by number or name."""
