"""Recipes in TOML: read, fitted to images, and written again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import brickwork as bw
from brickwork.training.autoencoder.recipe import (
    autoencoder_toml,
    fit_autoencoder,
    load_autoencoder_recipe,
    parse_autoencoder_recipe,
)
from brickwork.training.denoiser.recipe_file import parse_recipe, to_toml
from campaign.subject import Subject
from campaign.subjects.runs import autoencoder_recipe, images, recipe


def read_again(place: Path) -> Any:
    """Read a recipe; what is written of it must read as the same."""
    settings = bw.load_recipe(place / "recipe.toml")
    text = to_toml(settings)
    assert to_toml(parse_recipe(text)) == text, "written, it reads as another recipe"
    return text


def read_codec_again(place: Path) -> Any:
    """Read an autoencoder's recipe, and fit it to images."""
    settings = load_autoencoder_recipe(place / "recipe.toml")
    text = autoencoder_toml(settings)
    assert autoencoder_toml(parse_autoencoder_recipe(text)) == text, "written, it reads as another recipe"
    fit_autoencoder(settings, images(3))
    return text


def write(text: str, place: Path) -> None:
    """Write a recipe."""
    (place / "recipe.toml").write_text(text)


LEGO = bw.Lego.Config(bricks=(bw.Lego.Brick(window=4, patch=2, width=8, heads=2, depth=1),), vector_width=8)

SUBJECTS = (
    Subject(name="recipe", make=lambda p: write(to_toml(recipe()), p), read=read_again),
    Subject(
        name="recipe, bricks",
        make=lambda p: write(to_toml(recipe(backbone=LEGO, process=bw.Edm(), prediction=bw.EdmF())), p),
        read=read_again,
        share=0.5,
    ),
    Subject(
        name="recipe, autoencoder",
        make=lambda p: write(autoencoder_toml(autoencoder_recipe()), p),
        read=read_codec_again,
        share=0.5,
    ),
)
