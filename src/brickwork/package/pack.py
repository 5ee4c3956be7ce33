"""Model → package: graphs and weights are written, opened again, compared with the model, and only then kept."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from math import inf
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import brickwork
from brickwork.device.runner import Runner, open_package
from brickwork.diffusion.gaussian import normals
from brickwork.diffusion.process import PROCESSES
from brickwork.diffusion.schedule import SCHEDULES
from brickwork.errors import ArgumentError, ConfigError, OutputError, ParityError, UnknownNameError
from brickwork.files.manifest import MANIFEST, Graph, Manifest, Sampling, TextInput, described, write_manifest
from brickwork.files.schema import to_entry
from brickwork.files.tokenizers import TOKENIZERS
from brickwork.model.checkpoint import fingerprint, header_of
from brickwork.model.model import Model
from brickwork.package import graph as graphs
from brickwork.package.check.parity import NUM_STEPS, SEEDS, at_size, compare, deterministic, planned
from brickwork.package.graph import Source
from brickwork.package.packing import Packing
from brickwork.package.precision import FLOORS_DB, PRECISIONS, Precision
from brickwork.quality.reference import Reference
from brickwork.sampling.options import choose
from brickwork.sampling.plan import parse_plan
from brickwork.sampling.solvers import SOLVERS
from brickwork.text.base import NoText
from brickwork.text.small import Bytes, SmallEncoder, Words

TARGETS = {
    "onnx": "brickwork.package.targets.onnx.target",
    "executorch": "brickwork.package.targets.executorch",
    "openvino": "brickwork.package.targets.openvino",
    "litert": "brickwork.package.targets.litert",
    "coreml": "brickwork.package.targets.coreml",
    "browser": "brickwork.package.targets.browser.target",
}
"""The module that writes packages for a target. Each has SUFFIX, LAYOUTS, PRECISIONS, ``versions()`` and
``write(sources, folder, precision)``; one that puts more than graphs into the folder has
``accompany(folder, packing)``, which does so and returns the versions of that."""


def target_of(name: str) -> ModuleType:
    """The module that writes packages for a target.

    Raises:
        UnknownNameError: There is no such target.
    """
    if name not in TARGETS:
        raise UnknownNameError("target", name, TARGETS)
    return import_module(TARGETS[name])


def pack(
    model: Model,
    out: str | Path,
    packing: Packing = Packing(),
    *,
    data: str | Path | Reference | None = None,
    say: Callable[[str], object] = print,
) -> Runner:
    """Write a package, open it, compare it with the model, and keep it if it is near enough.

    Args:
        model: On the CPU, in fp32.
        out: The folder; must not exist yet, or be an earlier package, which is then replaced as a whole.
        packing: What goes in.
        data: Images to calibrate with and to measure quality on, for quantised packages: a path or name.
        say: Told what is going on, a line at a time.

    Returns:
        The package, opened.

    Raises:
        ConfigError: Options that do not go together, or that the target does not have.
        ParityError: Its pictures are too far from the model's; nothing is left behind.
        MissingExtraError: The target's toolkit is not installed.
    """
    out, target = Path(out), target_of(packing.target)
    _check(model, packing, target)
    _check_place(out)
    versions = target.versions()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror or error}); choose another place") from None
    try:
        folder.chmod(0o755)
        if hasattr(target, "accompany"):
            versions |= target.accompany(folder, packing)
        precision = calibrated(model, packing, data, say)
        entries = write(model, folder, packing, target, precision, say)
        manifest = manifest_of(model, folder, packing, entries, versions)
        write_manifest(folder, manifest)
        if packing.target == "coreml":
            parity: dict[str, Any] = {
                "checked": False,
                "why": "Core ML runs on Apple's devices alone; only structure was checked",
            }
        else:
            parity = check_parity(model, open_package(folder), packing, say)
        manifest = replace(manifest, parity=parity)
        if packing.precision not in FLOORS_DB:
            from brickwork.package.check.quality import check_quality

            manifest = replace(manifest, quality=check_quality(model, open_package(folder), packing, data, say))
        write_manifest(folder, manifest)
        _keep(folder, out)
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be written ({error.strerror or error}); free some space or choose another place"
        ) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    size = sum(file.length for file in manifest.files.values())
    say(f"{out}: {len(manifest.graphs)} graphs, {size / 1e6:.4g} MB")
    return open_package(out) if packing.target != "coreml" else None  # pyright: ignore[reportReturnType]


def write(
    model: Model, folder: Path, packing: Packing, target: ModuleType, precision: Precision, say: Callable[[str], object]
) -> list[Graph]:
    """All graphs of a package."""
    if packing.layout != "whole":
        from brickwork.package.layouts.stack import write_stack

        say(f"one block for all {model.num_parts} parts for {packing.target} in {packing.precision}")
        return write_stack(model, folder, packing.layout, sources_of(model, packing))
    sources = sources_of(model, packing)
    say(f"{len(sources)} graphs for {packing.target} in {packing.precision}")
    return target.write(sources, folder, precision)


def sources_of(model: Model, packing: Packing) -> list[Source]:
    """The graphs that a package of whole graphs has."""
    found: list[Source | None] = []
    for height, width in places(model, packing):
        for count in counts(model, packing):
            found += [graphs.denoiser(model.first(count), height, width, batch) for batch in packing.batches]
        found.append(graphs.decoder(model, height, width))
    return [source for source in (*found, graphs.text(model)) if source is not None]


def places(model: Model, packing: Packing) -> list[tuple[int, int]]:
    """(height, width) in model space of every size, the model's own first."""
    factor, (_, height, width) = model.codec.factor, model.shape
    asked = [(size // factor, size // factor) for size in packing.sizes]
    return list(dict.fromkeys(asked)) or [(height, width)]


def counts(model: Model, packing: Packing) -> list[int]:
    """Numbers of parts for which there are graphs."""
    plan = () if packing.plan is None else parse_plan(packing.plan, model.num_parts).counts
    return sorted({*(packing.parts or (model.num_parts,)), *plan})


def manifest_of(
    model: Model, folder: Path, packing: Packing, entries: list[Graph], versions: dict[str, str]
) -> Manifest:
    """The manifest of what lies in a folder, parity unsaid."""
    pieces = {}
    if packing.layout != "whole":
        from brickwork.package.layouts.stack import pieces_of

        pieces = pieces_of(folder)
    header, (low, high) = header_of(model), packing.guidance_interval
    return Manifest(
        brickwork=brickwork.__version__,
        target=packing.target,
        layout=packing.layout,  # pyright: ignore[reportArgumentType]
        precision=packing.precision,
        runtime=versions,
        shape=model.shape,
        picture_channels=model.codec.picture_channels,
        factor=model.codec.factor,
        num_parts=model.num_parts,
        process=to_entry(PROCESSES, model.process),
        classes=model.classes,
        text=_text(model),
        given_channels=model.given_channels,
        sampling=Sampling(
            steps=packing.steps,
            solver=packing.solver,
            grid=packing.grid,
            guidance=packing.guidance,
            guidance_interval=(low, None if high == inf else high),
            plan=None if packing.plan is None else str(parse_plan(packing.plan, model.num_parts)),
        ),
        graphs=tuple(entries),
        files={path.name: described(folder, path.name, pieces.get(path.name, ())) for path in sorted(folder.iterdir())},
        model={
            "sha256": model.digest or fingerprint(model),
            "backbone": header["backbone"],
            "parameters": sum(weight.numel() for weight in model.parameters()),
        },
        origin=_plain(model.facts),
        licence=packing.licence,
    )


def check_parity(model: Model, runner: Runner, packing: Packing, say: Callable[[str], object]) -> dict[str, Any]:
    """Compare every plan and size with the model, for the manifest.

    Raises:
        ParityError: Some are below the floor for their precision.
    """
    floor = FLOORS_DB.get(packing.precision)
    how = how_of(model, packing)
    told = f"{how['steps']} steps of {packing.solver}, seeds {SEEDS[0]} to {SEEDS[-1]}"
    found: dict[str, Any] = {"checked": True, "floor_db": floor, "how": told, "results": []}
    plans = [packing.plan] if packing.plan else []
    for height, width in runner.sizes:
        for plan in (*map(str, [model.num_parts] if packing.layout == "stack" else runner.counts), *plans):
            parts = int(plan) if plan.isdecimal() else None
            eager = model.first(parts) if parts else planned(model, plan)
            packed = runner.at(height, width)
            drawn = packed.first(parts) if parts else planned(packed, plan)
            result = compare(
                at_size(eager, height, width), drawn, model, packed, {**how, **_told(model, height, width)}
            )
            found["results"].append({"plan": plan, "height": height, "width": width, **result.to_dict()})
            say(f"{plan} parts at {height}x{width}: {result.db:.1f} dB, largest error {result.largest:.2g}")
            if floor is not None and not result.db >= floor:
                raise ParityError(
                    f"{packing.target} in {packing.precision}, {plan} parts at {height}x{width}: {result.db:.1f} dB "
                    f"against the model, at least {floor:.0f} are needed; nothing was kept"
                )
    found["db"] = min(result["db"] for result in found["results"])
    return found


def how_of(model: Model, packing: Packing) -> dict[str, Any]:
    """How pictures are drawn for a comparison: as the manifest will say, at fewer steps and without fresh noise."""
    told = model.num_classes or model.text_shape
    return {
        "seeds": SEEDS,
        "steps": min(packing.steps, NUM_STEPS),
        "solver": deterministic(choose("solver", packing.solver, SOLVERS)),
        "schedule": choose("grid", packing.grid, SCHEDULES),
        "guidance": packing.guidance if packing.guidance != 1 or not told else 2.0,
        "guidance_interval": packing.guidance_interval,
    }


def _told(model: Model, height: int, width: int) -> dict[str, Any]:
    """Labels, text and given pictures to compare with; the numbers mean nothing and are the same every time."""
    told: dict[str, Any] = {}
    if model.num_classes:
        told["labels"] = [seed % model.num_classes for seed in SEEDS]
    if model.text_shape is not None:
        told["text"] = normals(SEEDS, 1000, model.text_shape)
    if model.given_channels:
        told["given"] = normals(SEEDS, 1001, (model.given_channels, height, width))
    return told


def calibrated(
    model: Model, packing: Packing, data: str | Path | Reference | None, say: Callable[[str], object]
) -> Precision:
    """The precision, with inputs to calibrate with where it needs them."""
    if packing.precision in FLOORS_DB:
        return Precision(name=packing.precision, keep=packing.keep)
    from brickwork.package.check.quality import calibration

    return Precision(name=packing.precision, samples=calibration(model, data, say), keep=packing.keep)


def _check(model: Model, packing: Packing, target: ModuleType) -> None:
    """Refuse what does not go together, before anything is written."""
    for name, value, known in (
        ("layout", packing.layout, target.LAYOUTS),
        ("precision", packing.precision, target.PRECISIONS),
    ):
        if value not in ("whole", "stack", "scan", *PRECISIONS):
            raise UnknownNameError(name, value, known)
        if value not in known:
            raise ConfigError(f"{name} {value!r}: {packing.target} packages have {', '.join(known)}; take one of these")
    for name in ("batches", "sizes", "parts"):
        if any(value < 1 for value in getattr(packing, name)) or (name == "batches" and not packing.batches):
            raise ArgumentError(f"{name} {getattr(packing, name)}: give whole numbers from 1 on")
    if not 0 <= packing.max_loss_increase < inf:
        raise ArgumentError(f"max loss increase {packing.max_loss_increase}: give a share, as 0.02, or 0 for none")
    if packing.quality_images < 1 or packing.quality_pictures < 2:
        raise ArgumentError(
            f"quality on {packing.quality_images} images and {packing.quality_pictures} pictures: at least 1 and 2"
        )
    modules = [name for name, _ in model.named_modules() if name]
    for name in packing.keep:
        if name not in modules:
            raise UnknownNameError("part of the network", name, modules)
    if packing.keep and packing.precision == "fp32":
        raise ConfigError("keep with precision fp32: everything stays fp32; leave it out, or take another precision")
    factor, (_, height, width) = model.codec.factor, model.shape
    for size in packing.sizes:
        side = size // factor
        if size % factor or ((side, side) != (height, width) and (model.multiple is None or side % model.multiple)):
            fits = "its own size alone" if model.multiple is None else f"multiples of {model.multiple * factor}"
            raise ArgumentError(f"size {size}: this model, of {height * factor} pixels, takes {fits}")
    for count in counts(model, packing):
        model.first(count)
    choose("solver", packing.solver, SOLVERS)
    choose("grid", packing.grid, SCHEDULES)
    if packing.guidance != 1 and not model.num_classes and model.text_shape is None:
        raise ArgumentError(f"guidance {packing.guidance}: this model has neither classes nor text to follow")
    if packing.layout != "whole" and packing.precision != "fp32":
        raise ConfigError(f"precision {packing.precision} with layout {packing.layout}: stacked layouts are fp32")


def _check_place(out: Path) -> None:
    """Refuse to write over anything but an earlier package."""
    if out.exists() and not (out.is_dir() and ((out / MANIFEST).is_file() or not any(out.iterdir()))):
        raise OutputError(f"{out}: it is there already and is no package; choose another place")


def _keep(folder: Path, out: Path) -> None:
    """Put a finished folder in its place, in the stead of an earlier package."""
    if not out.exists():
        folder.rename(out)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".old", dir=out.parent))
    out.rename(aside / out.name)
    try:
        folder.rename(out)
    except OSError:
        (aside / out.name).rename(out)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _text(model: Model) -> TextInput | None:
    """What text a package takes, and whether it can read captions."""
    if model.text_shape is None:
        return None
    length, width = model.text_shape
    if isinstance(model.text, Words | Bytes):
        return TextInput(length=length, width=width, tokenizer=to_entry(TOKENIZERS, model.text.tokenizer))
    assert not isinstance(model.text, SmallEncoder)
    if isinstance(model.text_config, NoText):
        why = "the model was trained on embedded text and has no encoder"
    else:
        source = getattr(model.text_config, "source", "")
        why = f"the published encoder {type(model.text_config).__qualname__.split('.')[0]} {source} stays outside"
    return TextInput(length=length, width=width, left_out=why)


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts without numbers that JSON has no word for."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): plain(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [plain(part) for part in value]
        return value if not isinstance(value, float) or np.isfinite(value) else str(value)

    return plain(facts)
