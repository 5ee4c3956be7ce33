"""Commands ``python -m brickwork.device PACKAGE`` and ``brickwork run PACKAGE``: draw a package without PyTorch."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from textwrap import fill
from time import perf_counter
from typing import Any, NoReturn, cast

import numpy as np

import brickwork
from brickwork.device.runner import Runner, open_package
from brickwork.diffusion.schedule import SCHEDULES
from brickwork.errors import ArgumentError, BrickworkError, UsageError, printable
from brickwork.files.arrays import read_npy
from brickwork.files.picture import SUFFIXES, save_picture
from brickwork.files.streams import run_command, say
from brickwork.sampling.gallery import check_out, save_gallery
from brickwork.sampling.loop import sample
from brickwork.sampling.options import OPTIONS, parse_seeds
from brickwork.sampling.sampler import Changes, Sampler
from brickwork.sampling.solvers import SOLVERS

LOG = logging.getLogger(__name__)


class _Parser(argparse.ArgumentParser):
    """Argument parser whose errors are one line and exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; --help lists the options")


ABOUT = "Draw pictures from a package. What is left out is as the package says."


def parser(program: str, description: str | None = ABOUT) -> argparse.ArgumentParser:
    """Return the parser of all options; those left out come from the package's manifest."""
    usage = f"{program} [-h] [OPTIONS] PACKAGE"
    p = _Parser(prog=program, usage=usage, description=description, allow_abbrev=False)
    p.add_argument("package", metavar="PACKAGE", help="folder that `brickwork pack` wrote")
    p.add_argument("--labels", "--label", nargs="+", default=[], metavar="CLASS", help="classes by number or name")
    p.add_argument("--prompt", nargs="+", default=[], help="texts, quoted; one row each")
    p.add_argument("--negative", help="a text that guidance leads away from")
    p.add_argument("--text-embedding", type=Path, metavar="NPY", help="embedded text, where the encoder was left out")
    p.add_argument("--image-condition", type=Path, metavar="NPY", help="image condition, in model space")
    p.add_argument("--seeds", "--seed", nargs="+", default=["0"], metavar="SEED", help="seeds and ranges, as in 0-7 12")
    p.add_argument("--out", type=Path, default=Path("samples.png"), help="file .png, .jpg or .webp, or a folder")
    p.add_argument("--size", help="pixels, as 64 or 32x64: one of those packed")
    p.add_argument("--steps", type=int, help="steps of the solver")
    solvers, schedules = ",".join(SOLVERS), ",".join([*SCHEDULES, "levels"])
    p.add_argument("--solver", type=_solver, metavar=f"{{{solvers}}}{OPTIONS}", help="method of one step")
    p.add_argument("--schedule", type=_schedule, metavar=f"{{{schedules}}}{OPTIONS}", help="noise levels")
    p.add_argument("--grid", type=_schedule, dest="schedule", help=argparse.SUPPRESS)
    p.add_argument("--guidance", type=float, help="classifier-free guidance; 1 is off")
    p.add_argument("--guidance-interval", type=float, nargs=2, metavar=("LOW", "HIGH"), help="guide only there")
    p.add_argument("--plan", help="parts by noise level, as in 3@5.84,2; a number runs so many throughout")
    p.add_argument("--batch-size", type=int, default=64, help="pictures at once; never changes a picture")
    p.add_argument("--threads", type=int, help="processor threads")
    p.add_argument("--expect", default="", metavar="SHA256", help="that manifest.json must have")
    return p


def _solver(text: str) -> str:
    """Return the word of a solver, if it is one.

    Raises:
        UsageError: It is none.
    """
    return _read(text, lambda: Sampler(solver=text))


def _schedule(text: str) -> str:
    """Return the word of a schedule, if it is one.

    Raises:
        UsageError: It is none.
    """
    return _read(text, lambda: Sampler(schedule=text))


def _read(text: str, read: Callable[[], Sampler]) -> str:
    try:
        read()
    except BrickworkError as error:
        raise UsageError(f"{error}; --help lists the options") from None
    return text


