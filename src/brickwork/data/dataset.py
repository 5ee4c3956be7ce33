"""Data sets: images of one size in memory or mapped, with labels or captions, for training and evaluation."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from brickwork.data.cache import Decoded, cache_folder, cache_key, part_file, recall, remember
from brickwork.data.config import DataConfig
from brickwork.data.found import passed_over
from brickwork.data.names import whole_text
from brickwork.data.opening import open_source
from brickwork.data.order import Flips
from brickwork.data.reading import read_all, read_one
from brickwork.data.rows import Gathering
from brickwork.data.source import Images, Labels, Rows, Source
from brickwork.errors import DataError
from brickwork.files.bars import tell
from brickwork.files.notebook import facts_html, image_html

__all__ = ["DataConfig", "Dataset", "load_dataset", "load_heldout"]

MAX_BYTES = 2 << 30
SHOWN = 16
"""Images that a notebook shows of a data set."""
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Set of N images of one size.

    Args:
        name: Path or name of their source.
        images: uint8 (N, H, W, C), C = 1 or 3; in memory, or mapped from a file.
        labels: int64 (N,), index into classes; None if there are none.
        classes: Class names, also of classes that this split has no image of; empty without labels.
        captions: One text per image, or None.
        skipped: One line for each image left out because it could not be read.
        flip: True if training mirrors half of the images.
        digest: SHA-256 of images, labels and captions, in hex.
        config: Config that they were read with, flip decided; None for images that were not read from a source.
        found: Line for the user: what the whole source holds, and what was passed over or skipped.
    """

    name: str
    images: Images
    labels: Labels | None
    classes: tuple[str, ...]
    captions: tuple[str, ...] | None
    skipped: tuple[str, ...]
    flip: bool
    digest: str
    config: DataConfig | None = None
    found: str = ""

    def __post_init__(self) -> None:
        """Refuse labels or captions that are not as many as the images, and captions that cannot be encoded.

        Raises:
            DataError: They are fewer or more, or a caption has half a character.
        """
        for what, some in (("labels", self.labels), ("captions", self.captions)):
            if some is not None and len(some) != len(self.images):
                raise DataError(
                    f"{self.name}: {len(some)} {what} for {len(self.images)} images; there must be one for each image"
                )
        for place, text in enumerate(self.captions or ()):
            if whole_text(text) != text:
                raise DataError(f"{self.name}: caption {place} has half a character (a lone surrogate): take it out")

    def __len__(self) -> int:
        """N, the number of images."""
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def batch(self, indices: Rows, flips: Flips | None = None) -> Images:
        """Return the images of these indices, uint8 (B, H, W, C), those with a true flip mirrored left to right."""
        out = self.images[indices]
        if flips is not None and flips.any():
            out[flips] = out[flips, :, ::-1]
        return np.asarray(out)

    def _repr_html_(self) -> str:
        """Return counts and a sheet of some images, evenly from all, for a notebook."""
        height, width, channels = self.shape
        some = self.images[np.linspace(0, len(self) - 1, min(len(self), SHOWN)).astype(np.int64)] if len(self) else None
        facts: dict[str, object] = {"images": f"{len(self):,} of {width}x{height}x{channels}"}
        facts["classes"] = ", ".join(self.classes[:20]) + (", ..." if len(self.classes) > 20 else "") or "none"
        facts |= {"captions": "none" if self.captions is None else "one each", "skipped": len(self.skipped)}
        facts |= {"mirrored in training": "half" if self.flip else "none", "sha256": self.digest[:12]}
        return facts_html(self.name, facts) + ("" if some is None else image_html(some))


def load_dataset(
    spec: str | Path,
    config: DataConfig = DataConfig(),
    *,
    progress: bool = False,
    max_bytes: int = MAX_BYTES,
    cache: Path | None = None,
) -> Dataset:
    """Read, crop and resize all images of one split.

    Images that cannot be read are left out and listed in .skipped. One line says what was found, passed over and left
    out: .found, which is shown beside the bar, or else logged as a warning if something may be missed.

    Args:
        spec: A path or name; ``open_source`` lists the kinds.
        config: Images to use, and how they are cropped and resized.
        progress: Show a bar.
        max_bytes: Largest set held in memory; a larger one is kept in a file and mapped.
        cache: The folder of that file; None for the user's cache.

    Raises:
        DataError: The source is missing or has no images, captions for some images alone, mixed sizes without a size,
            or a broken image with config.strict.
        OutputError: That file cannot be written.
    """
    source = open_source(spec, config.split, holdout=config.holdout, captions=config.captions)
    decoded = decode_all(source, config, progress, max_bytes, cache or cache_folder())
    if not len(decoded.images):
        raise DataError(f"{source.name}: none of {len(source)} images can be read; first: {decoded.skipped[0]}")
    kept = np.array(decoded.kept, np.int64)
    labels = None if source.labels is None else source.labels[kept]
    captions = None if source.captions is None else tuple(source.captions[i] for i in decoded.kept)
    flip = mirrors(source) if config.flip is None else config.flip
    untrained = untrained_classes(source, labels, config)
    found = found_here(source, decoded.skipped, untrained)
    again = config.split == "heldout" and not decoded.skipped  # said when the training images were read
    if progress and not again:
        tell(f"{source.name}: {found}")
    elif decoded.skipped or untrained or not (again or all(over.expected for over in source.passed)):
        LOG.warning("%s: %s", source.name, found)
    return Dataset(
        name=source.name,
        images=decoded.images,
        labels=labels,
        classes=source.classes,
        captions=captions,
        skipped=decoded.skipped,
        flip=flip,
        digest=digest_of(decoded.images, labels, captions),
        config=replace(config, flip=flip),
        found=found,
    )


