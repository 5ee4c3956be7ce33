"""Writers of the library: jobs that can be broken off anywhere and done again, with what they end in."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
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
    """Return weights and state of a run's folder, and its log without the clock."""
    from brickwork.training.run.journal import read_journal

    lines = [{k: v for k, v in line.items() if k not in TIMED} for line in read_journal(place / "run" / "log.jsonl")]
    models = [weights(path) for path in sorted((place / "run").glob("*.safetensors"))]
    return models, lines


def quiet(run: Callable[[Path], object], place: Path) -> None:
    """Run without curves."""
    with runs.no_curves():
        run(place)


def train_pixels(place: Path) -> None:
    """Train a model of pixels, with sheets and measurements."""
    runs.train(place / "run", runs.recipe(steps=8))


def train_codec(place: Path) -> None:
    """Train an autoencoder."""
    runs.train_codec(place / "run", runs.autoencoder_recipe())


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


def shares(jobs: Sequence[Job], count: int) -> list[tuple[Job, int]]:
    """Return how often each job is tried, so many times in all; one or more for each where there are enough."""
    whole = sum(job.share for job in jobs)
    numbers = [max(1, int(count * job.share / whole)) for job in jobs]
    for index in range(len(jobs)):
        numbers[index] += max(0, count - sum(numbers)) if index == len(jobs) - 1 else 0
    return list(zip(jobs, numbers, strict=True))


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
    words = [
        "sample",
        str(place / FILE),
        "--labels",
        "0",
        "1",
        "--seeds",
        "0-2",
        "--steps",
        "1",
        "--out",
        str(place / "out"),
    ]
    if main(words):
        raise BrickworkError("brickwork sample failed")


def edit(place: Path) -> None:
    """Edit a picture into a folder by the command line."""
    words = [
        "edit",
        str(place / FILE),
        str(place / "picture.png"),
        "--steps",
        "1",
        "--seeds",
        "0-2",
        "--out",
        str(place / "out"),
    ]
    if main(words):
        raise BrickworkError("brickwork edit failed")


def pngs(place: Path) -> Any:
    """Return the pixels of all pictures."""
    import numpy as np
    from PIL import Image

    return {p.name: np.asarray(Image.open(p)) for p in sorted((place / "out").glob("*.png"))}


def decode(place: Path) -> None:
    """Decode a folder of pictures into a cache."""
    caches.pictures(place)


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
    Job(name="cache pictures", begin=undecoded, run=decode, ends=caches.pictures),
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
