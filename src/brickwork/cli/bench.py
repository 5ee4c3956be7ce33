"""``brickwork bench``: latency, memory and energy of packages, side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from brickwork.errors import ArgumentError
from brickwork.speed.measure import measure
from brickwork.speed.subjects import subjects


def bench(
    packages: Positional[Annotated[tuple[str, ...], arg(metavar="PACKAGE")]],
    *,
    repeats: int = 20,
    warmup: int = 2,
    steps: int | None = None,
    guidance: float | None = None,
    plan: str | None = None,
    batch: int = 1,
    threads: int | None = None,
    python: tuple[str, ...] = (),
    out: Annotated[Path | None, arg(name="json", metavar="FILE")] = None,
) -> None:
    """Measure time, memory and energy of packages and models in turn; ratios to the first.

    Args:
        packages: Folders of packages; run folders, model files or shipped models run in eager PyTorch.
        repeats: Pictures drawn by each.
        warmup: Pictures drawn by each before that, which do not count.
        steps: Steps of the solver; as the package says when left out, and of a model as the first package says.
        guidance: Classifier-free guidance, 1 is off; as the package says when left out.
        plan: Parts that run by noise level; as the package says when left out.
        batch: Pictures drawn at once.
        threads: Processor threads; each runtime's own choice when left out.
        python: Interpreter for a target, as in openvino=.venvs/openvino/bin/python, which is also found by itself.
        out: Also write everything as JSON here.
    """
    found = subjects(packages, python=interpreters(python), steps=steps, guidance=guidance, plan=plan)
    if out is not None and (out.is_dir() or out.suffix.lower() != ".json"):
        raise ArgumentError(f"json {out}: name a .json file to write")
    shown = sys.stderr.isatty()

    def say(line: str) -> None:
        if shown:
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)

    try:
        speed = measure(found, rounds=repeats, warmup=warmup, batch=batch, threads=threads, say=say)
    finally:
        say("")
    print(speed)
    if out is not None:
        speed.save(out)
        print(f"written to {out}")


def interpreters(texts: tuple[str, ...]) -> dict[str, str]:
    """Words TARGET=PATH as a table.

    Raises:
        ArgumentError: A word of another form.
    """
    for text in texts:
        if not all(text.partition("=")):
            raise ArgumentError(f"python {text!r}: give TARGET=PATH, as in openvino=.venvs/openvino/bin/python")
    return {target: path for target, _, path in (text.partition("=") for text in texts)}
