"""Writers of the library: jobs that can be broken off anywhere and done again, with what they end in."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from tiny_models import tiny_model

import brickwork as bw
from brickwork.cli import main
from brickwork.errors import BrickworkError
from brickwork.files.tensors import read_tensors
from brickwork.nn.attention import use_kernel
from brickwork.nn.linear import use_library
from campaign.report import Counts
from campaign.subject import fingerprint
from campaign.subjects import caches, pictures, runs
from campaign.subjects.models import FILE, small

KEY = re.compile(r"[0-9a-f]{32}")
"""Names in a cache, which depend on when the pictures were written."""
TIMED = ("seconds", "images_per_second", "date", "time")
"""What the clock puts into facts: never equal."""


@final
@dataclass(frozen=True, kw_only=True)
class Job:
    """Work that leaves files.

    Attributes:
        name: Name in the table.
        begin: Writes what there is before, into an empty folder.
        run: The work; called again, it goes on or does it anew.
        ends: Returns what is left at the end, to be compared with an unbroken run's.
        share: Share of the kills, relative to the other jobs.
        kept: Raises unless what a user has right after a kill is whole: the earlier or the new.
    """

    name: str
    begin: Callable[[Path], object] = lambda place: None
    run: Callable[[Path], object]
    ends: Callable[[Path], Any]
    kept: Callable[[Path], object] = lambda place: None
    share: float = 1.0

    def work(self, place: Path) -> None:
        """Do the work with kernels that no timing chooses."""
        with use_kernel("matmul"), use_library("torch"):
            self.run(place)

    def result(self, place: Path) -> str:
        """Return the fingerprint of what is left, and the names of all files."""
        names = sorted(KEY.sub("KEY", p.relative_to(place).as_posix()) for p in place.rglob("*"))
        return fingerprint([self.ends(place), names])


def weights(path: Path) -> Any:
    """Return the tensors of a file."""
    return read_tensors(path)[0]


def run_end(place: Path) -> Any:
    """Return weights and state of a run's folder, and its log of steps without the clock.

    Measurements are left out: one for which there was no memory is not made again by the next run.
    """
    from brickwork.training.run.journal import read_journal

    steps = [line for line in read_journal(place / "run" / "log.jsonl") if "loss" in line]
    lines = [{k: v for k, v in line.items() if k not in TIMED} for line in steps]
    models = [weights(path) for path in sorted((place / "run").glob("*.safetensors"))]
    return models, lines


def quiet(run: Callable[[Path], object], place: Path) -> None:
    """Run without curves."""
    with runs.no_curves():
        run(place)


def train_pixels(place: Path) -> None:
    """Train a model of pixels, with sheets and measurements."""
    runs.train(place / "run", runs.recipe(steps=8))


def train_words(place: Path) -> None:
    """Train a model of words; its captions are embedded by an encoder of its own."""
    data = runs.images(captions=True)
    text = bw.Words.Config(length=4, width=8, depth=1, heads=2)
    settings = runs.recipe(text=text, steps=4)
    bw.train(settings, data, place / "run", data, device="cpu", progress=False)


def train_latents(place: Path) -> None:
    """Train in latents, which are kept in a cache."""
    settings = runs.recipe(backbone=bw.Tldm.Config(width=16, heads=2, depth=1, patch=1), steps=4)
    data = caches.colours()
    bw.train(
        settings,
        data,
        place / "run",
        data,
        codec=caches.codec(),
        latents=place / "latents",
        device="cpu",
        progress=False,
    )


def each_job(
    title: str, only: str, seed: int, count: int, counts: Counts, act: Callable[[Job, str, str, int], object]
) -> None:
    """Try jobs in turn, by their shares of so many times in all; one or more times each. Count, and print their rows.

    Args:
        title: What is done to the jobs, as "killed"; the start of their names in the table.
        only: Part of the names of the jobs that are tried.
        seed: Seed of all; each job gets one of its own.
        count: Times in all.
        counts: Where outcomes are counted.
        act: Called with the job, its name in the table, its seed and its number of times. An AssertionError means that
            the job itself is broken.
    """
    jobs = [job for job in JOBS if only in job.name]
    whole = sum(job.share for job in jobs)
    numbers = [max(1, int(count * job.share / whole)) for job in jobs]
    numbers[-1:] = [last + max(0, count - sum(numbers)) for last in numbers[-1:]]
    for job, share in zip(jobs, numbers, strict=True):
        start, name = time.perf_counter(), f"{title}: {job.name}"
        try:
            act(job, name, f"{seed}/{title}/{job.name}", share)
        except AssertionError as error:
            counts.broken(name, str(error))
        counts.row(name, time.perf_counter() - start)


def files_of(folder: Path) -> Any:
    """Return the bytes of all files."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def pack(place: Path, model: bw.Model | None = None) -> None:
    """Pack a model."""
    bw.pack(model or small(), place / "a.onnx", bw.Packing(batches=(1,), steps=1), say=lambda line: None)


