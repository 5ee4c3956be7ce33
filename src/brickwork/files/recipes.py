"""Recipes that come with the library: TOML files, found by their names."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Literal

Trained = Literal["denoiser", "autoencoder"]
"""Kind of network that a recipe trains."""
FOLDERS: dict[Trained, str] = {"denoiser": ".", "autoencoder": "autoencoders"}
"""Folder of each kind, below ``brickwork/recipes``."""


def recipe_names(trained: Trained = "denoiser") -> list[str]:
    """Return the names of the shipped recipes of a kind, sorted."""
    return sorted(path.stem for path in _folder(trained).glob("*.toml"))


def shipped_recipe(name: str, trained: Trained = "denoiser") -> Path | None:
    """Return the file of a shipped recipe; None if none has this name."""
    return _folder(trained) / f"{name}.toml" if name in recipe_names(trained) else None


def _folder(trained: Trained) -> Path:
    return Path(str(resources.files("brickwork"))) / "recipes" / FOLDERS[trained]
