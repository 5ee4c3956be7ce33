"""Training: one function that reads as the algorithm in the papers; what is written meanwhile is in ``run``."""

from __future__ import annotations

import copy
from contextlib import closing
from pathlib import Path

import torch

from brickwork.codec.base import Pixels
from brickwork.codec.latents import Latents
from brickwork.data.dataset import Dataset
from brickwork.diffusion.process import NoiseProcess
from brickwork.errors import ConfigError
from brickwork.model.checkpoint import fingerprint
from brickwork.model.header import MODEL_FILE
from brickwork.model.model import Model, Precision
from brickwork.nn.device import choose_device
from brickwork.training.denoiser.batches import Batch, draw_batch, prepare_data
from brickwork.training.denoiser.loss import denoising_loss
from brickwork.training.denoiser.parts import output_shares
from brickwork.training.denoiser.recipe import Recipe, fit_to_data
from brickwork.training.denoiser.recipe_file import parse_recipe
from brickwork.training.denoiser.run import Run, saved_model
from brickwork.training.denoiser.state import STATE, TrainState
from brickwork.training.denoiser.transfer import transfer
from brickwork.training.run.folder import check_folder, saved_recipe
from brickwork.training.run.interrupt import Interrupt
from brickwork.training.run.lock import only_writer
from brickwork.training.run.precision import Step, faster_precision


def train(
    recipe: Recipe,
    data: Dataset,
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
) -> Model:
    """Train a model; returns its averaged weights, which are also in ``out/model.safetensors``.

    A run that was interrupted or killed goes on from its last save when it is called again with the same arguments, and
    ends with the same weights, bit for bit, as one that never stopped (same device and number of threads, budget in
    steps or images).

    Args:
        recipe: Everything that changes the result. The backbone's size, channels and classes are set from the data.
        data: Training images.
        out: The run folder.
        heldout: Images never trained on, for the held-out loss.
        device: "auto", "cpu", "cuda" or "mps".
        init: A model whose weights are the start, as far as they fit; of LEGO bricks, the bricks'.
        guest: A trained model that serves as the brick before the first of LEGO bricks and stays as it is: a copy of
            it becomes part of the model. A recipe with ``backbone.guest`` set finds it in ``out`` or in init.
        codec: The autoencoder whose latents are learned; pixels unless told otherwise, or what the run in ``out`` or
            init has. It becomes part of the model.
        latents: The folder where latents of the data are kept; the user's cache unless told otherwise.
        resume: Go on with a run that ``out`` holds; else such a folder is refused.
        progress: Show a bar and messages on standard error.

    Raises:
        ConfigError: The recipe cannot be trained on this data, or differs from the run in ``out``; or the guest does
            not go with them.
        OutputError: ``out`` cannot be written or is full; the last saved files are whole.
        TrainingError: The loss is not finite again and again.
    """
    if guest is None:
        guest = known_guest(recipe, Path(out), init)
    if codec is None:
        codec = known_codec(Path(out), init)
    recipe = fit_to_data(recipe, data, guest=guest is not None, codec=codec)
    if heldout is not None and (heldout.shape != data.shape or heldout.classes != data.classes):
        raise ConfigError(
            f"held-out images of {heldout.shape} and {len(heldout.classes)} classes beside training images of "
            f"{data.shape} and {len(data.classes)}: prepare both alike (data.size, data.channels)"
        )
    model = build_model(recipe, data, guest, codec).to(choose_device(device))
    notes = [f"init: {transfer(init, model)}"] if init is not None else []
    if init is not None and (init.process, init.prediction) != (recipe.process, recipe.prediction):
        notes.append(f"init learned {init.prediction} of {init.process}: its weights must learn the recipe's own anew")
    if guest is not None and not _within(recipe.process, guest.process):
        notes.append(
            f"the guest learned noise levels {_levels(guest.process)} and is asked at {_levels(recipe.process)}: "
            "beyond its own it guesses"
        )
    state = TrainState(model, recipe)
    digest = "" if init is None else init.digest or fingerprint(init)
    with only_writer(Path(out)):
        check_folder(Path(out), MODEL_FILE, resume=resume)
        prepared = prepare_data(data, model, None if latents is None else Path(latents), progress=progress)
        if recipe.precision == "auto":
            batch = draw_batch(recipe, data, model, state.counters, prepared)
            notes += choose_precision(state, batch, Path(out), progress=progress)
            recipe = state.recipe
        run = Run(recipe, state, data, heldout, Path(out), progress=progress, init=digest)
        for note in notes:
            run.say(note)
        with closing(run), Interrupt() as interrupt:
            prepare(state, draw_batch(recipe, data, model, state.counters, prepared))
            if not run.resumed:
                run.save()
            while not run.finished and not interrupt.asked:
                batch = draw_batch(recipe, data, model, state.counters, prepared)
                state.update(accumulate_gradient(state, batch))
                run.after_step()
            run.finish()
    state.average.precision = "fp32"
    return state.average


