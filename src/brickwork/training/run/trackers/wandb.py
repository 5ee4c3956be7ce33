"""Weights & Biases: numbers, pictures and the recipe as the run's config."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar, final

import numpy as np

from brickwork.training.run.observer import RunView
from brickwork.training.run.trackers.base import Tracker, import_tracker


@final
class Wandb(Tracker):
    """Tracker that sends a run to Weights & Biases: project ``WANDB_PROJECT`` or "brickwork", named by its folder.

    Other settings are wandb's own variables, as ``WANDB_MODE=offline``. Its steps only rise, so that a step is kept as
    it was first sent.

    Raises:
        MissingExtraError: wandb is not installed.
    """

    NAME: ClassVar[str] = "wandb"

    def __init__(self) -> None:
        super().__init__()
        self._library = import_tracker(self.NAME, "wandb")
        self._run: Any = None

    def on_start(self, run: RunView[Any]) -> None:
        """Begin a run at Weights & Biases, or continue the one of this folder."""
        self._run = self._library.init(
            project=os.environ.get("WANDB_PROJECT", "brickwork"),
            name=run.folder.resolve().name,
            dir=str(run.folder),
            id=self.saved_identity(run),
            resume="allow",
            reinit="create_new",  # a run that the user has open elsewhere stays open
            config=run.settings(),
        )
        self.save_identity(run, self._run.id)
        self.skip_to(self._run.step - 1)

    def send_numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        """Log numbers."""
        self._run.log(dict(numbers), step=step)

    def send_picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """Log a picture."""
        self._run.log({name: self._library.Image(picture)}, step=step)

    def close(self) -> None:
        """Finish the run at Weights & Biases."""
        if self._run is not None:
            self._run.finish()
