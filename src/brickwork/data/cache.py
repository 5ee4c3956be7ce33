"""Cache of decoded sets too big for memory: .npy files that are mapped, and found again by the next run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from platformdirs import user_cache_path

from brickwork.data.source import Images, Source
from brickwork.errors import OutputError
from brickwork.files.whole import write_whole


@dataclass(frozen=True)
class Decoded:
    """Decoded images, the source's row of each, and one line for each skipped image."""

    images: Images
    kept: list[int]
    skipped: tuple[str, ...]


def cache_folder() -> Path:
    """Return the folder where decoded sets are kept: ``images`` in the system's folder for caches of brickwork.

    On Linux that is ``$XDG_CACHE_HOME/brickwork`` or ``~/.cache/brickwork``, on macOS ``~/Library/Caches/brickwork``,
    on Windows ``brickwork\\Cache`` in the local application data.
    """
    return user_cache_path("brickwork", appauthor=False) / "images"


def cache_key(source: Source, facts: tuple[object, ...]) -> str:
    """Return a name for a source decoded in one way; a new one each time if its changes cannot be detected."""
    content = source.version or uuid.uuid4().hex
    return hashlib.sha256(repr((1, source.name, len(source), content, facts)).encode()).hexdigest()[:32]


def recall(folder: Path, key: str) -> Decoded | None:
    """Return the images kept under a key; None if they are missing or incomplete."""
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
    """Give the context a temporary path to write to; the file is removed afterwards unless it was renamed.

    Raises:
        OutputError: The folder cannot be made or written, or the disk is full.
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
    """Move a finished file to its place; its facts are written last, so that images with facts are complete."""
    part.replace(folder / f"{key}.npy")
    write_whole(folder / f"{key}.json", json.dumps({"kept": decoded.kept, "skipped": decoded.skipped}).encode())
    return decoded
