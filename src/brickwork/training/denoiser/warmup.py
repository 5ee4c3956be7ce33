"""Preparation before the first step: precision, batch and kernels are chosen by timing, blocks are compiled."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

from brickwork.errors import ConfigError, first_line
from brickwork.model.model import Precision
from brickwork.nn.attention import wait
from brickwork.training.denoiser.batches import Batch
from brickwork.training.denoiser.gradient import try_out
from brickwork.training.denoiser.state import TrainState
from brickwork.training.run.budget import BATCHES, choose_batch, warnings
from brickwork.training.run.interrupt import Stopped
from brickwork.training.run.precision import Step, faster_precision
from brickwork.training.run.trainer import Trainer

SLOW = 2.0
"""Seconds of a step that is not timed a second time."""


def warm_up(state: TrainState, trainer: Trainer[Batch]) -> Iterator[str]:
    """Choose precision, batch and kernels where the recipe leaves them open, before the first save; compile if asked.

    Args:
        state: Its weights stay as they are.
        trainer: The run; it draws the batches, and a signal ends the preparation.

    Yields:
        Lines for the user.

    Raises:
        ConfigError: Compiling was asked for and does not work here.
        Stopped: A signal came; what was not chosen yet is open again.
    """
    asked, seconds = state.recipe, 0.0
    try:
        if state.recipe.precision == "auto":
            yield _choose_precision(state, trainer)
        asked = state.recipe
        if not state.recipe.batch:
            note, seconds = _choose_batch(state, trainer)
            yield note
    except Stopped:
        state.recipe = asked
        raise
    chunk = next(trainer.first_batch().chunks(state.recipe.accumulation))
    if not seconds:  # else its kernels were chosen when it was timed
        trainer.doing("choosing kernels")
        try_out(state, chunk)
    if state.recipe.compile:
        trainer.doing("compiling")
        _compile(state, chunk)
    if state.recipe.minutes and (state.recipe.compile or not seconds):
        trainer.doing("timing a step")
        seconds = _seconds(state, chunk)
    yield from warnings(state.recipe, seconds)


def _choose_precision(state: TrainState, trainer: Trainer[Batch]) -> str:
    """Set the precision in which a step is faster; without looking at the clock, fp32."""
    if state.recipe.deterministic:
        state.set_precision("fp32")
        return "precision fp32: deterministic = true chooses nothing by timing"
    trainer.doing("timing a step in fp32 and in bf16")
    chunk = _trial_chunk(state, trainer, state.recipe.batch or BATCHES[-1])
    faster, note = faster_precision(trial(state, chunk, trainer), len(chunk), state.device, progress=trainer.progress)
    state.set_precision(faster)
    return note


def _choose_batch(state: TrainState, trainer: Trainer[Batch]) -> tuple[str, float]:
    """Set the batch by budget, set and speed; return a line that says so, and the seconds of a step, 0 if unknown."""
    recipe, timed = state.recipe, dict[int, float]()

    def time_step(batch: int) -> float:
        trainer.doing(f"timing a step of {batch} images")
        chunk = _trial_chunk(state, trainer, batch)
        try:
            timed[batch] = _seconds(state, chunk)  # chooses its kernels, and fills caches
            if timed[batch] < SLOW:  # a slow machine has better things to do
                timed[batch] = _seconds(state, chunk)
        except torch.OutOfMemoryError:
            timed[batch] = float("inf")
        return timed[batch]

    batch, note = choose_batch(recipe, len(trainer.view.data), time_step, recipe.accumulation)
    state.set_batch(batch)
    return note, timed.get(batch, 0.0)


def _trial_chunk(state: TrainState, trainer: Trainer[Batch], batch: int) -> Batch:
    """Return what a step computes at once, of a batch that is drawn for a trial only."""
    count, asked = state.recipe.accumulation, state.recipe.batch
    state.set_batch(-(-batch // count) * count)
    try:
        return next(trainer.draw().chunks(count))
    finally:
        state.set_batch(asked)


def _seconds(state: TrainState, chunk: Batch) -> float:
    """Return the seconds of a step of such chunks."""
    wait(state.device)
    start = time.perf_counter()
    try_out(state, chunk)
    wait(state.device)
    return state.recipe.accumulation * (time.perf_counter() - start)


def trial(state: TrainState, chunk: Batch, trainer: Trainer[Batch]) -> Step:
    """Return a trial step on the first images of a chunk, in any precision; it changes no weight."""

    def step(precision: Precision, count: int) -> None:
        trainer.interrupt.check()
        state.set_precision(precision)
        try_out(state, chunk[:count])

    return step


def _compile(state: TrainState, chunk: Batch) -> None:
    for module in state.model.backbone.compilable():
        module.compile(dynamic=False)  # the shape stays the same; bricks with other windows get graphs of their own
    try:
        try_out(state, chunk)
    except Exception as error:  # the compiler raises errors of many classes
        reason = first_line(error)
        raise ConfigError(
            f"compile = true does not work here ({reason}): on a CPU it needs a C++ compiler such as g++; "
            "install one or set compile = false"
        ) from error
