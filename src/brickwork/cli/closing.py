"""Lines at the end of a training run: what was learned, where the pictures are, and the next command."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brickwork.model.model import Model


def closing_lines(model: Model, data: str, folder: Path) -> list[str]:
    """Return the lines at the end of a run; the last one is a command that works as it stands.

    Args:
        model: The averaged model, with the facts of its training.
        data: The images, as the user named them.
        folder: The run folder.
    """
    from brickwork.training.run.folder import LOG_FILE
    from brickwork.training.run.journal import read_journal
    from brickwork.training.run.learned import learned

    facts, run = model.facts, shlex.quote(str(folder))
    if not facts["finished"]:
        return [f"stopped at step {facts['steps']:,}; what goes on is:", f"brickwork train {run}"]
    speed = facts["images"] / max(60 * facts["minutes"], 1e-9)
    lines = [
        f"finished: steps {facts['steps']:,}, images {facts['images']:,}, minutes {facts['minutes']:.3g} "
        f"({speed:,.0f} images/s on {facts['device']}), in {folder}",
        *learned(read_journal(folder / LOG_FILE)),
    ]
    if sheets := sorted((folder / "samples").glob("*.png")):
        lines.append(f"pictures: {sheets[-1]}; longer: `brickwork train {run} --more-minutes 60`; next:")
    return [*lines, next_command(model, data, folder)]


def next_command(model: Model, data: str, folder: Path) -> str:
    """Return the command to type after a run: pictures by new seeds, or a measurement if the model needs a picture."""
    run = str(folder)
    if model.condition_channels:
        return shlex.join(["brickwork", "eval", run, "--reference", data, "--num-images", "100"])
    return shlex.join(["brickwork", "sample", run, "--seeds", "100-107", "--out", f"{folder.resolve().name}.png"])
