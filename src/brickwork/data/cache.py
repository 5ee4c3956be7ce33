"""Cache of decoded sets: .npy files that are found again by the next run, mapped, and checked when first read.

KEY.npy    the images, (N, H, W, C)
KEY.json   what was skipped, and a digest of each block of images, of the whole set and of these facts
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
import uuid
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from brickwork.data.checked import Checked, checked_images
from brickwork.data.rows import npy_header, rows_per_block
from brickwork.data.source import Images, Source
from brickwork.errors import BrickworkWarning, ConfigError
from brickwork.files.blocks import block_digest
from brickwork.files.owned import owned_folder, sweep
from brickwork.files.plain import LARGE, read_json, read_small
from brickwork.files.whole import write_whole

FORMAT = 2
LIMIT = "BRICKWORK_CACHE_GIB"
"""Environment variable with the largest size of the folder in GiB; 0 keeps only sets that are too big for memory."""
USUAL_LIMIT = 20.0
ORPHANED_AFTER = 60.0
"""Seconds after which images without facts, or facts without images, are taken for what a killed run left."""
DIGEST_OF_FACTS = "facts"


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Decoded images, the source's row of each, a line for each skipped image and each oddity, and the set's digest."""

    images: Images
    kept: list[int]
    skipped: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    digest: str = ""


def cache_folder() -> Path:
    """Return the folder where decoded sets are kept: ``images`` in the system's folder for caches of brickwork.

    On Linux that is ``$XDG_CACHE_HOME/brickwork`` or ``~/.cache/brickwork``, on macOS ``~/Library/Caches/brickwork``,
    on Windows ``brickwork\\Cache`` in the local application data.
    """
    return user_cache_path("brickwork", appauthor=False) / "images"


def cache_limit() -> int:
    """Return the largest size of the folder in bytes, by the environment.

    Raises:
        ConfigError: The variable is no number from 0.
    """
    word = os.environ.get(LIMIT, "") or str(USUAL_LIMIT)
    try:
        size = float(word)
    except ValueError:
        size = -1.0
    if not 0 <= size < math.inf:
        raise ConfigError(f"{LIMIT} is {word[:40]!r}: it must be a number of GiB from 0, such as {USUAL_LIMIT:g}")
    return int(size * 2**30)


def cache_key(source: Source, facts: tuple[object, ...]) -> str:
    """Return a name for a source decoded in one way; a new one each time if its changes cannot be detected."""
    digest = hashlib.sha256(repr((FORMAT, source.name, len(source), facts)).encode(errors="surrogateescape"))
    digest.update((source.version or uuid.uuid4().hex).encode())
    for texts in (source.names, source.captions or ()):
        digest.update("".join(f"{len(text)}:{text}" for text in texts).encode(errors="surrogateescape") + b";")
    digest.update(b"" if source.labels is None else source.labels.tobytes())
    return digest.hexdigest()[:32]


def recall(folder: Path, key: str, again: Callable[[Sequence[int], int], Images]) -> Decoded | None:
    """Return the images kept under a key, mapped; None if they are missing or incomplete.

    What killed runs left in the folder is removed.

    Args:
        folder: The folder.
        key: The key.
        again: Function that decodes some rows of the source with so many channels, (B, H, W, C), where a block of kept
            images turns out to be damaged.
    """
    sweep(folder, "*.part")
    place = folder / f"{key}.json"
    if not place.exists():
        return None
    try:
        facts = read_json(read_small(place, LARGE), LARGE)
        if facts.pop(DIGEST_OF_FACTS) != facts_digest(facts):
            raise ValueError("its digest is of other facts")
        gaps = set(facts["gaps"])
        kept = [i for i in range(facts["shape"][0] + len(gaps)) if i not in gaps]
        path = folder / f"{key}.npy"
        shape, channels = tuple(facts["shape"]), facts["shape"][3]
        checked = Checked(path, facts["sums"], lambda start, stop: again(kept[start:stop], channels))
        images = checked_images(path, shape, checked)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        say(f"{place}: decoded images kept there are damaged ({error}); all are decoded anew")
        return None
    with suppress(OSError):
        os.utime(place)  # what was used last is removed last
    told = {name: tuple(facts[name]) for name in ("skipped", "remarks")}
    return Decoded(images=images, kept=kept, digest=facts["digest"], **told)


def keep(folder: Path, key: str, decoded: Decoded) -> None:
    """Keep images that are in memory; where that fails, say so and go on without."""
    room = cache_limit() - decoded.images.nbytes
    if room < 0:
        return
    try:
        make_room(folder, room)
        with owned_folder(folder) as part:
            with (part / "images.npy").open("wb") as file:
                file.write(npy_header(len(decoded.images), decoded.images.shape[1:]))
                file.write(decoded.images.data)
            put(folder, key, part / "images.npy", decoded)
    except OSError as error:
        say(f"{folder}: decoded images are not kept here ({error.strerror or error}); the next run decodes them again")


def make_room(folder: Path, room: int) -> None:
    """Make the folder if need be, and remove what killed runs left in it, then what was not used for longest.

    Args:
        folder: The folder.
        room: Size in bytes that what is kept may still have.

    Raises:
        OSError: The folder cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder, "*.part")
    entries = []
    for path in (*folder.glob("*.npy"), *folder.glob("*.json")):
        other = path.with_suffix(".json" if path.suffix == ".npy" else ".npy")
        with suppress(OSError):
            if not other.exists() and time.time() - path.stat().st_mtime > ORPHANED_AFTER:
                path.unlink()
            elif path.suffix == ".npy" and other.exists():
                entries.append((other.stat().st_mtime, path.stat().st_size, path))
    size = sum(entry[1] for entry in entries)
    for _, own, path in sorted(entries):
        if size <= room:
            break
        with suppress(OSError):
            forget(path)
            size -= own


def put(folder: Path, key: str, part: Path, decoded: Decoded) -> Path:
    """Give a finished file of images its place, and facts beside it; return the place.

    The file is not flushed to the disk: what a loss of power leaves of it is found by the digests of its blocks.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """
    path, images = folder / f"{key}.npy", decoded.images
    step = rows_per_block(images.shape[1:])
    present = set(decoded.kept)
    facts: dict[str, Any] = {
        "shape": list(images.shape),
        "gaps": [i for i in range(len(images) + len(decoded.skipped)) if i not in present],
        "skipped": decoded.skipped,
        "remarks": decoded.remarks,
        "digest": decoded.digest,
        "sums": [block_digest(images[i : i + step].data) for i in range(0, len(images), step)],
    }
    facts = json.loads(json.dumps(facts))
    os.replace(part, path)
    try:
        data = json.dumps({**facts, DIGEST_OF_FACTS: facts_digest(facts)}).encode()
        write_whole(folder / f"{key}.json", data)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def forget(path: Path) -> None:
    """Remove kept images: first their facts, so that nobody finds them, then the images.

    Raises:
        OSError: They cannot be removed.
    """
    path.with_suffix(".json").unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def facts_digest(facts: dict[str, Any]) -> str:
    """Return the digest of facts."""
    return block_digest(json.dumps(facts, sort_keys=True).encode())


def free_memory() -> int:
    """Return the bytes of memory that the system can still give; 0 where that cannot be told."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return 0


def say(what: str) -> None:
    """Warn of what the cache cannot do."""
    warnings.warn(what, BrickworkWarning, stacklevel=3)
