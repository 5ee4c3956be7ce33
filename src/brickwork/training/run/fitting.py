"""Agreement of a recipe and its data on how images are read; contradictions are refused."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace
from typing import Any

from brickwork.data.config import DataConfig
from brickwork.data.dataset import Dataset
from brickwork.errors import ConfigError
from brickwork.files.proposed import origins
from brickwork.training.run.recipe import RunRecipe


def reading_of(asked: DataConfig, data: Dataset) -> DataConfig:
    """Return how the images of a run were read; the recipe keeps it, so that a resumed run can read them again.

    Args:
        asked: The recipe's own section; all defaults where it says nothing.
        data: Training images; they carry how they were read, if they were read from files.

    Raises:
        ConfigError: The recipe and the data set say different things.
    """
    height, width, channels = data.shape
    read = data.config
    said = {"size": asked.size, "channels": asked.channels, "flip": asked.flip}
    facts = {"size": height if height == width else asked.size, "channels": channels, "flip": data.flip}
    told = {name: (value, facts[name]) for name, value in said.items() if value not in (None, facts[name])}
    if read is not None and asked != DataConfig():
        pairs = {item.name: (getattr(asked, item.name), getattr(read, item.name)) for item in fields(asked)}
        told |= {name: pair for name, pair in pairs.items() if pair[0] != pair[1] and name != "flip"}
    if told:
        name, (want, has) = next(iter(told.items()))
        raise ConfigError(
            f"data.{name} is {_word(want)} in the recipe, and the images of {data.name} were read with "
            f"{_word(has)}: give load_dataset the recipe's data, leave data out of the recipe, or give the path itself"
        )
    return asked if read is None else replace(read, flip=data.flip)


def reading_differences(before: RunRecipe, now: RunRecipe) -> str:
    """Describe how two runs read their images differently, as " (data.size: 16 → 32)"; empty if they do not."""
    pairs = [(item.name, getattr(before.data, item.name), getattr(now.data, item.name)) for item in fields(now.data)]
    told = [f"data.{name}: {_word(old)} → {_word(new)}" for name, old, new in pairs if old != new]
    return f" ({'; '.join(told)})" if told else ""


def told_origins(section: str, before: Any, after: Any, names: Collection[str]) -> str:
    """Describe where each number of a fitted config comes from, one line each: you, preset, or data."""
    rows = origins(before, after, names).items()
    return "\n".join(f"{section}.{name:<16} {getattr(after, name):<6} from {where}" for name, where in rows)


def told_images(data: Dataset, heldout: Dataset | None, missing: str) -> str:
    """Describe in two lines which images a run trains on and which it holds out."""
    height, width, channels = data.shape
    held = f"nothing held out: {missing}" if heldout is None else f"{len(heldout)} images held out"
    return f"{len(data)} images of {width}x{height}x{channels}, digest {data.digest[:12]}\n{held}"


def told_split(data: Dataset, heldout: Dataset | None, missing: str) -> str:
    """Describe in one line how many images a run trains on and holds out. missing: why it holds out none, if known."""
    height, width, channels = data.shape
    held = f", {len(heldout):,} held out" if heldout is not None else f"; no held-out loss: {missing or 'none given'}"
    return f"trains on {len(data):,} images of {width}x{height}x{channels}{held}"


def _word(value: object) -> str:
    """Return a value as text for a message."""
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
