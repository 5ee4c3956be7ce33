"""The run of a denoiser in its folder: its files, and the models that it begins with.

model.safetensors  the averaged model, for use after training
"""

from __future__ import annotations

from pathlib import Path

from brickwork.codec.latents import Latents
from brickwork.model.checkpoint import digest_of, load
from brickwork.model.header import MODEL_FILE
from brickwork.model.model import Model
from brickwork.training.denoiser.recipe import Recipe
from brickwork.training.denoiser.recipe_file import parse_recipe, to_toml
from brickwork.training.denoiser.state import STATE
from brickwork.training.run.folder import STATE_FILE, Ingredient, RunKind
from brickwork.training.run.recipe_file import RECIPE_FILE

DENOISER = RunKind[Recipe](
    state=STATE,
    model_file=MODEL_FILE,
    headline="loss {loss:.4f}",
    to_toml=to_toml,
    parse=parse_recipe,
    other_way=f" and start it from {{folder}}/{MODEL_FILE} (init)",
)


def ingredients(model: Model, init: Model | None) -> dict[str, Ingredient]:
    """Return the models that a run begins with: guest, init and codec.

    Args:
        model: The fresh model, with its guest and codec.
        init: The model whose weights are the start; a resumed run keeps the one that it began with.
    """
    guest = "" if model.guest is None else digest_of(model.guest)
    other_guest = f"with another guest: give the same model as guest, or none with the run's own {RECIPE_FILE}"
    other_codec = "with another autoencoder: give the same one (codec)"
    return {
        "guest": Ingredient(digest=guest, refusal=other_guest),
        "init": Ingredient(digest="" if init is None else init.digest or digest_of(init)),
        "codec": Ingredient(digest=model.codec.digest, refusal=other_codec),
    }


def saved_model(out: Path) -> Model | None:
    """Return the model of the run that a folder holds; None if there is no run to resume."""
    return load(out / MODEL_FILE) if (out / STATE_FILE).exists() and (out / MODEL_FILE).exists() else None


def known_guest(recipe: Recipe, out: Path, init: Model | None) -> Model | None:
    """Return the guest for a recipe that needs one when the caller passes none: the one in ``out``, else init's."""
    if not recipe.backbone.takes_guest:
        return None
    saved = saved_model(out)
    if saved is not None and saved.guest is not None:
        return saved.guest
    return None if init is None else init.guest


def known_codec(out: Path, init: Model | None) -> Latents | None:
    """Return the autoencoder of the run in ``out``, else that of init; None where these are models of pixels."""
    for model in (saved_model(out), init):
        if model is not None:
            return model.codec if isinstance(model.codec, Latents) else None
    return None
