"""Verbs of the command line: each with its group, its line of help, examples, and the place of its function.

They are a table of our own, and not sub-commands of tyro, since those would need every verb's function at every start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, final, get_args

Group = Literal["Draw", "Train", "Measure", "Devices", "Find your way"]
GROUPS: tuple[Group, ...] = get_args(Group)
"""Groups of verbs, in the order of the page of help."""


@final
@dataclass(frozen=True)
class Verb:
    """One verb; its module is imported when it is used."""

    group: Group
    """What it is for."""
    line: str
    """First line of the function's docstring, so that ``brickwork --help`` imports no verb."""
    function: str
    """Function in the module of this package, as ``module:name``."""
    examples: tuple[str, ...]
    """Commands for its page of help."""
    offers: tuple[str, ...] = ()
    """Words that may follow it, for completion: rows of `brickwork list`, or words themselves."""
    first: tuple[str, ...] = ()
    """First words without which its page of help does not list options."""
    reads_words: bool = False
    """True if the function takes the words that follow the verb, since its options depend on the first of them."""

    def load(self) -> Callable[..., Any]:
        """Import the verb's module and return its function."""
        module, _, name = self.function.partition(":")
        return getattr(import_module(f"brickwork.cli.{module}"), name)


VERBS: dict[str, Verb] = {
    "sample": Verb(
        "Draw",
        "Draw pictures from seeds, of classes or after texts.",
        "sample:draw",
        (
            "brickwork sample digits --label 3 --seed 0 --out three.png",
            "brickwork sample digits --seeds 0-7 --steps 20 --out drawn/",
            "brickwork sample hf:owner/name --out pictures.png",
        ),
        offers=("models",),
    ),
    "edit": Verb(
        "Draw",
        "Edit a picture: change, fill in, enlarge or colour it.",
        "edit:edit",
        ("brickwork edit digits three.png --strength 0.5 --seeds 0-3 --out edited.png",),
        offers=("models",),
    ),
    "demo": Verb(
        "Draw",
        "Open a page that draws with a model.",
        "demo:demo",
        ("brickwork demo digits",),
        offers=("models",),
    ),
    "run": Verb(
        "Draw",
        "Draw pictures from a package, without PyTorch.",
        "run:run",
        ("brickwork run digits.onnx --label 3 --seed 0 --out three.png",),
        reads_words=True,
    ),
    "train": Verb(
        "Train",
        "Train on images: a folder of photographs is enough.",
        "train:train",
        ("brickwork train photos/", "brickwork train stoic-digits --data digits --out runs/a --minutes 2"),
        offers=("presets", "recipes"),
        first=("stoic-tiny",),
        reads_words=True,
    ),
    "data": Verb(
        "Train",
        "Look at images as training will see them.",
        "data:look",
        ("brickwork data photos/", "brickwork data digits --out digits.png"),
    ),
    "doctor": Verb(
        "Train",
        "Say why a run draws bad pictures, and what to change.",
        "doctor:examine",
        ("brickwork doctor runs/photos",),
    ),
    "autoencoder train": Verb(
        "Train",
        "Train an autoencoder, whose latents a model learns.",
        "autoencoder:train",
        ("brickwork autoencoder train --data digits --out runs/latents --minutes 5",),
        offers=("autoencoders",),
        reads_words=True,
    ),
    "autoencoder import": Verb(
        "Train",
        "Import a published autoencoder of diffusers.",
        "autoencoder_import:import_autoencoder",
        ("brickwork autoencoder import stabilityai/sd-vae-ft-mse --data photos/ --out vae.safetensors",),
    ),
    "autoencoder info": Verb(
        "Train",
        "Describe an autoencoder and its training.",
        "autoencoder:info",
        ("brickwork autoencoder info runs/latents",),
    ),
    "import": Verb(
        "Train",
        "Import published weights of other projects as a model.",
        "import_:import_weights",
        ("brickwork import DiT-XL-2-256x256.pt --codec vae.safetensors --out dit.safetensors",),
    ),
    "push": Verb(
        "Train",
        "Upload a model to the Hugging Face Hub, with a card.",
        "push:push",
        ("brickwork push runs/a me/birds --licence apache-2.0 --tag birds",),
        offers=("models",),
    ),
    "export": Verb(
        "Train",
        "Export a model as a folder that another library opens.",
        "export:export",
        ("brickwork export digits --to diffusers --out digits-diffusers",),
        offers=("models",),
    ),
    "eval": Verb(
        "Measure",
        "Measure the quality of a model against a reference.",
        "eval_:evaluate",
        ("brickwork eval digits --reference digits --num-images 200 --out report.json",),
        offers=("models",),
    ),
    "macs": Verb(
        "Measure",
        "Count parameters, MACs and bytes of a preset or a model.",
        "macs:print_macs",
        ("brickwork macs stoic-small --steps 20", "brickwork macs digits --json"),
        offers=("models", "presets"),
    ),
    "workload": Verb(
        "Measure",
        "List the operators of the block that a model repeats.",
        "workload:print_workload",
        ("brickwork workload stoic-small --batch 2 --number-bytes 1",),
        offers=("models", "presets"),
    ),
    "sensitivity": Verb(
        "Measure",
        "Measure what fewer bits cost in each part of a network.",
        "sensitivity:sensitivity",
        ("brickwork sensitivity digits --data digits --precision int8",),
        offers=("models",),
    ),
    "bench": Verb(
        "Measure",
        "Measure time, memory and energy of packages and models.",
        "bench:bench",
        ("brickwork bench digits.onnx digits --repeats 5 --json speed.json",),
        offers=("models",),
    ),
    "pack": Verb(
        "Devices",
        "Make a package that draws without PyTorch.",
        "pack:pack",
        ("brickwork pack digits --out digits.onnx", "brickwork pack digits --target browser --guidance 1.5"),
        offers=("models",),
    ),
    "verify": Verb(
        "Devices",
        "Check every byte of a package, and describe it.",
        "verify:verify",
        ("brickwork verify digits.onnx",),
    ),
    "serve": Verb(
        "Devices",
        "Open browser packages on this machine.",
        "serve:serve",
        ("brickwork serve digits.browser --port 8000",),
    ),
    "list": Verb(
        "Find your way",
        "List presets, solvers and all other names of options.",
        "list_:print_list",
        ("brickwork list",),
        offers=("kinds",),
    ),
    "info": Verb(
        "Find your way",
        "Describe a model or a package.",
        "info:print_info",
        ("brickwork info digits", "brickwork info digits --json"),
        offers=("models",),
    ),
    "completion": Verb(
        "Find your way",
        "Print a script that completes words in a shell.",
        "completion:print_completion",
        ("brickwork completion bash",),
        offers=("bash", "zsh", "fish"),
    ),
}
