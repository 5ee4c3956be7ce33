"""The command line: a function a verb, which calls the library; its docstring is its help."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

import brickwork
from brickwork.errors import ArgumentError, BrickworkError, UnknownNameError

if TYPE_CHECKING:
    from brickwork.model import Model
    from brickwork.training.recipe import Recipe

ModelName = Annotated[str, arg(metavar="MODEL", help="Run folder, model file, or a shipped model by name.")]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How pictures are drawn; shared by every verb that draws."""

    labels: tuple[str, ...] = ()
    """Classes by number or name, one row each; the first ten when left out."""
    seeds: tuple[str, ...] = ("0-7",)
    """Seeds and ranges, as in 0-7 12; one column each."""
    steps: int = 50
    """Steps of the solver."""
    solver: str = "dpm2m"
    """Solver, with its options behind a colon: ddim, ddim:eta=1, heun:churn=10, dpm3m, euler-maruyama."""
    grid: str = "karras"
    """Noise levels: karras, log-snr, linear."""
    guidance: float = 1.0
    """Classifier-free guidance; 1 is off."""
    guidance_interval: tuple[float, float] = (0.0, float("inf"))
    """Guide only where the noise level lies in this interval."""
    batch_size: int = 64
    """Images drawn at once; never changes a picture."""
    precision: str = "fp32"
    """fp32 or bf16, for the network alone."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""

    def options(self) -> dict[str, Any]:
        """The keyword arguments of ``brickwork.sample``."""
        from brickwork.sampling.grid import GRIDS
        from brickwork.sampling.solvers import SOLVERS

        return {
            "steps": self.steps,
            "solver": choose("solver", self.solver, SOLVERS),
            "grid": choose("grid", self.grid, GRIDS),
            "guidance": self.guidance,
            "guidance_interval": self.guidance_interval,
            "batch_size": self.batch_size,
        }

    def open(self, name: str) -> Model:
        """Load a model at the precision and on the device asked."""
        from brickwork.checkpoint import load
        from brickwork.model import choose_device

        if self.precision not in ("fp32", "bf16"):
            raise ArgumentError(f"precision {self.precision!r}: it must be fp32 or bf16")
        model = load(name, choose_device(self.device))
        model.precision = self.precision
        return model


def parse_seeds(texts: Sequence[str]) -> list[int]:
    """Seeds from words such as "3", "0-7" or "1,2".

    Raises:
        ArgumentError: A word is no seed and no rising range.
    """
    seeds: list[int] = []
    for word in (w for text in texts for w in text.split(",") if w):
        first, dash, last = word.partition("-")
        if not first.isdecimal() or (dash and not (last.isdecimal() and int(last) >= int(first))):
            raise ArgumentError(f"seed {word!r}: give a number from 0 to 2^64-1 or a rising range such as 0-7")
        seeds.extend(range(int(first), int(last or first) + 1))
    return seeds


def choose(kind: str, text: str, registry: Mapping[str, Callable[..., Any]]) -> Any:
    """What a registry holds under a name, with numbers behind a colon: "heun:churn=10,churn_noise=1.003".

    Raises:
        UnknownNameError: No such name.
        ArgumentError: An option it does not have, or one that is no number.
    """
    name, _, options = text.partition(":")
    if name not in registry:
        raise UnknownNameError(kind, name, registry)
    values: dict[str, float] = {}
    for key, _, value in (option.partition("=") for option in options.split(",") if option):
        try:
            values[key] = float(value)
            registry[name](**values)
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"{kind} {text!r}: {key!r} must be one of its options and a number") from error
    return registry[name](**values)


def print_list() -> None:
    """Presets, solvers, grids, processes, targets, shipped models and extras."""
    from brickwork.backbone.presets import PRESETS
    from brickwork.checkpoint import SHIPPED
    from brickwork.sampling.grid import GRIDS
    from brickwork.sampling.process import PROCESSES
    from brickwork.sampling.solvers import SOLVERS
    from brickwork.sampling.target import TARGETS

    rows: list[tuple[str, Sequence[str]]] = [
        ("models", SHIPPED),
        ("presets", list(PRESETS)),
        ("solvers", list(SOLVERS)),
        ("grids", list(GRIDS)),
        ("processes", list(PROCESSES)),
        ("targets", list(TARGETS)),
    ]
    for title, names in rows:
        print(f"{title:<10} {'  '.join(names)}")
    extras = {"digits": "sklearn", "hub": "huggingface_hub", "tensorboard": "tensorboard"}
    print("extras     " + "  ".join(f"{k} ({'installed' if find_spec(v) else 'missing'})" for k, v in extras.items()))


def print_macs(
    model: Positional[ModelName],
    *,
    size: int | None = None,
    steps: int = 50,
    solver: str = "dpm2m",
    guidance: float = 1.0,
    as_json: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Parameters, MACs and activation bytes of a preset or a model. 1 MAC = 2 FLOP.

    Args:
        model: Preset, run folder or model file.
        size: Pixels on a side; that of the preset or model when left out.
        steps: Steps of the solver, for the cost of a whole image.
        solver: The solver, for the cost of a whole image.
        guidance: Other than 1 doubles the evaluations.
        as_json: Print JSON.
    """
    from brickwork.backbone.presets import PRESETS, preset
    from brickwork.checkpoint import BACKBONES, find_model, from_entry, read_header
    from brickwork.counting import cost
    from brickwork.sampling.solvers import SOLVERS

    known = model in PRESETS or not find_model(model).exists()
    config = preset(model) if known else from_entry(BACKBONES, read_header(model)["backbone"], "backbone")
    result = cost(config, size=size)
    evaluations = choose("solver", solver, SOLVERS).evaluations(steps)
    image = result.macs_per_image(evaluations, guided=guidance != 1)
    if as_json:
        per_image = {"steps": steps, "solver": solver, "guidance": guidance, "evaluations": evaluations, "macs": image}
        print(json.dumps(result.to_dict() | {"image": per_image}, indent=2))
    else:
        print(
            f"{result}\none image: {evaluations} evaluations ({steps} steps of {solver}"
            f"{', guided' if guidance != 1 else ''}), {image / 1e9:.4g} GMAC"
        )


