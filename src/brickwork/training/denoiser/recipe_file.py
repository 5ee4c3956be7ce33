"""Recipes of diffusion models as TOML, both ways."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from brickwork.backbone.presets import PRESETS, preset
from brickwork.backbone.table import BACKBONES
from brickwork.codec.image_condition import IMAGE_CONDITIONS
from brickwork.diffusion.prediction import PREDICTIONS
from brickwork.diffusion.process import PROCESSES
from brickwork.doors import door
from brickwork.errors import ConfigError, UnknownNameError
from brickwork.files.recipes import recipe_names, shipped_recipe
from brickwork.files.schema import TOML
from brickwork.registry import Registry
from brickwork.text.table import TEXTS
from brickwork.training.denoiser.loss import WEIGHTINGS
from brickwork.training.denoiser.recipe import Recipe, preset_rate, published_parts
from brickwork.training.denoiser.times import TIMES
from brickwork.training.run.recipe_file import (
    PROPOSED,
    RECIPE_FILE,
    named,
    read_recipe,
    recipe_of,
    table_of,
    toml_of,
    with_settings,
)

NAMED: dict[str, Registry[Any]] = {
    "process": PROCESSES,
    "prediction": PREDICTIONS,
    "times": TIMES,
    "weighting": WEIGHTINGS,
    "text": TEXTS,
    "image_condition": IMAGE_CONDITIONS,
}
FORMER = {"target": "prediction", "given": "image_condition"}
"""Names of tables by those that they had before 0.2."""
FORMER_BACKBONE = {"given_channels": "condition_channels"}
"""Names of the backbone's fields, likewise."""


@door("reading a recipe")
def load_recipe(name: str | Path, **settings: object) -> Recipe:
    """Read a recipe from a TOML file or a run folder, or build the default one around a preset.

    Args:
        name: A file, as ``mine.toml``; a run folder; a recipe that comes with the library, as ``fashion-mnist``; or a
            preset, as ``stoic-small``, which comes with the process, prediction, times and weighting that its design
            was published with, and a learning rate for its width.
        settings: Fields of the recipe to set, as ``minutes=60``.

    Raises:
        ConfigError: The file is missing, no TOML, or has keys or values that a recipe does not know.
        UnknownNameError: A recipe, preset, process, prediction, times or weighting that does not exist.
        ExtensionError: A class of a package that is not installed here.
    """
    path = Path(name)
    if (path / RECIPE_FILE).is_file():
        path = path / RECIPE_FILE
    elif not path.is_file():
        path = shipped_recipe(str(name)) or path
    recipe = read_recipe(path, parse_recipe) if path.suffix == ".toml" or path.is_file() else _around(str(name))
    return with_settings(recipe, settings)


def _around(name: str) -> Recipe:
    """Return the default recipe around a preset."""
    if name not in PRESETS:
        raise UnknownNameError("recipe or preset", name, [*recipe_names(), *PRESETS])
    backbone = PRESETS[name]
    return Recipe(backbone=backbone, lr=preset_rate(backbone), **published_parts(backbone))


def parse_recipe(text: str) -> Recipe:
    """Read a recipe from TOML text; missing fields get their defaults."""
    table = TOML.renamed(table_of(text), FORMER)
    if isinstance(report := table.get("report"), dict) and "tensorboard" in report:  # its form before 0.2
        asked = report.pop("tensorboard")
        if not isinstance(asked, bool):
            raise ConfigError(f'report.tensorboard is {asked!r}: write trackers = ["tensorboard"] in its place')
        if asked:
            report.setdefault("trackers", ["tensorboard"])
    if not isinstance(table.get("backbone"), dict):
        raise ConfigError('a recipe needs a table [backbone] with preset = "..." or kind = "..."')
    backbone = _backbone(dict(table.pop("backbone")))
    return recipe_of(Recipe, table, NAMED, backbone=backbone, **published_parts(backbone))


def to_toml(recipe: Recipe) -> str:
    """Write the recipe as TOML with every field; :func:`parse_recipe` gives an equal recipe."""
    return toml_of(recipe, {"backbone": BACKBONES, **NAMED}, {"backbone": "kind"})


def _backbone(table: dict[str, Any]) -> Any:
    table = TOML.renamed(table, FORMER_BACKBONE, "backbone")
    if isinstance(offered := table.get(PROPOSED), list):
        table[PROPOSED] = [FORMER_BACKBONE.get(name, name) if isinstance(name, str) else name for name in offered]
    if "preset" in table:
        base = preset(str(table.pop("preset")))
        return replace(base, **TOML.fields(type(base), table, "backbone"))
    if "kind" not in table:
        raise ConfigError('[backbone] needs preset = "..." or kind = "..."')
    return named("backbone", BACKBONES, {"name": table.pop("kind"), **table})