def found_here(source: Source, skipped: tuple[str, ...], untrained: list[str]) -> str:
    """Return the source's line with what only reading shows: images skipped, and classes that no image trains."""
    line = source.found
    if untrained:
        why = f"{'class' if len(untrained) == 1 else 'classes'} without a training image"
        line += f"; {passed_over(why, untrained)[0]}"
    if skipped:
        line += f"; skipped {len(skipped)} of {len(source)} images that cannot be read; first: {skipped[0]}"
    return line


def untrained_classes(source: Source, labels: Labels | None, config: DataConfig) -> list[str]:
    """Return the classes of a training split that none of its labels names."""
    if labels is None or config.split != "train":
        return []
    return [source.classes[k] for k in np.setdiff1d(np.arange(len(source.classes)), labels)]


def load_heldout(
    spec: str | Path,
    config: DataConfig = DataConfig(),
    *,
    progress: bool = False,
    max_bytes: int = MAX_BYTES,
    cache: Path | None = None,
) -> Dataset:
    """Load the held-out images of a training set: its test images, else validation, else the share held out by hash.

    Raises:
        DataError: ``load_dataset`` would raise it.
        MissingSplitError: Nothing is held out.
    """
    heldout = replace(config, split="heldout")
    return load_dataset(spec, heldout, progress=progress, max_bytes=max_bytes, cache=cache)


def decode_all(source: Source, config: DataConfig, progress: bool, max_bytes: int, folder: Path) -> Decoded:
    """Decode into memory, or into a file if all would take more than max_bytes."""
    if len(source) * pixels_each(source, config) * (config.channels or 3) <= max_bytes:
        return gather(source, config, progress, None)
    key = cache_key(source, (config.size, config.channels, config.crop, config.box, config.filter))
    known = recall(folder, key)
    if known is not None and not (config.strict and known.skipped):
        return known
    with part_file(folder, key) as part:
        return remember(folder, key, part, gather(source, config, progress, part))


def gather(source: Source, config: DataConfig, progress: bool, path: Path | None) -> Decoded:
    """Decode every image, to memory or to a file."""
    kept, skipped = [], []
    with Gathering(len(source), config.channels, path) as gathering:
        for i, result in enumerate(read_all(source, config, progress)):
            if isinstance(result, DataError):
                if config.strict:
                    raise DataError(f"{source.name}: {result}; mend or remove it, or leave out --strict to skip it")
                skipped.append(str(result))
                continue
            gathering.add(result.pixels, result.label)
            kept.append(i)
        return Decoded(gathering.close(), kept, tuple(skipped))


def pixels_each(source: Source, config: DataConfig) -> int:
    """Return the pixels of one prepared image; without a size, those of the first image that can be read."""
    if config.size is not None:
        return config.size**2
    results = (read_one(source, config, i) for i in range(len(source)))
    return next((r.pixels.shape[0] * r.pixels.shape[1] for r in results if not isinstance(r, DataError)), 0)


def mirrors(source: Source) -> bool:
    """Tell whether mirrored images are valid: not digits or text, not with captions or one-character class names."""
    single = bool(source.classes) and all(len(name) == 1 for name in source.classes)
    return source.mirrors and source.captions is None and not single


def digest_of(images: Images, labels: Labels | None, captions: tuple[str, ...] | None) -> str:
    """Return the SHA-256 (hex) of shape, pixels, labels as little-endian int64, and captions, if any."""
    digest = hashlib.sha256(repr(images.shape).encode())
    rows = max(1, (1 << 24) // max(1, images[0].nbytes))
    for i in range(0, len(images), rows):
        digest.update(np.ascontiguousarray(images[i : i + rows]).data)
    digest.update(b"labels" if labels is None else labels.astype("<i8").tobytes())
    for caption in captions or ():
        digest.update(caption.encode() + b"\0")
    return digest.hexdigest()
