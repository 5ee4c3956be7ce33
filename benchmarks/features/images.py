"""What the feature networks are trained on: the sets, how they are varied, and how they are mixed into batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from brickwork.data.dataset import DataConfig, load_dataset
from brickwork.quality.features import resized

# Every digit that brickwork holds out by hash, up to this share, is kept from training.
HOLDOUT = 0.2

# Head -> file, and in which sizes (pixels, resize filter) its images are shown.
SETS = {
    "grey": {
        "fashion-mnist": ("fashion_mnist", ((28, "box"),)),
        "digits": ("digits", ((8, "box"), (16, "lanczos"), (28, "lanczos"), (32, "lanczos"), (32, "nearest"))),
    },
    "colour": {
        "cifar10": ("cifar10_jpeg.npz", ((32, "box"),)),
        "clothing": ("clothing128_jpeg.npz", ((32, "box"), (64, "box"))),
        "flowers": ("flowers128_jpeg.npz", ((32, "box"), (64, "box"))),
    },
}
CHANNELS = {"grey": 1, "colour": 3}

Drawn = tuple[str, Tensor, Tensor]
"""A head, images for it B C H W in [-1, 1], and their labels (B,)."""


@dataclass(frozen=True)
class Labelled:
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]


def read(net: str, data: Path, split: str) -> dict[str, dict[str, Labelled]]:
    """Head -> version ("64-box") -> images, already of the network's size."""
    out: dict[str, dict[str, Labelled]] = {}
    for head, (name, versions) in SETS[net].items():
        spec = name if name == "digits" else data / name
        for size, kind in versions:
            config = DataConfig(size=size, filter=kind, channels=CHANNELS[net], split=split, holdout=HOLDOUT)
            found = load_dataset(spec, config)
            assert found.labels is not None
            images = torch.from_numpy(np.array(found.images)).permute(0, 3, 1, 2).float() / 127.5 - 1
            images = resized(images, net).contiguous(memory_format=torch.channels_last)
            labelled = Labelled(images, torch.from_numpy(found.labels), found.classes)
            out.setdefault(head, {})[f"{size}-{kind}"] = labelled
    return out


def shaken(x: Tensor, degrees: float, scale: float, shift: float) -> Tensor:
    """Each image turned, scaled and moved a little; what comes in from outside repeats the edge."""
    n = len(x)
    angle = (torch.rand(n) * 2 - 1) * math.radians(degrees)
    size = 1 + (torch.rand(n) * 2 - 1) * scale
    move = (torch.rand(n, 2) * 2 - 1) * (2 * shift / x.shape[-1])
    cos, sin = size * torch.cos(angle), size * torch.sin(angle)
    theta = torch.stack([cos, -sin, move[:, 0], sin, cos, move[:, 1]], 1).reshape(n, 2, 3)
    grid = affine_grid(theta, list(x.shape), align_corners=False)
    return grid_sample(x, grid, padding_mode="border", align_corners=False)


def cropped(x: Tensor, reach: int) -> Tensor:
    """Each image mirrored or not, and moved by up to `reach` pixels with mirrored edges."""
    n, _, size, _ = x.shape
    padded = pad(x, (reach,) * 4, mode="reflect").permute(0, 2, 3, 1)
    place = torch.arange(size)
    rows = torch.randint(0, 2 * reach + 1, (n, 1)) + place
    columns = torch.randint(0, 2 * reach + 1, (n, 1)) + torch.where(torch.rand(n, 1) < 0.5, place, size - 1 - place)
    return padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def erased(x: Tensor, side: int, share: float) -> Tensor:
    """A grey square of `side` pixels somewhere in `share` of the images (DeVries and Taylor 2017)."""
    n, _, size, _ = x.shape
    place = torch.arange(size)
    hit = torch.rand(n, 1) < share
    down, across = ((place - torch.randint(0, size, (n, 1))).abs() * 2 < side for _ in range(2))
    return x.masked_fill(((down & hit)[:, :, None] & across[:, None, :])[:, None], 0.0)


def shuffled(data: Labelled, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches without end; every epoch in a new order."""
    while True:
        order = torch.randperm(len(data.images))
        for i in range(0, len(order) - batch + 1, batch):
            rows = order[i : i + batch]
            yield data.images[rows], data.labels[rows]


def grey_batches(data: dict[str, dict[str, Labelled]]) -> Iterator[list[Drawn]]:
    """112 garments and 16 digits, the latter of another version in every batch."""
    (garments,) = (shuffled(s, 112) for s in data["fashion-mnist"].values())
    digits = [shuffled(s, 16) for s in data["digits"].values()]
    for step, (x, y) in enumerate(garments):
        digit, number = next(digits[step % len(digits)])
        garment = erased(shaken(x, 3, 0.06, 1.5), 8, 0.3)
        yield [("fashion-mnist", garment, y), ("digits", shaken(digit, 10, 0.12, 2.5), number)]


def colour_batches(data: dict[str, dict[str, Labelled]]) -> Iterator[list[Drawn]]:
    """112 of CIFAR-10 and 8 of each other set at 32 pixels; every eighth batch 24 of each other set at 64."""
    cifar = shuffled(data["cifar10"]["32-box"], 112)
    others = ("clothing", "flowers")
    small = {head: shuffled(data[head]["32-box"], 8) for head in others}
    large = {head: shuffled(data[head]["64-box"], 24) for head in others}
    while True:
        for _ in range(7):
            x, y = next(cifar)
            more = ((head, *next(small[head])) for head in others)
            yield [("cifar10", cropped(x, 3), y), *((head, cropped(a, 4), b) for head, a, b in more)]
        more = ((head, *next(large[head])) for head in others)
        yield [(head, cropped(a, 8), b) for head, a, b in more]


BATCHES = {"grey": grey_batches, "colour": colour_batches}
