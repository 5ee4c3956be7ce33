"""Data sets: images of one size in memory or mapped, with labels or captions, for training and evaluation."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from brickwork.data.cache import (
    Decoded,
    cache_folder,
    cache_key,
    cache_limit,
    free_memory,
    keep,
    make_room,
    put,
    recall,
    say,
)
from brickwork.data.config import DataConfig
from brickwork.data.decode import Decoder, with_channels
from brickwork.data.found import passed_over
from brickwork.data.names import whole_text
from brickwork.data.opening import open_source
from brickwork.data.order import Flips
from brickwork.data.reading import read_all, read_one
from brickwork.data.rows import Gathering
from brickwork.data.source import Images, Labels, Rows, Source
from brickwork.doors import door
from brickwork.errors import MAX_MESSAGE, DataError, MissingSplitError, OutputError, printable
from brickwork.files.bars import tell
from brickwork.files.notebook import facts_html, image_html
from brickwork.files.owned import owned_folder

__all__ = ["DataConfig", "Dataset", "load_dataset", "load_heldout"]

MAX_BYTES = 2 << 30
KEPT_FROM = 0.2
"""Seconds that decoding takes at least where its result is kept for the next run."""
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


@door("reading images", "lower max_bytes (more of the set stays on disk) or size")
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
    Decoded images are kept for the next run, unless that takes no time.

    Args:
        spec: A path or name; ``open_source`` lists the kinds.
        config: Images to use, and how they are cropped and resized.
        progress: Show a bar.
        max_bytes: Largest set decoded into memory; a larger one is decoded into a file of the cache and mapped.
        cache: The folder of decoded sets; None for the user's cache.

    Raises:
        DataError: The source is missing or has no images, captions for some images alone, mixed sizes without a size,
            or a broken image with config.strict.
        MissingSplitError: No held-out image can be read.
        OutputError: A set too large for memory cannot be written to the cache.
    """
    decoder = Decoder(max_pixels=config.max_pixels, grey_bits=config.grey_bits)
    source = open_source(spec, config.split, holdout=config.holdout, captions=config.captions, decoder=decoder)
    decoded = decode_all(source, config, progress, max_bytes, cache, decoder)
    for remark in decoded.remarks:
        LOG.warning("%s: %s", printable(source.name), printable(remark, MAX_MESSAGE))
    if not len(decoded.images):
        kind, what = (MissingSplitError, "held-out ") if config.split == "heldout" else (DataError, "")
        raise kind(f"{source.name}: none of {len(source)} {what}images can be read; first: {decoded.skipped[0]}")
    labels, captions = labels_and_captions(source, decoded.kept)
    flip = mirrors(source) if config.flip is None else config.flip
    untrained = untrained_classes(source, labels, config)
    found = found_here(source, decoded.skipped, untrained)
    again = config.split == "heldout" and not decoded.skipped  # said when the training images were read
    if progress and not again:
        tell(f"{source.name}: {found}")
    elif decoded.skipped or untrained or not (again or all(over.expected for over in source.passed)):
        LOG.warning("%s: %s", printable(source.name), printable(found, MAX_MESSAGE))
    return Dataset(
        name=source.name,
        images=decoded.images,
        labels=labels,
        classes=source.classes,
        captions=captions,
        skipped=decoded.skipped,
        flip=flip,
        digest=decoded.digest,
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


@door("reading images", "lower max_bytes (more of the set stays on disk) or size")
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


def decode_all(
    source: Source, config: DataConfig, progress: bool, max_bytes: int, cache: Path | None, decoder: Decoder
) -> Decoded:
    """Return all images: those that an earlier run kept, or decoded into memory or, if too large for it, into a file.

    Args:
        source: The images.
        config: How they are cropped and resized.
        progress: Show a bar.
        max_bytes: Largest set decoded into memory.
        cache: The folder of decoded sets, which keeps every set; None for the user's, which keeps what took time.
        decoder: The decoder of the source.

    Raises:
        DataError: A broken image with config.strict, or images of several sizes.
        OutputError: The set is too large for memory, and cannot be written either.
    """
    folder, key = cache or cache_folder(), cache_key(source, prepared_by(config))
    shape = shape_of(source, config)
    needed = len(source) * shape[0] * shape[1] * (config.channels or 3)
    keeps = source.encoded or needed > max_bytes
    known = recall(folder, key, lambda rows, channels: decode_again(source, config, rows, channels)) if keeps else None
    if known is not None and not (config.strict and known.skipped):
        return known
    if needed > max_bytes:
        return decode_to_file(source, config, progress, folder, key, decoder, shape)
    start = time.perf_counter()
    decoded = with_facts(source, gather(source, config, progress, None, shape), decoder)
    if keeps and len(decoded.images) and (cache is not None or time.perf_counter() - start > KEPT_FROM):
        keep(folder, key, decoded)
    return decoded


def decode_to_file(
    source: Source, config: DataConfig, progress: bool, folder: Path, key: str, decoder: Decoder, shape: tuple[int, int]
) -> Decoded:
    """Decode a set that is too large for memory into a file; into memory after all if that fails and half is enough.

    Raises:
        OutputError: The file cannot be written, and there is not twice as much memory as needed.
    """
    needed = len(source) * shape[0] * shape[1] * (config.channels or 3)
    try:
        make_room(folder, max(0, cache_limit() - needed))
        with owned_folder(folder) as part:
            decoded = gather(source, config, progress, part / "images.npy", shape)
            if not len(decoded.images):
                return decoded
            decoded = with_facts(source, decoded, decoder)
            put(folder, key, part / "images.npy", decoded)
    except OSError as error:
        why = f"{folder}: cannot keep decoded images here ({error.strerror or error})"
        if needed > free_memory() // 2:
            raise OutputError(
                f"{why}; make room, choose a smaller --size, or set XDG_CACHE_HOME to a folder on a larger disk"
            ) from error
        say(f"{why}; they are held in memory instead, {needed >> 20} MiB")
        return with_facts(source, gather(source, config, progress, None, shape), decoder)
    kept = recall(folder, key, lambda rows, channels: decode_again(source, config, rows, channels))
    return decoded if kept is None else kept


def prepared_by(config: DataConfig) -> tuple[object, ...]:
    """Return what of a config changes the pixels of an image."""
    return config.size, config.channels, config.crop, config.box, config.filter, config.max_pixels, config.grey_bits


def with_facts(source: Source, decoded: Decoded, decoder: Decoder) -> Decoded:
    """Return decoded images with the set's digest and what the decoder found odd."""
    if not len(decoded.images):
        return decoded
    digest = digest_of(decoded.images, *labels_and_captions(source, decoded.kept))
    return replace(decoded, digest=digest, remarks=decoder.remarks())


def labels_and_captions(source: Source, kept: Sequence[int]) -> tuple[Labels | None, tuple[str, ...] | None]:
    """Return labels and captions of the rows that could be read."""
    labels = None if source.labels is None else source.labels[np.array(kept, np.int64)]
    return labels, None if source.captions is None else tuple(source.captions[i] for i in kept)


def decode_again(source: Source, config: DataConfig, rows: Sequence[int], channels: int) -> Images:
    """Decode some rows once more, (B, H, W, C).

    Raises:
        DataError: One cannot be read any more, or has another size.
    """
    images = []
    for row in rows:
        result = read_one(source, config, row)
        if isinstance(result, DataError):
            raise result
        images.append(with_channels(result.pixels, channels))
    if len({image.shape for image in images}) > 1:
        raise DataError(f"{source.name}: images have changed while they were used; start again")
    return np.stack(images)


def gather(source: Source, config: DataConfig, progress: bool, path: Path | None, shape: tuple[int, int]) -> Decoded:
    """Decode every image, to memory or to a file."""
    kept, skipped = [], []
    with Gathering(len(source), config.channels, path) as gathering:
        for i, result in enumerate(read_all(source, config, progress, shape)):
            if isinstance(result, DataError):
                if config.strict:
                    raise DataError(f"{source.name}: {result}; mend or remove it, or leave out --strict to skip it")
                skipped.append(str(result))
                continue
            gathering.add(result.pixels, result.label)
            kept.append(i)
        return Decoded(images=gathering.close(), kept=kept, skipped=tuple(skipped))


def shape_of(source: Source, config: DataConfig) -> tuple[int, int]:
    """Return (H, W) of a prepared image; without a size, that of the first image that can be read, or (0, 0)."""
    if config.size is not None:
        return config.size, config.size
    results = (read_one(source, config, i) for i in range(len(source)))
    return next((r.pixels.shape[:2] for r in results if not isinstance(r, DataError)), (0, 0))


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