def other() -> bw.Model:
    """Return a model with other weights and sizes than the small one."""
    return tiny_model(bw.Stoic.Config(size=8, channels=1, num_classes=2, width=16, heads=2, depth=1, stride=1))


def still_packed(place: Path) -> None:
    """Raise unless one of two packages is there, whole."""
    assert len(bw.verify(place / "a.onnx").classes) in (2, 3)


def still_saved(place: Path) -> None:
    """Raise unless one of two models is there, whole."""
    assert bw.load(place / FILE).num_classes in (2, 3)


def sample(place: Path) -> None:
    """Draw pictures into a folder by the command line."""
    command(place, "sample", place / FILE, "--labels", "0", "1")


def edit(place: Path) -> None:
    """Edit a picture into a folder by the command line."""
    command(place, "edit", place / FILE, place / "picture.png")


def command(place: Path, *words: str | Path) -> None:
    """Run a verb that draws three pictures of one step each into a folder."""
    if main([*map(str, words), "--steps", "1", "--seeds", "0-2", "--out", str(place / "out")]):
        raise BrickworkError(f"brickwork {words[0]} failed")


def pngs(place: Path) -> Any:
    """Return the pixels of all pictures."""
    import numpy as np
    from PIL import Image

    return {p.name: np.asarray(Image.open(p)) for p in sorted((place / "out").glob("*.png"))}


def undecoded(place: Path) -> None:
    """Write a folder of pictures that no cache knows."""
    caches.folder(place)
    shutil.rmtree(place / "cache")


JOBS = (
    Job(name="train", run=train_pixels, ends=run_end, share=0.3),
    Job(name="train, quiet", run=lambda p: quiet(train_pixels, p), ends=run_end),
    Job(name="train, words", run=lambda p: quiet(train_words, p), ends=run_end),
    Job(name="train, latents", run=lambda p: quiet(train_latents, p), ends=run_end),
    Job(
        name="train an autoencoder",
        run=lambda p: runs.train_codec(p / "run", runs.autoencoder_recipe(steps=8)),
        ends=run_end,
    ),
    Job(name="cache latents", run=caches.latents, ends=caches.latents),
    Job(name="cache texts", run=caches.texts, ends=caches.texts),
    Job(name="cache pictures", begin=undecoded, run=caches.pictures, ends=caches.pictures),
    Job(name="pack", run=pack, ends=lambda p: files_of(p / "a.onnx"), share=0.3),
    Job(
        name="pack again",
        begin=lambda p: pack(p, other()),
        run=pack,
        ends=lambda p: files_of(p / "a.onnx"),
        kept=still_packed,
        share=0.4,
    ),
    Job(
        name="save again",
        begin=lambda p: bw.save(other(), p / FILE),
        run=lambda p: bw.save(small(), p / FILE),
        ends=lambda p: weights(p / FILE),
        kept=still_saved,
    ),
    Job(name="sample", begin=lambda p: bw.save(small(), p / FILE), run=sample, ends=pngs),
    Job(name="edit", begin=pictures.to_edit, run=edit, ends=pngs),
)
"""Every writer that is broken off."""
