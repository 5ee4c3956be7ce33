"""Training a denoiser: one function that reads as the algorithm in the papers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from brickwork.codec.latents import Latents
from brickwork.data.dataset import Dataset
from brickwork.doors import door
from brickwork.model.model import Model
from brickwork.nn.floats import float32_default
from brickwork.nn.pinned import pinned
from brickwork.training.denoiser.batches import draw_batch, prepare_data
from brickwork.training.denoiser.begin import Beginning, begin
from brickwork.training.denoiser.gradient import accumulate_gradient
from brickwork.training.denoiser.observers import own_observers
from brickwork.training.denoiser.recipe import Recipe
from brickwork.training.denoiser.recipe_file import load_recipe
from brickwork.training.denoiser.run import DENOISER
from brickwork.training.denoiser.state import TrainState
from brickwork.training.denoiser.warmup import warm_up
from brickwork.training.run.folder import RunFolder
from brickwork.training.run.lock import only_writer
from brickwork.training.run.observer import Observer
from brickwork.training.run.trackers.table import open_trackers
from brickwork.training.run.trainer import Trainer


@door("training", "lower batch, raise accumulation, or take a smaller backbone or data.size")
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
    steps or images). Two runs that both begin anew may differ in the last bits, and from there on, even on one machine:
    precision, batch and kernels are chosen by timing, once for a run. ``recipe.deterministic`` chooses none.

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
    trackers = open_trackers(recipe.report.trackers)
    start = begin(
        recipe,
        data,
        Path(out),
        heldout,
        device=device,
        init=init,
        guest=guest,
        codec=codec,
        latents=latents,
        progress=progress,
    )
    return train_model(start, Path(out), [*observers, *trackers], resume=resume, progress=progress)


@float32_default()
def train_model(
    start: Beginning, out: Path, observers: Sequence[Observer[Model]], *, resume: bool, progress: bool
) -> Model:
    """Train the model that a run begins with, step by step; return its average."""
    state, folder = TrainState(start.model, start.recipe), RunFolder(out, DENOISER)
    with only_writer(out), pinned(start.recipe.deterministic):
        folder.check(resume=resume)
        prepared = prepare_data(start.data, start.model, start.latents, progress=progress)
        trainer = Trainer(
            state,
            folder,
            lambda: draw_batch(state.recipe, start.data, start.model, state.counters, prepared),
            start.data,
            [*own_observers(start.recipe.report, start.heldout), *observers],
            ingredients=start.ingredients,
            progress=progress,
        )
        with trainer:
            trainer.prepare(lambda: chain(start.notes, warm_up(state, trainer)))
            for batch in trainer:
                state.update(accumulate_gradient(state, batch))
    state.average.precision = "fp32"
    return state.average
