"""Frozen configs as entries of a file's header, and back: every value is checked against its field's type."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from brickwork.errors import CheckpointError, ConfigError
from brickwork.registry import Registry, registry_with


def to_entry(registry: Registry[Any], config: Any) -> list[Any]:
    """Return a frozen config as ``[name, {field: value}]``, ready for JSON; nested configs become entries inside it.

    An entry of another package's class has a third element, the package.

    Raises:
        ExtensionError: The config's class is registered under no name.
    """
    name = registry.name_of(config)
    values = asdict(config)
    hints = get_type_hints(type(config))
    for field in fields(config):
        if nested := registry_with(hints[field.name]):
            values[field.name] = to_entry(nested, getattr(config, field.name))
    package = registry.package_of(name)
    return [name, values, package] if package else [name, values]


def from_entry(registry: Registry[Any], entry: Any, kind: str) -> Any:
    """Return the config that :func:`to_entry` wrote.

    Raises:
        UnknownNameError: No such name.
        ExtensionError: The package that the config's class comes from is missing here.
        CheckpointError: Fields that the config does not have, or values of a wrong type.
        BrickworkError: Values that the config refuses.
    """
    check_entry(entry, kind)
    name, values, *package = entry
    config = registry.find(name, *package)
    known = get_type_hints(config)
    if extra := sorted(set(values) - {f.name for f in fields(config)}):
        raise CheckpointError(f"the header's {kind} {name!r} has unknown fields {', '.join(extra)}: upgrade brickwork")
    for key in values.keys() & known.keys():
        if nested := registry_with(known[key]):
            values = values | {key: from_entry(nested, values[key], key)}
    try:
        values = {key: _configs(_tuples(value), known[key]) for key, value in values.items()}
    except TypeError as error:
        raise CheckpointError(
            f"the header's {kind} {name!r} holds a part of another make ({error}): upgrade brickwork"
        ) from error
    for key, value in values.items():
        if not _fits(value, known[key]):
            raise CheckpointError(
                f"the header's {kind} {name!r} has {key} {short(value)}: it must be {_name_of(known[key])}; copy or "
                "train it again"
            )
    try:
        return config(**values)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(
            f"the header's {kind} {name!r} cannot be made of {short(values)} ({error}): copy or train it again"
        ) from error


def check_entry(entry: Any, kind: str) -> None:
    """Refuse a value that is neither ``[name, {field: value}]`` nor that with a package behind it.

    Raises:
        CheckpointError: The value is neither.
    """
    if not (
        isinstance(entry, list)
        and len(entry) in (2, 3)
        and isinstance(entry[0], str)
        and isinstance(entry[1], dict)
        and all(isinstance(package, str) for package in entry[2:])
    ):
        raise CheckpointError(
            f"the header's {kind} is {short(entry)}: it must be [name, fields]; copy or train it again"
        )


def _tuples(value: Any) -> Any:
    """Turn JSON's lists into tuples, as configs have them."""
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def _configs(value: Any, hint: Any) -> Any:
    """Turn JSON's objects into configs where the field's type is a config, or a tuple of them."""
    if get_origin(hint) is tuple and isinstance(value, tuple) and get_args(hint)[1:] == (...,):
        return tuple(_configs(part, get_args(hint)[0]) for part in value)
    if not (isinstance(hint, type) and is_dataclass(hint) and isinstance(value, dict)):
        return value
    known = get_type_hints(hint)
    if not all(key in known and _fits(part, known[key]) for key, part in value.items()):
        raise TypeError(short(value))
    return hint(**value)


def _fits(value: Any, hint: Any) -> bool:
    """Return True if a value from JSON is of a field's type; an int passes for a float, a bool for neither."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in inner)
    if origin in (Union, UnionType):
        return any(_fits(value, kind) for kind in inner)
    if origin is tuple:
        kinds = inner[:1] * len(value) if isinstance(value, tuple) and inner[1:] == (...,) else inner
        return isinstance(value, tuple) and len(value) == len(kinds) and all(map(_fits, value, kinds))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if is_dataclass(hint) and isinstance(hint, type):
        return isinstance(value, hint)
    return type(value) is hint if hint in (int, bool, str, NoneType) else True


def _name_of(hint: Any) -> str:
    """Return a field's type as text for people."""
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    if get_origin(hint) in (Union, UnionType):
        return " | ".join(map(_name_of, get_args(hint)))
    if hint is NoneType:
        return "None"
    return hint.__name__ if isinstance(hint, type) else str(hint)


def short(value: Any) -> str:
    """Return a value as text for a message of one line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def checked_fields(config: type, table: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Return the values in the types that the config's fields state; refuse unknown keys and name similar ones."""
    hints = get_type_hints(config)
    known = {item.name for item in fields(config)}
    values = {}
    for key, value in table.items():
        where = f"{section}.{key}" if section else key
        if key not in known:
            near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
            hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(sorted(known))}"
            raise ConfigError(f"no setting named {where!r}; {hint}")
        try:
            values[key] = _coerced(value, hints[key])
        except TypeError as error:
            raise ConfigError(f"{where} is {value!r}: {error}") from None
    return values


def _coerced(value: Any, hint: Any) -> Any:
    """Return a TOML value as the type that a field states. Raises TypeError with the rule."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        reasons = []
        for option in arguments:
            if option is type(None):
                continue
            try:
                return _coerced(value, option)
            except TypeError as error:
                reasons.append(str(error))
        raise TypeError(" or ".join(reasons))
    if origin is Literal:
        if value not in arguments:
            raise TypeError(f"it must be {' or '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, list) or (Ellipsis not in arguments and len(value) != len(arguments)):
            raise TypeError(f"it must be a list of {len(arguments)}")
        kinds = [arguments[0]] * len(value) if Ellipsis in arguments else arguments
        return tuple(_coerced(v, kind) for v, kind in zip(value, kinds, strict=True))
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise TypeError(f"it must be a table of {', '.join(item.name for item in fields(hint))}")
        return hint(**checked_fields(hint, value, hint.__name__.removesuffix("Config").lower()))
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise TypeError(f"it must be {_KINDS.get(hint, str(hint))}")
    return value


_KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
