"""Pictures as files, PNG, JPEG or WebP, with the facts about how they were drawn; and sheets of many."""

from __future__ import annotations

import io
import math
import struct
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import ExifTags, Image, ImageDraw, ImageFont, PngImagePlugin, UnidentifiedImageError

from brickwork.bounds import between
from brickwork.doors import door
from brickwork.errors import ArgumentError, BrickworkWarning, DataError
from brickwork.files.pictures import Pictures
from brickwork.files.plain import json_text, read_json
from brickwork.files.regular import open_regular
from brickwork.files.whole import write_whole

KEY = "brickwork"  # name of the PNG's text chunk

LOSSY = {".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""Formats by their suffix, beside PNG; their facts are the EXIF description."""
SUFFIXES = (".png", *LOSSY)
"""Suffixes of picture files that are written."""
MOST_FACTS = 60_000
"""Most bytes of facts in EXIF, of which a JPEG holds 64 KiB."""

BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
"""Errors of Pillow for a picture that claims a size that nobody draws."""
LARGEST_SHEET = 1 << 31
"""Bytes of the largest sheet: 2 GiB."""
LONGEST_CAPTION = 500
"""Letters of a caption that are drawn."""
MOST = 64
"""Pictures that a notebook shows at once."""
SIDE = 64
"""Side in pixels to which small pictures are enlarged, by whole factors."""
PADDING = 2
"""Pixels between the pictures of a sheet."""


def png_of(pictures: np.ndarray, most: int = MOST) -> bytes:
    """Return pictures on one sheet as the bytes of a PNG, small ones enlarged.

    Args:
        pictures: uint8 (N, H, W, C) or (H, W, C), C = 1 or 3.
        most: Pictures shown; the first ones of more.
    """
    many = pictures if pictures.ndim == 4 else pictures[None]
    many = np.asarray(many[:most])
    scale = enlargement(max(many.shape[1:3]))
    columns = min(len(many), max(4, math.ceil(math.sqrt(len(many)))))
    buffer = io.BytesIO()
    as_pillow(sheet(many, columns, scale=scale, padding=PADDING if len(many) > 1 else 0)).save(buffer, format="PNG")
    return buffer.getvalue()


@door("writing a picture")
def save_png(image: np.ndarray, path: str | Path, facts: Mapping[str, object] | None = None) -> None:
    """Write one picture as PNG, with facts as JSON in its text chunk "brickwork"; whole or not at all.

    Args:
        image: uint8 (H, W), (H, W, 1) or (H, W, 3).
        path: The file; missing folders are made.
        facts: Anything JSON can hold: seed, model hash, settings.

    Raises:
        ArgumentError: The picture is of another kind, or JSON cannot hold the facts.
        OutputError: The place cannot be written or is full.
    """
    chunks, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    chunks.add_text(KEY, _as_json(facts, path))
    as_pillow(image).save(buffer, format="PNG", pnginfo=chunks)
    write_whole(Path(path), buffer.getvalue())


def save_picture(image: np.ndarray, path: Path, facts: Mapping[str, object] | None = None) -> None:
    """Write one picture in the format of its name: JPEG, WebP without loss, or else PNG as ``save_png`` does.

    Args:
        image: uint8 (H, W), (H, W, 1) or (H, W, 3).
        path: The file; missing folders are made.
        facts: Anything JSON can hold; in JPEG and WebP they are the EXIF field ImageDescription, and left out with a
            warning where that is too small.

    Raises:
        ArgumentError: The picture is of another kind, or JSON cannot hold the facts.
        OutputError: The place cannot be written or is full.
    """
    if path.suffix.lower() not in LOSSY:
        save_png(image, path, facts)
        return
    exif, buffer, text = Image.Exif(), io.BytesIO(), _as_json(facts, path)
    if len(text) <= MOST_FACTS:
        exif[ExifTags.Base.ImageDescription] = text
    else:
        why = f"{len(text):,} bytes, of which EXIF holds {MOST_FACTS:,}; a .png would keep them"
        warnings.warn(f"{path}: written without its facts, {why}", BrickworkWarning, stacklevel=2)
    how = {"quality": 95, "subsampling": 0, "lossless": True}  # each format takes those that it knows
    as_pillow(image).save(buffer, format=LOSSY[path.suffix.lower()], exif=exif, **how)
    write_whole(path, buffer.getvalue())


def _as_json(facts: Mapping[str, object] | None, path: str | Path) -> str:
    """Return facts as ASCII JSON.

    Raises:
        ArgumentError: JSON cannot hold them.
    """
    try:
        return json_text(dict(facts or {}), sort_keys=True)
    except ValueError as error:
        raise ArgumentError(f"facts of {path}: JSON cannot hold them ({error})") from None


def read_facts(path: str | Path) -> dict[str, Any]:
    """Return the facts that ``save_png``, or drawing to a JPEG or WebP, wrote.

    Raises:
        DataError: The file is missing, no such picture, or carries no facts of brickwork.
    """
    try:
        with open_regular(path) as file, Image.open(file, formats=["PNG", *set(LOSSY.values())]) as image:
            chunk = image.info.get(KEY) if image.format == "PNG" else _description(image)
        facts = None if chunk is None else read_json(chunk)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; give a picture that brickwork wrote") from None
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, struct.error, *BOMBS):
        raise DataError(f"{path}: not a readable PNG, JPEG or WebP; give a picture that brickwork wrote") from None
    if not isinstance(facts, dict):
        raise DataError(f"{path}: carries no brickwork facts; only pictures that brickwork wrote, unedited, do")
    return facts