def draw(
    model: Positional[ModelName], *, out: Path = Path("samples.png"), drawing: OmitArgPrefixes[Drawing] = Drawing()
) -> None:
    """Draw pictures: a sheet when --out ends in .png, else a folder with the sheet and every picture.

    Args:
        model: What draws.
        out: Where to; PNG file or folder. Each PNG carries seed, model hash and settings.
        drawing: How.
    """
    import numpy as np

    from brickwork.sampling.loop import sample
    from brickwork.sampling.picture import save_png, sheet

    denoiser = drawing.open(model)
    seeds = parse_seeds(drawing.seeds)
    classes = [denoiser.class_index(label) for label in drawing.labels] or list(range(denoiser.num_classes))[:10]
    labels = [k for k in classes for _ in seeds] or None
    images = sample(denoiser, seeds=seeds * max(len(classes), 1), labels=labels, progress=True, **drawing.options())
    facts = {
        "model": str(model),
        "sha256": denoiser.digest,
        "version": brickwork.__version__,
        "steps": drawing.steps,
        "solver": drawing.solver,
        "grid": drawing.grid,
        "guidance": drawing.guidance,
        "guidance_interval": [str(x) for x in drawing.guidance_interval],
        "precision": drawing.precision,
    }
    names = [denoiser.classes[k] for k in classes] or None
    scale = max(1, 48 // images.shape[1])
    grid = sheet(images, len(seeds), scale=scale, row_captions=names, column_captions=[str(seed) for seed in seeds])
    path = out if out.suffix.lower() == ".png" else out / "sheet.png"
    save_png(grid, path, facts | {"labels": classes, "seeds": seeds})
    print(f"{len(images)} pictures in {path}")
    if path != out:
        for index, image in enumerate(np.asarray(images)):
            row, column = divmod(index, len(seeds))
            label = classes[row] if classes else None
            name = f"seed{seeds[column]}.png" if label is None else f"label{label}_seed{seeds[column]}.png"
            save_png(image, out / name, facts | {"label": label, "seed": seeds[column]})


def print_info(model: Positional[ModelName], *, as_json: Annotated[bool, arg(name="json")] = False) -> None:
    """What a model is, what it was trained on, and what it needs.

    Args:
        model: Which.
        as_json: Print the header as JSON.
    """
    from brickwork.checkpoint import file_digest, find_model, read_header

    header = read_header(model)
    if as_json:
        print(json.dumps(header, indent=2))
        return
    path = find_model(model)
    print(f"file       {path} ({path.stat().st_size / 1e6:.2f} MB)\nsha256     {file_digest(path)}")
    for part in ("backbone", "process", "target", "codec"):
        name, values = header[part]
        print(f"{part:<10} {name}: " + ", ".join(f"{k}={v}" for k, v in values.items()))
    print(f"classes    {', '.join(header['classes']) or 'none'}")
    for key, value in header["training"].items():
        print(f"{key:<10} {str(value).strip().replace(chr(10), chr(10) + ' ' * 11)}")


def evaluate(
    model: Positional[ModelName],
    *,
    reference: Annotated[str, arg(metavar="DATA")],
    num_images: int = 1000,
    out: Path | None = None,
    drawing: OmitArgPrefixes[Drawing] = Drawing(),
) -> None:
    """Quality against a reference: held-out loss by noise level, Fréchet distance, class agreement.

    Args:
        model: Which.
        reference: Images with held-out part: folder, zip, npz, IDX, hub set or "digits".
        num_images: Pictures drawn for distance and agreement.
        out: Also write the report as JSON here.
        drawing: How the pictures are drawn; labels and seeds are chosen by the measure.
    """
    from brickwork.measure.evaluate import evaluate as measure

    report = measure(drawing.open(model), reference, num_images=num_images, progress=True, **drawing.options())
    print(report)
    if out is not None:
        report.save(out)
        print(f"report in {out}")


def train(words: Sequence[str]) -> None:
    """Train a preset or a recipe on images; any field of the recipe can be set.

    brickwork train NAME --help lists the fields, which depend on the backbone of the preset or recipe.
    --process, --target, --times and --weighting take a name and come before their own fields.
    """
    words = list(words)
    name = next((word for word in words if not word.startswith("-")), None)
    if name is None or words.index(name) != 0:
        from brickwork.backbone.presets import PRESETS

        raise ArgumentError(
            f"train {' '.join(words)}: the first word must be a preset or a recipe, as in `brickwork train "
            f"stoic-small --data photos/ --out runs/a --minutes 30`; presets are {', '.join(PRESETS)}"
        )
    start = _take_parts(_start(name), rest := words[1:])

    def run(
        *,
        data: Annotated[str, arg(metavar="DATA")],
        out: Path,
        init: str | None = None,
        device: str = "auto",
        dry_run: bool = False,
        recipe: Annotated[Recipe, arg(name="")] = start,
    ) -> None:
        """Train; a run folder that holds an unfinished run of the same recipe is taken up where it was.

        Args:
            data: Images: folder, zip, npz, IDX, hf:owner/name or "digits".
            out: The run folder.
            init: A model to start from; what does not fit is resized or left fresh, and listed.
            device: auto, cpu, cuda or mps.
            dry_run: Print the resolved recipe and its cost, and stop.
            recipe: Everything that changes the result.
        """
        from brickwork.checkpoint import load
        from brickwork.data.dataset import load_dataset, load_heldout
        from brickwork.training.loop import train as run_training
        from brickwork.training.recipe import fit_to_data
        from brickwork.training.recipe_file import to_toml

        images = load_dataset(data, recipe.data, progress=True)
        for report in images.skipped:
            print(f"skipped {report}", file=sys.stderr)
        if dry_run:
            from brickwork.counting import cost

            fitted = fit_to_data(recipe, images)
            print(f"{to_toml(fitted)}\n{len(images)} images, digest {images.digest[:12]}\n{cost(fitted.backbone)}")
            return
        heldout = load_heldout(data, recipe.data)
        model = run_training(recipe, images, out, heldout, device=device, init=load(init) if init else None)
        state = "finished" if model.facts["finished"] else "stopped; the same command goes on"
        print(f"{state}: model, recipe, log, curve and samples are in {out}")

    from brickwork.training.recipe import Recipe

    run.__annotations__["recipe"] = Annotated[Recipe, arg(name="")]
    tyro.cli(run, prog=f"brickwork train {name}", args=rest)


def _start(name: str) -> Recipe:
    """The recipe in a file, or the default one around a preset."""
    from brickwork.backbone.presets import preset
    from brickwork.training.recipe import Recipe
    from brickwork.training.recipe_file import load_recipe

    return load_recipe(name) if name.endswith(".toml") else Recipe(backbone=preset(name))


def _take_parts(recipe: Recipe, words: list[str]) -> Recipe:
    """Exchange the parts that the words name, and take these words away."""
    from brickwork.sampling.process import PROCESSES
    from brickwork.sampling.target import TARGETS
    from brickwork.training.loss import WEIGHTINGS
    from brickwork.training.times import TIMES

    registries = {"process": PROCESSES, "target": TARGETS, "times": TIMES, "weighting": WEIGHTINGS}
    for kind, registry in registries.items():
        if f"--{kind}" in words:
            place = words.index(f"--{kind}")
            name = words[place + 1] if place + 1 < len(words) else ""
            recipe = replace(recipe, **{kind: choose(kind, name, registry)})
            del words[place : place + 2]
    return recipe


VERBS: dict[str, Callable[..., None]] = {
    "list": print_list,
    "macs": print_macs,
    "train": train,
    "sample": draw,
    "info": print_info,
    "eval": evaluate,
}


def _help() -> str:
    rows = [f"  {verb:<8} {(act.__doc__ or '').splitlines()[0]}" for verb, act in VERBS.items()]
    return "\n".join(["brickwork VERB [options]      brickwork VERB --help lists the options", "", *rows])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code. A user's error becomes one line and 1."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0
    if words[0] == "--version":
        print(brickwork.__version__)
        return 0
    verb, rest = words[0], words[1:]
    try:
        if verb not in VERBS:
            raise UnknownNameError("verb", verb, VERBS)
        if verb == "train":
            train(rest)
        else:
            tyro.cli(VERBS[verb], prog=f"brickwork {verb}", args=rest)
    except BrickworkError as error:
        print(f"brickwork {verb}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output left, as in `brickwork list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
