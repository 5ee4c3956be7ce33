"""Which way of joining windows leaves no seam?

Draws the same seeds and classes in every mode, and takes the seam measure (mean jump of the gradient at borders over
that elsewhere, 1 = none) where the windows of plain tiles meet, and half a window from there, where the other borders
of half-overlapping windows are. The error beside it is one standard error, by leaving out one picture at a time. The
profile is the mean jump by place within a tile, over the mean of all places.

    python benchmarks/canvas_seams.py runs/lego-pg --height 32 --width 128
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from record import facts_of_this_machine, write_result

from brickwork.files.picture import save_png, sheet
from brickwork.model.checkpoint import load
from brickwork.nn.device import choose_device
from brickwork.quality.seam import seam
from brickwork.sampling.canvas import MODES, Canvas
from brickwork.sampling.loop import sample
from brickwork.sampling.options import choose
from brickwork.sampling.solvers import SOLVERS


def over_axes(images: np.ndarray, borders: tuple[list[int], list[int]]) -> float:
    """Mean over the axes that have borders."""
    found = [seam(images, places, axis=axis) for axis, places in zip((1, 2), borders, strict=True) if places]
    return float(np.mean(found))


def with_error(images: np.ndarray, borders: tuple[list[int], list[int]]) -> dict[str, float]:
    """The measure and its jackknife error."""
    without = [over_axes(np.delete(images, i, axis=0), borders) for i in range(len(images))]
    error = np.sqrt((len(images) - 1) * np.var(without))
    return {"seam": round(over_axes(images, borders), 4), "error": round(float(error), 4)}


def profile(images: np.ndarray, side: int) -> list[float]:
    """Mean jump along the width by place within a tile, over their mean; of three tiles or more, the inner."""
    values = images.astype(np.float32)
    jumps = np.abs(values[:, :, 2:] - 2 * values[:, :, 1:-1] + values[:, :, :-2]).mean(axis=(0, 1, 3))
    jumps = np.concatenate([jumps[:1], jumps, jumps[-1:]])  # index = column
    inner = jumps[side:-side] if len(jumps) >= 3 * side else jumps
    inner = inner[: len(inner) // side * side].reshape(-1, side).mean(axis=0)
    return [round(float(v), 3) for v in inner / inner.mean()]


def main() -> None:
    """All modes, one table, one sheet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", help="run or model file")
    parser.add_argument("--modes", nargs="+", default=list(MODES))
    parser.add_argument("--height", type=int, default=32)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--steps", type=int, default=18)
    parser.add_argument("--solver", default="dpm2m")
    parser.add_argument("--guidance", type=float, default=1.5)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--chunk", type=int, default=16)
    parser.add_argument("--shown", type=int, default=6, help="pictures of each mode on the sheet")
    parser.add_argument("--out", type=Path, help="also keep all pictures here, an npz")
    options = parser.parse_args()
    model = load(options.model, choose_device("auto"))
    model.precision = options.precision
    side = model.shape[-1]
    labels = [i % model.num_classes for i in range(options.count)] if model.num_classes else None
    guidance = options.guidance if labels else 1.0
    tiles = Canvas(model, options.height, options.width, "tile").borders()
    halves = tuple(list(range(side // 2, n, side)) if n > side else [] for n in (options.height, options.width))
    rows: list[dict[str, Any]] = []
    drawn: dict[str, np.ndarray] = {}
    for name in options.modes:
        canvas = Canvas(model, options.height, options.width, choose("canvas mode", name, MODES), options.chunk)
        began = time.monotonic()
        images = drawn[name] = sample(
            canvas,
            seeds=range(options.count),
            labels=labels,
            steps=options.steps,
            solver=choose("solver", options.solver, SOLVERS),
            guidance=guidance,
            batch_size=16,
        )
        rows.append(
            {
                "mode": name,
                "at_tile_borders": with_error(images, tiles),
                "half_a_tile_from_there": with_error(images, (halves[0], halves[1])),
                "contrast": round(float(images.std(axis=(1, 2)).mean()), 2),
                "seconds": round(time.monotonic() - began, 1),
                "profile": profile(images, side),
            }
        )
        print(rows[-1], flush=True)
    asked = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
    facts = asked | {"guidance": guidance, "sha256": model.digest, "images_seen": model.facts.get("images")}
    path = write_result(
        f"canvas-seams-{options.height}x{options.width}", facts_of_this_machine() | facts | {"rows": rows}
    )
    few = np.concatenate([images[: options.shown] for images in drawn.values()])
    columns = 1 if options.width > 2 * options.height else options.shown
    if columns == 1:  # long pictures: a mode a column, a seed a row
        few = few.reshape(len(drawn), -1, *few.shape[1:]).swapaxes(0, 1).reshape(few.shape)
        picture = sheet(few, len(drawn), scale=2, column_captions=list(drawn))
    else:
        picture = sheet(few, columns, scale=2, row_captions=list(drawn))
    save_png(picture, path.with_suffix(".png"), facts)
    print(path)
    if options.out:
        np.savez_compressed(options.out, allow_pickle=False, **drawn)


if __name__ == "__main__":
    main()
