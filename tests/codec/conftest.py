"""A small autoencoder with statistics, and pictures for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from brickwork.codec.autoencoder import Autoencoder
from brickwork.codec.latents import Latents
from brickwork.data.dataset import Dataset


def pictures_of(count: int, size: int = 16, *, flip: bool = False, seed: int = 0, **changes: Any) -> Dataset:
    generator = np.random.default_rng(seed)
    values: dict[str, Any] = {
        "name": "noise",
        "images": generator.integers(0, 256, (count, size, size, 3), dtype=np.uint8),
        "labels": generator.integers(0, 2, count),
        "classes": ("a", "b"),
        "captions": None,
        "skipped": (),
        "flip": flip,
        "digest": f"{seed:02}{count:02}" + "0" * 60,
    }
    return Dataset(**values | changes)


def codec_of(seed: int = 0, posterior: str = "mode", **changes: Any) -> Latents:
    config = Autoencoder.Config(**{"channels": 4, "factor": 4, "width": 8, "decoder_depth": 1, **changes})
    torch.manual_seed(seed)
    autoencoder = config.build()
    kind: Any = posterior
    return Latents.measure(autoencoder, [pictures_of(8).images], kind)


@pytest.fixture
def make_pictures() -> Callable[..., Dataset]:
    return pictures_of


@pytest.fixture
def make_codec() -> Callable[..., Latents]:
    return codec_of
