"""Images of a run: those it trains on, and held-out ones that it never sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from brickwork.data.config import DataConfig
from brickwork.data.dataset import Dataset, load_dataset, load_heldout
from brickwork.errors import MissingSplitError

Images = Dataset | str | Path
"""A data set, or the path or name to read one from by ``load_dataset``."""


def images_of_run(
    images: Images, config: DataConfig, heldout: Dataset | None = None, *, progress: bool = False
) -> tuple[Dataset, Dataset | None, str]:
    """Read the images that a run trains on, and those that it is measured on.

    Args:
        images: A data set, used as it is; or a path or name to read the images and the held-out ones from.
        config: Preparation of the images.
        heldout: Images never trained on; by default those that the path or name has.
        progress: Show a bar.

    Returns:
        Training images; held-out images or None; and the reason if a path or name has none, else "".

    Raises:
        DataError: ``load_dataset`` would raise it.
    """
    if isinstance(images, Dataset):
        return images, heldout, ""
    data = load_dataset(images, config, progress=progress)
    if heldout is not None:
        return data, heldout, ""
    return data, *heldout_beside(images, config, data)


def heldout_beside(spec: str | Path, config: DataConfig, data: Dataset) -> tuple[Dataset | None, str]:
    """Read prepared images that a run on ``data`` never trains on; or return None and the reason why there are none.

    Args:
        spec: Path or name of the data set.
        config: Preparation of its images.
        data: The training images, whose size and channels the held-out ones get.
    """
    height, width, channels = data.shape
    overlap = f"split {config.split!r} trains on the held-out images; split 'train' keeps them apart"
    if config.split in ("all", "test", "heldout"):
        return None, overlap
    side = height if height == width else config.size
    try:
        heldout = load_heldout(spec, replace(config, size=side, channels=channels))
    except MissingSplitError as error:
        return None, str(error)
    if heldout.digest == data.digest:  # split "validation" in a set without test images
        return None, overlap
    return heldout, ""
