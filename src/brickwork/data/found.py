"""Names passed over when a set was opened, as the user reads them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice

from brickwork.errors import printable

EXAMPLES = 3
"""Names that stand for all that was passed over for one reason."""
LONGEST = 60
"""Most characters of a name in a line."""


@dataclass(frozen=True, kw_only=True)
class Passed:
    """Files or other parts of a set that were passed over for one reason.

    Attributes:
        count: Their number.
        why: Words behind the number, as "in a format that is not read".
        examples: Names of the first few.
        expected: True for what no one misses: texts about the set, and what systems leave.
    """

    count: int
    why: str
    examples: tuple[str, ...] = ()
    expected: bool = False

    def __str__(self) -> str:
        """Return "5 of another kind (a, b, c, ...)"."""
        shown = [printable(name, LONGEST) for name in self.examples]
        shown += ["..."] if shown and self.count > len(shown) else []
        return f"{self.count} {self.why}" + (f" ({', '.join(shown)})" if shown else "")


def passed_over(why: str, names: Collection[str], *, expected: bool = False) -> list[Passed]:
    """Return one entry for all these names; an empty list where there are none."""
    examples = tuple(islice(names, EXAMPLES))
    return [Passed(count=len(names), why=why, examples=examples, expected=expected)] if names else []


def counted(count: int, one: str, several: str) -> str:
    """Return "1 class" or "3 classes"."""
    return f"{count} {one if count == 1 else several}"
