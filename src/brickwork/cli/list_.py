"""Verb ``brickwork list``: every name that options accept."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from brickwork.cli.names import IMAGE_CONDITIONS, PRESETS, TEXTS
from brickwork.diffusion.prediction import PREDICTIONS
from brickwork.diffusion.process import PROCESSES
from brickwork.diffusion.schedule import SCHEDULES
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

EXTRAS = {
    "train": "torch",
    "runtime": "onnxruntime",
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


def print_list() -> None:
    """List presets, solvers, schedules, processes, predictions, devices, shipped models and extras."""
    width = max(map(len, ROWS))
    for title, names in ROWS.items():
        say(f"{title:<{width}} {'  '.join(names)}")
    for package, names in outside_names().items():
        say(f"{'packages':<{width}} {package} ({', '.join(names)})")
    here = (f"{extra} ({'installed' if find_spec(module) else 'missing'})" for extra, module in EXTRAS.items())
    say(f"{'extras':<{width}} {'  '.join(here)}")
