"""Recipes of every kind as TOML: one table per nested config; where a config has several classes, it names one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import tomli_w

from brickwork.errors import ConfigError
from brickwork.files.plain import read_small, read_toml
from brickwork.files.proposed import proposals, proposing
from brickwork.files.schema import TOML
from brickwork.registry import Registry
from brickwork.training.run.recipe import RunRecipe

R = TypeVar("R", bound=RunRecipe)
Registries = Mapping[str, Registry[Any]]
"""Classes by name, for each field whose config may be of several classes."""
RECIPE_FILE = "recipe.toml"
"""A run's recipe in its folder."""
PROPOSED = "proposed"
"""Key that lists the fields whose numbers data may replace; the others are the user's, or a run's own."""

# ---- reading ----------------------------------------------------------------------------------------------------


def read_recipe(path: str | Path, parse: Callable[[str], R]) -> R:
    """Read a recipe from a TOML file.

    Args:
        path: The file, UTF-8.
        parse: Makes a recipe from the file's text.

    Raises:
        ConfigError: The file is missing, no TOML, or has keys or values that a recipe does not know.
        UnknownNameError: A name that a registry does not have.
        ExtensionError: A class of a package that is not installed here.
    """
    try:
        text = read_small(Path(path)).decode()
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the recipe {path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        return parse(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def with_settings(recipe: R, settings: Mapping[str, Any]) -> R:
    """Return the recipe with some of its fields set.

    Raises:
        ConfigError: A recipe has no such field, or refuses the value.
    """
    if unknown := sorted(set(settings) - {item.name for item in fields(recipe)}):
        TOML.fields(type(recipe), dict.fromkeys(unknown))
    return replace(recipe, **settings)


def table_of(text: str) -> dict[str, Any]:
    """Return the table that a TOML text holds.

    Raises:
        ConfigError: It is no TOML.
    """
    try:
        return read_toml(text)
    except ValueError as error:
        raise ConfigError(f"not a TOML file: {error}") from error


def recipe_of(kind: type[R], table: Mapping[str, Any], registries: Registries = {}, **ready: Any) -> R:  # noqa: B006
    """Make a recipe from a table; missing fields get their defaults.

    Args:
        kind: The recipe's class.
        table: The parsed TOML.
        registries: Classes by name, for fields whose config may be of several classes.
        ready: Finished values by field; those of the table take precedence.

    Raises:
        ConfigError: Keys or values that the recipe does not know.
        UnknownNameError: A name that a registry does not have.
        ExtensionError: A class of a package that is not installed here.
    """
    rest, values = dict(table), dict(ready)
    for section, config in sections_of(kind, registries).items():
        if section not in rest:
            continue
        part = _subtable(section, rest.pop(section))
        known = registries.get(section)
        values[section] = filled_in(config, part, section) if known is None else named(section, known, part)
    return kind(**values, **TOML.fields(kind, rest))


def sections_of(kind: type[RunRecipe], registries: Registries) -> dict[str, type]:
    """Return the fields of a recipe that hold a config, with their declared classes; those of all recipes come last."""
    hints, shared = get_type_hints(kind), {item.name for item in fields(RunRecipe)}
    order = sorted(fields(kind), key=lambda item: item.name in shared)
    return {i.name: hints[i.name] for i in order if i.name in registries or is_dataclass(hints[i.name])}


def named(section: str, registry: Registry[Any], table: dict[str, Any]) -> Any:
    """Make the config that a table names.

    Raises:
        ConfigError: No name, or fields that the config does not have.
        UnknownNameError: A name that the registry does not have.
        ExtensionError: A class of a package that is not installed here.
    """
    if "name" not in table:
        raise ConfigError(f'[{section}] needs name = "...", one of {", ".join(registry)}')
    kind = registry.find(str(table.pop("name")), str(table.pop("package", "")))
    return filled_in(kind, table, section)


def filled_in(kind: type, table: dict[str, Any], section: str) -> Any:
    """Make a config from its table, in which ``proposed`` lists the numbers that data may replace.

    Raises:
        ConfigError: Keys or values that the config does not know.
    """
    offered = table.pop(PROPOSED, [])
    if offered and not (isinstance(offered, list) and all(isinstance(key, str) and key in table for key in offered)):
        raise ConfigError(f"{section}.{PROPOSED} is {offered!r}: it lists keys of this table")
    config = TOML.config(kind, table, section)
    return proposing(config, offered) if offered else config


def _subtable(section: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{section} is {value!r}: write it as a table, [{section}]")
    return dict(value)


# ---- writing ----------------------------------------------------------------------------------------------------


def toml_of(recipe: RunRecipe, registries: Registries = {}, keys: Mapping[str, str] = {}) -> str:  # noqa: B006
    """Write a recipe as TOML, with every field that TOML can express.

    Args:
        recipe: The recipe.
        registries: Classes by name, for fields whose config may be of several classes.
        keys: Key of the class's name for such a field, where that is not ``name``.
    """
    sections = sections_of(type(recipe), registries)
    table = _values_of(recipe, skip=set(sections))
    for section in sections:
        config = getattr(recipe, section)
        table[section] = {}
        if section in registries:
            name = registries[section].name_of(config)
            table[section][keys.get(section, "name")] = name
            if package := registries[section].package_of(name):
                table[section]["package"] = package
        if offered := proposals(config):
            table[section][PROPOSED] = offered
        table[section] |= _values_of(config)
    return tomli_w.dumps(table)


def _values_of(config: Any, skip: set[str] = frozenset()) -> dict[str, Any]:  # pyright: ignore[reportArgumentType]
    """Return every field in a form that TOML can express; None is left out, since it is always the default."""
    items = [(item, getattr(config, item.name)) for item in fields(config) if item.name not in skip]
    for item, value in items:
        assert value is not None or _default(item) is None, f"{item.name} is None, which TOML cannot say"
    return {item.name: _plain(value) for item, value in items if value is not None}


def _default(item: Field[Any]) -> Any:
    return item.default if item.default is not MISSING else None


def _plain(value: Any) -> Any:
    """Return a field's value with tuples as lists and configs as tables."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return _values_of(value) if is_dataclass(value) else value
