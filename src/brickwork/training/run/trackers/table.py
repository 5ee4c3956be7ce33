"""Trackers by name."""

from __future__ import annotations

from collections.abc import Iterable

from brickwork.training.run.trackers.base import Tracker
from brickwork.training.run.trackers.mlflow import Mlflow
from brickwork.training.run.trackers.tensorboard import TensorBoard
from brickwork.training.run.trackers.wandb import Wandb

TRACKERS: dict[str, type[Tracker]] = {kind.NAME: kind for kind in (TensorBoard, Wandb, Mlflow)}


def open_trackers(names: Iterable[str]) -> list[Tracker]:
    """Make the trackers of these names; they send nothing before the run begins.

    Raises:
        MissingExtraError: The library of one is not installed.
    """
    return [TRACKERS[name]() for name in names]
