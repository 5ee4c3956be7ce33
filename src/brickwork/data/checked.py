"""Images that are mapped from a file of the cache, each block compared with its digest when it is first read."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, final

import numpy as np

from brickwork.data.rows import npy_header, rows_per_block
from brickwork.data.source import Images
from brickwork.errors import BrickworkWarning, DataError
from brickwork.files.blocks import block_digest


@final
class Checked:
    """Record of which blocks of a file were compared with their digests.

    Args:
        path: The file, for messages; it is removed from the cache when it is damaged.
        sums: Digest of each block.
        again: Function that decodes the images from ``start`` to ``stop`` anew.
    """

    def __init__(self, path: Path, sums: Sequence[str], again: Callable[[int, int], Images]) -> None:
        self._path, self._sums, self._again = path, list(sums), again
        self._done = np.zeros(len(self._sums), bool)
        self._said = False
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self._sums)

    def check(self, images: np.ndarray, rows: np.ndarray | range) -> None:
        """Compare the blocks of some rows that were not yet read; mend damaged ones in memory.

        Args:
            images: All images, uint8 (N, H, W, C); writable, by a mapping whose changes do not reach the file.
            rows: Numbers of rows, 0 to N - 1.

        Raises:
            DataError: A block is damaged, and its images cannot be decoded as they were.
        """
        if self._done.all():
            return
        step = rows_per_block(images.shape[1:])
        for block in np.unique(np.asarray(rows, np.int64) // step):
            if not self._done[block]:
                with self._lock:
                    self._check(images, int(block), step)

    def _check(self, images: np.ndarray, block: int, step: int) -> None:
        start, stop = block * step, min((block + 1) * step, len(images))
        if block_digest(images[start:stop].data) != self._sums[block]:
            self._say()
            images[start:stop] = self._again(start, stop)
            if block_digest(images[start:stop].data) != self._sums[block]:
                raise DataError(f"{self._path}: damaged, and its images have changed meanwhile; start again")
        self._done[block] = True

    def _say(self) -> None:
        """Warn of damage, once, and remove the file, so that the next run makes it anew."""
        if not self._said:
            self._said = True
            what = "decoded images kept there are damaged; those are decoded anew, and the file is removed"
            warnings.warn(f"{self._path}: {what}", BrickworkWarning, stacklevel=5)
            for path in (self._path.with_suffix(".json"), self._path):
                with suppress(OSError):
                    path.unlink()


class CheckedImages(np.memmap):
    """Mapped images, uint8 (N, H, W, C), that are checked where they are indexed, and whole in functions of numpy.

    What an index returns is a plain array. ``np.asarray`` and methods of the whole array do not check.
    """

    checked: Checked | None = None

    def __getitem__(self, key: Any) -> Any:
        """Return what a plain array would, checked."""
        plain = self.view(np.ndarray)
        if self.checked is not None:
            self.checked.check(plain, _rows(key[0] if isinstance(key, tuple) and key else key, len(plain)))
        return plain[key]

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Apply a function to checked numbers."""
        return getattr(ufunc, method)(*map(_plain, inputs), **options)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Apply a function of numpy to checked numbers."""
        _plain(self)
        return super().__array_function__(func, types, args, kwargs)


def checked_images(path: Path, shape: tuple[int, ...], checked: Checked) -> CheckedImages:
    """Map a file of images; changes of the array do not reach the file.

    Raises:
        OSError: It is missing.
        ValueError: It is no file of such images with so many digests.
    """
    header = npy_header(shape[0], shape[1:])
    with path.open("rb") as file:
        start = file.read(len(header))
    size = len(header) + math.prod(shape)
    if start != header or path.stat().st_size != size or len(checked) != -(-shape[0] // rows_per_block(shape[1:])):
        raise ValueError(f"{path.name} is not of {'x'.join(map(str, shape))} bytes")
    images: Any = CheckedImages(path, np.uint8, "c", len(header), shape)
    images.checked = checked
    return images


def _plain(value: Any) -> Any:
    """Return checked images as a plain array, all of it checked; others unchanged."""
    if not isinstance(value, CheckedImages):
        return value
    plain = value.view(np.ndarray)
    if value.checked is not None:
        value.checked.check(plain, range(len(plain)))
    return plain


def _rows(key: Any, count: int) -> np.ndarray | range:
    """Return the rows that the first part of an index picks; all where that is not plain."""
    if isinstance(key, int | np.integer):
        return range(key % count, key % count + 1)
    if isinstance(key, slice):
        return range(count)[key]
    if isinstance(key, np.ndarray | list) and np.asarray(key).dtype.kind in "iu" and len(key):
        return np.asarray(key) % count
    return range(count)
