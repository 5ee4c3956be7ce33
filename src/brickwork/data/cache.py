"""Decoded sets that are too big for memory, kept as .npy files to be mapped; found again by the next run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brickwork.data.source import Images, Source
from brickwork.errors import OutputError


@dataclass(frozen=True)
class Decoded:
    """Images, the row of the source that each came from, and what was skipped."""

    images: Images
    kept: list[int]
    skipped: tuple[str, ...]


def cache_folder() -> Path:
    """Where decoded sets are kept: brickwork/images in $XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "brickwork" / "images"


def cache_key(source: Source, facts: tuple[object, ...]) -> str:
    """A name for the result of decoding a source in one way; never the same twice if changes cannot be told."""
    content = source.fingerprint or uuid.uuid4().hex
    return hashlib.sha256(repr((1, source.name, len(source), content, facts)).encode()).hexdigest()[:32]


def recall(folder: Path, key: str) -> Decoded | None:
    """What was kept under a key, None if nothing (whole) is there."""
    try:
        facts = json.loads((folder / f"{key}.json").read_text())
        images = np.load(folder / f"{key}.npy", mmap_mode="r")
        kept = [int(i) for i in facts["kept"]]
    except (OSError, ValueError, KeyError):
        return None
    if len(kept) != len(images):
        return None
    return Decoded(images, kept, tuple(facts["skipped"]))


@contextmanager
def part_file(folder: Path, key: str) -> Iterator[Path]:
    """A name to write to, of this process alone; gone afterwards if it was not renamed.

    Raises:
        OutputError: If the folder cannot be made or written, or the disk is full.
    """
    part = folder / f"{key}.{uuid.uuid4().hex[:8]}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield part
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot keep decoded images here ({error.strerror or error}); make room, "
            "choose a smaller --size, or set XDG_CACHE_HOME to a folder on a larger disk"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def remember(folder: Path, key: str, part: Path, decoded: Decoded) -> Decoded:
    """Put a finished file in its place; the facts come last, so that what has facts is whole."""
    part.replace(folder / f"{key}.npy")
    facts = folder / f"{key}.json"
    text = json.dumps({"kept": decoded.kept, "skipped": decoded.skipped})
    part.write_text(text)
    part.replace(facts)
    return decoded