def run(words: Sequence[str], program: str = "python -m brickwork.device") -> None:
    """Draw pictures with a package, as command-line arguments say.

    Raises:
        BrickworkError: A user's error, in one line.
    """
    asked = parser(program).parse_args(list(words))
    LOG.info("%s", "\n".join(f"{name} {printable(repr(value))}" for name, value in vars(asked).items()))
    check_out(asked.out)
    seeds = parse_seeds(asked.seeds)
    package = open_package(asked.package, expect=asked.expect, threads=asked.threads)
    if asked.size is not None:
        package = package.at(*_places(asked.size, package.manifest.factor))
    how = package.sampler.but(**_changes(asked))
    if asked.labels and len(asked.prompt) > 1:
        raise ArgumentError(
            f"{len(asked.labels)} labels and {len(asked.prompt)} prompts: give one prompt, or no labels"
        )
    text = _text(package, asked)
    rows = [package.class_index(name) for name in asked.labels]
    if not rows and package.num_classes and text is None:
        rows = list(range(package.num_classes))[:10] if len(seeds) > 1 else [0]
    count = max(len(rows), len(asked.prompt), 1)
    start = perf_counter()
    images = sample(
        package,
        seeds=seeds * count,
        labels=[k for k in rows for _ in seeds] or None,
        text=[words for words in text for _ in seeds] if isinstance(text, list) else text,
        negative=asked.negative,
        image=None if asked.image_condition is None else _array(asked.image_condition),
        how=how,
        progress=find_spec("tqdm") is not None and sys.stderr.isatty(),
    )
    seconds = perf_counter() - start
    facts = _facts(asked, package, how)
    if len(images) == 1 and asked.out.suffix.lower() in SUFFIXES:
        save_picture(images[0], asked.out, {**facts, "labels": rows, "seeds": seeds})
        path = asked.out
    else:
        names = [package.classes[k] for k in rows] or [fill(words, 24) for words in asked.prompt] or None
        told = {"names": names, "rows": rows, "seeds": seeds, "num_prompts": len(asked.prompt), "facts": facts}
        path = save_gallery(asked.out, images, **told)
    noun = "picture" if len(images) == 1 else "pictures"
    say(f"{len(images)} {noun} in {path}, {seconds / len(images):.3g} s each")


def _places(size: str, factor: int) -> tuple[int, int]:
    words = size.lower().split("x")
    if len(words) > 2 or not all(word.isdecimal() for word in words):
        raise UsageError(f"size {size!r}: give pixels, as 64, or height x width, as 32x64")
    height, width = int(words[0]), int(words[-1])
    if height % factor or width % factor:
        raise ArgumentError(f"size {size!r}: the autoencoder makes {factor} pixels of each place; give multiples")
    return height // factor, width // factor


def _changes(asked: argparse.Namespace) -> Changes:
    """Collect the options that differ from the package's sampler."""
    said = {name: getattr(asked, name) for name in Changes.__annotations__}
    return cast(Changes, {name: value for name, value in said.items() if value is not None})


def _text(package: Runner, asked: argparse.Namespace) -> list[str] | str | np.ndarray | None:
    """Return prompts, or embedded text from a file."""
    if asked.text_embedding is not None:
        if asked.prompt:
            raise ArgumentError("a prompt and a text embedding: give one or the other")
        return _array(asked.text_embedding)
    said = package.manifest.text
    if asked.prompt and said is not None and said.left_out:
        raise ArgumentError(
            f"prompt {asked.prompt[0]!r}: {said.left_out}; embed it elsewhere and give the array, "
            f"{said.length}x{said.width}, by --text-embedding FILE.npy"
        )
    return asked.prompt if len(asked.prompt) > 1 else asked.prompt[0] if asked.prompt else None


def _array(path: Path) -> np.ndarray:
    try:
        return read_npy(path)
    except (OSError, ValueError) as error:
        raise ArgumentError(f"{path}: not an array of numpy ({error}); give a .npy file") from None


def _facts(asked: argparse.Namespace, package: Runner, how: Sampler) -> dict[str, Any]:
    """Return the facts about how a picture was drawn that its PNG records."""
    said = package.manifest
    facts = {"package": str(asked.package), "manifest_sha256": package.digest, "version": brickwork.__version__}
    facts |= {"target": said.target, "precision": said.precision, "model_sha256": said.model.get("sha256", "")}
    facts |= how.to_facts()
    return {**facts, "prompt": asked.prompt, "negative": asked.negative} if asked.prompt else facts


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; a user's error becomes one line and 1."""
    return run_command(partial(run, sys.argv[1:] if words is None else words), "brickwork run")
