"""The command line: a function a verb, which calls the library; its docstring is its help."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

import brickwork
from brickwork.cli.arguments import Drawing, ModelName
from brickwork.cli.autoencoder import autoencoder
from brickwork.cli.bench import bench
from brickwork.cli.edit import edit
from brickwork.cli.package import pack, run, verify
from brickwork.cli.sample import draw
from brickwork.cli.sensitivity import sensitivity
from brickwork.cli.serve import serve
from brickwork.cli.train import train
from brickwork.cli.words import call
from brickwork.cli.workload import print_workload
from brickwork.errors import ArgumentError, BrickworkError, UnknownNameError
from brickwork.sampling.options import choose


def print_list() -> None:
    """List presets, solvers, schedules, processes, predictions, devices, shipped models and extras."""
    from brickwork.backbone.presets import PRESETS
    from brickwork.codec.given import GIVEN
    from brickwork.diffusion.prediction import PREDICTIONS
    from brickwork.diffusion.process import PROCESSES
    from brickwork.diffusion.schedule import SCHEDULES
    from brickwork.model.checkpoint import SHIPPED
    from brickwork.package.pack import TARGETS as DEVICES
    from brickwork.sampling.canvas import MODES
    from brickwork.sampling.solvers import SOLVERS
    from brickwork.text.table import TEXTS

    rows: list[tuple[str, Sequence[str]]] = [
        ("models", SHIPPED),
        ("presets", list(PRESETS)),
        ("solvers", list(SOLVERS)),
        ("grids", list(SCHEDULES)),
        ("processes", list(PROCESSES)),
        ("predictions", list(PREDICTIONS)),
        ("texts", list(TEXTS)),
        ("given", list(GIVEN)),
        ("canvases", list(MODES)),
        ("devices", list(DEVICES)),
    ]
    for title, names in rows:
        print(f"{title:<11} {'  '.join(names)}")
    extras = {"digits": "sklearn", "hub": "huggingface_hub", "peers": "diffusers", "tensorboard": "tensorboard"}
    extras |= {"text": "transformers", "onnx": "onnxruntime", "openvino": "openvino", "executorch": "executorch"}
    extras |= {"litert": "ai_edge_litert", "coreml": "coremltools", "web": "playwright"}
    print("extras      " + "  ".join(f"{k} ({'installed' if find_spec(v) else 'missing'})" for k, v in extras.items()))


def print_macs(
    model: Positional[ModelName],
    *,
    size: int | None = None,
    steps: int = 50,
    solver: str = "dpm2m",
    grid: str = "karras",
    guidance: float = 1.0,
    guidance_interval: tuple[float, float] = (0.0, float("inf")),
    plan: str | None = None,
    as_json: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Parameters, MACs and activation bytes of a preset or a model. 1 MAC = 2 FLOP.

    Args:
        model: Preset, run folder or model file.
        size: Pixels on a side; that of the preset or model when left out.
        steps: Steps of the solver, for the cost of a whole image.
        solver: The solver, for the cost of a whole image.
        grid: Noise levels, which say what a plan costs.
        guidance: Other than 1 doubles the evaluations.
        guidance_interval: Only these noise levels are doubled.
        plan: Parts that run by noise level, as in pg:0.3, and what that saves of a whole image.
        as_json: Print JSON.
    """
    from brickwork.backbone.presets import PRESETS, preset
    from brickwork.cli.train import first_recipe
    from brickwork.diffusion.process import PROCESSES
    from brickwork.diffusion.schedule import SCHEDULES
    from brickwork.files.schema import from_entry
    from brickwork.model.checkpoint import configs_of, find_model, read_header
    from brickwork.model.cost import cost, plan_macs
    from brickwork.sampling.levels import evaluated_levels
    from brickwork.sampling.plan import parse_plan
    from brickwork.sampling.solvers import SOLVERS

    if model in PRESETS or not find_model(model).exists():
        config, guests, process = preset(model), (), first_recipe(model).process
    else:
        header = read_header(model)
        config, *guests = configs_of(header)
        process = from_entry(PROCESSES, header["process"], "process")
    calls = evaluated_levels(
        process,
        steps=steps,
        solver=choose("solver", solver, SOLVERS),
        grid=choose("grid", grid, SCHEDULES),
        guidance=guidance,
        guidance_interval=guidance_interval,
    )
    planned = None if plan is None else parse_plan(plan, config.num_parts + bool(guests))
    result = cost(config, size=size, guests=guests)
    macs = result.macs * sum(call.rows for call in calls)
    image: dict[str, Any] = {"steps": steps, "solver": solver, "guidance": guidance}
    image |= {"evaluations": len(calls), "macs": macs}
    lines = [
        f"one image: {len(calls)} evaluations ({steps} steps of {solver}{', guided' if guidance != 1 else ''}), "
        f"{macs / 1e9:.4g} GMAC"
    ]
    if planned is not None:
        less = plan_macs(config, planned, calls, size=size, guests=guests)
        times = Counter(planned.parts_at(c.sigma) for c in calls)
        image["plan"] = {"plan": str(planned), "evaluations": dict(times), "macs": less, "saved": 1 - less / macs}
        ran = ", ".join(f"{n} parts in {count}" for n, count in times.items())
        lines.append(f"by plan {planned}: {ran}, {less / 1e9:.4g} GMAC, {1 - less / macs:.1%} saved")
    print(json.dumps(result.to_dict() | {"image": image}, indent=2) if as_json else "\n".join([str(result), *lines]))


