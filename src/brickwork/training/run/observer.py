"""Observers: objects that watch a run while it trains, and the read-only view of the run that they get."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, final

import numpy as np
import torch
from typing_extensions import TypeVar

import brickwork
from brickwork.training.run.folder import Ingredient
from brickwork.training.run.looks import Looks
from brickwork.training.run.recipe import RunRecipe
from brickwork.training.run.statefile import Counters

if TYPE_CHECKING:
    from brickwork.data.dataset import Dataset
    from brickwork.model.model import Model

M = TypeVar("M", bound=torch.nn.Module, default="Model")
M_co = TypeVar("M_co", bound=torch.nn.Module, covariant=True)

LogLine = Mapping[str, Any]
"""A line of the log: "step", "images", and numbers, texts or tables of numbers by name."""
Findings = Mapping[str, "float | Mapping[str, float] | np.ndarray"]
"""Numbers for the log and pictures, uint8 (H, W, 1 or 3), by name."""


class Watched(Protocol[M_co]):
    """The attributes of a training state that a view shows."""

    @property
    def recipe(self) -> RunRecipe:
        """The resolved recipe."""
        ...

    @property
    def counters(self) -> Counters:
        """Position of the run."""
        ...

    @property
    def spent(self) -> float:
        """Share of the budget that is spent; training ends at 1."""
        ...

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        ...

    @property
    def average(self) -> M_co:
        """The model with averaged weights."""
        ...

    @property
    def device(self) -> torch.device:
        """The device that trains."""
        ...


@final
class RunView(Generic[M]):
    """A run as its observers see it: up to date at every call, read-only.

    Args:
        state: The training state.
        folder: The run folder.
        data: Training images.
        ingredients: Models that the run began with, by name.
        to_toml: Writes a recipe.
        lines: Reads the log.
        say: Shows a line to the user.
        resumed: True where the run continues from a saved state.
        looks: Says what a measurement by the clock may take.
        check: Raises ``Stopped`` once a signal asked the run to end.
    """

    def __init__(
        self,
        state: Watched[M],
        folder: Path,
        data: Dataset,
        ingredients: Mapping[str, Ingredient],
        *,
        to_toml: Callable[[RunRecipe], str],
        lines: Callable[[], Sequence[LogLine]],
        say: Callable[[str], None],
        resumed: bool,
        looks: Looks,
        check: Callable[..., None],
    ) -> None:
        self.folder, self.data, self.ingredients, self.resumed = folder, data, ingredients, resumed
        self._looks, self._check = looks, check
        self._state, self._to_toml, self._lines, self._say = state, to_toml, lines, say

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self._state.counters.step

    @property
    def images_seen(self) -> int:
        """Images of all steps."""
        return self._state.counters.images_seen

    @property
    def seconds(self) -> float:
        """Seconds of training by the clock, over all sittings."""
        return self._state.counters.seconds

    @property
    def spent(self) -> float:
        """Share of the budget that is spent, from 0; training ends at 1."""
        return self._state.spent

    @property
    def finished(self) -> bool:
        """True once the budget is spent."""
        return self.spent >= 1

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return self._state.lr

    @property
    def average(self) -> M:
        """The model with averaged weights: the one that the run keeps. Later steps change it: copy what you keep."""
        return self._state.average

    @property
    def recipe(self) -> RunRecipe:
        """The resolved recipe, a frozen value."""
        return self._state.recipe

    def settings(self) -> dict[str, Any]:
        """Return the recipe as nested tables of plain values, as its TOML file has them."""
        return tomllib.loads(self._to_toml(self.recipe))

    def lines(self) -> Sequence[LogLine]:
        """Return the lines of ``log.jsonl`` up to now, oldest first."""
        return self._lines()

    def say(self, message: str) -> None:
        """Show a line to the user, beside the progress bar; nothing if the run is quiet."""
        self._say(message)

    def check(self, *_: object) -> None:
        """Do nothing until a signal asks the run to end; call it between two batches of what takes long.

        It takes, and ignores, any arguments: it will do as ``sample(..., on_step=run.check)``.

        Raises:
            Stopped: A signal came. Let it pass: the run is saved and ends.
        """
        self._check()

    @property
    def by_clock(self) -> bool:
        """True in a measurement that the clock asks for, which is to be short."""
        return self._looks.open

    def afford(self, wanted: int, each: int, *, least: int = 1, share: float = 1.0) -> int:
        """Return how many things a measurement may take: all, or, by the clock, what its share of the run pays for.

        Args:
            wanted: Number of things wanted, as pictures.
            each: Evaluations of the network that one of them needs.
            least: Number below which the measurement takes none.
            share: Largest share of what is left that it may take.
        """
        return self._looks.afford(wanted, each, least=least, share=share)

    def place(self) -> dict[str, Any]:
        """Return device and threads: beside the recipe, the last bits of a result depend on them."""
        return {"device": self._state.device.type, "threads": torch.get_num_threads()}

    def facts(self) -> dict[str, Any]:
        """Return the facts about training that a model's file records, ready for JSON."""
        return {
            "finished": self.finished,
            "steps": self.step,
            "images": self.images_seen,
            "minutes": round(self.seconds / 60, 2),
            "data": self.data.name,
            "data_images": len(self.data),
            "data_sha256": self.data.digest,
            **self.place(),
            "torch": torch.__version__,
            "brickwork": brickwork.__version__,
            "recipe": self._to_toml(self.recipe),
        }


class Observer(Generic[M]):
    """Base of all observers: override what you need; each method does nothing by itself.

    A run calls its observers one after the other, and its own before the user's. An observer that raises ends the run:
    the state is saved first, and the error, one line, names the observer and the method.

    Attributes:
        every: Steps between two calls of :meth:`measure`; 0 for none by steps.
        by_clock: True to be called also by the clock, as ``report.look_minutes`` says; ask ``run.afford`` then.
    """

    every: int = 0
    by_clock: bool = False

    def due(self, step: int) -> bool:
        """Return True where :meth:`measure` is to be called after a step, counted from 1."""
        return self.every > 0 and step % self.every == 0

    def on_start(self, run: RunView[M]) -> None:
        """Begin: once in each sitting, before its first step."""

    def on_step(self, run: RunView[M]) -> None:
        """Look on after every step. Keep it light; the step's loss may not be known yet, or may not be finite."""

    def measure(self, run: RunView[M]) -> Findings | None:
        """Measure or draw something, when it is due and when the budget is spent.

        It is called only while the loss was finite in every step so far.

        Returns:
            Numbers, which become a line of the log, and pictures, uint8 (H, W, 1 or 3), for :meth:`on_picture`.
        """

    def on_log(self, run: RunView[M], line: LogLine) -> None:
        """Receive a line of the log after it is written, with its "step" and "images".

        Every ``report.log_every`` steps it has "loss", "lr" and "images_per_second"; others have measurements. After
        "event": "rolled back" the run is at "step" again, and lines of later steps are void.
        """

    def on_picture(self, run: RunView[M], name: str, picture: np.ndarray) -> None:
        """Receive a picture that an observer drew, uint8 (H, W, 1 or 3); "samples" is a sheet of the averaged model."""

    def on_save(self, run: RunView[M]) -> None:
        """Write files beside the state, which was saved just now."""

    def on_end(self, run: RunView[M]) -> Findings | None:
        """Finish after the last save of a sitting, interrupted or not; measures where the budget is spent."""
        return self.measure(run) if run.finished else None

    def close(self) -> None:
        """Close open resources; called in any case, also after an error."""
