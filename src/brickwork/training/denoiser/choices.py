"""Choices for who names no more than pictures: their size, a network and a budget, each with its reason."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any, final

from brickwork.backbone.base import FROM_DATA
from brickwork.backbone.presets import PRESETS
from brickwork.backbone.stoic import StoicConfig
from brickwork.codec.latents import Latents
from brickwork.data.dataset import Dataset
from brickwork.data.look import MINUTES, chosen_size, look_at, told_minutes
from brickwork.doors import door
from brickwork.errors import ConfigError
from brickwork.files.proposed import proposing
from brickwork.nn.device import choose_device
from brickwork.training.denoiser.recipe import Recipe, preset_rate
from brickwork.training.denoiser.recipe_file import load_recipe

BEGINNING = "stoic-small"
"""Preset whose kind of network is chosen; the numbers of its backbone give way."""


@final
@dataclass(frozen=True)
class Network:
    """A preset to choose, and the most places on a side that suit it; the stride is chosen by them."""

    preset: str
    places: int


NETWORKS = ((5.0, Network("stoic-digits", 8)), (60.0, Network("stoic-tiny", 8)), (inf, Network("stoic-small", 16)))
"""Budgets in minutes, and the network that makes steps enough in a shorter one on a processor."""
ON_A_GPU = ((5.0, Network("stoic-small", 16)), (inf, Network("stoic-base", 16)))
"""The same on a GPU."""


def network_for(minutes: float, device: str) -> Network:
    """Return the network that a budget in minutes on a kind of device is good for."""
    return next(network for below, network in (ON_A_GPU if device == "cuda" else NETWORKS) if minutes < below)


def stride_for(size: int, places: int) -> int:
    """Return the least stride, of 1, 2 and 4, that divides a size and leaves at most so many places on a side.

    Raises:
        ConfigError: The size is too large for its divisors.
    """
    strides = [stride for stride in (1, 2, 4) if size % stride == 0]
    fitting = [stride for stride in strides if size // stride <= places]
    if not fitting and size // strides[-1] > 4 * places:
        raise ConfigError(
            f"size {size}: {size // strides[-1]}x{size // strides[-1]} places are too many to learn soon; take "
            f"{max(4, size // 4 * 4) if size % 4 else 4 * places}, or name the network, as in `brickwork train "
            "stoic-small --data ...`"
        )
    return (fitting or strides[-1:])[0]


@door("choosing a recipe")
def recipe_for(data: str | Path, /, *, minutes: float = 0.0, device: str = "auto", **settings: object) -> Recipe:
    """Return a recipe for pictures of which nothing else is said: size, network and budget are chosen.

    Only headers of the pictures are read. ``brickwork train photos/`` trains the same recipe.

    Args:
        data: A folder, zip or name of images, as for ``load_dataset``.
        minutes: Budget by the clock; 30 where neither it nor another budget is set.
        device: "auto", "cpu", "cuda" or "mps": the kind of device that will train.
        settings: Other fields of the recipe, as ``epochs=50``; what is set here is not chosen.

    Raises:
        DataError: The images cannot be opened.
        ConfigError: A setting is unknown or out of its range.
    """
    recipe = load_recipe(BEGINNING, **settings, **({"minutes": minutes} if minutes else {}))
    return chosen(recipe, data, settings, device)[0]


def chosen(
    recipe: Recipe, data: str | Path, said: Collection[str], device: str, codec: Latents | None = None
) -> tuple[Recipe, list[str]]:
    """Choose what a recipe leaves open for pictures, and return it with lines that give the reasons.

    Args:
        recipe: The user's, around ``BEGINNING``.
        data: The pictures.
        said: Fields that the user set, as "lr" or "backbone.depth"; "backbone" for all of the network.
        device: The device that will train.
        codec: The autoencoder whose latents are learned.

    Raises:
        DataError: The pictures cannot be opened.
        ConfigError: Their size suits no network.
    """
    look = look_at(data, recipe.data)
    advice = ""
    if not (recipe.steps or recipe.images or recipe.epochs or recipe.minutes):
        recipe, advice = replace(recipe, minutes=MINUTES), " (--minutes sets another budget)"
    minutes = recipe.minutes or MINUTES
    size, reason = chosen_size(look, minutes, recipe.data.size)
    recipe = replace(recipe, data=replace(recipe.data, size=size))
    lines = [reason]
    if "backbone" not in said and isinstance(recipe.backbone, StoicConfig):
        network = network_for(minutes, choose_device(device).type)
        side = size // (1 if codec is None else codec.factor)
        backbone = _suited(recipe.backbone, network, side, said)
        recipe = replace(recipe, backbone=backbone, lr=recipe.lr if "lr" in said else preset_rate(backbone))
        told = f"{network.preset} with stride {backbone.stride}"
        lines.append(f"{told}, for {_told_budget(recipe)}{advice}")
    return recipe, lines


def of_one_size(recipe: Recipe, images: Dataset | str | Path, codec: Latents | None = None) -> tuple[Recipe, list[str]]:
    """Return a recipe that resizes pictures of several sizes to that of its network, and a line that says so.

    Recipes that name a size, and pictures of one size, stay as they are.

    Args:
        recipe: The user's.
        images: A data set, which has one size; or where the pictures are.
        codec: The autoencoder whose latents are learned.

    Raises:
        DataError: The pictures cannot be opened.
    """
    if isinstance(images, Dataset) or recipe.data.size is not None or recipe.data.box is not None:
        return recipe, []
    look = look_at(images, recipe.data)
    if not look.mixed:
        return recipe, []
    size = recipe.backbone.size * (1 if codec is None else codec.factor)
    line = f"{look} → squares of {size}: the size of the network; --size (data.size) sets another"
    return replace(recipe, data=replace(recipe.data, size=size)), [line]


def _suited(wanted: StoicConfig, network: Network, side: int, said: Collection[str]) -> StoicConfig:
    """Return a network for pictures or latents of a side, in which the fields that the user set stay as they are."""
    start = PRESETS[network.preset]
    assert isinstance(start, StoicConfig)
    own = [name.removeprefix("backbone.") for name in said if name.startswith("backbone.")]
    values: dict[str, Any] = {} if "stride" in own else {"stride": stride_for(side, network.places)}
    values |= {name: getattr(wanted, name) for name in own}
    return proposing(replace(start, **values), [name for name in FROM_DATA if name not in own])


def _told_budget(recipe: Recipe) -> str:
    """Return a budget as words: "30 minutes", "5 epochs or 30 minutes"."""
    words = [f"{value:g} {name}" for name in ("steps", "images", "epochs") if (value := getattr(recipe, name))]
    return " or ".join([*words, *([told_minutes(recipe.minutes)] if recipe.minutes else [])])
