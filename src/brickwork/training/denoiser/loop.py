"""Training a denoiser: one function that reads as the algorithm in the papers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch

from brickwork.codec.base import Pixels
from brickwork.codec.latents import Latents
from brickwork.data.dataset import Dataset
from brickwork.data.heldout import images_of_run
from brickwork.diffusion.process import NoiseProcess
from brickwork.errors import ConfigError
from brickwork.model.model import Model
from brickwork.nn.device import choose_device
from brickwork.training.denoiser.acting import check_acting
from brickwork.training.denoiser.batches import draw_batch, prepare_data
from brickwork.training.denoiser.gradient import accumulate_gradient
from brickwork.training.denoiser.observers import own_observers
from brickwork.training.denoiser.recipe import Recipe, fit_to_data
from brickwork.training.denoiser.recipe_file import load_recipe
from brickwork.training.denoiser.run import DENOISER, ingredients, known_codec, known_guest
from brickwork.training.denoiser.state import TrainState
from brickwork.training.denoiser.transfer import transfer
from brickwork.training.denoiser.warmup import warm_up
from brickwork.training.run.folder import RunFolder
from brickwork.training.run.lock import only_writer
from brickwork.training.run.observer import Observer
from brickwork.training.run.trackers.table import open_trackers
from brickwork.training.run.trainer import Trainer


def train(
    recipe: Recipe | str | Path,
    data: Dataset | str | Path,
    out: str | Path,
    heldout: Dataset | None = None,
    *,
    device: str = "auto",
    init: Model | None = None,
    guest: Model | None = None,
    codec: Latents | None = None,
    latents: str | Path | None = None,
    resume: bool = True,
    progress: bool = True,
    observers: Sequence[Observer[Model]] = (),
) -> Model:
    """Train a model; return it with averaged weights, which are also in ``out/model.safetensors``.

    A run that was interrupted or killed goes on from its last save when it is called again with the same arguments, and
    ends with the same weights, bit for bit, as one that never stopped (same device and number of threads, budget in
    steps or images).

    Args:
        recipe: Everything that changes the result; or the name of one, as for ``load_recipe``. The backbone's size,
            channels and classes are set from the data.
        data: Training images; or where they are, as for ``load_dataset``, to be read as the recipe's ``data`` says.
        out: The run folder.
        heldout: Images never trained on, for the held-out loss; where ``data`` is a place, those that it holds out.
        device: "auto", "cpu", "cuda" or "mps".
        init: A model whose weights are the start, as far as they fit; of LEGO bricks, the bricks'.
        guest: A trained model that serves as the brick before the first of LEGO bricks and stays as it is: a copy of
            it goes into the model. A recipe with ``backbone.guest`` set finds it in ``out`` or in init.
        codec: The autoencoder whose latents are learned; by default pixels, or the codec of the run in ``out`` or of
            init. It is saved with the model.
        latents: The folder where latents of the data are kept; by default the user's cache.
        resume: Go on with a run that ``out`` holds; else such a folder is refused.
        progress: Show a bar and messages on standard error.
        observers: They watch the run, called after the run's own observers.

    Raises:
        ConfigError: The recipe cannot be trained on this data, or differs from the run in ``out``; or the guest does
            not go with them.
        OutputError: ``out`` cannot be written or is full; the last saved files are whole.
        TrainingError: The loss is not finite again and again, or an observer raised; the state is saved.
        MissingExtraError: A tracker that the recipe names is not installed.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    recipe.require_budget()
    folder, trackers = RunFolder(Path(out), DENOISER), open_trackers(recipe.report.trackers)
    data, heldout, missing = images_of_run(data, recipe.data, heldout, progress=progress)
    if guest is None:
        guest = known_guest(recipe, folder.path, init)
    if codec is None:
        codec = known_codec(folder.path, init)
    recipe = fit_to_data(recipe, data, guest=guest is not None, codec=codec)
    check_acting(recipe, folder.path, codec, latents)
    if heldout is not None and (heldout.shape != data.shape or heldout.classes != data.classes):
        raise ConfigError(
            f"held-out images of {heldout.shape} and {len(heldout.classes)} classes beside training images of "
            f"{data.shape} and {len(data.classes)}: prepare both alike (data.size, data.channels)"
        )
    model = build_model(recipe, data, guest, codec).to(choose_device(device))
    notes = beginning_notes(model, init) + ([f"no held-out loss: {missing}"] if missing else [])
    state = TrainState(model, recipe)
    with only_writer(folder.path):
        folder.check(resume=resume)
        prepared = prepare_data(data, model, None if latents is None else Path(latents), progress=progress)
        trainer = Trainer(
            state,
            folder,
            lambda: draw_batch(state.recipe, data, model, state.counters, prepared),
            data,
            [*own_observers(recipe.report, heldout), *observers, *trackers],
            ingredients=ingredients(model, init),
            progress=progress,
        )
        with trainer:
            notes += warm_up(state, trainer.first_batch(), progress=progress)
            for note in notes:
                trainer.say(note)
            for batch in trainer:
                state.update(accumulate_gradient(state, batch))
    state.average.precision = "fp32"
    return state.average


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
        given=recipe.given,
    )
    model.precision = "fp32" if recipe.precision == "auto" else recipe.precision
    return model
