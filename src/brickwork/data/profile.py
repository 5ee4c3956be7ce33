"""Colour profiles (ICC) of pictures: pixels are converted into sRGB, as a viewer on an sRGB screen shows them."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageCms

MAX_PROFILE = 4 << 20
"""Largest profile that is opened, in bytes: 4 MiB; those of presses take one or two."""
SAME = 2
"""Largest difference, of 255, of colours under a profile that is sRGB in other words: such pixels stay as they are."""
SPACES = {"L": ("GRAY", "RGB"), "LA": ("GRAY", "RGB"), "RGB": ("RGB",), "RGBA": ("RGB",), "CMYK": ("CMYK",)}
"""Colour spaces of a profile that fit a mode of pixels."""

Table = UInt8[np.ndarray, "N"]


def in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert a picture into sRGB by its profile, with the perceptual intent: CMYK into RGB, others in their own mode.

    Args:
        image: A picture of mode L, LA, RGB, RGBA or CMYK; its transparency is kept.
        profile: The ICC profile.

    Raises:
        ValueError: The profile is broken or too large, or is for pixels of another kind.
    """
    space = space_of(profile)
    if space not in SPACES[image.mode]:
        raise ValueError(f"it is for {space} pixels")
    if image.mode in ("L", "LA"):
        shades = grey_table(profile)
        if image.mode == "L":
            return image.point(shades.tolist())
        grey, alpha = image.split()
        return Image.merge("LA", (grey.point(shades.tolist()), alpha))
    transform = transform_of(profile, image.mode)
    return image if transform is None else applied(image, transform)


@lru_cache(maxsize=16)
def space_of(profile: bytes) -> str:
    """Return the colour space of the pixels that a profile is for: "RGB", "GRAY", "CMYK", ...

    Raises:
        ValueError: The profile is broken or too large.
    """
    return str(opened(profile).profile.xcolor_space).strip()


@lru_cache(maxsize=16)
def transform_of(profile: bytes, mode: str) -> Any:
    """Return the conversion of pixels of a mode into sRGB; None if the profile is sRGB in other words.

    Raises:
        ValueError: The profile is broken.
    """
    transform = built(profile, mode)
    if mode != "CMYK":
        steps = np.linspace(0, 255, 18).round().astype(np.uint8)
        colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
        seen = np.asarray(applied(Image.fromarray(colours), built(profile, "RGB")))
        if np.abs(seen.astype(int) - colours).max() <= SAME:
            return None
    return transform


@lru_cache(maxsize=16)
def grey_table(profile: bytes) -> Table:
    """Return the sRGB grey of each grey of 8 bits, uint8 (256,), by a profile for grey or for RGB.

    Raises:
        ValueError: The profile is broken, or for pixels of another kind.
    """
    greys = np.arange(256, dtype=np.uint8)[None]
    if space_of(profile) == "GRAY":
        seen = applied(Image.fromarray(greys), built(profile, "L"))
    elif space_of(profile) == "RGB":
        seen = applied(Image.fromarray(greys).convert("RGB"), built(profile, "RGB"))
    else:
        raise ValueError(f"it is for {space_of(profile)} pixels")
    table = np.asarray(seen.convert("L"))[0]
    return greys[0] if np.abs(table.astype(int) - greys[0]).max() <= SAME else table


@lru_cache(maxsize=4)
def wide_table(profile: bytes | None, white: int) -> Table:
    """Return the 8-bit sRGB grey of each grey of 16 bits up to a white, uint8 (white + 1,), rounded to nearest.

    Raises:
        ValueError: The profile is broken, or for pixels of another kind.
    """
    greys = np.arange(white + 1, dtype=np.int64)
    plain = ((2 * 255 * greys + white) // (2 * white)).astype(np.uint8)
    if profile is None:
        return plain
    narrow = grey_table(profile)
    if (narrow == np.arange(256)).all():
        return plain
    if space_of(profile) != "GRAY":
        return narrow[plain]
    deep = ((2 * 65535 * greys + white) // (2 * white)).astype(np.uint16)[None]
    return np.asarray(applied(Image.fromarray(deep), built(profile, "I;16")).convert("L"))[0]


def opened(profile: bytes) -> Any:
    """Open a profile.

    Raises:
        ValueError: It is broken or too large.
    """
    if len(profile) > MAX_PROFILE:
        raise ValueError(f"it has {len(profile)} bytes, and up to {MAX_PROFILE} are read")
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        raise ValueError(f"it cannot be opened ({error})") from error


def built(profile: bytes, mode: str) -> Any:
    """Build a conversion of pixels of a mode into sRGB: of grey and CMYK into RGB, else in their own mode."""
    out = "RGB" if mode in ("L", "I;16", "CMYK") else mode
    # Optimised, curves of grey have so few places that dark greys come out at half their light.
    exact = ImageCms.Flags.NOOPTIMIZE if mode in ("L", "I;16") else ImageCms.Flags.NONE
    try:
        return ImageCms.buildTransform(opened(profile), ImageCms.createProfile("sRGB"), mode, out, flags=exact)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        raise ValueError(f"it cannot be used ({error})") from error


def applied(image: Image.Image, transform: Any) -> Image.Image:
    """Apply a conversion to a picture."""
    try:
        seen = ImageCms.applyTransform(image, transform)
    except (ImageCms.PyCMSError, ValueError) as error:
        raise ValueError(f"it cannot be used ({error})") from error
    assert seen is not None
    return seen
