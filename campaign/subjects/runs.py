"""Run folders of denoisers and autoencoders, stopped in the middle: a changed one is resumed to its end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import brickwork as bw
from brickwork.files.tensors import read_tensors
from brickwork.nn.attention import use_kernel
from brickwork.nn.linear import use_library
from brickwork.training.autoencoder.recipe import AutoencoderReport
from campaign.subject import Level, Subject

STEPS, STOP = 6, 3
HEADERS = {"state.safetensors": "brickwork-state"}
AUTOENCODER_HEADERS = {"state.safetensors": "brickwork-autoencoder-state"}


QUIET = bw.Report(log_every=1, eval_every=0, sheet_steps=0, save_every=1)
QUIET_CODEC = AutoencoderReport(log_every=1, eval_every=0, sheet_images=0, save_every=1)


def images(channels: int = 1, captions: bool = False) -> bw.Dataset:
    """Noise of 4x4, in three classes or with captions."""
    rng = np.random.default_rng(0)
    words = tuple(f"a {'red' if i % 2 else 'blue'} dot" for i in range(24)) if captions else None
    return bw.Dataset(
        name="noise",
        images=rng.integers(0, 256, (24, 4, 4, channels), dtype=np.uint8),
        labels=None if captions else np.arange(24) % 3,
        classes=() if captions else ("a", "b", "c"),
        captions=words,
        skipped=(),
        flip=not captions,
        digest=f"noise {channels} {captions}",
    )


def recipe(steps: int = STEPS, **changes: Any) -> bw.Recipe:
    """Return the settings of a run that takes a moment; it saves after every step."""
    report = bw.Report(log_every=1, eval_every=2, eval_images=2, sheet_steps=1, sheet_seeds=1, save_every=1)
    backbone = bw.Stoic.Config(width=16, depth=1, stride=1, heads=2)
    values: dict[str, Any] = {"backbone": backbone, "batch": 4, "warmup": 1, "ema_half_life": 20.0, "report": report}
    return bw.Recipe(**{**values, "steps": steps, "precision": "fp32", **changes})


def autoencoder_recipe(steps: int = STEPS, **changes: Any) -> bw.AutoencoderRecipe:
    """Return the settings of an autoencoder's run that takes a moment."""
    report = AutoencoderReport(log_every=1, eval_every=2, eval_images=2, sheet_images=2, save_every=1)
    network = bw.Autoencoder.Config(factor=2, channels=2, width=8, encoder_depth=1, decoder_depth=1)
    values: dict[str, Any] = {"autoencoder": network, "batch": 4, "warmup": 1, "report": report}
    return bw.AutoencoderRecipe(**{**values, "steps": steps, "precision": "fp32", **changes})


class Stopped(BaseException):
    """Ends a run as a kill does: nothing more is saved."""


class Stop(bw.Observer[Any]):
    """Stops a run after a step."""

    def on_step(self, run: Any) -> None:
        """Raise once the step is reached."""
        if run.step >= STOP:
            raise Stopped


@contextmanager
def no_curves() -> Iterator[None]:
    """Hide the library that draws curves, which takes longer than all else of a tiny run."""
    with patch.dict(sys.modules, {"matplotlib.figure": None}):
        yield


def train(out: Path, settings: bw.Recipe | Path, **options: Any) -> Any:
    """Train with kernels that no timing chooses, so that two runs are equal to the bit."""
    data = images()
    with use_kernel("matmul"), use_library("torch"):
        return bw.train(settings, data, out, data, device="cpu", progress=False, **options)


def train_codec(out: Path, settings: bw.AutoencoderRecipe | Path, **options: Any) -> Any:
    """Train an autoencoder with kernels that no timing chooses."""
    data = images(3)
    with use_kernel("matmul"), use_library("torch"):
        return bw.train_autoencoder(settings, data, out, data, device="cpu", progress=False, **options)


def stopped(run: Any, settings: Any, out: Path) -> None:
    """Leave a run as a kill in the middle does."""
    try:
        with no_curves():
            run(out, settings, observers=[Stop()])
    except Stopped:
        return
    raise AssertionError("the run was not stopped")


def resumed(run: Callable[[Path, Path], object], file: str, place: Path) -> Any:
    """Resume the run in a folder by its own recipe; return the weights at its end, which are in a file there."""
    with no_curves():
        run(place, place)
    return read_tensors(place / file)[0]


def guarded(file: str, level: Level) -> bool:
    """Guard all that a resumed run's weights depend on, but for a value that an editor put into the state."""
    return level == "bytes" or "state" not in file


SUBJECTS = (
    Subject(
        name="run folder",
        make=lambda p: stopped(train, recipe(report=QUIET), p),
        read=partial(resumed, train, "model.safetensors"),
        guarded=guarded,
        files="*[a-z]",
        headers=HEADERS,
        share=1.5,
    ),
    Subject(
        name="run folder, autoencoder",
        make=lambda p: stopped(train_codec, autoencoder_recipe(report=QUIET_CODEC), p),
        read=partial(resumed, train_codec, "autoencoder.safetensors"),
        guarded=guarded,
        files="*[a-z]",
        headers=AUTOENCODER_HEADERS,
    ),
)
