"""The recipe of an autoencoder, and its TOML."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes

from brickwork.bounds import MOST_IMAGES, at_least, between
from brickwork.codec.autoencoder import Autoencoder, AutoencoderConfig
from brickwork.data.dataset import Dataset
from brickwork.errors import ConfigError
from brickwork.files.proposed import filled
from brickwork.files.recipes import shipped_recipe
from brickwork.training.run.acting import Idle, idle_reading
from brickwork.training.run.fitting import reading_of
from brickwork.training.run.recipe import RunRecipe, RunReport
from brickwork.training.run.recipe_file import RECIPE_FILE, read_recipe, recipe_of, table_of, toml_of


@dataclass(frozen=True, kw_only=True)
class AutoencoderReport(RunReport):
    """Log, measurements, saves and sheets of a run. Changes no weight; may differ when a run is resumed."""

    eval_images: int = 256
    """Held-out images in a measurement; the end takes all."""
    sheet_images: Annotated[int, at_least(0)] = 16
    """Held-out images on a sheet; 0 for no sheets."""


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecipe(RunRecipe):
    """Settings of an autoencoder's training: everything that changes its result."""

    autoencoder: OmitArgPrefixes[AutoencoderConfig] = field(default_factory=Autoencoder.Config)
    """The network; the channels of its pictures are set from the data."""
    l1: Annotated[float, at_least(0)] = 0.05
    """Weight of the mean absolute error beside the mean squared error, which has 1."""
    kl: Annotated[float, at_least(0)] = 3e-5
    """Weight, for kind kl, of the divergence from the standard normal, in nats per latent number."""
    commitment: Annotated[float, at_least(0)] = 0.25
    """Weight, for kind vq, of the squared distance that draws latents to codes; the one that draws codes has 1."""
    revive_after: Annotated[int, at_least(1)] = 200
    """Steps, for kind vq, after which a code that no latent chose becomes a random latent of the batch."""
    adversarial: Annotated[float, at_least(0)] = 0.0
    """Weight of the adversary's loss: sharper pictures at a lower PSNR. 0 for no adversary."""
    adversarial_start: Annotated[int, at_least(0)] = 2000
    """Steps before the adversary takes part."""
    adversary_lr: Annotated[float, at_least(0)] = 2e-4
    """The adversary's learning rate, times the same warm-up and schedule."""
    adversary_width: Annotated[int, at_least(1)] = 32
    """Channels of the adversary's first layer."""
    batch: Annotated[int, between(1, MOST_IMAGES)] = 16
    """Images per optimizer step."""
    lr: float = 2e-3
    """Largest learning rate of AdamW."""
    weight_decay: float = 0.0
    """AdamW's decay, on all parameters."""
    clip: float = 0.25
    """Largest norm of the gradient; 0 for no clipping."""
    ema_half_life: float = 3000.0
    """Images after which half of the averaged weights is new; 0 for no average."""
    report: AutoencoderReport = field(default_factory=AutoencoderReport)
    """Log, measurements, saves and sheets."""


def fit_autoencoder(recipe: AutoencoderRecipe, data: Dataset) -> AutoencoderRecipe:
    """Return the recipe with the channels of these images, and check that it can be trained on them.

    Raises:
        ConfigError: No budget is set, the factor does not divide the images' sides, or the user set channels or a way
            of reading that the data contradict.
    """
    recipe.require_budget()
    height, width, channels = data.shape
    factor = recipe.autoencoder.factor
    if height % factor or width % factor:
        raise ConfigError(
            f"images are {width}x{height}: the autoencoder's factor {factor} must divide both sides; set data.size or "
            "another factor"
        )
    advice = {"picture_channels": f", or set data.channels = {recipe.autoencoder.picture_channels}"}
    facts = {"picture_channels": channels}
    network = filled(recipe.autoencoder, facts, section="autoencoder", advice=advice)
    return replace(recipe, autoencoder=network, data=reading_of(recipe.data, data)).in_images(len(data))


def idle_settings(recipe: AutoencoderRecipe) -> list[Idle]:
    """List the settings that do nothing in a recipe."""
    network, idle = recipe.autoencoder, idle_reading(recipe.data)
    if network.kind == "kl":
        idle.append(Idle(recipe, "", ("commitment", "revive_after"), "kind 'kl' has no codes"))
        idle.append(Idle(network, "autoencoder.", ("codes",), "kind 'kl' has no codes"))
    else:
        idle.append(Idle(recipe, "", ("kl",), f"kind {network.kind!r} has no divergence"))
    if not recipe.adversarial:
        names = ("adversarial_start", "adversary_lr", "adversary_width")
        idle.append(Idle(recipe, "", names, "adversarial 0 makes no adversary"))
    if not recipe.ema_half_life:
        idle.append(Idle(recipe, "", ("ema_rampup",), "ema_half_life 0 keeps no average"))
    return idle


def load_autoencoder_recipe(path: str | Path) -> AutoencoderRecipe:
    """Read a recipe from a TOML file, a run folder, or by the name of one that comes with the library.

    Raises:
        ConfigError: The file is missing, no TOML, or has keys or values that a recipe does not know.
    """
    place = Path(path)
    if place.is_dir():
        place = place / RECIPE_FILE
    elif not place.exists():
        place = shipped_recipe(str(path), "autoencoder") or place
    return read_recipe(place, parse_autoencoder_recipe)


def parse_autoencoder_recipe(text: str) -> AutoencoderRecipe:
    """Read a recipe from TOML text; missing fields get their defaults."""
    return recipe_of(AutoencoderRecipe, table_of(text))


def autoencoder_toml(recipe: AutoencoderRecipe) -> str:
    """Write the recipe as TOML with every field; :func:`parse_autoencoder_recipe` gives an equal one."""
    return toml_of(recipe)
