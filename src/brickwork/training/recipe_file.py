"""Recipes as TOML files, both ways."""

from __future__ import annotations

import difflib
import json
import tomllib
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from brickwork.backbone.presets import BACKBONES, preset
from brickwork.codec.given import GIVEN
from brickwork.data.dataset import DataConfig
from brickwork.errors import ConfigError, UnknownNameError
from brickwork.sampling.process import PROCESSES
from brickwork.sampling.target import TARGETS
from brickwork.text.table import TEXTS
from brickwork.training.loss import WEIGHTINGS
from brickwork.training.parts import PartsConfig
from brickwork.training.recipe import Recipe, Report, published_parts
from brickwork.training.times import TIMES

NAMED: dict[str, Mapping[str, type]] = {
    "process": PROCESSES,
    "target": TARGETS,
    "times": TIMES,
    "weighting": WEIGHTINGS,
    "text": TEXTS,
    "given": GIVEN,
}
PLAIN: dict[str, type] = {"parts": PartsConfig, "data": DataConfig, "report": Report}


def load_recipe(path: str | Path) -> Recipe:
    """The recipe in a TOML file.

    Raises:
        ConfigError: The file is missing, no TOML, or has keys or values that a recipe does not know.
        UnknownNameError: A preset, process, target, times or weighting that does not exist.
    """
    try:
        return parse_recipe(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the recipe {path}: {getattr(error, 'strerror', None) or error}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse_recipe(text: str) -> Recipe:
    """The recipe in a TOML text; what it leaves out has the default."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not a TOML file: {error}") from error
    if not isinstance(table.get("backbone"), dict):
        raise ConfigError('a recipe needs a table [backbone] with preset = "..." or kind = "..."')
    backbone = _backbone(dict(table.pop("backbone")))
    values: dict[str, Any] = {"backbone": backbone, **published_parts(backbone)}
    for section, registry in NAMED.items():
        if section in table:
            values[section] = _named(section, registry, _table(section, table.pop(section)))
    for section, config in PLAIN.items():
        if section in table:
            values[section] = config(**checked_fields(config, _table(section, table.pop(section)), section))
    return Recipe(**values, **checked_fields(Recipe, table, ""))


def to_toml(recipe: Recipe) -> str:
    """The recipe as TOML with every field written out; :func:`parse_recipe` gives an equal recipe."""
    sections = {"backbone", *NAMED, *PLAIN}
    lines = lines_of(recipe, skip=sections)
    kind = _name_of(BACKBONES, {type(recipe.backbone)})
    lines += ["", "[backbone]", f"kind = {json.dumps(kind)}", *lines_of(recipe.backbone)]
    for section, registry in NAMED.items():
        config = getattr(recipe, section)
        lines += ["", f"[{section}]", f"name = {json.dumps(_name_of(registry, {type(config)}))}", *lines_of(config)]
    for section in PLAIN:
        lines += ["", f"[{section}]", *lines_of(getattr(recipe, section))]
    return "\n".join(lines) + "\n"


# ---- reading ----------------------------------------------------------------------------------------------------


def _backbone(table: dict[str, Any]) -> Any:
    if "preset" in table:
        base = preset(str(table.pop("preset")))
        return replace(base, **checked_fields(type(base), table, "backbone"))
    if "kind" not in table:
        raise ConfigError('[backbone] needs preset = "..." or kind = "..."')
    return _named("backbone", BACKBONES, {"name": table.pop("kind"), **table})


def _named(section: str, registry: Mapping[str, type], table: dict[str, Any]) -> Any:
    if "name" not in table:
        raise ConfigError(f'[{section}] needs name = "...", one of {", ".join(registry)}')
    name = str(table.pop("name"))
    if name not in registry:
        raise UnknownNameError(section, name, registry)
    return registry[name](**checked_fields(registry[name], table, section))


def _table(section: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{section} is {value!r}: write it as a table, [{section}]")
    return dict(value)


def checked_fields(config: type, table: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Values of the types that the config's fields state; unknown keys are refused with their neighbours."""
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
    """A TOML value as the type a field states. Raises TypeError with the rule."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
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


# ---- writing ----------------------------------------------------------------------------------------------------


def _name_of(registry: Mapping[str, type], kinds: set[type]) -> str:
    return next(name for name, kind in registry.items() if kind in kinds)


def lines_of(config: Any, skip: set[str] = frozenset()) -> list[str]:  # pyright: ignore[reportArgumentType]
    """``key = value`` of every field; None is not written, since it is always the default."""
    assert is_dataclass(config)
    items = [(item, getattr(config, item.name)) for item in fields(config) if item.name not in skip]
    for item, value in items:
        assert value is not None or _default(item) is None, f"{item.name} is None, which TOML cannot say"
    return [f"{item.name} = {_text(value)}" for item, value in items if value is not None]


def _default(item: Field[Any]) -> Any:
    return item.default if item.default is not MISSING else None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple):
        if any(map(is_dataclass, value)):
            return "[\n" + "".join(f"    {_text(v)},\n" for v in value) + "]"
        return f"[{', '.join(_text(v) for v in value)}]"
    if is_dataclass(value):
        return f"{{{', '.join(lines_of(value))}}}"
    return repr(value)
