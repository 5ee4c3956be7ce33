"""Decoding of image files into uint8 (H, W, C), grey or RGB, upright: as a viewer would show them on a white page."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps

from brickwork.data.source import Changed, Pixels
from brickwork.errors import DataError

MAX_PIXELS = 89_478_485
"""Largest image that is decoded, in pixels: Pillow's own limit, 256 MiB as RGB. A small file can claim far more."""

GREY_MODES = {"1", "L", "LA", "La"}


Image.init()
SAFE = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "PPM", "JPEG2000", "AVIF", "TGA")
FORMATS = tuple(name for name in SAFE if name in Image.OPEN)
"""Formats that Pillow may read. EPS and the like are left out, as it would start another program for them."""


def decode_image(data: bytes, name: str = "image") -> Pixels:
    """Decode the bytes of one image file.

    Transparent parts become white, 16-bit grey is scaled to 8 bits by 255/65535, the EXIF orientation is applied, and
    of an animation the first frame is taken. Grey files (and palettes that show only greys) give one channel, all
    others three.

    Args:
        data: The whole file; its format is recognised by its content, not its name.
        name: Its name in an error.

    Raises:
        DataError: It is no image, truncated, or has more than MAX_PIXELS pixels.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{image.width}x{image.height} is more than {MAX_PIXELS} pixels")
            return pixels_of(image)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    except Image.UnidentifiedImageError:
        what = "the file is empty" if not data else "not an image, or of a format that Pillow cannot read"
        raise DataError(f"{name}: {what}") from None
    except Exception as error:  # broken bytes make Pillow's readers raise errors of many kinds
        raise DataError(f"{name}: {str(error).strip() or type(error).__name__}") from error


def pixels_of(image: Image.Image) -> Pixels:
    """Convert an opened picture into uint8 (H, W, 1) if it is grey, else (H, W, 3)."""
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode == "F":
        raise DataError("floating-point pixels have no agreed white; save it with 8 or 16 bits per channel")
    if image.mode.startswith("I"):
        return eight_bits(image)
    mode = "L" if image.mode in GREY_MODES else "RGB"
    palette = image.mode in ("P", "PA")
    if image.has_transparency_data:
        image = on_white(image, mode)
    array = np.asarray(image if image.mode == mode else image.convert(mode))
    if mode == "L":
        return array[:, :, None]
    if palette and (array == array[:, :, :1]).all():
        return np.ascontiguousarray(array[:, :, :1])
    return array


def on_white(image: Image.Image, mode: str) -> Image.Image:
    """Lay a picture with transparency on a white page. mode: "L" or "RGB"."""
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    image = image.convert("LA" if mode == "L" else "RGBA")
    alpha = image.getchannel("A")
    return Image.composite(image.convert(mode), Image.new(mode, image.size, "white"), alpha)


def eight_bits(image: Image.Image) -> Pixels:
    """Convert 16-bit grey, 0 to 65535, into uint8 (H, W, 1): value * 255 / 65535, rounded to nearest."""
    wide = np.asarray(image).astype(np.int64)
    low, high = int(wide.min()), int(wide.max())
    if low < 0 or high > 65535:
        raise DataError(f"grey values from {low} to {high} are not of 16 bits; save it with 8 or 16 bits per channel")
    narrow = ((wide + 128) // 257).astype(np.uint8)  # 65535 / 255 is 257 exactly
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        narrow[wide == clear] = 255
    return narrow[:, :, None]


def with_channels(image: Pixels, channels: int) -> Changed:
    """Convert grey into three equal channels, or colour into luma (ITU-R BT.601, Pillow's "L"). channels: 1 or 3."""
    if image.shape[2] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=2)
    return np.asarray(Image.fromarray(image).convert("L"))[:, :, None]


@contextmanager
def bombs_refused() -> Iterator[None]:
    """Turn Pillow's warning of a huge image into an error inside the context, so that it is reported for that image.

    Its other warnings (odd EXIF data and the like, in images that decode nevertheless) are dropped. Enter it once,
    around all threads: the filters of the warnings module belong to the whole process.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield
