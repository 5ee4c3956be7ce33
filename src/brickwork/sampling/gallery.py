"""Files of drawn pictures: a sheet with rows of conditions and columns of seeds; in a folder also every picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brickwork.errors import ArgumentError
from brickwork.files.picture import SUFFIXES, enlargement, save_picture, save_png, sheet
from brickwork.files.whole import check_place


def check_out(out: Path) -> None:
    """Refuse a picture file of a format that is not written, and a place that cannot be, before anything is drawn.

    Raises:
        ArgumentError: The name has such a suffix.
        OutputError: The place cannot be written.
    """
    if out.suffix.lower() in (".gif", ".bmp", ".tif", ".tiff", ".avif", ".jxl", ".heic"):
        raise ArgumentError(f"out {out}: pictures are written as {', '.join(SUFFIXES)}; name such a file or a folder")
    check_place(sheet_of(out))


def sheet_of(out: Path) -> Path:
    """Return the place of the sheet: the name itself if it is that of a picture file, else a file in that folder."""
    return out if out.suffix.lower() in SUFFIXES else out / "sheet.png"


def save_gallery(
    out: Path,
    images: np.ndarray,
    *,
    names: Sequence[str] | None,
    rows: Sequence[int],
    seeds: Sequence[int],
    num_prompts: int,
    facts: Mapping[str, Any],
) -> Path:
    """Write the sheet, and in a folder also every picture as a file; return the sheet's path.

    Args:
        out: A .png, .jpg or .webp file, or a folder.
        images: uint8 (N, H, W, C), row by row.
        names: Caption of each row, or none.
        rows: Class of each row; empty if rows are texts.
        seeds: Seeds, one for each column.
        num_prompts: Number of rows that are texts.
        facts: Facts of the drawing, stored in each file.

    Raises:
        OutputError: The place cannot be written.
    """
    scale, columns = enlargement(max(images.shape[1:3]), 48), len(seeds)
    picture = sheet(images, columns, scale=scale, row_captions=names, column_captions=[str(n) for n in seeds])
    path = sheet_of(out)
    save_picture(picture, path, {**facts, "labels": list(rows), "seeds": list(seeds)})
    if path == out:
        return path
    for index, image in enumerate(images):
        label, seed = rows[index // columns] if rows else None, seeds[index % columns]
        row = f"label{label}_" if label is not None else f"prompt{index // columns}_" if num_prompts else ""
        save_png(image, out / f"{row}seed{seed}.png", {**facts, "label": label, "seed": seed})
    return path
