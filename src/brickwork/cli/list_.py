"""Verb ``brickwork list``: every name that options accept."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from textwrap import wrap
from typing import Annotated

from tyro.conf import Positional, arg

from brickwork.cli.names import IMAGE_CONDITIONS, OURS, PRESETS, TEXTS, families
from brickwork.cli.page import WIDTH
from brickwork.diffusion.prediction import PREDICTIONS
from brickwork.diffusion.process import PROCESSES
from brickwork.diffusion.schedule import SCHEDULES
from brickwork.files.choices import one_of
from brickwork.files.recipes import recipe_names
from brickwork.files.streams import say
from brickwork.model.header import SHIPPED
from brickwork.package.targets.table import TARGETS
from brickwork.registry import outside_names
from brickwork.sampling.canvas import MODES
from brickwork.sampling.solvers import SOLVERS

ROWS: dict[str, Iterable[str]] = {
    "models": SHIPPED,
    "recipes": [*recipe_names(), *recipe_names("autoencoder")],
    "presets": PRESETS,
    "solvers": SOLVERS,
    "schedules": SCHEDULES,
    "processes": PROCESSES,
    "predictions": PREDICTIONS,
    "texts": TEXTS,
    "image-condition": IMAGE_CONDITIONS,
    "canvases": MODES,
    "devices": TARGETS,
}
"""Names by the title of their row."""

FOLDED = {
    "presets": [*OURS, *(f"{names[0]} ... ({len(names)} {family})" for family, names in families().items())],
}
"""Names as the list shows them, where there are too many."""

EXTRAS = {
    "train": "torch",
    "runtime": "onnxruntime",
    "demo": "gradio",
    "digits": "sklearn",
    "heif": "pillow_heif",
    "hub": "huggingface_hub",
    "peers": "diffusers",
    "plots": "matplotlib",
    "browser": "pooch",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "text": "transformers",
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "executorch": "executorch",
    "litert": "ai_edge_litert",
    "coreml": "coremltools",
    "web": "playwright",
}
"""Package whose presence shows that an extra is installed, by the extra's name."""


MARGIN = max(map(len, ROWS)) + 1
"""Columns before the names."""


def print_list(
    kind: Positional[Annotated[str | None, one_of("kind of name", ROWS), arg(metavar="KIND")]] = None,
) -> None:
    """List presets, solvers and all other names of options.

    Args:
        kind: A row of the list, to print all its names, one a line.
    """
    if kind is not None:
        say(*ROWS[kind])
        return
    for title, names in ROWS.items():
        _say_row(title, FOLDED.get(title, names))
    for package, names in outside_names().items():
        _say_row("packages", [f"{package} ({', '.join(names)})"])
    _say_row("extras", (f"{extra} ({'installed' if find_spec(part) else 'missing'})" for extra, part in EXTRAS.items()))


def _say_row(title: str, names: Iterable[str]) -> None:
    """Print a title and names, over several lines if needed."""
    words = [name.replace(" ", "\xa0") for name in names]  # a name stays in one line
    lines = wrap("  ".join(words), WIDTH - MARGIN, break_long_words=False, break_on_hyphens=False)
    for number, line in enumerate(lines):
        say(f"{title if not number else '':<{MARGIN}}{line.replace(chr(160), ' ')}")
