"""A server that trains a tiny model in a fresh fork for every line it reads: ``FOLDER POINT SKIP``.

It answers with the fork's process number, and, when that has ended, with its status. A POINT other than "-" is a place
inside a save, "state:half" and so on, where the fork kills itself, after passing it SKIP times.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch

import brickwork.files.tensors as tensorfile
from brickwork.backbone.stoic import Stoic
from brickwork.data.dataset import Dataset
from brickwork.nn.attention import use_kernel
from brickwork.training.denoiser.loop import train
from brickwork.training.denoiser.recipe import Recipe, Report


def tiny_data() -> Dataset:
    generator = np.random.default_rng(0)
    return Dataset(
        name="noise",
        images=generator.integers(0, 256, (40, 4, 4, 1), dtype=np.uint8),
        labels=generator.integers(0, 3, 40),
        classes=("a", "b", "c"),
        captions=None,
        skipped=(),
        flip=True,
        digest="noise",
    )


def tiny_recipe() -> Recipe:
    return Recipe(
        backbone=Stoic.Config(width=32, depth=1, stride=1, depthwise=True),
        batch=8,
        accumulation=2,
        steps=240,
        warmup=5,
        ema_half_life=200,
        precision="fp32",
        report=Report(log_every=3, eval_every=20, eval_images=4, sheet_steps=1, sheet_seeds=1, save_every=4),
    )


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at(point: str, skip: int) -> None:
    """Replace one step of an atomic save by death."""
    file, place = point.split(":")
    passes = iter(range(skip + 1))
    save_file, fsync, replace = tensorfile.save_file, os.fsync, os.replace  # pyright: ignore[reportPrivateImportUsage]
    writing = ""

    def due(path: object, wanted: str) -> bool:
        return place == wanted and f"{file}.safetensors" in Path(str(path)).name and next(passes) == skip

    def save_half(tensors: object, path: str, metadata: object) -> None:
        nonlocal writing
        writing = path
        save_file(tensors, path, metadata)  # pyright: ignore[reportArgumentType]
        if due(path, "half"):
            os.truncate(path, os.path.getsize(path) // 2)
            die()

    def no_fsync(handle: int) -> None:
        if writing and os.path.exists(writing) and due(writing, "before-fsync"):
            die()
        fsync(handle)

    def no_replace(source: str, target: str) -> None:
        if due(target, "before-replace"):
            die()
        replace(source, target)
        if due(target, "after-replace"):
            die()

    tensorfile.save_file = save_half  # pyright: ignore[reportAttributeAccessIssue, reportPrivateImportUsage]
    os.fsync, os.replace = no_fsync, no_replace  # pyright: ignore[reportAttributeAccessIssue]


def serve() -> None:
    data, recipe = tiny_data(), tiny_recipe()
    torch.optim.AdamW([torch.zeros(1)])  # imports much when first made: better here than in each fork
    print("ready", flush=True)
    for line in sys.stdin:
        folder, point, skip = line.split()
        child = os.fork()
        if child == 0:
            if point != "-":
                kill_at(point, int(skip))
            with use_kernel("matmul"):
                train(recipe, data, folder, data, device="cpu", progress=False)
            os._exit(0)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