def print_info(model: Positional[ModelName], *, as_json: Annotated[bool, arg(name="json")] = False) -> None:
    """What a model is, what it was trained on, and what it needs.

    Args:
        model: Which.
        as_json: Print the header as JSON.
    """
    from brickwork.files.tensors import file_digest
    from brickwork.model.checkpoint import find_model, read_header

    header = read_header(model)
    if as_json:
        print(json.dumps(header, indent=2))
        return
    path = find_model(model)
    print(f"file       {path} ({path.stat().st_size / 1e6:.2f} MB)\nsha256     {file_digest(path)}")
    for part in ("backbone", "process", "target", "codec", "given", "text"):
        print(f"{part:<10} {_entry(header[part])}")
    print(f"classes    {', '.join(header['classes']) or 'none'}")
    guest = header.get("guest")
    while guest:
        print(f"guest      {_entry(guest['backbone'])}")
        print(f"           process {_entry(guest['process'])}; target {_entry(guest['target'])}")
        guest = guest.get("guest")
    for key, value in header["training"].items():
        print(f"{key:<10} {str(value).strip().replace(chr(10), chr(10) + ' ' * 11)}")


def _entry(entry: Sequence[Any]) -> str:
    """A config in a header, for a person."""
    name, values, *package = entry
    return f"{name}{f' (of {package[0]})' if package else ''}: " + ", ".join(f"{k}={v}" for k, v in values.items())


def evaluate(
    model: Positional[ModelName],
    *,
    reference: Annotated[str, arg(metavar="DATA")],
    num_images: int = 1000,
    first_seed: int = 0,
    out: Path | None = None,
    drawing: OmitArgPrefixes[Drawing] = Drawing(),
) -> None:
    """Quality against a reference: held-out loss by noise level, Fréchet distance, class agreement.

    Args:
        model: Which.
        reference: Images with held-out part: folder, zip, npz, IDX, hub set or "digits".
        num_images: Pictures drawn for distance and agreement.
        first_seed: Of the first picture; the others follow. Another one gives a repetition with other pictures.
        out: Also write the report as JSON here.
        drawing: How the pictures are drawn.
    """
    from brickwork.quality.evaluate import evaluate as measure

    drawn_by = drawing.planned(drawing.open(model))
    options = {"num_images": num_images, "first_seed": first_seed, **drawing.options()}
    report = measure(drawn_by, reference, progress=True, **options)
    print(report)
    if out is not None:
        report.save(out)
        print(f"report in {out}")


def import_weights(file: Positional[Path], *, out: Path, codec: str | None = None) -> None:
    """Published weights of other projects as a model; nothing in their file is executed.

    Args:
        file: Weights as their authors published them: .pkl, .pth or .pt.
        out: The model file to write, .safetensors.
        codec: The autoencoder of a network of latents, as `brickwork autoencoder import` writes it.
    """
    from brickwork.backbone.presets import PRESETS
    from brickwork.codec.file import load_codec
    from brickwork.diffusion.process import Edm
    from brickwork.foreign.formats import import_weights as read
    from brickwork.model.checkpoint import save

    if out.exists() and file.exists() and out.samefile(file):
        raise ArgumentError(f"out {out}: it is the file to import; name another one")
    model = read(file, load_codec(codec) if codec else None)
    config, (C, H, W) = model.backbone.config, model.shape
    name = next((f" with the sizes of {name}" for name, known in PRESETS.items() if known == config), "")
    print(f"{model.facts['design']}{name}: {config.num_parts} parts, {H}x{W}x{C}, {config.num_classes} classes")
    save(model, out)
    count = sum(weight.numel() for weight in model.parameters())
    print(f"{count / 1e6:.4g} M parameters in {out} ({out.stat().st_size / 1e6:.4g} MB)")
    if "assumed" in model.facts:
        print(model.facts["assumed"])
    how = " --solver heun --steps 18" if isinstance(model.process, Edm) else " --steps 50"
    guidance = " --guidance 1.5" if model.num_classes else ""
    print(f"draw: brickwork sample {shlex.quote(str(out))}{how}{guidance}")


VERBS: dict[str, Callable[..., int | None]] = {
    "list": print_list,
    "macs": print_macs,
    "train": train,
    "autoencoder": autoencoder,
    "sample": draw,
    "edit": edit,
    "info": print_info,
    "eval": evaluate,
    "import": import_weights,
    "pack": pack,
    "run": run,
    "verify": verify,
    "sensitivity": sensitivity,
    "serve": serve,
    "bench": bench,
    "workload": print_workload,
}


def _help() -> str:
    rows = [f"  {verb:<12} {(act.__doc__ or '').splitlines()[0]}" for verb, act in VERBS.items()]
    return "\n".join(["brickwork VERB [options]      brickwork VERB --help lists the options", "", *rows])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code. A user's error becomes one line and 1."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not sys.stderr.isatty():  # a log wants a line of progress now and then, not ten a second
        os.environ.setdefault("TQDM_MININTERVAL", "10")
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
        if verb in ("train", "autoencoder", "run"):
            return VERBS[verb](rest) or 0
        call(VERBS[verb], prog=f"brickwork {verb}", words=rest)
    except BrickworkError as error:
        print(f"brickwork {verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"brickwork {verb}: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output left, as in `brickwork list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
