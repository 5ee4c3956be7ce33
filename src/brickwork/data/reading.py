"""Reading of all images of a source in order, on several threads: Pillow decodes and resizes without Python's lock."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from brickwork.data.config import DataConfig
from brickwork.data.decode import with_channels
from brickwork.data.fit import fit
from brickwork.data.memory import DECODING
from brickwork.data.source import Pixels, Source
from brickwork.errors import DataError
from brickwork.files.bars import Bar

BLOCK_BYTES, AHEAD = 1 << 25, 1 << 29
"""Bytes of prepared images in a task, and in all tasks that wait to be taken, where one image is not larger."""
BLOCK = 16
"""Images per task: enough for the cost of a task to be small beside decoding, 50 us for one CIFAR image."""


@dataclass(frozen=True)
class Fitted:
    """One prepared image, and "WIDTHxHEIGHT (name)" of the original."""

    pixels: Pixels
    label: str


def read_all(
    source: Source, config: DataConfig, progress: bool, shape: tuple[int, int]
) -> Iterator[Fitted | DataError]:
    """Yield each image of the source in order, cropped and resized, or the error that says why it cannot be read.

    Args:
        source: The images.
        config: How they are cropped and resized.
        progress: Show a bar.
        shape: (H, W) of a prepared image. The pixels of one of another shape, which nobody can use, are zeros.

    Raises:
        DataError: An image that can be read cannot be cropped and resized.
    """
    workers = min(8, os.cpu_count() or 1)
    each = 3 * max(1, shape[0] * shape[1])
    step = max(1, min(BLOCK, BLOCK_BYTES // each))
    ahead = max(1, min(2 * workers, AHEAD // (step * each)))  # bounded, so that a slow writer fills no memory
    blocks = deque(range(0, len(source), step))
    bar = Bar(total=len(source), desc="reading images", unit="image", disable=not progress, leave=False)
    with ThreadPoolExecutor(workers) as pool, bar:
        waiting = deque()
        try:
            while blocks or waiting:
                while blocks and len(waiting) < ahead:
                    start = blocks.popleft()
                    rows = range(start, min(start + step, len(source)))
                    waiting.append(pool.submit(read_block, source, config, rows, shape))
                results = waiting.popleft().result()
                yield from results
                bar.update(len(results))
        finally:
            for task in waiting:
                task.cancel()


def read_block(source: Source, config: DataConfig, rows: range, shape: tuple[int, int]) -> list[Fitted | DataError]:
    """Read some images; those of another shape keep no pixels."""
    results = []
    for i in rows:
        result = read_one(source, config, i)
        if isinstance(result, Fitted) and result.pixels.shape[:2] != shape:
            result = Fitted(np.broadcast_to(np.uint8(0), result.pixels.shape), result.label)
        results.append(result)
    return results


def read_one(source: Source, config: DataConfig, i: int) -> Fitted | DataError:
    """Read one image; return an error in reading it, but raise an error in cropping or resizing it."""
    with DECODING.shared():  # what decoding claims is for resizing too
        try:
            image = source.image(i)
        except DataError as error:
            return error
        height, width = image.shape[:2]
        if config.channels is not None:
            image = with_channels(image, config.channels)
        name = source.names[i]
        fitted = fit(image, size=config.size, crop=config.crop, box=config.box, filter=config.filter, name=name)
    return Fitted(fitted, f"{width}x{height} ({name})")
