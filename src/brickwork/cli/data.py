"""Verb ``brickwork data``: what was found in a set of images, and a sheet of them as training will see them."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from tyro.conf import OmitArgPrefixes, Positional, arg

from brickwork.data.config import DataConfig
from brickwork.data.dataset import Dataset
from brickwork.data.heldout import images_of_run
from brickwork.data.look import MINUTES, chosen_size, look_at
from brickwork.data.order import flips
from brickwork.errors import printable
from brickwork.files.picture import enlargement, save_picture, sheet
from brickwork.files.streams import say
from brickwork.sampling.gallery import check_out, sheet_of

SHOWN = 64
"""Images on the sheet."""
COLUMNS = 8
"""Images in a row of it."""
NAMED = 12
"""Classes whose images are counted in the line."""
LONGEST = 60
"""Most characters of a caption in the line."""


def look(
    data: Positional[Annotated[str, arg(metavar="DATA", help="Folder, zip, npz, IDX, hf:owner/name or digits.")]],
    *,
    out: Path = Path("data.png"),
    minutes: float = MINUTES,
    config: OmitArgPrefixes[DataConfig] = DataConfig(),
) -> None:
    """Look at images as training will see them.

    What was found, passed over and skipped is told, and what `brickwork train` would make of it; a sheet shows 64 of
    the images, cropped and resized, half of them mirrored where training mirrors.

    Args:
        data: Folder, zip, npz, IDX, hf:owner/name or "digits".
        out: Sheet to write: a .png, .jpg or .webp file, or a folder.
        minutes: Budget of training, by which a size is chosen.
        config: Images to use, and how they are cropped and resized.
    """
    check_out(out)
    size, line = chosen_size(look_at(data, config), minutes, config.size)
    images, heldout, missing = images_of_run(data, replace(config, size=size), progress=True)
    say(line, *told(images, heldout, missing))
    path = sheet_of(out)
    save_picture(sheet_of_images(images), path, {"data": images.name, "data_sha256": images.digest})
    say(f"{min(SHOWN, len(images))} of them as training sees them: {path}; next:")
    say(shlex.join(["brickwork", "train", data, *([] if config.size is None else ["--size", str(config.size)])]))


def told(images: Dataset, heldout: Dataset | None, missing: str) -> list[str]:
    """Return lines on the images that are trained on and held out, their classes and captions."""
    height, width, channels = images.shape
    held = f"none held out: {missing}" if heldout is None else f"{len(heldout):,} held out"
    mirrored = "mirrored half of the time" if images.flip else "never mirrored"
    lines = [f"{len(images):,} images of {width}x{height}x{channels} to train on, {mirrored}; {held}"]
    if images.labels is not None:
        counts = np.bincount(images.labels, minlength=len(images.classes))
        rows = [f"{printable(name)} {count}" for name, count in zip(images.classes, counts, strict=True)]
        lines.append(f"classes: {', '.join(rows[:NAMED])}{', ...' if len(rows) > NAMED else ''}")
    if images.captions is not None:
        lines.append(f"captions: the first is {printable(images.captions[0], LONGEST)!r}; --text words learns them")
    return lines


def sheet_of_images(images: Dataset) -> np.ndarray:
    """Return 64 images, evenly from all, on one sheet, uint8 (H, W, C)."""
    rows = np.linspace(0, len(images) - 1, min(SHOWN, len(images))).astype(np.int64)
    shown = images.batch(rows, flips(0, 0, len(rows)) if images.flip else None)
    return sheet(shown, min(COLUMNS, len(rows)), scale=enlargement(shown.shape[1]))
