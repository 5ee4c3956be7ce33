"""The behaviour that all trackers share: numbers by path, each step once, and the identity of a resumed run."""

from __future__ import annotations

import importlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from brickwork.errors import MissingExtraError
from brickwork.files.plain import read_json, read_small
from brickwork.files.whole import write_whole
from brickwork.training.run.observer import Observer, RunView

TRACKERS_FILE = "trackers.json"
"""File with the identity that each tracker gave a run, so that a resumed run continues under it."""


def import_tracker(extra: str, module: str) -> Any:
    """Import the library behind a tracker.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(extra, extra, f'report.trackers = ["{extra}"]') from error


class Tracker(Observer[Any], ABC):
    """Base of the trackers: sends every line of the log and every picture, each step once.

    A resumed run repeats the steps since its last save, to the bit; a run that was rolled back repeats them with other
    noise. Steps that were sent already are not sent again.

    Attributes:
        sent: The last step that was sent; -1 for none.
    """

    NAME: ClassVar[str]
    """Name in a recipe, and of the extra."""

    def __init__(self) -> None:
        self.sent = self._known = -1

    @abstractmethod
    def send_numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        """Send numbers of a step by their path, as "loss" or "held_out/0.05"."""

    @abstractmethod
    def send_picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """Send a picture of a step, uint8 (H, W, 1 or 3)."""

    def skip_to(self, step: int) -> None:
        """Send nothing of this step and earlier ones from now on."""
        self.sent = self._known = max(self._known, step)

    def on_log(self, run: RunView[Any], line: Mapping[str, Any]) -> None:
        """Send a line of the log."""
        if "event" in line:  # a rollback
            self.skip_to(self.sent)
        elif line["step"] > self._known:
            numbers = dict(numbers_of(line))
            if line["step"] == self.sent:  # all lines of a step have its images
                del numbers["images"]
            self.send_numbers(line["step"], numbers)
            self.sent = line["step"]

    def on_picture(self, run: RunView[Any], name: str, picture: np.ndarray) -> None:
        """Send a picture."""
        if run.step > self._known:
            self.send_picture(run.step, name, picture)
            self.sent = run.step

    def saved_identity(self, run: RunView[Any]) -> str | None:
        """Return the identity under which a resumed run was tracked; None for a fresh one."""
        identity = _identities(run.folder).get(self.NAME) if run.resumed else None
        return identity if isinstance(identity, str) else None

    def save_identity(self, run: RunView[Any], identity: str) -> None:
        """Save the identity of the run in its folder."""
        known = _identities(run.folder) if run.resumed else {}
        write_whole(run.folder / TRACKERS_FILE, json.dumps({**known, self.NAME: identity}).encode())


def numbers_of(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a line of the log by their path, without the step."""
    for name, value in flat(line):
        if name != "step" and isinstance(value, int | float) and not isinstance(value, bool):
            yield name, value


def flat(table: Mapping[str, Any], between: str = "/", prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested tables with their paths."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from flat(value, between, f"{prefix}{name}{between}")
        else:
            yield f"{prefix}{name}", value


def _identities(folder: Path) -> dict[str, Any]:
    try:
        known = read_json(read_small(folder / TRACKERS_FILE))
    except (OSError, ValueError):  # no file, or not one of ours: the tracker begins anew
        return {}
    return known if isinstance(known, dict) else {}
