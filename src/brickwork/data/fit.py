"""Cropping of images, and resizing to a square."""

from __future__ import annotations

import numpy as np
from PIL import Image

from brickwork.data.source import Changed, Pixels
from brickwork.errors import DataError

FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}
"""Filters of resizing. All but "nearest" average over the whole footprint of a pixel when they shrink an image."""

CROPS = {"centre": "the largest square around the centre", "none": "the whole image"}
Box = tuple[int, int, int, int]


def fit(image: Pixels, *, size: int | None, crop: str, box: Box | None, filter: str, name: str) -> Changed:  # noqa: A002
    """Cut out the box, if any, then crop, then resize to size x size pixels.

    Args:
        image: uint8 (H, W, C).
        size: Side of the result in pixels; None keeps the pixels as they are.
        crop: A key of CROPS.
        box: (left, top, right, bottom) in pixels of the original, right and bottom excluded; None for the whole.
        filter: A key of FILTERS.
        name: Name of the image in an error.

    Raises:
        DataError: The box is not inside the image, or crop is "none" and the image is not square.
    """
    if box is not None:
        image = cut(image, box, name)
    height, width = image.shape[:2]
    if crop == "centre" and height != width:
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        image = image[top : top + side, left : left + side]
        height = width = side
    if size is None or (height, width) == (size, size):
        return image
    if height != width:
        raise DataError(f"{name} is {width}x{height}, not square; --crop centre makes it so")
    grey = image.shape[2] == 1
    picture = Image.fromarray(np.ascontiguousarray(image[:, :, 0] if grey else image))
    resized = np.asarray(picture.resize((size, size), FILTERS[filter]))
    return resized[:, :, None] if grey else resized


def cut(image: Pixels, box: Box, name: str) -> Changed:
    """Return the part of an image inside a box."""
    left, top, right, bottom = box
    height, width = image.shape[:2]
    if right > width or bottom > height:
        raise DataError(
            f"{name} is {width}x{height}: --box {left} {top} {right} {bottom} reaches outside; choose a smaller one"
        )
    return image[top:bottom, left:right]
