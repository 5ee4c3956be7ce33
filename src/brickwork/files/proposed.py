"""Proposed numbers: defaults of a preset that a run's data replace, while a number that a user sets stays.

A config holds both kinds in the same field: ``size = Proposed(32)`` is used as 32 by everything that builds or counts,
and gives way to the images; ``size = 64``, from a file, a flag or ``dataclasses.replace``, is the user's and must agree
with them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, final

from brickwork.errors import ConfigError

C = TypeVar("C")


@final
class Proposed(int):
    """A whole number that a preset or a default proposes; equal to that number, and used as it."""

    __slots__ = ()


def proposing(config: C, names: Collection[str]) -> C:
    """Return the config with these fields as proposals."""
    return _changed(config, {name: Proposed(getattr(config, name)) for name in names})


def settled(config: C) -> C:
    """Return the config with its proposals as plain numbers."""
    return _changed(config, {name: int(getattr(config, name)) for name in proposals(config)})


def proposals(config: Any) -> list[str]:
    """List the fields of a config that are proposals."""
    return [item.name for item in fields(config) if isinstance(getattr(config, item.name), Proposed)]


def filled(config: C, facts: Mapping[str, int], *, section: str, advice: Mapping[str, str]) -> C:
    """Return the config with its proposed numbers replaced by the data's.

    Args:
        config: The user's config.
        facts: The data's number for each field.
        section: Name of the config's table in a recipe, for the message.
        advice: Another way out for each field whose number differs.

    Raises:
        ConfigError: The user set another number than the data's.
    """
    for name, fact in facts.items():
        value = getattr(config, name)
        if value != fact and not isinstance(value, Proposed):
            raise ConfigError(
                f"{section}.{name} is {value}, and the data make it {fact}: it is taken from the data, so leave it "
                f"out{advice[name]}"
            )
    return _changed(config, {name: int(fact) for name, fact in facts.items()})


def origins(before: Any, after: Any, names: Collection[str]) -> dict[str, str]:
    """Describe where each number of a filled config comes from: you, preset, or data.

    Args:
        before: The user's config.
        after: The config that :func:`filled` made of it.
        names: Fields to describe.
    """
    told = {}
    for name in names:
        value, fact = getattr(before, name), getattr(after, name)
        if not isinstance(value, Proposed):
            told[name] = "you"
        else:
            told[name] = "preset, as the data are" if value == fact else f"data, in place of {value}"
    return told


def _changed(config: C, values: Mapping[str, int]) -> C:
    assert is_dataclass(config)
    assert not isinstance(config, type)
    return replace(config, **values)
