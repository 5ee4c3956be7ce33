"""Gathering of images one by one into an array: in memory, or in an .npy file that is mapped afterwards."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import IO

import numpy as np

from brickwork.data.decode import with_channels
from brickwork.data.source import Images, Pixels
from brickwork.errors import DataError

Shape = tuple[int, int, int]
BLOCK = 1 << 20
"""Bytes of images that have one digest in the cache: 1 MiB, so that a batch at random reads little else."""


class Gathering:
    """Collector of images of one size; it turns to colour at the first coloured one, unless channels are set.

    Args:
        limit: Most images that may be added.
        channels: 1 or 3; None for grey until a coloured image comes.
        path: The file to write; None for memory.
    """

    def __init__(self, limit: int, channels: int | None, path: Path | None) -> None:
        """Start empty: nothing is allocated or opened before the first image."""
        self.limit, self.channels, self.path = limit, channels, path
        self.shape: Shape | None = None
        self.count = 0
        self.array = np.empty((0, 0, 0, 1), np.uint8)
        self.file: IO[bytes] | None = None

    def __enter__(self) -> Gathering:
        """Return itself: the first image opens the file."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file, if an error left it open."""
        if self.file is not None:
            self.file.close()

    def add(self, image: Pixels, label: str) -> None:
        """Append one image. label: its size and name as the user knows them, for the message of a mismatch.

        Raises:
            DataError: Its height or width differ from the first one's.
        """
        image = with_channels(image, self.channels or max(image.shape[2], self.shape[2] if self.shape else 1))
        if self.shape is None:
            self.first = label
            self.begin(image.shape)
        elif image.shape[:2] != self.shape[:2]:
            raise DataError(f"mixed sizes: {self.first} and {label}; images must have one size: give it with --size")
        elif image.shape != self.shape:
            self.colour(image.shape)
        if self.file is not None:
            self.file.write(np.ascontiguousarray(image).data)
        else:
            self.array[self.count] = image
        self.count += 1

    def begin(self, shape: Shape) -> None:
        """Make room for images of one shape."""
        self.shape = shape
        if self.path is None:
            self.array = np.empty((self.limit, *shape), np.uint8)
        else:
            self.file = self.path.open("wb")
            self.file.write(npy_header(self.limit, shape))

    def colour(self, shape: Shape) -> None:
        """Give the images gathered so far three equal channels."""
        if self.path is None:
            grey = self.array[: self.count]
            self.begin(shape)
            self.array[: self.count] = grey
            return
        grey = self.close()
        self.path.unlink()  # still mapped, so still readable
        self.begin(shape)
        assert self.file is not None
        for image in grey:
            self.file.write(np.repeat(image, 3, axis=2).data)

    def close(self) -> Images:
        """Return the images gathered, uint8 (N, H, W, C), and finish the file."""
        if self.path is None or self.file is None or self.shape is None:
            return self.array[: self.count]
        self.file.seek(0)
        self.file.write(npy_header(self.count, self.shape))
        self.file.flush()
        os.fsync(self.file.fileno())  # what is mapped must not be lost when memory is short
        self.file.close()
        return np.load(self.path, mmap_mode="r")


def npy_header(count: int, shape: tuple[int, ...]) -> bytes:
    """Return the header of an .npy file of images, as long for any count, so that the final one can replace it."""
    buffer = io.BytesIO()
    facts = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
    np.lib.format.write_array_header_1_0(buffer, facts)
    return buffer.getvalue()


def rows_per_block(shape: tuple[int, ...]) -> int:
    """Return how many images of a shape are a block that is checked at once: BLOCK bytes, or one image if larger."""
    return max(1, BLOCK // max(1, math.prod(shape)))
