"""The beginning of a denoiser's run: names are read, the recipe is fitted to the data, and a fresh model is built."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch

from brickwork.codec.base import Pixels
from brickwork.codec.latents import Latents
from brickwork.data.dataset import Dataset
from brickwork.data.heldout import Images, images_of_run
from brickwork.diffusion.process import NoiseProcess
from brickwork.errors import ConfigError
from brickwork.model.model import Model
from brickwork.nn.device import choose_device
from brickwork.training.denoiser.acting import check_acting
from brickwork.training.denoiser.choices import of_one_size
from brickwork.training.denoiser.recipe import Recipe, fit_to_data
from brickwork.training.denoiser.run import ingredients, known_codec, known_guest
from brickwork.training.denoiser.transfer import transfer
from brickwork.training.run.fitting import told_split
from brickwork.training.run.folder import Ingredient


@final
@dataclass(frozen=True, kw_only=True)
class Beginning:
    """Everything that a run begins with, checked."""

    model: Model
    """The fresh model on its device, with what fits of init's weights."""
    recipe: Recipe
    """The recipe, fitted to the data."""
    data: Dataset
    """Training images."""
    heldout: Dataset | None
    """Images never trained on."""
    latents: Path | None
    """The folder where latents of the data are kept; None for the user's cache."""
    ingredients: dict[str, Ingredient]
    """Models that the run begins with, by name; a resumed run must have the same."""
    notes: tuple[str, ...]
    """Lines for the user."""


def begin(
    recipe: Recipe,
    images: Images,
    out: Path,
    heldout: Dataset | None,
    *,
    device: str,
    init: Model | None,
    guest: Model | None,
    codec: Latents | None,
    latents: str | Path | None,
    progress: bool,
) -> Beginning:
    """Read the images, fit the recipe to them, and build the model; the arguments are those of ``train``.

    Raises:
        ConfigError: The recipe cannot be trained on this data, the guest does not go with it, or a model to begin with
            has weights that are not finite.
        DataError: The images cannot be read.
    """
    guest = known_guest(recipe, out, init) if guest is None else guest
    codec = known_codec(out, init) if codec is None else codec
    recipe, sized = of_one_size(recipe, images, codec)
    data, heldout, missing = images_of_run(images, recipe.data, heldout, progress=progress)
    for name, one in (("init", init), ("guest", guest), ("codec", codec)):
        _check_finite(name, one)
    recipe = fit_to_data(recipe, data, guest=guest is not None, codec=codec)
    check_acting(recipe, out, codec, latents)
    if heldout is not None and (heldout.shape != data.shape or heldout.classes != data.classes):
        raise ConfigError(
            f"held-out images of {heldout.shape} and {len(heldout.classes)} classes beside training images of "
            f"{data.shape} and {len(data.classes)}: prepare both alike (data.size, data.channels)"
        )
    model = build_model(recipe, data, guest, codec).to(choose_device(device))
    notes = [*sized, told_split(data, heldout, missing), *beginning_notes(model, init)]
    return Beginning(
        model=model,
        recipe=recipe,
        data=data,
        heldout=heldout,
        latents=None if latents is None else Path(latents),
        ingredients=ingredients(model, init),
        notes=tuple(notes),
    )


def beginning_notes(model: Model, init: Model | None) -> list[str]:
    """Copy the weights of init that fit into a fresh model, and return messages about its beginning."""
    notes, guest = [], model.guest
    if init is not None:
        notes.append(f"init: {transfer(init, model)}")
        if (init.process, init.prediction) != (model.process, model.prediction):
            notes.append(
                f"init learned {init.prediction} of {init.process}: its weights must learn the recipe's own anew"
            )
    if guest is not None and not _within(model.process, guest.process):
        notes.append(
            f"the guest learned noise levels {_levels(guest.process)} and is asked at {_levels(model.process)}: "
            "beyond its own it guesses"
        )
    return notes


def _check_finite(name: str, module: torch.nn.Module | None) -> None:
    """Refuse a model to begin with that holds numbers that are not finite: training could only spread them.

    Raises:
        ConfigError: One of its weights is not finite.
    """
    for key, tensor in {} if module is None else module.state_dict().items():
        if count := int((~tensor.isfinite()).sum()):
            raise ConfigError(
                f"{name}: {count:,} of {tensor.numel():,} numbers of {key} are not finite, so nothing can be learned "
                "from it: give a model that draws pictures, such as an earlier save"
            )


def _within(process: NoiseProcess, other: NoiseProcess) -> bool:
    return other.sigma_min <= process.sigma_min and process.sigma_max <= other.sigma_max


def _levels(process: NoiseProcess) -> str:
    return f"{process.sigma_min:.3g} to {process.sigma_max:.3g}"


def build_model(recipe: Recipe, data: Dataset, guest: Model | None = None, codec: Latents | None = None) -> Model:
    """Build a fresh model on the CPU, with copies of guest and codec; its own weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        backbone = recipe.backbone.build()
        text = recipe.text.build() if recipe.text.trained else recipe.text
    model = Model(
        backbone,
        recipe.process,
        recipe.prediction,
        Pixels(num_channels=recipe.backbone.channels) if codec is None else copy.deepcopy(codec),
        tuple(data.classes) if recipe.backbone.num_classes else (),
        guest=copy.deepcopy(guest),
        text=text,
        image_condition=recipe.image_condition,
    )
    model.precision = "fp32" if recipe.precision == "auto" else recipe.precision
    return model
