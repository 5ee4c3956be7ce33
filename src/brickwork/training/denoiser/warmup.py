"""Preparation before the first step: precision and kernels are chosen by timing, blocks are compiled."""

from __future__ import annotations

from brickwork.errors import ConfigError
from brickwork.model.model import Precision
from brickwork.training.denoiser.batches import Batch
from brickwork.training.denoiser.gradient import try_out
from brickwork.training.denoiser.state import TrainState
from brickwork.training.run.precision import Step, faster_precision


def warm_up(state: TrainState, batch: Batch, *, progress: bool = False) -> list[str]:
    """Choose the precision where it is "auto", then attention's kernels, before the first save; compile if asked.

    Args:
        state: Its weights stay as they are.
        batch: The batch of the next step.
        progress: Show progress on standard error.

    Returns:
        Messages for the user.

    Raises:
        ConfigError: Compiling was asked for and does not work here.
    """
    chunk, notes = next(batch.chunks(state.recipe.accumulation)), []
    if state.recipe.precision == "auto":
        faster, note = faster_precision(trial(state, chunk), len(chunk), state.device, progress=progress)
        state.set_precision(faster)
        notes.append(note)
    try_out(state, chunk)
    if state.recipe.compile:
        _compile(state, chunk)
    return notes


def trial(state: TrainState, chunk: Batch) -> Step:
    """Return a trial step on the first images of a chunk, in any precision; it changes no weight."""

    def step(precision: Precision, count: int) -> None:
        state.set_precision(precision)
        try_out(state, chunk[:count])

    return step


def _compile(state: TrainState, chunk: Batch) -> None:
    for module in state.model.backbone.compilable():
        module.compile(dynamic=False)  # the shape stays the same; bricks with other windows get graphs of their own
    try:
        try_out(state, chunk)
    except Exception as error:  # the compiler raises errors of many classes
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"compile = true does not work here ({reason}): on a CPU it needs a C++ compiler such as g++; "
            "install one or set compile = false"
        ) from error
