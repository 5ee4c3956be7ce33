"""Handwritten digits of scikit-learn: 1,797 grey images of 8x8, part of that package, so nothing is downloaded."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from brickwork.data.source import Source, checked_labels
from brickwork.errors import MissingExtraError


def open_digits() -> Source:
    """Open the digits, their strokes 0 to 16 scaled to 0 to 255.

    E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test part).

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError("digits", "scikit-learn", "the built-in digits") from error
    digits: Any = load_digits()
    images = np.rint(np.asarray(digits.images) * (255 / 16)).astype(np.uint8)
    labels, classes = checked_labels("digits", np.asarray(digits.target), len(images), None)
    return Source(
        name="digits",
        image=lambda i: images[i, :, :, None],
        identity=lambda i: hashlib.sha256(images[i].tobytes()).digest(),
        names=[f"image {i}" for i in range(len(images))],
        labels=labels,
        classes=classes,
        mirrors=False,
        version="scikit-learn digits",
    )
