"""Recipes as TOML files, both ways."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from brickwork.backbone.presets import BACKBONES, preset
from brickwork.codec.given import GIVEN
from brickwork.data.dataset import DataConfig
from brickwork.diffusion.prediction import PREDICTIONS
from brickwork.diffusion.process import PROCESSES
from brickwork.errors import ConfigError, UnknownNameError
from brickwork.files.schema import checked_fields
from brickwork.text.table import TEXTS
from brickwork.training.denoiser.loss import WEIGHTINGS
from brickwork.training.denoiser.parts import PartsConfig
from brickwork.training.denoiser.recipe import Recipe, Report, published_parts
from brickwork.training.denoiser.times import TIMES

NAMED: dict[str, Mapping[str, type]] = {
    "process": PROCESSES,
    "prediction": PREDICTIONS,
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
        UnknownNameError: A preset, process, prediction, times or weighting that does not exist.
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
    if "target" in table:  # its name before 0.2
        table["prediction"] = table.pop("target")
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
