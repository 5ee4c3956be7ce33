"""Images for a run: those it trains on, and beside them the ones it never sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from brickwork.data.config import DataConfig
from brickwork.data.dataset import Dataset, load_dataset, load_heldout
from brickwork.errors import MissingSplitError

Images = Dataset | str | Path
"""A data set, or where to read one: a path or a name, as for ``load_dataset``."""


def images_of_run(
    images: Images, config: DataConfig, heldout: Dataset | None = None, *, progress: bool = False
) -> tuple[Dataset, Dataset | None, str]:
    """Read what a run trains on, and what it measures on.

    Args:
        images: A data set, which is taken as it is; or where to read one, and its held-out images with it.
        config: How images are read.
        heldout: Images never trained on; what ``images`` has where left out.
        progress: Show a bar.

    Returns:
        Training images; held-out images or None; and why there are none of a source that was read here, or "".

    Raises:
        DataError: As ``load_dataset``.
    """
    if isinstance(images, Dataset):
        return images, heldout, ""
    data = load_dataset(images, config, progress=progress)
    if heldout is not None:
        return data, heldout, ""
    return data, *heldout_beside(images, config, data)


def heldout_beside(spec: str | Path, config: DataConfig, data: Dataset) -> tuple[Dataset | None, str]:
    """Read images that a run on ``data`` never trains on, made alike; or None, and the reason why there are none.

    Args:
        spec: Where the data set was read.
        config: How.
        data: The training images, whose size and channels the others get.
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
    if heldout.digest == data.digest:  # validation, where there is no test
        return None, overlap
    return heldout, ""
