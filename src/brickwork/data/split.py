"""Splits: the images of a source that are trained on, and those that are held out."""

from __future__ import annotations

import hashlib

import numpy as np
from jaxtyping import Bool

from brickwork.data.source import SPLITS, Labels, Source
from brickwork.errors import DataError, MissingSplitError, UnknownNameError

Held = Bool[np.ndarray, "N"]

CHOICES = {
    "train": "the source's own, or all but the held-out share",
    "validation": "the source's own",
    "test": "the source's own, or the held-out share",
    "heldout": "test, else validation, else the held-out share",
    "all": "every image",
}


def choose(source: Source, split: str, holdout: float) -> Source:
    """Return the images of one split, in the source's order.

    A source with at least two splits of its own keeps them. In any other, a hash of each image's identity holds out a
    share: an image stays on its side when others are added, and equal images are on the same side.

    Args:
        source: All the images there are.
        split: A key of CHOICES.
        holdout: The share held out where the source has no split of its own, 0 to 1; at least one image if above 0.

    Raises:
        DataError: The source has no images.
        MissingSplitError: It has no such split.
    """
    if split not in CHOICES:
        raise UnknownNameError("split", split, CHOICES)
    if not len(source):
        raise DataError(f"{source.name}: no images in it; give a source with at least one")
    if split == "all":
        return source
    own = [] if source.splits is None else [name for name, code in SPLITS.items() if (source.splits == code).any()]
    if source.splits is not None and own != ["train"]:
        if split == "heldout":
            split = next((name for name in ("test", "validation") if name in own and own != [name]), split)
        if split not in own:
            raise MissingSplitError(f"{source.name}: no split {split!r}; it has {', '.join(own)}: choose one of these")
        return source.take(np.flatnonzero(source.splits == SPLITS[split]))
    if split == "validation":
        raise MissingSplitError(
            f"{source.name}: no split 'validation'; it has 'train' and, by hash, 'test': choose one of these"
        )
    held = held_out(source, holdout)
    if split != "train" and not held.any():
        few = "it has one image only" if len(source) == 1 else "each class keeps one image for training"
        why = few if holdout else "the held-out share is 0"
        raise MissingSplitError(f"{source.name}: no split {split!r}, for {why}; raise --holdout or add images")
    return source.take(np.flatnonzero(~held if split == "train" else held))


def held_out(source: Source, holdout: float) -> Held:
    """Return bool (N,), true where the hash as a fraction of 1 is below the share.

    The lowest hash is always held out, the highest never, and of each class one image stays in training.
    """
    if holdout <= 0 or len(source) < 2:
        return np.zeros(len(source), bool)
    place = np.array([fraction(source.identity(i)) for i in range(len(source))])
    held = place < holdout
    held[place.argmin()] = True
    held[place.argmax()] = False
    return held if source.labels is None else held & ~last_of_class(source.labels, held, place)


def last_of_class(labels: Labels, held: Held, place: np.ndarray) -> Held:
    """Return bool (N,), true for the highest hash of each class of which all images are held out.

    Without that image a class would never be trained, and could be asked for all the same.
    """
    last = np.zeros(len(labels), bool)
    order = np.lexsort((place, labels))
    ends = order[np.flatnonzero(np.diff(labels[order], append=-1))]
    trained = np.unique(labels[~held])
    last[ends[~np.isin(labels[ends], trained)]] = True
    return last


def fraction(identity: bytes) -> float:
    """Return a pseudo-random number in [0, 1) of the identity alone: 64 bits of its SHA-256."""
    return int.from_bytes(hashlib.sha256(identity).digest()[:8], "big") / 2**64
