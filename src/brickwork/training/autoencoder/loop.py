"""Training an autoencoder: one function that reads as the algorithm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from brickwork.codec.autoencoder import Autoencoder
from brickwork.codec.base import Latent, to_unit
from brickwork.codec.latents import Latents
from brickwork.data.dataset import Dataset
from brickwork.data.heldout import images_of_run
from brickwork.data.order import flips, indices
from brickwork.diffusion.gaussian import TRAINING, integers
from brickwork.doors import door
from brickwork.errors import ConfigError
from brickwork.model.model import Precision
from brickwork.nn.device import choose_device
from brickwork.nn.floats import float32_default
from brickwork.nn.pinned import pinned
from brickwork.nn.shapes import Image
from brickwork.training.autoencoder.adversary import deceiving_loss, judging_loss
from brickwork.training.autoencoder.observers import LatentsFile, own_observers
from brickwork.training.autoencoder.recipe import (
    AutoencoderRecipe,
    AutoencoderReport,
    fit_autoencoder,
    idle_settings,
    load_autoencoder_recipe,
)
from brickwork.training.autoencoder.state import AUTOENCODER, AutoencoderState
from brickwork.training.run.acting import refuse_idle
from brickwork.training.run.budget import warnings
from brickwork.training.run.folder import STATE_FILE, RunFolder
from brickwork.training.run.interrupt import Stopped
from brickwork.training.run.lock import only_writer
from brickwork.training.run.observer import Observer
from brickwork.training.run.precision import faster_precision
from brickwork.training.run.statefile import STREAMS
from brickwork.training.run.trackers.table import open_trackers
from brickwork.training.run.trainer import Trainer

__all__ = ["AutoencoderRecipe", "AutoencoderReport", "train_autoencoder"]


@door("training", "lower batch or autoencoder.width")
@float32_default()
def train_autoencoder(
    recipe: AutoencoderRecipe | str | Path,
    data: Dataset | str | Path,
    out: str | Path,
    heldout: Dataset | None = None,
    *,
    device: str = "auto",
    resume: bool = True,
    progress: bool = True,
    observers: Sequence[Observer[Autoencoder]] = (),
) -> Latents:
    """Train an autoencoder and measure its latents; the result is also in ``out/autoencoder.safetensors``.

    A run that was interrupted or killed goes on from its last save when it is called again with the same arguments, and
    ends with the same weights, bit for bit, as one that never stopped (same device and number of threads, budget in
    steps or images). The precision is chosen by timing, once for a run, so two that begin anew may differ, unless
    ``recipe.deterministic`` is set.

    Args:
        recipe: Everything that changes the result; or where it is: a TOML file or a run folder. The channels of the
            pictures are set from the data.
        data: Training images; or where they are, as for ``load_dataset``, to be read as the recipe's ``data`` says.
            Mean and standard deviation of each latent channel are measured on all of them.
        out: The run folder.
        heldout: Images never trained on, for the PSNR that is reported; where ``data`` is a place, those that it holds
            out.
        device: "auto", "cpu", "cuda" or "mps".
        resume: Go on with a run that ``out`` holds; else such a folder is refused.
        progress: Show a bar and messages on standard error.
        observers: They watch the run, called after the run's own observers.

    Raises:
        ConfigError: The recipe cannot be trained on this data, or differs from the run in ``out``.
        OutputError: ``out`` cannot be written or is full; the last saved files are whole.
        TrainingError: The loss is not finite again and again, or an observer raised; the state is saved.
        MissingExtraError: A tracker that the recipe names is not installed.
    """
    recipe = recipe if isinstance(recipe, AutoencoderRecipe) else load_autoencoder_recipe(recipe)
    recipe.require_budget()
    folder, trackers = RunFolder(Path(out), AUTOENCODER), open_trackers(recipe.report.trackers)
    data, heldout, missing = images_of_run(data, recipe.data, heldout, progress=progress)
    recipe = fit_autoencoder(recipe, data)
    if not (folder.path / STATE_FILE).exists():
        refuse_idle(idle_settings(recipe))
    if heldout is not None and heldout.shape != data.shape:
        raise ConfigError(
            f"held-out images of {heldout.shape} beside training images of {data.shape}: prepare both alike "
            "(data.size, data.channels)"
        )
    state, kept = AutoencoderState(recipe, choose_device(device)), LatentsFile()
    with only_writer(folder.path), pinned(recipe.deterministic):
        folder.check(resume=resume)
        trainer = Trainer(
            state,
            folder,
            lambda: draw_images(state, data),
            data,
            [*own_observers(recipe.report, heldout), kept, *observers, *trackers],
            progress=progress,
        )
        with trainer:
            trainer.prepare(lambda: warm_up(state, trainer, missing))
            for pixels, generator in trainer:
                train_step(state, pixels, generator)
    assert kept.codec is not None
    return kept.codec


def warm_up(
    state: AutoencoderState, trainer: Trainer[tuple[Image, torch.Generator]], missing: str = ""
) -> Iterator[str]:
    """Choose the precision where the recipe leaves it open, and yield lines for the user.

    Args:
        state: Its weights stay as they are.
        trainer: The run; a signal ends the preparation.
        missing: The reason why nothing is held out, if so.

    Raises:
        Stopped: A signal came; the precision is open again.
    """
    if missing:
        yield f"no PSNR of held-out images: {missing}"
    asked = state.recipe
    if asked.precision == "auto" and asked.deterministic:
        state.set_precision("fp32")
        yield "precision fp32: deterministic = true chooses nothing by timing"
    elif asked.precision == "auto":
        trainer.doing("timing a step in fp32 and in bf16")
        try:
            yield choose_precision(state, trainer)
        except Stopped:
            state.recipe = asked
            raise
    yield from warnings(state.recipe)


def choose_precision(state: AutoencoderState, trainer: Trainer[tuple[Image, torch.Generator]]) -> str:
    """Set the state's precision to the faster one here; return a line for the user."""
    pixels, _ = trainer.first_batch()

    def step(precision: Precision, count: int) -> None:
        trainer.interrupt.check()
        network = state.network
        try:
            with lowered(precision, state.device):
                made = network.decoder(network.moments(pixels[:count])[0])
            (made.float() - pixels[:count]).square().mean().backward()
        finally:
            network.zero_grad(set_to_none=True)

    faster, note = faster_precision(step, len(pixels), state.device, progress=trainer.progress)
    state.set_precision(faster)
    return note


