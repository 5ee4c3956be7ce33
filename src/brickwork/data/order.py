"""Order of training images and their mirroring: pure functions of (seed, n), so that resuming needs no state.

Epoch e is places e*size to (e+1)*size - 1 of the sequence. It visits every image once, in the order that sorts 64-bit
numbers drawn for (seed, e).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Bool

from brickwork.data.source import Rows
from brickwork.diffusion.gaussian import AUGMENT, ORDER, integers
from brickwork.errors import ArgumentError

Flips = Bool[np.ndarray, "N"]

FLIPS_PER_DRAW = 1 << 16


def indices(seed: int, start: int, count: int, size: int) -> Rows:
    """Return the images at places start to start + count - 1 of the endless sequence.

    Args:
        seed: Seed of the order, 0 to 2**64 - 1.
        start: Images seen before, from 0.
        count: Number of images, across the ends of epochs if need be.
        size: Images in the set, from 1.

    Returns:
        int64 (count,), each 0 to size - 1.
    """
    if size < 1 or start < 0 or count < 0:
        raise ArgumentError(f"order of {count} images from {start} of {size}: sizes start at 1, places and counts at 0")
    parts = [np.empty(0, np.int64)]
    place, end = start, start + count
    while place < end:
        epoch, first = divmod(place, size)
        part = permutation(seed, epoch, size)[first : first + end - place]
        parts.append(part)
        place += len(part)
    return np.concatenate(parts)


def flips(seed: int, start: int, count: int) -> Flips:
    """Return bool (count,), true where the image at places start to start + count - 1 is mirrored, with chance 1/2."""
    if start < 0 or count < 0:
        raise ArgumentError(f"flips of {count} images from {start}: places and counts start at 0")
    parts = [np.empty(0, bool)]
    place, end = start, start + count
    while place < end:
        draw, first = divmod(place, FLIPS_PER_DRAW)
        part = coins(seed, draw)[first : first + end - place]
        parts.append(part)
        place += len(part)
    return np.concatenate(parts)


@lru_cache(maxsize=2)
def permutation(seed: int, epoch: int, size: int) -> Rows:
    """Return the order of one epoch, int64 (size,), read-only; a stable sort keeps the order of equal numbers."""
    order = np.argsort(integers(seed, epoch, size, stream=ORDER), kind="stable").astype(np.int64, copy=False)
    order.flags.writeable = False
    return order


@lru_cache(maxsize=2)
def coins(seed: int, draw: int) -> Flips:
    """Return the flips of FLIPS_PER_DRAW places from draw * FLIPS_PER_DRAW: the top bit of one number each."""
    sides = integers(seed, draw, FLIPS_PER_DRAW, stream=AUGMENT) >> np.uint64(63) == 1
    sides.flags.writeable = False
    return sides