def accumulate_gradient(state: TrainState, batch: Batch) -> torch.Tensor:
    """Gradient of the batch's mean loss, computed part by part; returns that loss, detached."""
    count, total = state.recipe.accumulation, torch.zeros_like(state.loss_sum)
    for part in batch.parts(count):
        loss = mean_loss(state, part) / count
        loss.backward()
        total += loss.detach()
    return total


def mean_loss(state: TrainState, part: Batch) -> torch.Tensor:
    """Of what the next step trains, on images that are computed at once."""
    network, recipe = state.network(), state.recipe
    shares = output_shares(recipe.parts, network.backbone.config.num_outputs)
    losses = denoising_loss(
        network, part.x0, part.noise, part.t, part.condition, recipe.weighting, shares, part.windows
    )
    return losses.mean()


def known_guest(recipe: Recipe, out: Path, init: Model | None) -> Model | None:
    """The guest of a recipe that wants one and is given none: that of the run in ``out``, else that of ``init``."""
    if not recipe.backbone.takes_guest:
        return None
    saved = saved_model(out)
    if saved is not None and saved.guest is not None:
        return saved.guest
    return None if init is None else init.guest


def known_codec(out: Path, init: Model | None) -> Latents | None:
    """The autoencoder of the run in ``out``, else that of ``init``; None where these are models of pixels, or none."""
    for model in (saved_model(out), init):
        if model is not None:
            return model.codec if isinstance(model.codec, Latents) else None
    return None


def _within(process: NoiseProcess, other: NoiseProcess) -> bool:
    return other.sigma_min <= process.sigma_min and process.sigma_max <= other.sigma_max


def _levels(process: NoiseProcess) -> str:
    return f"{process.sigma_min:.3g} to {process.sigma_max:.3g}"


def build_model(recipe: Recipe, data: Dataset, guest: Model | None = None, codec: Latents | None = None) -> Model:
    """A fresh model on the CPU, with copies of guest and codec; its own weights depend on the recipe's seed alone."""
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


def choose_precision(state: TrainState, batch: Batch, out: Path, *, progress: bool) -> list[str]:
    """Settle the state's precision: that of the run in ``out``, else the faster one; returns what there is to say."""
    before = saved_recipe(out, STATE, parse_recipe)
    if before is not None and before.precision != "auto":
        state.set_precision(before.precision)
        return []
    part = next(batch.parts(state.recipe.accumulation))
    faster, note = faster_precision(trial(state, part), len(part), state.device, progress=progress)
    state.set_precision(faster)
    return [note]


def trial(state: TrainState, part: Batch) -> Step:
    """A step on the first images of a part in a precision, which moves no weight."""

    def step(precision: Precision, count: int) -> None:
        state.set_precision(precision)
        _try_out(state, part[:count])

    return step


def prepare(state: TrainState, batch: Batch) -> None:
    """Let attention choose its kernels before the first save, which keeps the choice; then compile.

    Raises:
        ConfigError: Compiling was asked for and does not work here.
    """
    first = next(batch.parts(state.recipe.accumulation))
    _try_out(state, first)
    if not state.recipe.compile:
        return
    for module in state.model.backbone.compilable():
        module.compile(dynamic=False)  # one shape all along; bricks of other windows get graphs of their own
    try:
        _try_out(state, first)
    except Exception as error:  # the compiler's errors are of many kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"compile = true does not work here ({reason}): on a CPU it needs a C++ compiler such as g++; "
            "install one or set compile = false"
        ) from error


def _try_out(state: TrainState, part: Batch) -> None:
    """One forward and backward pass that changes nothing."""
    try:
        mean_loss(state, part).backward()
    finally:
        state.optimizer.zero_grad(set_to_none=True)
