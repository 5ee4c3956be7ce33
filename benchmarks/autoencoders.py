"""How well do autoencoders keep held-out pictures, beside a principal component analysis with as many numbers?

Each picture goes through an autoencoder as training and sampling take it: scaled latents, decoded in windows, 8 bits.
Its PSNR is 10 log10(255^2 / mean squared error) over all its pixels and channels; the figure is the mean over pictures.
The principal components are of the training images' patches, of as many pixels as a latent place stands for; as many
of them are kept as the latents have channels, unquantised, and their picture is rounded to 8 bits as well.

    python benchmarks/autoencoders.py --data clothing.npz --size 64 --sheet runs/ae-f4c8 runs/ae-f4c4 runs/ae-f8c16
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import facts_of_this_machine, write_result
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from brickwork.codec.base import from_unit, to_unit
from brickwork.codec.file import load_codec, read_codec_header
from brickwork.codec.latents import Latents
from brickwork.data.config import DataConfig
from brickwork.data.dataset import Dataset, load_dataset, load_heldout
from brickwork.files.picture import save_png, sheet
from brickwork.training.autoencoder.observers import image_psnr

AT_ONCE = 64
COLUMNS = 8


class Components:
    """The leading principal components of patches.

    Args:
        data: Training images.
        patch: Pixels of a patch, each way.
        count: Components kept.
    """

    def __init__(self, data: Dataset, patch: int, count: int) -> None:
        self.patch = patch
        values = data.shape[2] * patch**2
        number, total = 0, torch.zeros(values, dtype=torch.float64)
        square = torch.zeros(values, values, dtype=torch.float64)
        for images in parts(data):
            rows = self.patches(images).double()
            number, total, square = number + len(rows), total + rows.sum(dim=0), square + rows.T @ rows
        self.mean = total / number
        covariance = square / number - torch.outer(self.mean, self.mean)
        self.axes = torch.linalg.eigh(covariance).eigenvectors[:, -count:]

    def patches(self, images: np.ndarray) -> torch.Tensor:
        """uint8 (B, H, W, C) → (patches, values)."""
        x = pixel_unshuffle(to_unit(torch.from_numpy(images)), self.patch)
        return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Pictures of their components, uint8 (B, H, W, C)."""
        B, H, W, _ = images.shape
        kept = (self.patches(images).double() - self.mean) @ self.axes @ self.axes.T + self.mean
        x = kept.reshape(B, H // self.patch, W // self.patch, -1).permute(0, 3, 1, 2)
        return from_unit(pixel_shuffle(x, self.patch)).numpy()


def parts(data: Dataset) -> list[np.ndarray]:
    """All images, some at a time."""
    return [np.asarray(data.images[i : i + AT_ONCE]) for i in range(0, len(data), AT_ONCE)]


def through(codec: Latents, data: Dataset) -> np.ndarray:
    """Held-out pictures encoded and decoded."""
    return np.concatenate([codec.decode(codec.encode(torch.from_numpy(some))).numpy() for some in parts(data)])


def measured(name: str, train: Dataset, heldout: Dataset) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Figures of one autoencoder, its pictures and those of the components."""
    codec, facts = load_codec(name), read_codec_header(name)["training"]
    if facts.get("data_sha256") != train.digest:
        print(f"{name}: was trained on other images than --data and --size say")
    components = Components(train, codec.factor, codec.channels)
    made, simple = through(codec, heldout), np.concatenate([components(some) for some in parts(heldout)])
    own, theirs = (image_psnr(heldout.images, pictures) for pictures in (made, simple))
    gain = own - theirs
    margin = 1.96 * float(gain.std()) / len(gain) ** 0.5
    z = torch.cat([codec.encode(torch.from_numpy(some)) for some in parts(train)])
    row = {
        "run": Path(name).name,
        "config": read_codec_header(name)["codec"][1]["autoencoder"][1],
        "parameters": sum(weight.numel() for weight in codec.autoencoder.parameters()),
        "latents_per_picture": codec.channels * heldout.shape[0] * heldout.shape[1] // codec.factor**2,
        "psnr_db": round(float(own.mean()), 3),
        "pca_psnr_db": round(float(theirs.mean()), 3),
        "above_pca_db": round(float(gain.mean()), 3),
        "above_pca_95_percent": [round(float(gain.mean()) + sign * margin, 3) for sign in (-1, 1)],
        "pictures_below_pca": int((gain < 0).sum()),
        "latents_of_training_images": {
            "mean_abs_max": float(z.mean(dim=(0, 2, 3)).abs().max()),
            "std_from_1_max": float((z.std(dim=(0, 2, 3)) - 1).abs().max()),
            "largest": float(z.abs().max()),
        },
        "training": {key: facts.get(key) for key in ("steps", "images", "minutes", "threads", "recipe")},
    }
    return row, made, simple


def main() -> None:
    """Figures of some autoencoders of the same data."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="+", help="autoencoders")
    parser.add_argument("--data", required=True)
    parser.add_argument("--size", type=int)
    parser.add_argument("--name", default="", help="ending of the result's name")
    parser.add_argument(
        "--sheet", action="store_true", help="also a sheet of what comes out; mind the licence of the pictures"
    )
    options = parser.parse_args()
    config = DataConfig(size=options.size)
    train, heldout = load_dataset(options.data, config), load_heldout(options.data, config)
    shown = np.linspace(0, len(heldout) - 1, COLUMNS).astype(np.int64)
    rows, pictures, captions = [], [], []
    for name in options.runs:
        row, made, simple = measured(name, train, heldout)
        rows.append(row)
        print({key: row[key] for key in ("run", "psnr_db", "pca_psnr_db", "above_pca_db")}, flush=True)
        label = f"f{row['config']['factor']} x {row['config']['channels']}"
        pictures += [simple[shown], made[shown]]
        captions += [f"{label} PCA\n{row['pca_psnr_db']:.1f} dB", f"{label}\n{row['psnr_db']:.1f} dB"]
    question = f"autoencoders{'-' + options.name if options.name else ''}"
    facts = facts_of_this_machine() | {"data": Path(options.data).name, "size": heldout.shape[0]}
    facts |= {"train": len(train), "train_sha256": train.digest, "heldout": len(heldout), "autoencoders": rows}
    path = write_result(question, facts)
    if options.sheet:
        picture = sheet(np.concatenate(pictures), columns=COLUMNS, row_captions=captions)
        save_png(picture, path.with_suffix(".png"), {"rows": captions, "heldout": shown.tolist()})
    print(path)


if __name__ == "__main__":
    main()
