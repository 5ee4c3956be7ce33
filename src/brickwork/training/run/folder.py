"""The folder of a training run: its files, and the checks before a run in it is resumed.

recipe.toml          the resolved recipe
state.safetensors    all that is needed to resume exactly
log.jsonl            loss, learning rate, speed, measurements; one JSON object per line
curve.png            the same as a picture
samples/             sheets of pictures
.lock                held by the run that writes here (lock.py)

The model's own file is named by each kind of run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, final

from torch import Tensor

from brickwork.errors import CheckpointError, ConfigError, ExtensionError, UnknownNameError
from brickwork.files.owned import sweep
from brickwork.files.whole import write_whole
from brickwork.training.run.fitting import reading_differences
from brickwork.training.run.recipe import RunRecipe, differing_fields
from brickwork.training.run.recipe_file import RECIPE_FILE
from brickwork.training.run.statefile import StateHeader, StateKind, read_state

STATE_FILE = "state.safetensors"
LOG_FILE = "log.jsonl"
CURVE_FILE = "curve.png"


R = TypeVar("R", bound=RunRecipe)


@final
@dataclass(frozen=True, kw_only=True)
class RunKind(Generic[R]):
    """A kind of run: the names of its files, and the writer and reader of its recipes."""

    state: StateKind
    """Key of the header of its saved states."""
    model_file: str
    """Name of the model's file."""
    headline: str
    """Format of the progress bar's text, with names of the state's gauges."""
    to_toml: Callable[[R], str]
    """Function that writes a recipe as TOML."""
    parse: Callable[[str], R]
    """Function that reads a recipe from TOML; raises ConfigError."""
    other_way: str = ""
    """Another way out for a folder that holds a run of another recipe; "{folder}" stands for the folder."""


@final
@dataclass(frozen=True, kw_only=True)
class Ingredient:
    """A model that a run begins with, beside its recipe and its data."""

    digest: str
    """Digest of the model; "" for none."""
    refusal: str = ""
    """Message, with the way out, where a saved run has another model; "" where a resumed run keeps its own.
    "{reading}" stands for the differences in how the two runs read their images.
    """


@final
class RunFolder:
    """The folder in which a run is kept.

    Args:
        path: The folder.
        kind: The kind of run that is written there.
    """

    def __init__(self, path: Path, kind: RunKind[Any]) -> None:
        self.path, self.kind = path, kind

    @property
    def holds_run(self) -> bool:
        """True where there is a saved state to resume from."""
        return (self.path / STATE_FILE).exists()

    def check(self, *, resume: bool) -> None:
        """Refuse a folder whose files a run would overwrite.

        Raises:
            ConfigError: It holds a model without a state to resume from, or a run and resume is not set.
        """
        out, model = self.path, self.kind.model_file
        if self.holds_run:
            if not resume:
                raise ConfigError(f"{out} already holds a run: choose another out folder, or let it resume")
        elif (out / model).exists():
            raise ConfigError(f"{out} holds {model} without {STATE_FILE} to go on from: choose another out folder")

    def read(self) -> tuple[dict[str, Tensor], StateHeader, RunRecipe]:
        """Return tensors, header and recipe of the saved state.

        Raises:
            CheckpointError: The saved state is broken, or its recipe cannot be read.
        """
        path = self.path / STATE_FILE
        tensors, header = read_state(path, self.kind.state)
        try:
            return tensors, header, self.kind.parse(header.recipe)
        except (ConfigError, UnknownNameError, ExtensionError) as error:
            reason = f"a recipe that cannot be read ({error})"
            raise CheckpointError(f"{path} holds {reason}: choose another out folder") from error

    def check_beginning(
        self, before: RunRecipe, recipe: RunRecipe, header: StateHeader, ingredients: Mapping[str, Ingredient]
    ) -> None:
        """Refuse to resume a run that began with another recipe, other data or another model.

        Raises:
            ConfigError: A result-changing field or an ingredient differs.
        """
        if changed := differing_fields(before, recipe):
            raise ConfigError(
                f"{self.path} holds a run with another recipe ({'; '.join(changed[:3])}): resume it with its own "
                f"{RECIPE_FILE}, or choose another out folder{self.kind.other_way.format(folder=self.path)}"
            )
        for name, one in ingredients.items():
            if one.refusal and getattr(header, name) != one.digest:
                refusal = one.refusal.format(reading=reading_differences(before, recipe))
                raise ConfigError(f"{self.path} holds a run {refusal}, or choose another out folder")

    def write_recipe(self, recipe: RunRecipe) -> None:
        """Write the resolved recipe."""
        write_whole(self.path / RECIPE_FILE, self.kind.to_toml(recipe).encode())

    def sweep(self) -> None:
        """Remove the unfinished files of a run that was killed while writing, also one by an earlier version."""
        for place in (self.path, self.path / "samples"):
            sweep(place, ".*.part")