def _description(image: Image.Image) -> str | None:
    """Return the EXIF description of a picture; None without one."""
    text = image.getexif().get(ExifTags.Base.ImageDescription)
    return text if isinstance(text, str) and text.startswith("{") else None


@door("drawing a sheet", "give fewer pictures or a smaller scale")
def sheet(
    images: np.ndarray,
    columns: int,
    *,
    padding: int = PADDING,
    scale: int = 1,
    row_captions: Sequence[str] | None = None,
    column_captions: Sequence[str] | None = None,
    background: Annotated[int, between(0, 255)] = 255,
) -> Pictures:
    """Lay out many pictures as one, row by row, uint8 (H', W', C).

    Args:
        images: uint8 (N, H, W, C), C = 1 or 3.
        columns: Pictures in a row; the last row may be short.
        padding: Pixels between pictures and around them, after enlarging.
        scale: Whole factor that enlarges each pixel to a square.
        row_captions: Written to the left, one per row.
        column_captions: Written above, one per column. Of a caption of more than 500 letters the first are drawn.
        background: Grey level behind everything, 0 to 255; captions are black or white, whichever contrasts more.

    Raises:
        ArgumentError: Pictures are of another kind, captions do not fit the sheet, or it would be larger than 2 GiB.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3) or images.size == 0:
        raise ArgumentError(
            f"images of {images.dtype} {images.shape}: a sheet takes one or more, uint8 (N, H, W, 1 or 3)"
        )
    if columns < 1 or scale < 1 or padding < 0:
        raise ArgumentError(f"columns {columns}, scale {scale}, padding {padding}: give at least 1, 1 and 0")
    rows = -(-len(images) // columns)
    for captions, count, name in ((row_captions, rows, "row"), (column_captions, columns, "column")):
        if captions is not None and len(captions) != count:
            raise ArgumentError(f"{len(captions)} {name} captions: this sheet has {count}; give one for each")
    row_captions, column_captions = _shortened(row_captions), _shortened(column_captions)
    height, width, channels = images.shape[1] * scale, images.shape[2] * scale, images.shape[3]
    left, top = _caption_room(row_captions, 0), _caption_room(column_captions, 1)
    size = top + padding + rows * (height + padding), left + padding + columns * (width + padding)
    if size[0] * size[1] * channels > LARGEST_SHEET:
        raise ArgumentError(
            f"a sheet of {size[1]}x{size[0]} pixels: it may have {LARGEST_SHEET // channels}; "
            "give fewer pictures or columns, or a smaller scale or padding"
        )
    out = np.full((*size, channels), background, dtype=np.uint8)
    big = images.repeat(scale, axis=1).repeat(scale, axis=2)
    for i, image in enumerate(big):
        y = top + padding + i // columns * (height + padding)
        x = left + padding + i % columns * (width + padding)
        out[y : y + height, x : x + width] = image
    centre_y = [top + padding + (i + 0.5) * height + i * padding for i in range(rows)]
    centre_x = [left + padding + (i + 0.5) * width + i * padding for i in range(columns)]
    places = [(text, left / 2, y) for text, y in zip(row_captions or (), centre_y, strict=False)]
    places += [(text, x, top / 2) for text, x in zip(column_captions or (), centre_x, strict=False)]
    return Pictures.of(_write(out, places, 0 if background > 127 else 255) if places else out)


def enlargement(largest: int, side: int = SIDE) -> int:
    """Return the whole factor, at least 1, that enlarges a side of so many pixels to at most another."""
    return max(1, side // largest)


def as_pillow(image: np.ndarray) -> Image.Image:
    """Return a picture, uint8 (H, W), (H, W, 1) or (H, W, 3), as a Pillow image.

    Raises:
        ArgumentError: The array is of another kind.
    """
    shaped = image.ndim == 2 or (image.ndim == 3 and image.shape[-1] in (1, 3))
    if image.dtype != np.uint8 or not shaped or image.size == 0:
        raise ArgumentError(f"image of {image.dtype} {image.shape}: a picture is uint8 (H, W), (H, W, 1) or (H, W, 3)")
    return Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image)


def _shortened(captions: Sequence[str] | None) -> Sequence[str] | None:
    """Return captions of a length that can be drawn."""
    return None if captions is None else [text[:LONGEST_CAPTION] for text in captions]


def _extent(text: str) -> tuple[int, int]:
    """Return the width and height of a caption in pixels."""
    x0, y0, x1, y1 = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), text, ImageFont.load_default())
    return int(np.ceil(x1 - x0)), int(np.ceil(y1 - y0))


def _caption_room(captions: Sequence[str] | None, axis: int) -> int:
    """Return the pixels to keep free for captions along one axis (0 across, 1 down), with a margin."""
    return max(_extent(text)[axis] for text in captions) + 6 if captions else 0


def _write(picture: np.ndarray, places: list[tuple[str, float, float]], ink: int) -> np.ndarray:
    """Return the picture with each text centred at its (x, y)."""
    canvas = as_pillow(picture)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default()
    for text, x, y in places:
        x0, y0, x1, y1 = draw.multiline_textbbox((0, 0), text, font)
        fill = ink if canvas.mode == "L" else (ink, ink, ink)
        draw.multiline_text((x - (x0 + x1) / 2, y - (y0 + y1) / 2), text, fill=fill, font=font)
    return np.asarray(canvas).reshape(picture.shape).copy()
