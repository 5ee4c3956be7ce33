"""Settings of a denoiser's recipe that do nothing with its network and data."""

from __future__ import annotations

from pathlib import Path

from brickwork.codec.latents import Latents
from brickwork.errors import ConfigError
from brickwork.training.denoiser.recipe import Recipe
from brickwork.training.run.acting import Idle, idle_reading, refuse_idle
from brickwork.training.run.folder import STATE_FILE


def check_acting(recipe: Recipe, out: Path, codec: Latents | None, latents: str | Path | None = None) -> None:
    """Refuse to begin a run with settings that do nothing; a saved run resumes as it began.

    Args:
        recipe: Fitted to its data.
        out: The run folder.
        codec: The autoencoder of the run; None for pixels.
        latents: The folder of latents that the user names.

    Raises:
        ConfigError: A setting does nothing; the message has value, reason and way out.
    """
    if (out / STATE_FILE).exists():
        return
    refuse_idle(idle_settings(recipe))
    if latents is not None and codec is None:
        raise ConfigError(f"latents {latents}: this run learns pixels; name an autoencoder (codec), or leave it out")


def idle_settings(recipe: Recipe) -> list[Idle]:
    """List the settings that do nothing in a recipe that is fitted to its data.

    ``conditional = false`` with data without classes, and ``data.captions = false`` without captions, state the facts
    and are no mistake; nor are ``data.holdout`` where a set has a split of its own, and the report's measurements
    where nothing is held out: one recipe serves many data sets.
    """
    backbone, parts, report, idle = recipe.backbone, recipe.parts, recipe.report, idle_reading(recipe.data)
    if not backbone.num_classes:
        idle.append(Idle(recipe, "", ("label_dropout",), "the model learns no classes"))
    if not backbone.text_length:
        idle.append(Idle(recipe, "", ("text_dropout",), "the model reads no captions"))
    if not backbone.num_classes and not backbone.text_length:
        idle.append(Idle(report, "report.", ("sheet_guidance",), "there are no classes or captions to guide by"))
    if not report.sheet_steps:
        sheets = ("sample_every", "sheet_seeds", "sheet_guidance")
        idle.append(Idle(report, "report.", sheets, "report.sheet_steps 0 draws no sheets"))
    if not recipe.ema_half_life:
        idle.append(Idle(recipe, "", ("ema_rampup",), "ema_half_life 0 keeps no average"))
    if parts.drop == "none":
        idle.append(Idle(parts, "parts.", ("drop_share",), "parts.drop 'none' leaves no blocks out"))
    if parts.drop != "prefix":
        idle.append(Idle(parts, "parts.", ("drop_least",), "parts.drop is not 'prefix'"))
    return idle
