"""Latents of a data set, computed once into a file; an interrupted computation continues, and damage is made good.

latents.npy    float32 (N, K, V, Z, h, w). K: mean, and the posterior's standard deviation where the codec samples;
               view 0 is the picture, view 1, where training mirrors, its mirror image
latents.sums and cache.json    what :mod:`brickwork.files.chunks` says
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch

from brickwork.codec.latents import Latents
from brickwork.data.cache import cache_folder
from brickwork.data.dataset import Dataset
from brickwork.data.order import Flips
from brickwork.data.source import Rows
from brickwork.errors import ConfigError
from brickwork.files.bars import Bar
from brickwork.files.chunks import Chunks

FORMAT = 2
AT_ONCE = 64
"""Pictures that are encoded, written and checked together."""
WIDEST, FARTHEST = 4.0, 2.0
"""Largest plausible standard deviation and mean of a scaled channel; beyond, the scaling is of other data."""


@final
@dataclass(frozen=True)
class LatentCache:
    """Scaled latents of N pictures.

    Attributes:
        rows: float32 (N, K, V, Z, h, w), in a file: mean, and deviation where latents are sampled.
    """

    rows: Chunks

    def batch(self, rows: Rows, mirrored: Flips | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Return mean and deviation of the latents of some pictures, (B, Z, h, w) each; None where none is sampled.

        Args:
            rows: Numbers of the pictures, (B,).
            mirrored: True for each one to mirror, (B,); None for none.
        """
        views = np.zeros(len(rows), np.int64) if mirrored is None else mirrored.astype(np.int64)
        parts = self.rows[rows][np.arange(len(rows)), :, views]
        mean, *rest = (np.ascontiguousarray(parts[:, k]) for k in range(parts.shape[1]))
        return mean, rest[0] if rest else None


def latents_folder(data: Dataset, codec: Latents) -> Path:
    """Return the default folder of a data set's latents: below ``latents`` in brickwork's cache folder."""
    return cache_folder().parent / "latents" / f"{data.digest[:16]}-{codec.digest[:16]}{'-flip' if data.flip else ''}"


def open_latents(data: Dataset, codec: Latents, folder: Path | None = None, *, progress: bool = False) -> LatentCache:
    """Open the latents of a data set in a folder; latents missing there are computed.

    Args:
        data: The pictures.
        codec: The codec, on the device to compute on.
        folder: The folder to read or fill; by default in the user's cache.
        progress: Show a bar.

    Raises:
        ConfigError: The folder holds latents of other data or of another codec, or they are not scaled as this codec
            scales them.
        OutputError: The folder cannot be written or the disk is full; finished latents stay.
    """
    place = latents_folder(data, codec) if folder is None else folder
    Z, (H, W) = codec.channels, (side // codec.factor for side in data.shape[:2])
    codec.check(torch.from_numpy(data.batch(np.zeros(1, np.int64))))
    rows = Chunks(
        place,
        "latents",
        {"format": FORMAT, "data": data.digest, "codec": codec.digest},
        shape=(len(data), 1 + (codec.config.posterior == "sample"), 1 + data.flip, Z, H, W),
        dtype="float32",
        per_chunk=AT_ONCE,
        make=lambda start, stop: _latents(data, codec, np.arange(start, stop)),
        ours=folder is None,
    )
    with suppress(OSError):
        (place / "deviations.npy").unlink(missing_ok=True)  # of caches by 0.1, which are made anew
    with Bar(total=len(data), initial=rows.made, unit="image", desc="latents", disable=not progress) as bar:
        rows.fill(bar.update)
    _check_scale(place, rows)
    return LatentCache(rows)


def _latents(data: Dataset, codec: Latents, rows: Rows) -> np.ndarray:
    """Return latents of some pictures, (B, K, V, Z, h, w)."""
    views = []
    for view in range(1 + data.flip):
        images = torch.from_numpy(data.batch(rows, np.full(len(rows), bool(view))))
        mean, deviation = codec.posterior(images.to(codec.mean.device))
        if codec.config.posterior != "sample":
            views.append(mean[:, None])
        else:
            views.append(torch.stack([mean, torch.zeros_like(mean) if deviation is None else deviation], dim=1))
    return torch.stack(views, dim=2).cpu().numpy()


def _check_scale(folder: Path, rows: Chunks) -> None:
    """Refuse latents far from mean 0 and deviation 1: a noise level would not mean the same for them."""
    some = rows[np.arange(0, len(rows), max(1, len(rows) // 1024))][:, 0, 0].astype(np.float64)
    centres, spreads = some.mean(axis=(0, 2, 3)), some.std(axis=(0, 2, 3))
    odd = np.flatnonzero((np.abs(centres) > FARTHEST) | (spreads > WIDEST) | (spreads < 1 / WIDEST))
    for k in odd[:1]:
        raise ConfigError(
            f"{folder}: channel {k} has mean {centres[k]:.3g} and standard deviation {spreads[k]:.3g} after scaling, "
            "which must be near 0 and 1: the autoencoder's statistics are not those of this data; measure them anew "
            "(brickwork autoencoder measure)"
        )
