"""MLflow: metrics, pictures and the recipe as parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, final

import numpy as np

from brickwork.training.run.observer import Findings, RunView
from brickwork.training.run.trackers.base import Tracker, flat, import_tracker


@final
class Mlflow(Tracker):
    """Tracker that sends a run to MLflow; set its ``MLFLOW_TRACKING_URI`` and ``MLFLOW_EXPERIMENT_NAME`` for where.

    MLflow accepts several values of a metric per step; each step is sent once, so that it has one.

    Raises:
        MissingExtraError: mlflow is not installed.
    """

    NAME: ClassVar[str] = "mlflow"

    def __init__(self) -> None:
        super().__init__()
        self._library = import_tracker(self.NAME, "mlflow")
        self._id, self._status = "", "FAILED"

    def on_start(self, run: RunView[Any]) -> None:
        """Begin a run at MLflow, or continue the one of this folder."""
        library, identity = self._library, self.saved_identity(run)
        nested = library.active_run() is not None  # the user's own run, which stays open
        begun = library.start_run(run_id=identity, run_name=run.folder.resolve().name, nested=nested)
        self._id = begun.info.run_id
        if identity is None:
            library.log_params({name: str(value) for name, value in flat(run.settings(), ".")}, run_id=self._id)
            self.save_identity(run, self._id)
        else:
            client = library.MlflowClient()
            history = (client.get_metric_history(self._id, name) for name in begun.data.metrics)
            self.skip_to(max((metric.step for metrics in history for metric in metrics), default=-1))

    def send_numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        """Log metrics."""
        self._library.log_metrics(dict(numbers), step=step, run_id=self._id)

    def send_picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """Log a picture as an artifact of the step."""
        self._library.log_image(picture, key=name, step=step)

    def on_end(self, run: RunView[Any]) -> Findings | None:
        """Record how the run ends."""
        self._status = "FINISHED" if run.finished else "KILLED"

    def close(self) -> None:
        """End the run at MLflow."""
        if self._id:
            self._library.end_run(self._status)
            self._id = ""
