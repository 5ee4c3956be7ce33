"""Refusal of idle settings: one that is set away from its default while something else switches it off."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields
from typing import Any, final

from brickwork.data.config import DataConfig
from brickwork.errors import ConfigError


@final
@dataclass(frozen=True)
class Idle:
    """Fields of a config that do nothing, and the reason.

    Attributes:
        config: The config, or the recipe itself.
        section: Its name in a recipe, followed by a dot; "" for the recipe itself.
        names: The fields.
        reason: Text that says what switches them off; continues "..., and".
    """

    config: Any
    section: str
    names: tuple[str, ...]
    reason: str


def refuse_idle(idle: Iterable[Idle]) -> None:
    """Refuse the first setting that is set away from its default and does nothing; 0 means off and passes.

    Raises:
        ConfigError: A setting does nothing; the message has value, reason and way out.
    """
    for row in idle:
        defaults = {item.name: _default(item) for item in fields(row.config)}
        for name in row.names:
            value = getattr(row.config, name)
            if value and value != defaults[name]:
                raise ConfigError(
                    f"{row.section}{name} is {value}, and {row.reason}, so it does nothing: leave it out "
                    f"({defaults[name]})"
                )


def idle_reading(data: DataConfig) -> list[Idle]:
    """List the settings for reading images that do nothing."""
    return [] if data.size else [Idle(data, "data.", ("filter",), "no data.size is set, so nothing is resized")]


def _default(item: Any) -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()
