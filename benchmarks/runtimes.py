"""Several runtimes in one benchmark: each package is written and run by its own Python; pictures side by side."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import numpy as np

SIDE, LEFT = 48, 390  # pixels of a picture on a sheet, and of the names before it


def ask(target: str, script: str, words: Sequence[str]) -> None:
    """Run a script with the Python of a target's runtime (``.venvs/TARGET``, if it is not in this one).

    It gets ``--also FOLDER``: what this Python has and that one may lack. Tell ``also`` of it before other imports.
    """
    from brickwork.speed.subjects import interpreter

    also = sysconfig.get_paths()["purelib"]
    subprocess.run([interpreter(target, {}), script, *words, "--also", also], check=True)


def also(folder: str) -> None:
    """Look for packages in another Python's folder, after all others."""
    if folder not in sys.path:
        sys.path.append(folder)


def drawn(package: Path) -> Path:
    """Where what a package drew is kept: beside it."""
    return package.with_suffix(package.suffix + ".npy")


def sheet(rows: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    """Pictures in rows, uint8 (N, H, W, C) each, with a name before each row."""
    from PIL import Image, ImageDraw, ImageFont

    count = max(len(pictures) for _, pictures in rows)
    canvas = Image.new("RGB", (LEFT + (SIDE + 4) * count, (SIDE + 4) * len(rows) + 4), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    for i, (name, pictures) in enumerate(rows):
        y = 4 + (SIDE + 4) * i
        pen.text((8, y + SIDE // 2 - 9), name, "black", font)
        for k, picture in enumerate(pictures):
            tile = Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture)
            canvas.paste(tile.resize((SIDE, SIDE), Image.Resampling.NEAREST), (LEFT + (SIDE + 4) * k, y))
    return np.asarray(canvas)
