"""Does inpainting keep what it must, and fit the rest to it? How much of a picture does each strength leave?

Held-out pictures, as many of each class, each asked for its own class. Inpainting: the right half, or a square of half
the side in the middle, drawn anew by replacement with each step taken once, 4 or 10 times, by the ODE and by DDIM with
fresh noise. Measured: known pixels that changed (there must be none), the drawn pixels' distance to the true ones, and
the mean step across the mask's border over that of the true pictures (1 where the new fits the old). Image to image:
the mean distance to the input, and the share of pixels that are its own, by strength. The sheets show the same for
pictures that the model drew itself, since those of a data set stay where they are.

    python benchmarks/editing.py runs/fashion --data ../shared/data/fashion_mnist
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from record import facts_of_this_machine, write_result

from brickwork.data.config import DataConfig
from brickwork.data.dataset import load_heldout
from brickwork.diffusion.schedule import SCHEDULES, Schedule
from brickwork.files.picture import save_png, sheet
from brickwork.model.checkpoint import load
from brickwork.model.model import Model
from brickwork.sampling.edit import edit, remaining
from brickwork.sampling.loop import sample
from brickwork.sampling.solvers import SOLVERS, Solver

STRENGTHS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
WAYS: dict[str, tuple[Solver, int]] = {
    f"{name}, {times}": (solver, times)
    for name, solver in (("ODE", SOLVERS["dpm2m"]()), ("fresh noise", SOLVERS["ddim"](eta=1.0)))
    for times in (1, 4, 10)
}
"""Solver, and how often each step is taken."""
FIRST_OWN = 1000
"""Seed of the first picture that the model draws for the sheets; not one of those that edit it."""


def held_out(model: Model, data: Path, each: int) -> tuple[np.ndarray, np.ndarray]:
    """As many pictures of each class, and their classes."""
    config = DataConfig(size=model.shape[1], channels=model.codec.picture_channels)
    images = load_heldout(data, config)
    assert images.labels is not None
    rows = np.concatenate([np.flatnonzero(images.labels == k)[:each] for k in range(model.num_classes)])
    return images.batch(rows), images.labels[rows]


def masks_of(side: int) -> dict[str, np.ndarray]:
    """The right half, and the middle."""
    right, middle = np.zeros((side, side), dtype=bool), np.zeros((side, side), dtype=bool)
    right[:, side // 2 :] = True
    middle[side // 4 : side - side // 4, side // 4 : side - side // 4] = True
    return {"right half": right, "middle": middle}


def step_across(images: np.ndarray, mask: np.ndarray) -> float:
    """Mean difference of neighbours of which one is drawn and the other known."""
    values, found = images.astype(np.float64), []
    for axis in (0, 1):
        border = np.diff(mask.astype(int), axis=axis) != 0
        found.append(np.abs(np.diff(values, axis=axis + 1))[:, border].reshape(-1))
    return float(np.concatenate(found).mean())


def inpainted(model: Model, images: np.ndarray, labels: np.ndarray, steps: int) -> tuple[list[Any], dict[str, Any]]:
    """A row of figures for each mask and way; the pictures by mask and way."""
    rows, drawn = [], {}
    for name, mask in masks_of(images.shape[1]).items():
        drawn[name] = {"input": images, "known": np.where(mask[..., None], np.uint8(128), images)}
        for way, (solver, times) in WAYS.items():
            result = edit(
                model,
                images,
                seeds=range(len(images)),
                strength=1,
                mask=mask,
                resample=times,
                labels=labels,
                steps=steps,
                solver=solver,
            )
            drawn[name][way] = result
            away = result.astype(float)[:, mask] - images[:, mask]
            rows.append(
                {
                    "mask": name,
                    "way": way,
                    "known_pixels_changed": int((result != images)[:, ~mask].sum()),
                    "rms_of_drawn_to_true": round(float(np.sqrt(np.square(away).mean())), 2),
                    "step_across_border_over_true": round(step_across(result, mask) / step_across(images, mask), 3),
                }
            )
    return rows, drawn


def changed(
    model: Model, images: np.ndarray, labels: np.ndarray, steps: int, grid: Schedule
) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """A row of figures for each strength, and the pictures."""
    rows, drawn = [], []
    for strength in STRENGTHS:
        result = edit(
            model, images, seeds=range(len(images)), strength=strength, labels=labels, steps=steps, schedule=grid
        )
        drawn.append(result)
        level = float(remaining(grid.sigmas(model.process, steps), strength)[0])
        rows.append(
            {
                "strength": strength,
                "from_level": round(level, 4),
                "mean_distance": round(float(np.abs(result.astype(float) - images).mean()), 3),
                "pixels_unchanged": round(float((result == images).mean()), 4),
            }
        )
    return rows, drawn


def main() -> None:
    """Three sheets and a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", help="run or model file, of classes")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--each", type=int, default=4, help="pictures of each class")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--grid", choices=list(SCHEDULES), default="karras")
    options = parser.parse_args()
    model, grid = load(options.model), SCHEDULES[options.grid]()
    images, labels = held_out(model, options.data, options.each)
    strengths, _ = changed(model, images, labels, options.steps, grid)
    masks, _ = inpainted(model, images, labels, options.steps)
    facts = {"model": options.model, "sha256": model.digest, "images": len(images), "steps": options.steps}
    facts |= {"grid": options.grid, "images_seen": model.facts.get("images")}
    result = facts_of_this_machine() | facts | {"inpainting": masks, "image_to_image": strengths}
    path = write_result("editing", result)
    for row in (*masks, *strengths):
        print(row)
    own = np.arange(model.num_classes)
    images = sample(model, seeds=FIRST_OWN + own, labels=own, guidance=2.0, steps=options.steps)
    by_mask = inpainted(model, images, own, options.steps)[1]
    by_strength = changed(model, images, own, options.steps, grid)[1]
    for name, ways in by_mask.items():
        pictures = np.stack(list(ways.values()), axis=1)
        captions = [way.replace(", ", "\n") for way in ways]
        picture = sheet(pictures.reshape(-1, *images.shape[1:]), len(ways), scale=2, column_captions=captions)
        save_png(picture, path.with_name(f"{path.stem}_{name.replace(' ', '-')}.png"), facts)
    pictures = np.stack(by_strength, axis=1)
    captions = [f"{strength:g}" for strength in STRENGTHS]
    picture = sheet(pictures.reshape(-1, *images.shape[1:]), len(STRENGTHS), scale=2, column_captions=captions)
    save_png(picture, path.with_name(f"{path.stem}_strength.png"), facts)
    print(path)


if __name__ == "__main__":
    main()
