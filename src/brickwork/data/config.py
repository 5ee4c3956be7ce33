"""Config of a data set: which images are used, and how they are cropped and resized; all that changes a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from brickwork.bounds import at_least, between, check_fields, up_to
from brickwork.data.decode import GREY_BITS, MAX_PIXELS
from brickwork.data.fit import CROPS, FILTERS
from brickwork.data.split import CHOICES
from brickwork.errors import ConfigError, UnknownNameError
from brickwork.files.choices import one_of

MOST_PIXELS = 1 << 32
"""Largest limit of pixels that can be set: 65,536 x 65,536."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Images to use, and how they are cropped and resized."""

    size: Annotated[int, at_least(1)] | None = None
    """Side in pixels that every image is resized to; none: unchanged, if all have one size."""
    channels: int | None = None
    """Channels, 1 for grey or 3 for colour; none: grey if all images are grey."""
    crop: Annotated[str, one_of("crop", CROPS)] = "centre"
    """Crop before resizing: centre (the largest square) or none (the images are square)."""
    box: tuple[int, int, int, int] | None = None
    """Fixed box to cut out first: left, top, right, bottom in pixels of the original."""
    filter: Annotated[str, one_of("filter", FILTERS)] = "lanczos"
    """Filter of resizing."""
    flip: bool | None = None
    """Mirror half of the training images; none: only photographs without captions, not digits or text."""
    split: Annotated[str, one_of("split", CHOICES)] = "train"
    """Images to use."""
    holdout: Annotated[float, up_to(0, 1)] = 0.05
    """Share held out by hash, 0 to 1, where the set has no split of its own."""
    captions: bool = True
    """Read captions, where there are any."""
    max_pixels: Annotated[int, between(1, MOST_PIXELS)] = MAX_PIXELS
    """Largest image that is decoded, in pixels; a larger one is skipped as broken. Memory grows with it."""
    grey_bits: Annotated[int, between(9, 16)] = GREY_BITS
    """Bits that files of 16-bit grey use: 12 where white is 4095, as cameras and scanners may store it."""
    strict: bool = False
    """Refuse a set with a broken image instead of skipping that image."""

    def __post_init__(self) -> None:
        """Refuse a value out of its range or an unknown name.

        Raises:
            ConfigError: A number is out of its range.
            UnknownNameError: A crop, filter or split is unknown.
        """
        for kind, name, known in (("crop", self.crop, CROPS), ("filter", self.filter, FILTERS)):
            if name not in known:
                raise UnknownNameError(kind, name, known)
        if self.split not in CHOICES:
            raise UnknownNameError("split", self.split, CHOICES)
        check_fields(self)
        if self.channels not in (None, 1, 3):
            raise ConfigError(f"channels {self.channels}: images are grey (1) or colour (3); choose one of these")
        if self.box is not None and not (0 <= self.box[0] < self.box[2] and 0 <= self.box[1] < self.box[3]):
            raise ConfigError(f"box {self.box}: it is left, top, right, bottom, with left < right and top < bottom")
