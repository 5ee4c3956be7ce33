"""Reading of all images of a source in order, on several threads: Pillow decodes and resizes without Python's lock."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from brickwork.data.config import DataConfig
from brickwork.data.decode import bombs_refused, with_channels
from brickwork.data.fit import fit
from brickwork.data.source import Pixels, Source
from brickwork.errors import DataError
from brickwork.files.bars import Bar

BLOCK = 16
"""Images per task: enough for the cost of a task to be small beside decoding, 50 us for one CIFAR image."""


@dataclass(frozen=True)
class Fitted:
    """One prepared image, and "WIDTHxHEIGHT (name)" of the original."""

    pixels: Pixels
    label: str


def read_all(source: Source, config: DataConfig, progress: bool) -> Iterator[Fitted | DataError]:
    """Yield each image of the source in order, cropped and resized, or the error that says why it cannot be read.

    Raises:
        DataError: An image that can be read cannot be cropped and resized.
    """
    workers = min(8, os.cpu_count() or 1)
    blocks = deque(range(0, len(source), BLOCK))
    bar = Bar(total=len(source), desc="reading images", unit="image", disable=not progress, leave=False)
    with bombs_refused(), ThreadPoolExecutor(workers) as pool, bar:
        waiting = deque()
        try:
            while blocks or waiting:
                while blocks and len(waiting) < 2 * workers:  # bounded, so that a slow writer fills no memory
                    waiting.append(pool.submit(read_block, source, config, blocks.popleft()))
                results = waiting.popleft().result()
                yield from results
                bar.update(len(results))
        finally:
            for task in waiting:
                task.cancel()


def read_block(source: Source, config: DataConfig, start: int) -> list[Fitted | DataError]:
    """Read the images from start to start + BLOCK - 1."""
    return [read_one(source, config, i) for i in range(start, min(start + BLOCK, len(source)))]


def read_one(source: Source, config: DataConfig, i: int) -> Fitted | DataError:
    """Read one image; return an error in reading it, but raise an error in cropping or resizing it."""
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
