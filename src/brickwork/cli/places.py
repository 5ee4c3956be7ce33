"""Things that the first word of `train` names: pictures, a run or a recipe; and folders for new runs."""

from __future__ import annotations

from enum import Enum
from itertools import count
from pathlib import Path

from brickwork.cli.names import PRESETS
from brickwork.data.opening import HUB
from brickwork.errors import ArgumentError, CheckpointError
from brickwork.files.recipes import recipe_names
from brickwork.model.header import existing_model, stored_header

RUNS = Path("runs")
"""Folder of the runs that nobody named a place for."""
RECIPE_FILE = "recipe.toml"
"""A run's recipe, by which its folder is known."""
ARCHIVES = (".zip", ".npz", ".gz")
"""Suffixes of files that hold images."""


class Names(Enum):
    """Kinds of things that a word names."""

    RECIPE = "a preset, a recipe, or its file"
    RUN = "a run folder"
    IMAGES = "images"


def names_of(word: str) -> Names:
    """Tell what a word names: presets and recipes come before files, and runs and TOML files before images.

    A folder that has a preset's name is named as ``./stoic-small``. A word that names nothing counts as a recipe.
    """
    path = Path(word).expanduser()
    if word in PRESETS or word in recipe_names():
        return Names.RECIPE
    if (path / RECIPE_FILE).is_file():
        return Names.RUN
    is_archive = path.is_file() and (path.suffix.lower() in ARCHIVES or "ubyte" in path.name)
    return Names.IMAGES if word.startswith(HUB) or path.is_dir() or is_archive else Names.RECIPE


def new_run(word: str) -> Path:
    """Return a folder for a new run, ``runs/NAME`` or, where that is there already, ``runs/NAME-2`` and so on.

    Args:
        word: The pictures or the recipe that the run is named after.
    """
    last = word.removeprefix(HUB).partition("@")[0].partition(":")[0] if word.startswith(HUB) else word
    path = Path(last).expanduser()
    name = path.resolve().stem if path.exists() else path.stem
    name = (name or "run").lstrip("-") or "run"
    free = (RUNS / (name if number == 1 else f"{name}-{number}") for number in count(1))
    return next(folder for folder in free if not folder.exists())


def data_of(run: Path) -> str:
    """Return where the images of a run are, as its model file tells.

    Raises:
        ArgumentError: It does not tell, or nothing is there now.
    """
    try:
        data = str(stored_header(existing_model(run))[0]["training"].get("data", ""))
    except CheckpointError:
        data = ""
    if not data:
        raise ArgumentError(f"{run} does not tell where its images are: name them with --data")
    if data == "digits" or data.startswith(HUB) or Path(data).expanduser().exists():
        return data
    raise ArgumentError(f"{run} learned from {data}, and nothing is there now: name the same images with --data")
