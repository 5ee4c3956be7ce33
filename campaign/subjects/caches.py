"""Caches of latents, embedded captions and decoded pictures: a damaged one is made anew or refused, never believed."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tiny_models import latent_model, text_model

import brickwork as bw
from brickwork.codec.cache import open_latents
from brickwork.memory import within_memory
from brickwork.text.cache import embedded
from campaign.subject import Subject, everything

CAPTIONS = tuple(f"a {colour} {shape}" for colour in ("red", "blue") for shape in ("square", "circle", "dot"))


@functools.cache
def codec() -> bw.Latents:
    """Return the autoencoder of the tiny latent model."""
    found = latent_model().codec
    assert isinstance(found, bw.Latents)
    return found


@functools.cache
def encoder() -> Any:
    """Return the text encoder of the tiny text model."""
    return text_model().text


def colours() -> bw.Dataset:
    """Noise of 8x8 in colour."""
    pictures = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    return bw.Dataset(
        name="noise", images=pictures, labels=None, classes=(), captions=None, skipped=(), flip=True, digest="colours"
    )


def latents(place: Path) -> Any:
    """Open the latents of every picture and its mirror image."""
    data = colours()
    rows = np.arange(len(data))
    with within_memory("reading latents", "take smaller pictures"):
        cache = open_latents(data, codec(), place / "latents")
        return [cache.batch(rows, np.full(len(rows), mirrored)) for mirrored in (False, True)]


def texts(place: Path) -> Any:
    """Read every embedded caption."""
    with torch.no_grad():
        return [embedded(encoder(), CAPTIONS, place / "texts")[np.arange(len(CAPTIONS))]]


def folder(place: Path) -> None:
    """Write pictures, and open them once so that they are kept decoded."""
    for name, part in (("cats", 0), ("dogs", 100)):
        (place / "set" / name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (8, 8), (part + i, 3 * i, 7)).save(place / "set" / name / f"{i}.png")
    pictures(place)


def pictures(place: Path) -> Any:
    """Read all pictures from the cache."""
    data = bw.load_dataset(place / "set", bw.DataConfig(size=8, holdout=0.0), max_bytes=1, cache=place / "cache")
    return np.array(data.images), data.labels, data.digest


SUBJECTS = (
    Subject(name="latent cache", make=latents, read=latents, guarded=everything, files="latents/*"),
    Subject(name="text cache", make=texts, read=texts, guarded=everything, files="texts/*"),
    Subject(name="decoded cache", make=folder, read=pictures, guarded=everything, files="cache/**/*"),
)
