"""Verbs of the command line: each with its name, its line of help, and the place of its function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, final


@final
@dataclass(frozen=True)
class Verb:
    """One verb; its module is imported when it is used."""

    line: str
    """First line of the function's docstring, so that ``brickwork --help`` imports no verb."""
    function: str
    """Function in the module of this package, as ``module:name``."""
    reads_words: bool = False
    """True if the function takes the words that follow the verb, instead of parsed options."""

    def load(self) -> Callable[..., Any]:
        """Import the verb's module and return its function."""
        module, _, name = self.function.partition(":")
        return getattr(import_module(f"brickwork.cli.{module}"), name)


VERBS: dict[str, Verb] = {
    "list": Verb(
        "List presets, solvers, schedules, processes, predictions, devices, shipped models and extras.",
        "list_:print_list",
    ),
    "macs": Verb(
        "Count parameters, MACs and activation bytes of a preset or a model. 1 MAC = 2 FLOP.", "macs:print_macs"
    ),
    "train": Verb(
        "Train a preset or a recipe on images; any field of the recipe can be set.", "train:train", reads_words=True
    ),
    "autoencoder": Verb(
        "Train, import or describe an autoencoder, whose latents a model learns.",
        "autoencoder:autoencoder",
        reads_words=True,
    ),
    "sample": Verb(
        "Draw pictures: a sheet when --out ends in .png, else a folder with the sheet and every picture.",
        "sample:draw",
    ),
    "edit": Verb(
        "Edit a picture: change it, draw a region anew, enlarge a coarse one or colour a grey one.", "edit:edit"
    ),
    "info": Verb("Describe a model or a package: what it is, its training, and what it needs.", "info:print_info"),
    "eval": Verb(
        "Measure quality against a reference: held-out loss by noise level, Fréchet distance, class agreement.",
        "eval_:evaluate",
    ),
    "import": Verb(
        "Import published weights of other projects as a model; nothing in their file is executed.",
        "import_:import_weights",
    ),
    "pack": Verb(
        "Make a package that runs without PyTorch; it is compared with the model, and kept only if it draws the same.",
        "pack:pack",
    ),
    "run": Verb("Draw pictures from a package, on this device, without PyTorch.", "run:run", reads_words=True),
    "verify": Verb("Check every byte of a package, and describe it.", "verify:verify"),
    "sensitivity": Verb(
        "Measure the cost of fewer bits in each part of a network, for `brickwork pack --fp32-layers`.",
        "sensitivity:sensitivity",
    ),
    "serve": Verb(
        "Open browser packages on this machine: prints the address, and serves until interrupted.", "serve:serve"
    ),
    "bench": Verb(
        "Measure time, memory and energy of packages and models in turn; ratios to the first.", "bench:bench"
    ),
    "workload": Verb(
        "List every operator of the block that a model repeats: shapes, MACs, bytes moved, FLOP per byte.",
        "workload:print_workload",
    ),
}
