"""Packing: graphs and weights are written, opened again, compared with the model, and only then kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Lock

from brickwork.device.runner import Runner, read_package
from brickwork.doors import door
from brickwork.errors import OutputError
from brickwork.files.manifest import MANIFEST, Graph, Manifest, write_manifest
from brickwork.files.whole import whole_folder
from brickwork.model.model import Model
from brickwork.nn.floats import float32_default
from brickwork.package.check.calibrate import calibration
from brickwork.package.check.parity import check_parity
from brickwork.package.check.quality import check_quality
from brickwork.package.manifest import manifest_of
from brickwork.package.packing import Packing
from brickwork.package.spec import PackageSpec, read_packing
from brickwork.quality.reference import Reference
from brickwork.sampling.sampler import Sampler


@door("packing", "lower sizes or batches, or take a smaller model")
@float32_default()
def pack(
    model: Model,
    out: str | Path,
    packing: Packing = Packing(),
    *,
    how: Sampler | None = None,
    data: str | Path | Reference | None = None,
    say: Callable[[str], object] = print,
) -> Runner:
    """Write a package, open it, compare it with the model, and keep it if it is near enough.

    Args:
        model: Model on the CPU, in fp32.
        out: Folder of the package. It must not exist yet, or hold an earlier package, which is then replaced as a
            whole. Its suffix chooses the target where the packing names none: "x.openvino" is for OpenVINO; without
            a suffix it is for ONNX Runtime.
        packing: Options of the package.
        how: Sampler that the package states, in place of the packing's words for it.
        data: Images to calibrate with and to measure quality on, for quantised packages: a path or name.
        say: Called with progress messages, a line at a time.

    Returns:
        The package, opened. One whose target does not run on this kind of machine can be inspected, and refuses to
        draw.

    Raises:
        ConfigError: Options that do not go together, or that the target does not have.
        ArgumentError: The suffix contradicts the target or names none, or a number is out of range.
        ParityError: Its pictures are too far from the model's; nothing is left behind.
        MissingExtraError: The target's toolkit is not installed.
        OutputError: The folder cannot be written, or holds something that is no package.
    """
    out = Path(out)
    spec = read_packing(packing, model, out, how)
    check_replaceable(out)
    versions = spec.target.toolkit.versions()
    with _one_at_a_time, whole_folder(out) as folder:
        versions |= spec.target.accompany(folder, spec.beside)
        graphs = write(model, folder, calibrated(model, spec, data, say), say)
        manifest = manifest_of(model, folder, spec, graphs, versions)
        write_manifest(folder, manifest)
        manifest = compared(model, folder, manifest, spec, data, say)
        write_manifest(folder, manifest)
    size = sum(file.length for file in manifest.files.values())
    say(f"{out}: {len(manifest.graphs)} graphs, {size / 1e6:.4g} MB")
    return read_package(out)


_one_at_a_time = Lock()
"""Lock of packing: torch exports one graph at a time in a process, and nothing else may compute meanwhile."""


def calibrated(
    model: Model, spec: PackageSpec, data: str | Path | Reference | None, say: Callable[[str], object]
) -> PackageSpec:
    """Return the package's description with samples to calibrate with, where its precision needs them."""
    if spec.precision.floor_db is not None:
        return spec
    return replace(spec, precision=replace(spec.precision, samples=calibration(model, data, say)))


def write(model: Model, folder: Path, spec: PackageSpec, say: Callable[[str], object]) -> list[Graph]:
    """Write all graphs of a package and their weights; return their entries in the manifest."""
    if spec.layout in spec.target.stacks:
        say(f"one block for all {model.num_parts} parts for {spec.title}")
        return spec.target.stacks[spec.layout](model, spec.graphs, folder)
    say(f"{len(spec.graphs)} graphs for {spec.title}")
    return spec.target.write(spec.graphs, folder, spec.precision)


def compared(
    model: Model,
    folder: Path,
    manifest: Manifest,
    spec: PackageSpec,
    data: str | Path | Reference | None,
    say: Callable[[str], object],
) -> Manifest:
    """Return the manifest with the result of comparing the package in a folder with its model.

    Raises:
        ParityError: It is too far from the model.
    """
    if not spec.target.runs_here:
        return replace(manifest, parity={"checked": False, "why": spec.target.elsewhere})
    runner = read_package(folder)
    manifest = replace(manifest, parity=check_parity(model, runner, spec, say))
    if spec.precision.floor_db is not None:
        return manifest
    return replace(manifest, quality=check_quality(model, runner, spec, data, say))


def check_replaceable(out: Path) -> None:
    """Refuse to overwrite anything but an earlier package.

    Raises:
        OutputError: Something else is there.
    """
    if out.exists() and not (out.is_dir() and ((out / MANIFEST).is_file() or not any(out.iterdir()))):
        raise OutputError(f"{out}: it is there already and is no package; choose another place")
