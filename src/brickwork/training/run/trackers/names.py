"""Names of the trackers, as recipes have them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args

from brickwork.errors import ConfigError, UnknownNameError

TrackerName = Literal["tensorboard", "wandb", "mlflow"]


def check_trackers(names: Iterable[str]) -> tuple[Any, ...]:
    """Return the names of trackers as a tuple; refuse one that does not exist or stands there twice.

    Raises:
        UnknownNameError: A name has no tracker.
        ConfigError: A text in place of a list, or a name twice.
    """
    if isinstance(names, str):
        raise ConfigError(f"report.trackers is {names!r}: give a list of names, as [{names!r}]")
    names = tuple(names)
    for name in names:
        if name not in get_args(TrackerName):
            raise UnknownNameError("tracker", name, get_args(TrackerName))
    if len(set(names)) < len(names):
        raise ConfigError(f"report.trackers are {', '.join(names)}: name each once")
    return names
