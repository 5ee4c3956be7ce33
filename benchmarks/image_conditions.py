"""Does a model with a coarse (or grey) image condition draw after it, and better than the coarse picture is?

Held-out pictures, made worse and drawn after. Measured: the PSNR of the condition, of one drawn picture, and of the
mean of several, each against the true picture; and that of a drawn picture made worse again, against the condition:
the nearer, the more the model kept to it. A drawn picture is one of many that fit, so that its PSNR may lie below that
of the blurred picture it began with; the mean of many comes near to the best estimate.

    python benchmarks/image_conditions.py runs/clothing-coarse --data ../shared/data/clothing128_jpeg.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from record import facts_of_this_machine, write_result

from brickwork.codec.image_condition import IMAGE_CONDITIONS
from brickwork.data.config import DataConfig
from brickwork.data.dataset import load_heldout
from brickwork.files.picture import save_png, sheet
from brickwork.model.checkpoint import load
from brickwork.model.model import Model
from brickwork.sampling.loop import sample


def psnr(images: np.ndarray, true: np.ndarray) -> float:
    """In dB, over all pictures."""
    error = np.square(images.astype(np.float64) - true).mean()
    return round(float(10 * np.log10(255**2 / error)), 2)


def worse(model: Model, images: np.ndarray) -> np.ndarray:
    """Pictures as the model's image condition shows them."""
    return model.image_condition.degrade(torch.from_numpy(images)).numpy()


def main() -> None:
    """One table, one sheet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", help="run or model file, of a model with an image condition")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=4, help="pictures drawn after each")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--shown", type=int, default=12)
    options = parser.parse_args()
    model = load(options.model)
    kind = next(name for name, known in IMAGE_CONDITIONS.items() if isinstance(model.image_condition, known))
    side = model.shape[1] * model.codec.factor
    data = load_heldout(options.data, DataConfig(size=side, channels=model.codec.picture_channels))
    rows = np.linspace(0, len(data), options.count, endpoint=False).astype(np.int64)
    true, condition = data.batch(rows), worse(model, data.batch(rows))
    labels = data.labels[rows] if model.num_classes and data.labels is not None else None
    drawn = np.stack(
        [
            sample(
                model,
                seeds=range(k * len(true), (k + 1) * len(true)),
                image=model.as_image_condition(true),
                labels=labels,
                steps=options.steps,
                guidance=options.guidance,
            )
            for k in range(options.seeds)
        ]
    )
    figures = {
        "psnr_condition": psnr(condition, true),
        "psnr_drawn": psnr(drawn, np.broadcast_to(true, drawn.shape)),
        "psnr_mean_of_drawn": psnr(drawn.mean(axis=0), true),
        "psnr_drawn_made_worse_to_condition": psnr(worse(model, drawn[0]), condition),
    }
    print(figures)
    facts = {
        "model": options.model,
        "sha256": model.digest,
        "image_condition": kind,
        "images": len(true),
        "seeds": options.seeds,
    }
    facts |= {"steps": options.steps, "guidance": options.guidance, "images_seen": model.facts.get("images")}
    path = write_result(f"image-condition-{kind}", facts_of_this_machine() | facts | figures)
    few = slice(0, options.shown)
    columns = {kind: condition[few], "seed 1": drawn[0][few], "seed 2": drawn[1][few]}
    pictures = np.stack(list(columns.values()), axis=1).reshape(-1, *true.shape[1:])
    save_png(sheet(pictures, len(columns), scale=2, column_captions=list(columns)), path.with_suffix(".png"), facts)
    print(path)


if __name__ == "__main__":
    main()
