"""Verb ``brickwork bench``: latency, memory and energy of packages, side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from brickwork.errors import ArgumentError
from brickwork.files.streams import say as print_lines
from brickwork.files.whole import check_place
from brickwork.speed.measure import measure
from brickwork.speed.subjects import subjects


def bench(
    packages: Positional[Annotated[tuple[str, ...], arg(metavar="PACKAGE")]],
    *,
    repeats: int = 20,
    warmup: int = 2,
    steps: int | None = None,
    guidance: float | None = None,
    plan: Annotated[str | None, arg(metavar="PLAN")] = None,
    batch: int = 1,
    threads: int | None = None,
    python: Annotated[tuple[str, ...], arg(metavar="TARGET=PATH ...")] = (),
    out: Annotated[Path | None, arg(name="json", metavar="FILE")] = None,
) -> None:
    """Measure time, memory and energy of packages and models.

    They take turns; ratios are to the first.

    Args:
        packages: Folders of packages; run folders, model files or shipped models run in eager PyTorch.
        repeats: Pictures drawn by each.
        warmup: Pictures drawn by each before that, which do not count.
        steps: Steps of the solver; by default the package's, and for a model those of the first package.
        guidance: Classifier-free guidance, 1 is off; by default the package's.
        plan: Blocks or bricks that run by noise level; by default the package's.
        batch: Pictures drawn at once.
        threads: Processor threads; by default each runtime's own choice.
        python: Interpreter of a target, as in openvino=.venvs/openvino/bin/python; that one is also found without it.
        out: JSON file to write with all results.
    """
    if out is not None:
        check_json(out)
    found = subjects(packages, python=interpreters(python), steps=steps, guidance=guidance, plan=plan)
    shown = sys.stderr.isatty()

    def say(line: str) -> None:
        if shown:
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)

    try:
        speed = measure(found, rounds=repeats, warmup=warmup, batch=batch, threads=threads, say=say)
    finally:
        say("")
    print_lines(*str(speed).split("\n"))
    if out is not None:
        speed.save(out)
        print_lines(f"written to {out}")


def check_json(out: Path) -> None:
    """Refuse a place that no JSON file can be written to, before anything is measured.

    Raises:
        ArgumentError: The name has another suffix.
        OutputError: The place cannot be written.
    """
    if out.suffix.lower() != ".json":
        raise ArgumentError(f"json {out}: name a .json file to write")
    check_place(out)


def interpreters(texts: tuple[str, ...]) -> dict[str, str]:
    """Read words TARGET=PATH into a table.

    Raises:
        ArgumentError: A word has another form.
    """
    for text in texts:
        if not all(text.partition("=")):
            raise ArgumentError(f"python {text!r}: give TARGET=PATH, as in openvino=.venvs/openvino/bin/python")
    return {target: path for target, _, path in (text.partition("=") for text in texts)}