def lowered(precision: str, device: torch.device) -> torch.autocast:
    """Return an autocast context in which networks compute in this precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def draw_images(state: AutoencoderState, data: Dataset) -> tuple[Image, torch.Generator]:
    """Draw the images of the next step, in [-1, 1], and a generator for its noise; functions of seed and step.

    A rollback changes both, to avoid the same failure.
    """
    recipe, now, device = state.recipe, state.counters, state.device
    first = now.images_seen + now.rollbacks * recipe.batch
    rows = indices(recipe.seed, first, recipe.batch, len(data))
    mirrored = flips(recipe.seed, first, recipe.batch) if data.flip else None
    images = torch.from_numpy(data.batch(rows, mirrored)).to(device, non_blocking=True)
    seed = integers(recipe.seed, now.step, 1, stream=TRAINING + STREAMS * now.rollbacks)[0]
    generator = torch.Generator(device).manual_seed(int(seed >> np.uint64(1)))
    return to_unit(images).contiguous(memory_format=torch.channels_last), generator


def train_step(state: AutoencoderState, pixels: Image, generator: torch.Generator) -> None:
    """Take one step of the autoencoder, and one of its adversary once that takes part."""
    network, recipe, adversary = state.network, state.recipe, state.adversary
    precision = lowered(recipe.precision, state.device)
    with precision:
        mean, log_variance = network.moments(pixels)
        if network.codebook is not None:
            revive(state, mean.detach(), generator)
        z, penalty = noisy_latents(network, mean, log_variance, generator, recipe)
        made = network.decoder(z).float()
    square = (made - pixels).square().mean()
    loss = square + recipe.l1 * (made - pixels).abs().mean() + penalty
    if adversary is not None and state.deceives:
        with precision:
            loss = loss + recipe.adversarial * deceiving_loss(adversary(made))
    loss.backward()
    if adversary is not None and state.deceives:
        adversary.zero_grad(set_to_none=True)  # the autoencoder's gradient came through it
        with precision:
            judging_loss(adversary(pixels), adversary(made.detach())).backward()
        state.update_adversary()
    state.update(loss.detach(), square.detach())


def noisy_latents(
    network: Autoencoder,
    mean: Latent,
    log_variance: Latent | None,
    generator: torch.Generator,
    recipe: AutoencoderRecipe,
) -> tuple[Latent, Tensor]:
    """Return the latents that training decodes, and the weighted penalty on them.

    Kind kl: ``z = m + s n`` with standard normal noise n; the penalty is the divergence. Kind vq: z is the nearest
    code, whose gradient is passed to the latent unchanged, and codes and latents are drawn to each other (van den Oord
    et al. 2017, equation 3).
    """
    if log_variance is not None:
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        return mean + (0.5 * log_variance).exp() * noise, recipe.kl * kl_divergence(mean, log_variance)
    code = network.look_up(network.nearest(mean)).float()
    drawn = functional.mse_loss(code, mean.detach()) + recipe.commitment * functional.mse_loss(mean, code.detach())
    return mean + (code - mean).detach(), drawn


def kl_divergence(mean: Latent, log_variance: Latent) -> Tensor:
    """Return the divergence from N(m, v) to N(0, 1) in nats, mean over latent numbers: ``(m^2 + v - 1 - ln v) / 2``.

    Kingma & Welling 2013 (arXiv 1312.6114), appendix B.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


@torch.no_grad()
def revive(state: AutoencoderState, z: Latent, generator: torch.Generator) -> None:
    """Replace codes that no latent has chosen for long by random latents of this batch.

    Before the first step that is true of all codes: the codebook begins as latents.
    """
    book = state.network.codebook
    assert book is not None
    dead = state.idle >= state.recipe.revive_after
    places = z.float().permute(0, 2, 3, 1).reshape(-1, z.shape[1])
    chosen = torch.randint(len(places), (len(book),), generator=generator, device=places.device)
    for codes in (book, state.average.codebook):
        assert codes is not None
        codes.copy_(torch.where(dead[:, None], places[chosen], codes))
    used = torch.bincount(state.network.nearest(z).flatten(), minlength=len(book)) > 0
    state.idle.copy_(torch.where(used | dead, 0, state.idle + 1))
