"""Random numbers as a pure function of (seed, stream, draw, position): Philox4x32-10 and Box-Muller.

No state is carried from call to call: picture i needs seed i alone, whatever the batch, the device or the threads.
docs/gaussian.md has the exact recipe, for implementations in other languages.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Philox); Box and Muller, 1958.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from math import prod
from typing import Annotated, TypeAlias

import numpy as np

from brickwork.bounds import UNSIGNED
from brickwork.errors import ArgumentError

# Streams give each purpose its own numbers under the same seed: word 3 of the counter.
SAMPLING, TRAINING, ORDER, TIME, AUGMENT, DROPOUT, MEASURE, CANVAS, WINDOWS, PARTS = range(10)

Seed: TypeAlias = Annotated[int, UNSIGNED]
Seeds: TypeAlias = Sequence[int] | range | np.ndarray
Words: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

MAX_SEEDS = 100_000
"""Most seeds of one call."""

_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = 0x9E3779B9, 0xBB67AE85
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_BLOCKS_AT_ONCE = 1 << 13  # working arrays of 64 KiB each: they stay in the cache


def philox(counter: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Compute Philox4x32 with ten rounds.

    Args:
        counter: uint32 (..., 4).
        key: uint32 (..., 2); broadcasts against counter.

    Returns:
        uint32 (..., 4).
    """
    words = np.asarray(counter, dtype=np.uint64), np.asarray(key, dtype=np.uint64)
    c, k = (tuple(np.moveaxis(w, -1, 0)) for w in words)
    return np.stack(np.broadcast_arrays(*_rounds((c[0], c[1], c[2], c[3]), k[0], k[1])), axis=-1).astype(np.uint32)


def _rounds(c: Words, k0: np.ndarray, k1: np.ndarray) -> Words:
    """Apply the ten rounds to 32-bit words, held in uint64 so that a product keeps its upper half."""
    for r in range(10):
        left, right = c[0] * _MULTIPLIERS[0], c[2] * _MULTIPLIERS[1]
        bump0, bump1 = ((k + np.uint64(r * w & 0xFFFFFFFF)) & _LOW for k, w in zip((k0, k1), _WEYL, strict=True))
        c = (right >> _HALF) ^ (c[1] ^ bump0), right & _LOW, (left >> _HALF) ^ (c[3] ^ bump1), left & _LOW
    return c


def as_seeds(seeds: Seeds) -> np.ndarray:
    """Convert seeds into uint64 (N,).

    Raises:
        ArgumentError: A seed is no whole number from 0 to 2**64 - 1, or there are more than MAX_SEEDS.
    """
    if isinstance(seeds, np.ndarray) and seeds.ndim == 1 and seeds.dtype == np.uint64:
        return seeds
    numbers = np.ravel(seeds) if isinstance(seeds, np.ndarray) else seeds
    values = list(islice(numbers, MAX_SEEDS + 1))
    if len(values) > MAX_SEEDS:
        raise ArgumentError(f"seeds: at most {MAX_SEEDS:,} at once; draw the rest in another call")
    for seed in values:
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= int(seed) < 1 << 64:
            raise ArgumentError(f"seed {seed!r}: a seed is a whole number from 0 to 2**64 - 1; choose another")
    return np.array([int(seed) for seed in values], dtype=np.uint64)


def _blocks(seeds: np.ndarray, draws: np.ndarray, first: int, last: int, stream: int) -> Words:
    """Return the words of blocks first .. last - 1 for every seed, each uint64 (N, last - first)."""
    block = np.arange(first, last, dtype=np.uint64)[None]
    key, draw = seeds[:, None], draws[:, None]
    return _rounds((block & _LOW, block >> _HALF, draw, np.full_like(draw, stream)), key & _LOW, key >> _HALF)


def _as_draws(draw: int | np.ndarray, count: int) -> np.ndarray:
    draws = np.broadcast_to(np.asarray(draw), (count,))
    if draws.size and not 0 <= int(draws.min()) <= int(draws.max()) < 1 << 32:
        raise ArgumentError(f"draw {draw!r}: a draw is a whole number from 0 to 2**32 - 1")
    return draws.astype(np.uint64)


def _unit(words: np.ndarray) -> np.ndarray:
    """Convert 32-bit words into float64 in (0, 1), at the centres of 2**32 equal cells; exact."""
    return (words.astype(np.float64) + 0.5) * 2.0**-32


def _box_muller(words: Words) -> np.ndarray:
    """Convert four words into four normal numbers, float32 (N, blocks, 4)."""
    out = np.empty((*words[0].shape, 4), dtype=np.float32)
    for i in (0, 2):
        radius, angle = np.sqrt(-2.0 * np.log(_unit(words[i]))), 2.0 * np.pi * _unit(words[i + 1])
        out[..., i], out[..., i + 1] = radius * np.cos(angle), radius * np.sin(angle)
    return out


def normals(seeds: Seeds, draw: int | np.ndarray, shape: Sequence[int], *, stream: int = SAMPLING) -> np.ndarray:
    """Return standard normal numbers for many seeds, float32 (N, *shape); a row depends on its own seed alone.

    Args:
        seeds: N whole numbers from 0 to 2**64 - 1; a seed may occur more than once.
        draw: Number of draws that the seed made before, 0 to 2**32 - 1; one number, or one per seed.
        shape: Shape of one row; filled in C order.
        stream: Purpose of the numbers, such as SAMPLING.

    Raises:
        ArgumentError: A seed or a draw is out of range.
    """
    keys = as_seeds(seeds)
    draws, size = _as_draws(draw, len(keys)), prod(shape)
    num_blocks = -(-size // 4)
    out = np.empty((len(keys), num_blocks, 4), dtype=np.float32)
    rows = max(1, _BLOCKS_AT_ONCE // max(1, num_blocks))
    for i in range(0, len(keys), rows):
        for j in range(0, num_blocks, _BLOCKS_AT_ONCE):
            end = min(j + _BLOCKS_AT_ONCE, num_blocks)
            out[i : i + rows, j:end] = _box_muller(_blocks(keys[i : i + rows], draws[i : i + rows], j, end, stream))
    return out.reshape(len(keys), -1)[:, :size].reshape(len(keys), *shape)


def normal(seed: int, draw: int, shape: Sequence[int], *, stream: int = SAMPLING) -> np.ndarray:
    """Return standard normal numbers for one seed, float32 of this shape."""
    return normals([seed], draw, shape, stream=stream)[0]


def _flat(seed: int, draw: int, count: int, stream: int) -> np.ndarray:
    """Return the first count words of a draw, uint64."""
    keys = as_seeds([seed])
    words = _blocks(keys, _as_draws(draw, 1), 0, -(-count // 4), stream)
    return np.stack(words, axis=-1).reshape(-1)[:count]


def uniform(seed: int, draw: int, count: int, *, stream: int = TIME) -> np.ndarray:
    """Return uniform numbers, float64 (count,), strictly between 0 and 1; one 32-bit word each."""
    return _unit(_flat(seed, draw, count, stream))


def integers(seed: int, draw: int, count: int, *, stream: int = ORDER) -> np.ndarray:
    """Return uniform 64-bit integers, uint64 (count,); two words each, the lower half first."""
    words = _flat(seed, draw, 2 * count, stream)
    return words[0::2] | words[1::2] << _HALF
