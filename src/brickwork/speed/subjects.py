"""What is measured: packages and models by their names, each with the command of a process that holds it alone."""

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
"""Where an environment for each target is looked for, as ``.venvs/openvino``."""

START = "import runpy, sys; sys.path.append(sys.argv.pop(1)); runpy.run_module(sys.argv.pop(1), run_name='__main__')"
"""Runs a module of ours by any interpreter: its own packages come first, and only what it lacks is found here."""


@final
@dataclass(frozen=True, kw_only=True)
class Subject:
    """A package, or a model in eager PyTorch, that is to be measured.

    Attributes:
        name: As it was asked for.
        command: Of a process that answers as ``brickwork.device.timing`` does.
        sampling: How pictures are drawn.
        num_bytes: Of its files.
        about: What it is, for the report.
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

    Pictures are drawn as each package's manifest says; by models as the first package's says.

    Args:
        names: Any number; a name may come twice, which shows how far equal ones differ.
        python: Interpreter by target; where none is given it is this one, or that of ``.venvs/TARGET`` where this one
            lacks the runtime.
        said: Fields of ``Sampling`` that are to be otherwise for all; None leaves one as it is.

    Raises:
        BrickworkError: A name behind which there is nothing, or a package that is damaged.
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
    """Return a package, in the runtime of its target."""
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
    """Return a model, in eager PyTorch.

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
    """Return a command that runs a module of brickwork, whether or not the interpreter has brickwork installed."""
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
