"""Measurements by the clock: the first soon, later ones at twice the distance, all within a small share of the run."""

from __future__ import annotations

from typing import final

SHARE = 0.05
"""Largest share of a run that goes into measurements by the clock."""
EVALUATIONS = 2
"""Evaluations that take no longer than training on one image, which is three by count."""
ADVANCE = 40
"""Evaluations that the first look has at least, for a sheet of four pictures by ten steps."""
FIRST_SHARE = 0.25
"""Share of a budget in minutes at which the first look comes at the latest."""


def first_look(asked: float, budget: float) -> float:
    """Return the minutes before the first look: as asked, but sooner in a run that is nearly over by then.

    Args:
        asked: Minutes of the recipe; 0 for none.
        budget: Minutes that the run may take; 0 for a budget of another kind.
    """
    return min(asked, FIRST_SHARE * budget) if budget else asked


@final
class Looks:
    """Clock that says when a run is looked at, and how many evaluations of the network a look may take.

    Looks come after 1, 3, 7, 15, ... times the first distance. What training on one image pays for, a look may spend;
    the first look has a small advance, so that there is something to see.

    Args:
        minutes: Minutes before the first look; 0 for none.

    Attributes:
        open: True during a look.
    """

    def __init__(self, minutes: float) -> None:
        self.minutes, self.open = minutes, False
        self._next, self._began, self._images = 60 * minutes, 0.0, 0
        self._evaluations, self._taken, self._advance = 0.0, 0.0, ADVANCE

    def start(self, *, seconds: float, images: int) -> None:
        """Begin a sitting: a resumed run goes on with the looks that are left.

        Args:
            seconds: Seconds of training so far.
            images: Images of training so far.
        """
        self._began, self._images = seconds, images
        self._pass(seconds)

    def due(self, seconds: float) -> bool:
        """Return True where a look is due, and the last ones took no more than their share of the time."""
        return self.minutes > 0 and seconds >= self._next and self._taken <= SHARE * (seconds - self._began)

    def begin(self, images: int) -> None:
        """Begin a look, which may take what training since the last one pays for."""
        self._evaluations += SHARE * EVALUATIONS * (images - self._images)
        self._evaluations, self._advance = max(self._evaluations, self._advance), 0
        self._images, self.open = images, True

    def end(self, seconds: float, taken: float) -> None:
        """End a look.

        Args:
            seconds: Seconds of training so far.
            taken: Seconds that the look took.
        """
        self._taken += taken
        self.open = False
        self._pass(seconds)

    def afford(self, wanted: int, each: int, *, least: int = 1, share: float = 1.0) -> int:
        """Return how many things a measurement may take, and pay for them; all that are wanted outside a look.

        Args:
            wanted: Number of things wanted.
            each: Evaluations that one of them needs.
            least: Number below which it takes none.
            share: Largest share of what is left that it may take.
        """
        if not self.open:
            return wanted
        count = min(wanted, int(share * self._evaluations / each))
        if count < min(least, wanted):
            return 0
        self._evaluations -= count * each
        return count

    def _pass(self, seconds: float) -> None:
        while self.minutes > 0 and self._next <= seconds:
            self._next = 2 * self._next + 60 * self.minutes
