"""Latents of a data set, computed once into memory-mapped files; an interrupted computation continues.

latents.npy       float32 (V, N, Z, h, w): view 0 is the picture, view 1, where training mirrors, its mirror image
deviations.npy    the same shape: the posterior's standard deviation, where the codec samples
cache.json        digests of the data and the codec, and how many pictures are done
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from brickwork.codec.latents import Latents
from brickwork.data.cache import cache_folder
from brickwork.data.dataset import Dataset
from brickwork.data.order import Flips
from brickwork.data.source import Rows
from brickwork.errors import ConfigError, OutputError
from brickwork.files.bars import Bar
from brickwork.files.whole import write_whole

FACTS, LATENTS, DEVIATIONS = "cache.json", "latents.npy", "deviations.npy"
FORMAT = 1
AT_ONCE = 64
"""Pictures encoded before the count of finished ones is written again."""
WIDEST, FARTHEST = 4.0, 2.0
"""Largest plausible standard deviation and mean of a scaled channel; beyond, the scaling is of other data."""


@final
@dataclass(frozen=True)
class LatentCache:
    """Scaled latents of N pictures.

    Attributes:
        mean: float32 (V, N, Z, h, w), mapped from a file.
        deviation: The same, or None where latents are not sampled.
    """

    mean: np.ndarray
    deviation: np.ndarray | None

    def batch(self, rows: Rows, mirrored: Flips | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Return mean and deviation of the latents of some pictures, (B, Z, h, w) each.

        Args:
            rows: Numbers of the pictures, (B,).
            mirrored: True for each one to mirror, (B,); None for none.
        """
        views = np.zeros(len(rows), np.int64) if mirrored is None else mirrored.astype(np.int64)
        mean = np.ascontiguousarray(self.mean[views, rows])
        return mean, None if self.deviation is None else np.ascontiguousarray(self.deviation[views, rows])


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
    folder = latents_folder(data, codec) if folder is None else folder
    Z, (H, W) = codec.channels, (side // codec.factor for side in data.shape[:2])
    codec.check(torch.from_numpy(data.batch(np.zeros(1, np.int64))))
    shape = (1 + data.flip, len(data), Z, H, W)
    sampled = codec.config.posterior == "sample"
    facts = {"format": FORMAT, "data": data.digest, "codec": codec.digest, "shape": list(shape), "sampled": sampled}
    names = [LATENTS, DEVIATIONS] if sampled else [LATENTS]
    try:
        done = _begin(folder, facts, names)
        if done < len(data):
            _compute(folder, facts, names, done, data, codec, progress)
        mean, *rest = [np.load(folder / name, mmap_mode="r") for name in names]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"{folder}: cannot keep latents here ({reason}); make room, or name another folder"
        ) from error
    _check_scale(folder, mean)
    return LatentCache(mean, rest[0] if rest else None)


def _begin(folder: Path, facts: dict[str, Any], names: list[str]) -> int:
    """Return how many pictures are done; create the files where there are none."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / FACTS).exists():
        try:
            found = json.loads((folder / FACTS).read_text())
        except ValueError:
            found = {}
        for key, value in facts.items():
            if found.get(key) != value:
                raise ConfigError(
                    f"{folder} holds latents of another {key} ({str(found.get(key))[:12]}, not {str(value)[:12]}): "
                    "give the data and the autoencoder that they were made with, or another folder"
                )
        if all((folder / name).exists() for name in names):
            return int(found.get("done", 0))
    elif any((folder / name).exists() for name in names):
        raise ConfigError(f"{folder} holds latents without {FACTS} that says what they are of: name another folder")
    for name in names:
        np.lib.format.open_memmap(folder / name, "w+", np.float32, tuple(facts["shape"])).flush()
    _note(folder, facts, 0)
    return 0


def _compute(
    folder: Path, facts: dict[str, Any], names: list[str], done: int, data: Dataset, codec: Latents, progress: bool
) -> None:
    files = [np.lib.format.open_memmap(folder / name, "r+") for name in names]
    with Bar(total=len(data), initial=done, unit="image", desc="latents", disable=not progress) as bar:
        for start in range(done, len(data), AT_ONCE):
            rows = np.arange(start, min(start + AT_ONCE, len(data)))
            for view in range(facts["shape"][0]):
                images = torch.from_numpy(data.batch(rows, np.full(len(rows), bool(view))))
                parts = codec.posterior(images.to(codec.mean.device))
                for file, part in zip(files, parts, strict=False):
                    file[view, rows] = 0 if part is None else part.cpu().numpy()
            for file in files:
                file.flush()
            _note(folder, facts, start + len(rows))
            bar.update(len(rows))


def _note(folder: Path, facts: dict[str, Any], done: int) -> None:
    write_whole(folder / FACTS, json.dumps({**facts, "done": done}).encode())


def _check_scale(folder: Path, mean: np.ndarray) -> None:
    """Refuse latents far from mean 0 and deviation 1: a noise level would not mean the same for them."""
    some = np.asarray(mean[0, :: max(1, len(mean[0]) // 1024)], np.float64)
    centres, spreads = some.mean(axis=(0, 2, 3)), some.std(axis=(0, 2, 3))
    odd = np.flatnonzero((np.abs(centres) > FARTHEST) | (spreads > WIDEST) | (spreads < 1 / WIDEST))
    for k in odd[:1]:
        raise ConfigError(
            f"{folder}: channel {k} has mean {centres[k]:.3g} and standard deviation {spreads[k]:.3g} after scaling, "
            "which must be near 0 and 1: the autoencoder's statistics are not those of this data; measure them anew "
            "(brickwork autoencoder measure)"
        )
