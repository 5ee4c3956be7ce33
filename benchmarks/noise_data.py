"""Images of noise to time a training step on."""

from __future__ import annotations

import numpy as np

from brickwork.data.dataset import Dataset


def noise_data(count: int, size: int, channels: int) -> Dataset:
    """So many squares of ten classes, the same at every call."""
    generator = np.random.default_rng(0)
    return Dataset(
        name="noise",
        images=generator.integers(0, 256, (count, size, size, channels), dtype=np.uint8),
        labels=generator.integers(0, 10, count),
        classes=tuple("0123456789"),
        captions=None,
        skipped=(),
        flip=False,
        digest="",
    )
