"""A tiny set of images and a recipe that trains on it in a moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from brickwork.backbone.stoic import Stoic
from brickwork.data.dataset import Dataset
from brickwork.training.denoiser.recipe import Recipe, Report


def images_of(count: int, size: int, channels: int = 1, classes: tuple[str, ...] = ("a", "b", "c")) -> Dataset:
    generator = np.random.default_rng(count)
    return Dataset(
        name="noise",
        images=generator.integers(0, 256, (count, size, size, channels), dtype=np.uint8),
        labels=generator.integers(0, len(classes), count) if classes else None,
        classes=classes,
        captions=None,
        skipped=(),
        flip=True,
        digest=f"noise {count} {size} {channels} {classes}",
    )


@pytest.fixture
def make_data() -> Callable[..., Dataset]:
    return images_of


@pytest.fixture
def data() -> Dataset:
    return images_of(40, 4)


@pytest.fixture
def heldout() -> Dataset:
    return images_of(8, 4)


@pytest.fixture
def make_recipe() -> Callable[..., Recipe]:
    def make(**changes: Any) -> Recipe:
        report: dict[str, Any] = {"log_every": 2, "eval_every": 0, "eval_images": 4, "sheet_steps": 0}
        report |= {"save_minutes": 0.0, **changes.pop("report", {})}
        values: dict[str, Any] = {
            "backbone": Stoic.Config(width=32, depth=1, stride=1, depthwise=True),
            "batch": 8,
            "steps": 6,
            "warmup": 2,
            "ema_half_life": 100.0,
            "precision": "fp32",
            "report": Report(**report),
        }
        return Recipe(**values | changes)

    return make
