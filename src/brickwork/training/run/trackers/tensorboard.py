"""TensorBoard: event files in the run folder, pictures included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, final

import numpy as np

from brickwork.training.run.observer import RunView
from brickwork.training.run.trackers.base import Tracker, import_tracker


@final
class TensorBoard(Tracker):
    """Tracker that writes events for ``tensorboard --logdir RUN``.

    Events of steps that a resumed or rolled back run repeats are purged, and the new ones stand.

    Raises:
        MissingExtraError: tensorboard is not installed.
    """

    NAME: ClassVar[str] = "tensorboard"

    def __init__(self) -> None:
        super().__init__()
        import_tracker(self.NAME, "tensorboard")
        self._library = import_tracker(self.NAME, "torch.utils.tensorboard")
        self._writer: Any = None

    def on_start(self, run: RunView[Any]) -> None:
        """Open an event file, with the recipe as text."""
        self._open(run)
        if not run.resumed:
            recipe = "\n".join(f"    {line}" for line in run.facts()["recipe"].splitlines())
            self._writer.add_text("recipe", recipe, run.step)

    def on_log(self, run: RunView[Any], line: Mapping[str, Any]) -> None:
        """Send a line; after a rollback open an event file that purges the void steps."""
        if "event" in line:
            self.close()
            self._open(run)
        else:
            super().on_log(run, line)

    def send_numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write scalars."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def send_picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """Write a picture."""
        self._writer.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Flush the events."""
        if self._writer is not None:
            self._writer.close()

    def _open(self, run: RunView[Any]) -> None:
        first = run.step + 1 if run.resumed or run.step else 0
        self._writer = self._library.SummaryWriter(str(run.folder), purge_step=first)
