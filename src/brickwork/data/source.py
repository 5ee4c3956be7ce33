"""Sources: images by index, read when needed, with their labels, captions and splits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Int64, UInt8

from brickwork.data.found import Passed
from brickwork.errors import DataError

Pixels = UInt8[np.ndarray, "H W C"]
Changed = UInt8[np.ndarray, "h w c"]  # an image after a step that may change its size or channels
Images = UInt8[np.ndarray, "N H W C"]
Labels = Int64[np.ndarray, "N"]
Rows = Int64[np.ndarray, "N"]

MAX_UNNAMED = 100_000
"""Most classes that get numbers as names: one wrong label must not create millions of classes."""

SPLITS = {"train": 0, "validation": 1, "test": 2}


@final
@dataclass(frozen=True, kw_only=True)
class Source:
    """Source of N images that are read one at a time.

    Args:
        name: The user's name for it, for messages.
        image: Row -> uint8 (H, W, C), C = 1 or 3. Raises DataError naming the image if it cannot be read. Thread-safe.
        identity: Row -> bytes that stay the same when images are added or the whole is moved: a name, or the content.
        names: Name of each row, for messages.
        labels: int64 (N,), index into classes; None if there are none.
        classes: Class names; empty without labels.
        captions: One text per row, or None.
        splits: int64 (N,), a value of SPLITS per row; None if the source has no splits of its own.
        mirrors: True if a mirrored image is a valid one, which digits and text are not.
        encoded: True if its images are decoded one by one, which takes time.
        version: Text that changes whenever the content may have changed; "" if changes cannot be detected.
        passed: What was passed over when it was opened.
        found: Line for the user of what the whole source holds, and of what was passed over.
        sides: Row -> (width, height) in pixels as the file's header says, upright; None where only decoding tells it.
            Raises DataError naming the image.
    """

    name: str
    image: Callable[[int], Pixels]
    identity: Callable[[int], bytes]
    names: Sequence[str]
    labels: Labels | None = None
    classes: tuple[str, ...] = ()
    captions: Sequence[str] | None = None
    splits: Rows | None = None
    mirrors: bool = True
    encoded: bool = False
    version: str = ""
    passed: tuple[Passed, ...] = ()
    found: str = ""
    sides: Callable[[int], tuple[int, int]] | None = None

    def __len__(self) -> int:
        """Return N, the number of images."""
        return len(self.names)

    def take(self, rows: Rows) -> Source:
        """Return the source with these rows only, in this order."""
        image, identity, sides = self.image, self.identity, self.sides
        return dataclasses.replace(
            self,
            image=lambda i: image(int(rows[i])),
            identity=lambda i: identity(int(rows[i])),
            names=Picked(self.names, rows),
            labels=None if self.labels is None else self.labels[rows],
            captions=None if self.captions is None else Picked(self.captions, rows),
            splits=None if self.splits is None else self.splits[rows],
            sides=None if sides is None else lambda i: sides(int(rows[i])),
        )


@final
class Picked(Sequence[str]):
    """Rows of a sequence of strings, without a copy."""

    def __init__(self, whole: Sequence[str], rows: Rows) -> None:
        """Keep the sequence and the rows, in this order."""
        self.whole, self.rows = whole, rows

    def __len__(self) -> int:
        """Return the number of rows picked."""
        return len(self.rows)

    def __getitem__(self, i):  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the i-th of the rows picked, or a list for a slice."""
        if isinstance(i, slice):
            return [self.whole[int(row)] for row in self.rows[i]]
        return self.whole[int(self.rows[i])]


def checked_labels(
    name: str, labels: np.ndarray, count: int, classes: Sequence[str] | None
) -> tuple[Labels, tuple[str, ...]]:
    """Return labels as int64 (N,), and a name for every class: those in ``classes``, or the numbers themselves.

    Raises:
        DataError: There is not one label per image, or one is no whole number or has no class.
    """
    labels = np.asarray(labels)
    if labels.size != count:
        raise DataError(f"{name}: {labels.size} labels for {count} images; there must be one label per image")
    if labels.dtype.kind not in "iub":
        raise DataError(f"{name}: labels are {labels.dtype}; they must be whole numbers from 0, one per class")
    labels = labels.reshape(count).astype(np.int64)
    low, high = (int(labels.min()), int(labels.max())) if count else (0, -1)
    if low < 0:
        raise DataError(f"{name}: label {low} is below 0; number the classes from 0, or leave the labels out")
    if classes is None and high >= MAX_UNNAMED:
        raise DataError(f"{name}: label {high} is above {MAX_UNNAMED - 1}; number the classes from 0 without gaps")
    if classes is None:
        classes = [str(k) for k in range(high + 1)]
    if high >= len(classes):
        raise DataError(
            f"{name}: label {high} has no class; {len(classes)} are named: number them from 0 or name them all"
        )
    return labels, tuple(str(c) for c in classes)
