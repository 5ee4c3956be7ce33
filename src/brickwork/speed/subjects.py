"""Subjects of measurement: packages and models by name, each with the command of a process that holds it alone."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, final

import brickwork
from brickwork.device.program import runtime_of
from brickwork.errors import ArgumentError, PackageError
from brickwork.files.manifest import MANIFEST, SUMS, Manifest, Sampling, read_manifest

ENVIRONMENTS = Path(".venvs")
"""Folder of the virtual environments by target, as ``.venvs/openvino``."""

START = "import runpy, sys; sys.path.append(sys.argv.pop(1)); runpy.run_module(sys.argv.pop(1), run_name='__main__')"
"""Code that runs a module of this library by any interpreter; its own packages come first, then those here."""


@final
@dataclass(frozen=True, kw_only=True)
class Subject:
    """A package to measure, or a model in eager PyTorch.

    Attributes:
        name: The user's name for it.
        command: Command of a process that answers as ``brickwork.device.timing`` does.
        sampling: Sampler settings.
        num_bytes: Bytes of its files.
        about: Description for the report.
    """

    name: str
    command: tuple[str, ...]
    sampling: Sampling
    num_bytes: int
    about: dict[str, Any] = field(default_factory=dict)


def subjects(
    names: Sequence[str], *, python: Mapping[str, str] | None = None, **said: int | float | str | None
) -> list[Subject]:
    """Return the subjects behind names: folders of packages, run folders, model files, shipped models.

    Packages draw as their manifests say; models as the first package's manifest says.

    Args:
        names: Any number; a name may come twice, which shows how much equal ones differ.
        python: Interpreter by target; the default is this one, or that of ``.venvs/TARGET`` where this one lacks the
            runtime.
        said: Fields of ``Sampling`` to change for all; None leaves one unchanged.

    Raises:
        BrickworkError: A name that leads to nothing, or a package that is damaged.
    """
    if not names:
        raise ArgumentError("nothing to measure: name packages, or models to compare them with")
    manifests = {name: read_manifest(Path(name)) for name in names if (Path(name) / MANIFEST).is_file()}
    first = next((manifest.sampling for manifest in manifests.values()), Sampling())
    changed: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
    found = []
    for name in names:
        sampling = replace(manifests[name].sampling if name in manifests else first, **changed)
        if name in manifests:
            found.append(package(name, manifests[name], sampling, python or {}))
        else:
            found.append(model(name, sampling))
    return found


def package(name: str, manifest: Manifest, sampling: Sampling, python: Mapping[str, str]) -> Subject:
    """Return a package as a subject, in the runtime of its target."""
    said = [MANIFEST, SUMS]
    return Subject(
        name=name,
        command=command(interpreter(manifest.target, python), "brickwork.device.timing", name),
        sampling=sampling,
        num_bytes=sum(file.length for file in manifest.files.values())
        + sum((Path(name) / file).stat().st_size for file in said),
        about={"target": manifest.target, "layout": manifest.layout, "precision": manifest.precision},
    )


def model(name: str, sampling: Sampling) -> Subject:
    """Return a model as a subject, in eager PyTorch.

    Raises:
        PackageError: There is neither a model nor a package of this name.
    """
    from brickwork.model.header import find_model

    path = find_model(name)
    if not path.is_file():
        raise PackageError(
            f"{name}: neither a package, which is a folder with {MANIFEST}, nor a model; pack one with `brickwork pack`"
        )
    return Subject(
        name=name,
        command=command(sys.executable, "brickwork.speed.eager", name),
        sampling=sampling,
        num_bytes=path.stat().st_size,
        about={"target": "eager PyTorch", "layout": "whole", "precision": "fp32"},
    )


def command(python: str, module: str, *words: str) -> tuple[str, ...]:
    """Return a command that runs a module of brickwork, even if the interpreter has no brickwork installed."""
    return (python, "-P", "-c", START, str(Path(brickwork.__file__).parents[1]), module, *words)


def interpreter(target: str, python: Mapping[str, str]) -> str:
    """Return the Python that opens packages for a target.

    Raises:
        BrickworkError: No such target, one that cannot run here, or no such interpreter.
    """
    runtime = runtime_of(target)
    if target in python:
        if not Path(python[target]).is_file():
            raise ArgumentError(f"python {target}={python[target]}: there is no such file; give an interpreter's path")
        return python[target]
    own = ENVIRONMENTS / target / "bin" / "python"
    return str(own) if find_spec(runtime.PACKAGE) is None and own.is_file() else sys.executable
