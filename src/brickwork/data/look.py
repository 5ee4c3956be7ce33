"""A look at the headers of some pictures of a set: their sizes, before any is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np

from brickwork.data.config import DataConfig
from brickwork.data.decode import Decoder
from brickwork.data.found import counted
from brickwork.data.opening import open_source
from brickwork.data.source import Source
from brickwork.errors import DataError

HEADERS = 256
"""Headers that a look reads, evenly from the whole set."""
DECODED = 16
"""Pictures that it decodes, where only decoding tells their size."""
SMALL_SHARE = 0.1
"""Share of the pictures that may be smaller than the size that is chosen; these are enlarged."""
MINUTES = 30.0
"""Budget of training where none is named, in minutes."""
LARGEST = ((10.0, 32), (480.0, 64), (inf, 128))
"""Budgets in minutes, and the largest size in pixels that is good for a shorter one."""
SIZES = (8, 16, 32, 64, 128, 256)
"""Sizes to choose from, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """Facts that the headers of some pictures tell of a set.

    Attributes:
        name: The set's name.
        count: Pictures of the split.
        sides: (width, height) of each picture that was looked at; empty if none could be read.
        squares: Side in pixels of the square that is cut from each of these.
        found: Line of what the whole set holds, and what was passed over.
    """

    name: str
    count: int
    sides: tuple[tuple[int, int], ...]
    squares: tuple[int, ...]
    found: str

    @property
    def mixed(self) -> bool:
        """True if the pictures, cropped, are of several sizes."""
        return len(set(self.squares)) > 1

    def __str__(self) -> str:
        """Return "412 pictures of 640x480 to 4032x3024"."""
        ordered = sorted(set(self.sides), key=lambda side: (side[0] * side[1], side))
        sizes = [f"{width}x{height}" for width, height in ordered]
        told = f" of {sizes[0]}" + (f" to {sizes[-1]}" if len(sizes) > 1 else "") if sizes else ""
        return counted(self.count, "picture", "pictures") + told


def look_at(spec: str | Path, config: DataConfig = DataConfig()) -> Look:
    """Look at the sizes of a set's pictures.

    Args:
        spec: A path or name; ``open_source`` lists the kinds.
        config: Images to use, and the box that is cut out of them.

    Raises:
        DataError: ``load_dataset`` would raise it when it opens the set.
    """
    decoder = Decoder(max_pixels=config.max_pixels, grey_bits=config.grey_bits)
    source = open_source(spec, config.split, holdout=config.holdout, captions=config.captions, decoder=decoder)
    sides = tuple(sides_of(source))
    box = config.box
    squares = [min(side) for side in sides] if box is None else [min(box[2] - box[0], box[3] - box[1])] * len(sides)
    return Look(name=source.name, count=len(source), sides=sides, squares=tuple(squares), found=source.found)


def sides_of(source: Source) -> list[tuple[int, int]]:
    """Return (width, height) of pictures that lie evenly in a source; what cannot be read is passed over."""
    most = DECODED if source.sides is None else HEADERS
    found = []
    for row in np.linspace(0, len(source) - 1, min(len(source), most)).astype(int).tolist():
        try:
            found.append(source.sides(row) if source.sides is not None else source.image(row).shape[1::-1])
        except DataError:
            continue
    return found


def fitting_size(look: Look, most: int) -> int:
    """Return the largest size up to ``most`` that nine of ten pictures have; the smallest there is if they are small.

    Pictures that are all squares of one side up to ``most`` keep it, if it is divisible by 4.
    """
    sides = set(look.squares)
    if len(sides) == 1 and (side := sides.pop()) <= most and side % 4 == 0:
        return side
    small = float(np.quantile(look.squares, SMALL_SHARE, method="lower")) if look.squares else most
    return max((size for size in SIZES if size <= min(small, most)), default=SIZES[0])


def chosen_size(look: Look, minutes: float, asked: int | None = None) -> tuple[int, str]:
    """Return the size in pixels that pictures are resized to, and a line with the reason.

    Args:
        look: The pictures.
        minutes: Budget of training.
        asked: Size that the user asks for; None to choose one.
    """
    most = next(size for below, size in LARGEST if minutes < below)
    size = asked or fitting_size(look, most)
    if asked:
        why = "as you say"
    elif set(look.squares) == {size}:
        why = "their own size"
    elif size == most:
        why = f"the largest for {told_minutes(minutes)} of training (--size sets another)"
    else:
        why = "the size that nine of ten of them have (--size sets another)"
    return size, f"{look} → squares of {size}: {why}"


def told_minutes(count: float) -> str:
    """Return "1 minute" or "30 minutes"."""
    return f"{count:g} {'minute' if count == 1 else 'minutes'}"
